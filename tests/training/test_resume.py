"""A run that was killed goes on to the very model it would have had, and pays for nothing twice."""

import multiprocessing
import os
import signal
from collections import Counter

import pytest
from training_cell import CLIENTS, tiny_config

from audit.core.config import Config
from audit.core.errors import ConfigError, LockedRunError
from audit.formats.files import read_json_lines
from audit.pipeline.train import TrainOptions, train
from audit.store.run import RunDirectory

RESUME = TrainOptions(resume=True)
CONFIG = tiny_config()
SESSIONS = 2 * 3
"""Of each hospital: two cells, each of two rounds and a probe."""


def models(run: RunDirectory) -> dict[str, bytes]:
    return {
        path.relative_to(run.path).as_posix(): path.read_bytes()
        for name in ("model", "round.model")
        for path in sorted((run.path / "cells").rglob(f"{name}.safetensors"))
    }


def ledger_lines(folder) -> dict[str, Counter]:
    return {
        path.parent.name: Counter(
            (c["run"], c["cell"], c["session"]) for c in read_json_lines(path)
        )
        for path in folder.rglob("*.jsonl")
    }


def train_and_die(out, config: Config, write: int, signum: int) -> None:
    """In a child: train, and get a signal just before the nth file becomes durable."""
    real, done = os.fsync, []

    def fsync(descriptor):
        done.append(descriptor)
        if len(done) == write:
            os.kill(os.getpid(), signum)
        real(descriptor)

    os.fsync = fsync
    if signum == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    train(config, out, RESUME)


def die_at(out, config: Config, write: int, signum: int = signal.SIGKILL) -> int:
    child = multiprocessing.get_context("fork").Process(
        target=train_and_die, args=(out, config, write, signum)
    )
    child.start()
    child.join(120)
    return child.exitcode


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The models of a run that nothing interrupted, and the number of its writes."""
    folder = tmp_path_factory.mktemp("whole")
    writes, real = [], os.fsync
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_LEDGER", str(folder / "ledger"))
        patch.setattr(os, "fsync", lambda d: (writes.append(d), real(d)))
        run = train(CONFIG, folder / "run", TrainOptions())
    assert len(models(run)) == 2 * 3
    return models(run), len(writes)


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIT_LEDGER", str(tmp_path / "ledger"))
    return tmp_path / "ledger"


def check_resumed(run: RunDirectory, ledger, whole) -> None:
    expected, _ = whole
    assert models(run) == expected
    run.check_manifest()
    assert run.record["state"] == "trained"
    lines = ledger_lines(ledger)
    assert sorted(lines) == sorted(CLIENTS)
    for sessions in lines.values():
        assert len(sessions) == SESSIONS and set(sessions.values()) == {1}


# Among others: before the run's record, in the set-up, at a probe, in both rounds of both cells.
@pytest.mark.parametrize("part", [0.0, 0.3, 0.45, 0.8])
def test_a_killed_run_resumes_to_the_same_model_bit_for_bit(tmp_path, ledger, whole, part):
    write = 1 + int(part * whole[1])
    assert die_at(tmp_path / "run", CONFIG, write) == -signal.SIGKILL
    check_resumed(train(CONFIG, tmp_path / "run", RESUME), ledger, whole)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(40))
def test_a_run_killed_anywhere_resumes_to_the_same_model(tmp_path, ledger, whole, part):
    write = 1 + part * whole[1] // 40
    assert die_at(tmp_path / "run", CONFIG, write) == -signal.SIGKILL
    check_resumed(train(CONFIG, tmp_path / "run", RESUME), ledger, whole)


def test_a_run_killed_twice_and_interrupted_once_resumes_without_its_configuration(
    tmp_path, ledger, whole
):
    out, quarter = tmp_path / "run", whole[1] // 4
    assert die_at(out, CONFIG, quarter) == -signal.SIGKILL
    assert die_at(out, CONFIG, quarter) == -signal.SIGKILL
    assert die_at(out, CONFIG, quarter, signal.SIGINT) == 1
    check_resumed(train(None, out, RESUME), ledger, whole)


def test_a_finished_run_resumes_to_itself(tmp_path, ledger, whole):
    train(CONFIG, tmp_path / "run", TrainOptions())
    check_resumed(train(CONFIG, tmp_path / "run", RESUME), ledger, whole)


def test_a_run_in_use_is_refused(tmp_path, ledger):
    config = tiny_config(privacy__epsilons=[None])
    run = train(config, tmp_path / "run", TrainOptions())
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()

    def hold() -> None:
        with run.locked():
            held.set()
            release.wait(60)

    other = context.Process(target=hold)
    other.start()
    assert held.wait(60)
    with pytest.raises(LockedRunError, match="in use by another process"):
        train(config, tmp_path / "run", RESUME)
    release.set()
    other.join(60)
    train(config, tmp_path / "run", RESUME)


def test_another_configuration_cannot_resume_a_run(tmp_path, ledger):
    config = tiny_config(privacy__epsilons=[None])
    train(config, tmp_path / "run", TrainOptions())
    with pytest.raises(ConfigError, match="differs"):
        train(tiny_config(privacy__epsilons=[None], seed=2), tmp_path / "run", RESUME)
    with pytest.raises(ConfigError, match="--resume"):
        train(config, tmp_path / "run", TrainOptions())
