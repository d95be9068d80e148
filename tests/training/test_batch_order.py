"""Probes in mini-batches: who is in which batch, what it costs, and what is refused."""

import numpy as np
import pytest
from training_cell import CLIENTS, charges, make_cell, train_request

from audit.core.config import ProbesConfig
from audit.core.errors import PolicyError
from training.batch_order import batches, public_order, secret_order
from training.hospital import Hospital, Spent
from training.plan import probe_sessions
from training.randomness import NoiseStream

CLIENT = CLIENTS[0]
PROBES = {
    "batch_sizes": [8],
    "local_steps": [],
    "mini_batches": [{"size": 4, "epochs": 3}, {"size": 2, "epochs": 2, "order": "public"}],
}
SECRET, OPEN = "round-001/probe-b8-m4-e3-r0", "round-001/probe-b8-m2-e2-open-r0"


def ask(plan, request):
    return Hospital(plan, CLIENT).handle("train", request, Spent())


def probe(session, /, **changed):
    size, epochs, order = (4, 3, "secret") if session == SECRET else (2, 2, "public")
    return {
        "kind": "probe",
        "session": session,
        "sample_rate": 1.0,
        "expected_batch_size": float(size),
        "mini_batch": size,
        "epochs": epochs,
        "order": order,
        "local_steps": epochs * 8 // size,
    } | changed


@pytest.mark.parametrize("kind", ["public", "secret"])
def test_every_epoch_deals_each_record_once_and_another_way(kind):
    shape = {"records": 12, "size": 4, "epochs": 5}
    if kind == "public":
        order = public_order(1, "s", "h", **shape)
        assert (order == public_order(1, "s", "h", **shape)).all()
        assert (order != public_order(1, "s", "other", **shape)).any()
    else:
        order = secret_order(NoiseStream(bytes(32)), **shape)
    steps = batches(order)
    assert [len(step) for step in steps] == [4] * 15
    for epoch in range(5):
        own = np.concatenate(steps[3 * epoch : 3 * epoch + 3])
        assert sorted(own) == list(range(12))
    assert (order[0] != order[1]).any()


def test_sessions_say_batches_epochs_and_an_open_order():
    secret, public = probe_sessions(ProbesConfig.model_validate(PROBES))
    assert (secret.name, secret.steps, secret.batch, secret.uses) == (SECRET, 6, 4, 3)
    assert (public.name, public.steps, public.batch, public.uses) == (OPEN, 8, 2, 2)
    assert public.public_order and not secret.public_order


@pytest.mark.parametrize("size", [3, 8, 16])
def test_batches_that_are_not_whole_are_refused_by_name(size):
    with pytest.raises(ValueError, match=f"mini_batches: size {size}: expected"):
        ProbesConfig.model_validate({**PROBES, "mini_batches": [{"size": size}]})


def test_a_record_is_charged_for_the_epochs_and_not_for_the_steps(tmp_path):
    plan = make_cell(tmp_path, aggregation={"protocol": "plain"}, probes=PROBES)
    ask(plan, train_request(plan, **probe(SECRET)))
    ask(plan, train_request(plan, **probe(OPEN)))
    assert [(c.kind, c.steps, c.sample_rate) for c in charges(plan, CLIENT)] == [
        ("probe", 3, 1.0),
        ("probe", 2, 1.0),
    ]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"epochs": 4, "local_steps": 8}, "epochs"),
        ({"local_steps": 7}, "local_steps"),
        ({"mini_batch": 3}, "local_steps"),
        ({"mini_batch": 0}, "mini_batch"),
        ({"epochs": 1.5}, "epochs"),
        ({"order": "mine"}, "order"),
        ({"kind": "round", "session": "round-001"}, "mini_batch"),
    ],
)
def test_what_would_cost_more_or_makes_no_sense_is_refused_before_it_is_done(
    tmp_path, changed, named
):
    plan = make_cell(tmp_path, aggregation={"protocol": "plain"}, probes=PROBES)
    with pytest.raises(PolicyError, match=f"^{named}: "):
        ask(plan, train_request(plan, **probe(SECRET, **changed)))
    assert charges(plan, CLIENT) == []


def test_full_steps_are_not_let_in_by_the_number_of_small_ones(tmp_path):
    plan = make_cell(tmp_path, aggregation={"protocol": "plain"}, probes=PROBES)
    whole = {"kind": "probe", "session": SECRET, "sample_rate": 1.0, "local_steps": 6}
    with pytest.raises(PolicyError, match=r"^local_steps: 6 asked for; this hospital allows at"):
        ask(plan, train_request(plan, **whole))
