"""Real rounds through the in-process grid: what is summed, who may be missing, what is seen."""

import itertools

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg
from training_cell import (
    CLIENTS,
    EPSILON,
    NOISE,
    charges,
    drop,
    make_cell,
    mean_update,
    replaced,
    run,
    update,
)

from audit.core.errors import AuditError
from audit.formats.parcels import read_weights
from training.plan import HospitalSetup
from training.recording import RECEIVED, read_session
from training.strategy import SecureAggregationStrategy

STEP = 2 * 64.0 / (2**32 - 1)
"""Of the default quantiser, model units."""


def model_bytes(plan, number):
    return (plan.cell.transcript(number) / "round.model.safetensors").read_bytes()


def test_the_strategy_is_flower_s_own_averaging():
    assert issubclass(SecureAggregationStrategy, FedAvg)


@pytest.mark.parametrize("private", [True, False])
def test_masked_sum_is_the_plain_sum_within_half_a_quantisation_step_a_hospital(tmp_path, private):
    masked = make_cell(tmp_path / "masked", private=private)
    plain = make_cell(tmp_path / "plain", private=private, aggregation={"protocol": "plain"})
    log = run(masked)
    run(plain)
    assert [line["failure"] for line in log] == [None, None]
    for session in ("round-001/round", "round-001/probe-b1-r0"):
        updates = [update(masked, client, session) for client in CLIENTS]
        for client, own in zip(CLIENTS, updates, strict=True):
            assert np.array_equal(own, update(plain, client, session))
        error = 3 * np.abs(mean_update(masked, session) - mean_update(plain, session))
        assert error.max() <= 3 / 2 * STEP * (1 + 1e-6)
        assert np.abs(mean_update(masked, session)).max() > 1000 * STEP


def test_the_model_moves_by_the_mean_times_the_server_s_learning_rate(tmp_path):
    plan = make_cell(tmp_path, private=False, schedule__server_learning_rate=0.5)
    run(plan)
    first = plan.architecture.initial(plan.seed)
    step = plan.architecture.unflatten(0.5 * mean_update(plan))
    after = read_weights(plan.cell.transcript(1) / "round.model.safetensors")
    for name, array in first.items():
        np.testing.assert_allclose(after[name], array + step[name], atol=1e-6)


@pytest.mark.parametrize("stage", ["keys", "shares", "train", "consistency", "unmask"])
def test_a_drop_out_at_any_stage_still_gives_the_mean_of_those_whose_updates_came(tmp_path, stage):
    plan = make_cell(tmp_path, private=False, probes={"repeats": 0}, schedule__rounds=1)
    log = run(plan, drop("hospital-2", stage=stage, session="round-001"))
    before = stage in ("keys", "shares", "train")
    survivors = ["hospital-1", "hospital-3"] if before else list(CLIENTS)
    assert log[0]["failure"] is None and log[0]["survivors"] == survivors
    assert log[0]["refusals"] == {"hospital-2": "dropped out"}
    mean = np.mean([update(plan, c).astype(np.float64) for c in survivors], axis=0)
    assert np.abs(mean_update(plan) - mean).max() <= STEP / 2 * (1 + 1e-6)
    assert plan.cell.model.is_file()


@pytest.mark.parametrize("stage", ["keys", "shares", "train", "consistency", "unmask"])
def test_too_few_hospitals_fail_the_round_and_leave_the_model_as_it_was(tmp_path, stage):
    plan = make_cell(tmp_path, private=False, probes={"repeats": 0}, schedule__rounds=3)
    log = run(plan, drop("hospital-1", "hospital-2", stage=stage, session="round-002"))
    assert [line["failure"] is None for line in log] == [True, False, True]
    assert "2 of 3 are needed" in log[1]["failure"] and log[1]["survivors"] == []
    assert set(log[1]["refusals"]) == {"hospital-1", "hospital-2"}
    assert model_bytes(plan, 2) == model_bytes(plan, 1) != model_bytes(plan, 3)
    assert not (plan.cell.transcript(2) / "round.aggregate.safetensors").exists()


def test_a_federation_whose_rounds_all_failed_releases_no_model(tmp_path):
    plan = make_cell(tmp_path, private=False, probes={"repeats": 0}, schedule__rounds=1)
    with pytest.raises(AuditError, match=r"every round failed: .*hospital-1: dropped out"):
        run(plan, drop("hospital-1", "hospital-2", stage="train", session="round-001"))
    assert not plan.cell.model.exists()


@pytest.mark.parametrize(
    ("field", "facts"),
    [
        ("noise_multiplier", {"noise_multiplier": 0.99 * NOISE}),
        ("noise_multiplier", {"noise_multiplier": None}),
        ("max_grad_norm", {"max_grad_norm": 1.01}),
        ("delta", {"delta": 1e-4}),
        ("sample_rate", {"nominal_records": 300}),
        ("local_steps", {"schedule": {"local_steps": 3}}),
        ("learning_rate", {"schedule": {"learning_rate": -1.0}}),
        ("momentum", {"schedule": {"momentum": 1.5}}),
        ("roster", {"roster": {c: c.encode().ljust(32) for c in CLIENTS}}),
    ],
)
def test_a_server_that_asks_for_less_privacy_is_refused_by_every_hospital(tmp_path, field, facts):
    plan = make_cell(tmp_path, probes={"repeats": 0}, aggregation={"protocol": "plain"})
    with pytest.raises(AuditError, match="every round failed") as failed:
        run(replaced(plan, **facts))
    for client in CLIENTS:
        assert f"{client}: {field}: " in str(failed.value)
        assert charges(plan, client) == []
        assert not list(plan.cell.client(client).rglob("*.update.*"))


def test_a_server_that_asks_for_more_rounds_gets_those_that_were_agreed(tmp_path):
    plan = make_cell(tmp_path, probes={"repeats": 0}, aggregation={"protocol": "plain"})
    log = run(replaced(plan, schedule={"rounds": 3}))
    assert [line["failure"] is None for line in log] == [True, True, False]
    assert all("round: 3 asked for" in reason for reason in log[2]["refusals"].values())
    assert model_bytes(plan, 3) == model_bytes(plan, 2)
    assert all(len(charges(plan, client)) == 2 for client in CLIENTS)


def test_a_server_with_another_roster_opens_nothing_of_a_masked_round(tmp_path):
    plan = make_cell(tmp_path, private=False, probes={"repeats": 0}, schedule__rounds=1)
    other = {**plan.roster, "hospital-3": bytes(32)}
    with pytest.raises(AuditError, match="every round failed"):
        run(replaced(plan, roster=other))
    assert not list((plan.cell.path / "clients").rglob("*.update.*"))


def test_metrics_report_the_budget_as_it_is_spent(tmp_path):
    plan = make_cell(tmp_path, probes={"repeats": 0}, aggregation={"protocol": "plain"})
    log = run(plan)
    spent = [line["clients"]["hospital-1"]["spent_epsilon"] for line in log]
    assert 0 < spent[0] < spent[1] < EPSILON * 1.05
    assert [line["clients"]["hospital-2"]["steps"] for line in log] == [2, 4]


ENVELOPE = {"protocol", "session"}
SEEN = {
    "hello": {"client"},
    "keys": ENVELOPE | {"share_key", "mask_key", "signature"},
    "shares": ENVELOPE | {"receivers", "ciphertexts", "commitment"},
    "train": ENVELOPE | {"metric.steps", "metric.noise_multiplier", "metric.spent_epsilon"},
    "consistency": ENVELOPE | {"signature"},
    "unmask": ENVELOPE | {"survivors", "seed_shares", "dead", "key_shares"},
}
"""All that a masked hospital may ever put on the wire beside its masked vector."""


def test_a_masked_transcript_holds_no_update_and_nothing_that_depends_on_data(tmp_path):
    plan = make_cell(tmp_path, model={"name": "simple-cnn"})
    run(plan)
    sessions = ("round-001", "round-002", "round-001/probe-b1-r0")
    found = {}
    for session in sessions:
        prefix = session if "/" in session else f"{session}/round"
        updates = {client: update(plan, client, prefix) for client in CLIENTS}
        for stage, client, way, parcel in read_session(plan.cell, session):
            if way != RECEIVED:
                continue
            probe = stage == "train" and "/" in session
            assert set(parcel.fields) == (ENVELOPE if probe else SEEN[stage])
            if stage != "train":
                assert not parcel.arrays
                continue
            assert set(parcel.arrays) == {"masked"}
            found[session, client] = parcel.arrays["masked"].astype(np.float64)
        masked = {client: found[session, client] for client in CLIENTS}
        pairs = [a - b for a, b in itertools.combinations(masked.values(), 2)]
        for seen, own in itertools.product([*masked.values(), *pairs], updates.values()):
            # 9,258 parameters: 0.05 is 4.8 standard errors of a correlation of unrelated vectors.
            assert abs(np.corrcoef(seen, own)[0, 1]) < 0.05
            assert np.isin(seen, own).mean() < 0.01
    assert len(found) == 9
    folders = {p.parent.name for p in (plan.cell.path / "transcript").rglob("*.received.*")}
    assert folders == {"round-000", "round-001", "round-002"}


def test_all_hospitals_report_the_same_privacy_metrics(tmp_path):
    plan = make_cell(tmp_path, probes={"repeats": 0})
    log = run(plan)
    sizes = {len(HospitalSetup.load(plan.cell.client(c)).indices) for c in CLIENTS}
    assert len(sizes) > 1  # the exact number of records is data, and must not show
    for line in log:
        assert len({tuple(sorted(m.items())) for m in line["clients"].values()}) == 1


def test_updates_of_different_hospitals_carry_unrelated_noise(tmp_path):
    plan = make_cell(tmp_path, model={"name": "simple-cnn"}, probes={"repeats": 0})
    noisy = replaced(plan, noise_multiplier=1000.0)
    run(noisy)
    updates = np.array([update(plan, client) for client in CLIENTS])
    assert np.abs(np.corrcoef(updates)[np.triu_indices(3, 1)]).max() < 0.05
