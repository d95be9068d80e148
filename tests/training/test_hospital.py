"""A hospital trains once, pays once and before it answers, whatever is asked again or breaks."""

import os
import shutil

import numpy as np
import pytest
from training_cell import CLIENTS, KEY, charges, make_cell, train_request, update

from audit.core.errors import IntegrityError, PolicyError, ProtocolError
from audit.core.parcel import Parcel
from audit.formats.parcels import parcel_digest
from training.hospital import Hospital, Spent
from training.journal import SessionJournal
from training.wire import METRIC

CLIENT = CLIENTS[0]


@pytest.fixture
def plan(tmp_path):
    return make_cell(tmp_path, aggregation={"protocol": "plain"})


def ask(plan, request, spent=None, stage="train", client=CLIENT):
    return Hospital(plan, client).handle(stage, request, spent or Spent())


class CrashError(Exception):
    """The process dies here, as far as the disk can tell."""


def crash_at(monkeypatch, write: int) -> None:
    """Raise just before the nth file (or line) becomes durable."""
    real, done = os.fsync, []

    def fsync(descriptor):
        done.append(descriptor)
        if len(done) == write:
            raise CrashError
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def test_the_same_request_gets_the_stored_reply_without_training_or_charge(plan, monkeypatch):
    first, spent = ask(plan, train_request(plan))
    assert spent.steps == 2 and len(charges(plan, CLIENT)) == 1
    monkeypatch.setattr("training.hospital.train_locally", None)
    again, spent_again = ask(plan, train_request(plan), spent)
    assert parcel_digest(again) == parcel_digest(first)
    assert spent_again == spent and len(charges(plan, CLIENT)) == 1


@pytest.mark.parametrize("changed", [{"learning_rate": 0.25}, {"noise_multiplier": 9.0}])
def test_another_request_for_an_answered_stage_is_refused(plan, changed):
    ask(plan, train_request(plan))
    kept = update(plan, CLIENT)
    with pytest.raises(PolicyError, match="second release is refused"):
        ask(plan, train_request(plan, **changed))
    assert np.array_equal(update(plan, CLIENT), kept)
    assert len(charges(plan, CLIENT)) == 1


def test_another_request_after_a_crash_that_kept_the_update_is_refused(plan, monkeypatch):
    with monkeypatch.context() as patch:
        crash_at(patch, 5)  # update, notes, charge, its folder, and then the reply
        with pytest.raises(CrashError):
            ask(plan, train_request(plan))
    with pytest.raises(PolicyError, match="second release is refused"):
        ask(plan, train_request(plan, learning_rate=0.25))


@pytest.mark.parametrize("fixed", [True, False])
def test_a_crash_between_any_two_writes_changes_and_doubles_nothing(tmp_path, monkeypatch, fixed):
    key = bytes.fromhex(KEY) if fixed else None
    options = {"aggregation": {"protocol": "plain"}, "noise_master": key}
    reference = make_cell(tmp_path / "whole", **options)
    expected, _ = ask(reference, train_request(reference))
    write, crashed = 0, True
    while crashed:
        write += 1
        plan = make_cell(tmp_path / str(write), **options)
        with monkeypatch.context() as patch:
            crash_at(patch, write)
            try:
                ask(plan, train_request(plan))
                crashed = False
            except CrashError:
                before = charges(plan, CLIENT)
        reply, spent = ask(plan, train_request(plan))
        assert spent.steps == 2
        assert len(charges(plan, CLIENT)) == 1
        assert not crashed or charges(plan, CLIENT)[: len(before)] == before
        assert np.array_equal(reply.arrays["update"], update(plan, CLIENT))
        if fixed:
            assert parcel_digest(reply) == parcel_digest(expected)
        else:
            assert not np.array_equal(reply.arrays["update"], expected.arrays["update"])
    assert write == 9  # update, notes, charge, reply: each a file, then its name in the folder


def test_the_charge_is_on_disk_before_the_reply_is(plan, monkeypatch):
    seen = []
    real = SessionJournal.store

    def store(self, stage, digest, reply, state):
        seen.append((stage, len(charges(plan, CLIENT))))
        real(self, stage, digest, reply, state)

    monkeypatch.setattr(SessionJournal, "store", store)
    ask(plan, train_request(plan))
    assert seen == [("train", 1)]


def test_a_lost_update_that_was_paid_for_is_not_made_again(plan):
    ask(plan, train_request(plan))
    shutil.rmtree(plan.cell.client(CLIENT) / "round-001")
    with pytest.raises(IntegrityError, match="second release is refused"):
        ask(plan, train_request(plan))


def test_asking_again_for_an_early_round_gives_back_no_budget(plan):
    _, spent = ask(plan, train_request(plan))
    _, spent = ask(plan, train_request(plan, 2), spent)
    _, spent = ask(plan, train_request(plan), spent)
    assert spent.steps == 4


def test_a_restart_and_another_order_of_rounds_forget_nothing_spent(plan):
    _, spent = ask(plan, train_request(plan, 2))
    reply, spent = ask(plan, train_request(plan, 1), Spent())
    assert spent.steps == 4 == reply.fields[METRIC + "steps"]


def test_more_noise_in_the_last_round_does_not_lower_what_was_spent(plan):
    ask(plan, train_request(plan))
    usual, _ = ask(plan, train_request(plan, 2), client=CLIENTS[1])
    ask(plan, train_request(plan, 2, noise_multiplier=100.0))
    spent = METRIC + "spent_epsilon"
    reply, _ = ask(plan, train_request(plan, 2, noise_multiplier=100.0))
    assert reply.fields[spent] > usual.fields[spent]


@pytest.mark.parametrize(
    "changed",
    [
        {"noise_multiplier": 2.3},
        {"max_grad_norm": 2.0},
        {"noise_multiplier": float("nan")},
        {"session": "../round-001"},
        {"kind": None},
    ],
)
def test_a_refused_request_leaves_no_trace(plan, changed):
    with pytest.raises(PolicyError):
        ask(plan, train_request(plan, **changed))
    assert charges(plan, CLIENT) == []
    assert [p.name for p in plan.cell.client(CLIENT).iterdir()] == ["setup.json"]


def test_a_probe_that_was_not_set_apart_is_refused(plan):
    probe = {"kind": "probe", "local_steps": 1, "sample_rate": 1.0}
    ask(plan, train_request(plan, session="round-001/probe-b1-r0", **probe))
    with pytest.raises(PolicyError, match="no records set apart"):
        ask(plan, train_request(plan, session="round-001/probe-b1-r7", **probe))
    assert [c.kind for c in charges(plan, CLIENT)] == ["probe"]


def test_a_federation_without_probes_refuses_them_all(tmp_path):
    plan = make_cell(tmp_path, aggregation={"protocol": "plain"}, probes={"repeats": 0})
    assert not Hospital(plan, CLIENT).setup.policy.probes


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"1.weight": np.zeros((10, 64), np.float32)},
        {"1.weight": np.zeros((10, 63), np.float32), "1.bias": np.zeros(10, np.float32)},
        {"1.weight": np.full((10, 64), np.nan, np.float32), "1.bias": np.zeros(10, np.float32)},
    ],
)
def test_a_model_that_does_not_fit_is_refused(plan, arrays):
    request = Parcel(arrays=arrays, fields=train_request(plan).fields)
    with pytest.raises(ProtocolError, match=r"^model: "):
        ask(plan, request)
    assert charges(plan, CLIENT) == []


def test_what_a_hospital_reports_does_not_depend_on_its_data(plan):
    replies = [ask(plan, train_request(plan), client=client)[0] for client in CLIENTS]
    assert replies[0].fields == replies[1].fields == replies[2].fields
    assert set(replies[0].fields) == {
        "metric.steps",
        "metric.noise_multiplier",
        "metric.spent_epsilon",
    }
