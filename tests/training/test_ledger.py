"""A hospital's account: every release once, on disk on return, and damage is never overlooked."""

import multiprocessing

import pytest

from audit.core.errors import IntegrityError
from training.ledger import Charge, Ledger


def charge(session: str = "round-001", **changed) -> Charge:
    facts = {
        "run": "run",
        "cell": "eps-1",
        "session": session,
        "kind": "round",
        "steps": 3,
        "sample_rate": 0.5,
        "noise_multiplier": 1.25,
        "reproduction": False,
    }
    return Charge(**{**facts, **changed})


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "ledger", client="hospital-1", dataset="d" * 64)


def test_the_same_release_is_recorded_once(ledger):
    assert ledger.charge(charge())
    before = ledger.path.read_bytes()
    assert not ledger.charge(charge())
    assert ledger.path.read_bytes() == before
    assert ledger.charges() == [charge()]


@pytest.mark.parametrize("name", ["run", "cell", "session"])
def test_another_run_cell_or_session_is_another_release(ledger, name):
    ledger.charge(charge())
    assert ledger.charge(charge(**{name: "other"}))
    assert len(ledger.charges()) == 2


def test_the_same_release_for_another_mechanism_is_refused(ledger):
    ledger.charge(charge())
    with pytest.raises(IntegrityError, match="another mechanism"):
        ledger.charge(charge(steps=4))
    assert ledger.charges() == [charge()]


def test_a_charge_is_synced_before_it_returns(ledger, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda _: synced.append(ledger.path.read_bytes()))
    ledger.charge(charge())
    assert b"round-001" in synced[0]
    assert len(synced) == 2  # the file, and once the folder that names it


def test_only_the_hospital_reads_its_ledger(ledger):
    ledger.charge(charge())
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    assert ledger.path.parent.stat().st_mode & 0o777 == 0o700


def append_all(folder, name: str) -> None:
    ledger = Ledger(folder, client="hospital-1", dataset="d" * 64)
    for number in range(20):
        ledger.charge(charge(f"round-{number:03d}"))
        ledger.charge(charge(f"round-{number:03d}", run=name))


def test_processes_that_append_at_once_lose_and_repeat_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=append_all, args=(tmp_path, n)) for n in ("a", "b", "c")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    charges = Ledger(tmp_path, client="hospital-1", dataset="d" * 64).charges()
    assert len(charges) == len({c.release for c in charges}) == 4 * 20


@pytest.mark.parametrize("damage", [b'{"run": "r', b"7\n", b'{"run": "r"}\n', b"\xff\n"])
def test_a_damaged_ledger_is_refused(ledger, damage):
    ledger.charge(charge())
    with ledger.path.open("ab") as handle:
        handle.write(damage)
    with pytest.raises(IntegrityError, match="damaged"):
        ledger.charges()
    with pytest.raises(IntegrityError, match="damaged"):
        ledger.charge(charge("round-002"))


def test_steps_are_summed_by_mechanism_and_by_cell(ledger):
    ledger.charge(charge())
    ledger.charge(charge("round-002"))
    ledger.charge(charge("round-001/probe-b1-r0", kind="probe", steps=1, sample_rate=1.0))
    ledger.charge(charge(cell="eps-inf", noise_multiplier=None))
    assert ledger.mechanisms() == {(1.25, 0.5): 6, (1.25, 1.0): 1, (None, 0.5): 3}
    assert ledger.round_steps(run="run", cell="eps-1") == 6
    assert ledger.holds(run="run", cell="eps-1", session="round-002")
    assert not ledger.holds(run="run", cell="eps-2", session="round-002")
