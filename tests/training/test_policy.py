"""A hospital refuses each field of a request beyond its own limit, and says which."""

import math

import pytest

from audit.core.errors import PolicyError
from audit.core.parcel import Parcel
from training.policy import LocalPolicy, roster_digest, session_name

POLICY = LocalPolicy(
    private=True,
    min_noise_multiplier=1.5,
    max_grad_norm=1.0,
    max_sample_rate=0.5,
    max_steps=3,
    rounds=2,
    delta=1e-5,
    roster="pinned",
    probes=True,
)
ROUND = {
    "session": "round-002",
    "kind": "round",
    "round": 2,
    "roster": "pinned",
    "local_steps": 3,
    "sample_rate": 0.5,
    "expected_batch_size": 180.0,
    "learning_rate": 0.5,
    "momentum": 0.9,
    "noise_multiplier": 1.5,
    "max_grad_norm": 1.0,
    "loss_scale": 1.0,
    "augment_shift": 0,
    "delta": 1e-5,
}
PROBE = {
    **ROUND,
    "session": "round-001/probe-b4-r0",
    "kind": "probe",
    "round": 1,
    "local_steps": 1,
    "sample_rate": 1.0,
}
NUMBERS = [name for name, value in ROUND.items() if not isinstance(value, str)]


def check(fields, policy=POLICY, **changed):
    asked = {name: value for name, value in {**fields, **changed}.items() if value is not None}
    policy.check(Parcel(fields=asked))


def test_requests_at_the_limits_are_accepted():
    check(ROUND)
    check(PROBE)


def test_more_privacy_and_less_work_than_agreed_are_accepted():
    check(ROUND, noise_multiplier=9.0, max_grad_norm=0.1, local_steps=1, sample_rate=0.1)
    check(ROUND, round=1, session="round-001")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noise_multiplier", 1.4999),
        ("noise_multiplier", 0.0),
        ("noise_multiplier", -3.0),
        ("max_grad_norm", 1.0001),
        ("max_grad_norm", 0.0),
        ("max_grad_norm", -5.0),
        ("loss_scale", 0.0),
        ("loss_scale", None),
        ("class_priors", [0.0, 1.0]),
        ("class_priors", [float("nan"), 1.0]),
        ("class_priors", "even"),
        ("augment_shift", 0.5),
        ("augment_shift", 33),
        ("augment_shift", -1),
        ("delta", 1.1e-5),
        ("delta", 0.0),
        ("sample_rate", 0.51),
        ("sample_rate", -0.1),
        ("local_steps", 4),
        ("local_steps", 0),
        ("local_steps", 1.5),
        ("round", 3),
        ("round", 0),
        ("round", -1),
        ("round", 1.0),
        ("roster", "another"),
        ("kind", "evaluate"),
        ("expected_batch_size", 0.0),
        ("learning_rate", -1.0),
        ("momentum", 1.5),
        ("momentum", -0.5),
        ("session", "round-001"),
        ("session", "round-002/probe-b1-r0"),
        ("session", "../../round-002"),
    ],
)
def test_a_field_beyond_its_limit_is_refused_by_name(name, value):
    with pytest.raises(PolicyError, match=f"^{name}: "):
        check(ROUND, **{name: value})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", True, b"1", [1.0]])
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_finite_number_is_refused_by_name(name, value):
    with pytest.raises(PolicyError, match=f"^{name}: "):
        check(ROUND, **{name: value})


@pytest.mark.parametrize("name", sorted(ROUND))
def test_a_missing_field_is_refused_by_name(name):
    with pytest.raises(PolicyError, match=f"^{name}: "):
        check(ROUND, **{name: None})


def test_a_probe_is_refused_where_none_were_agreed():
    with pytest.raises(PolicyError, match=r"^kind: 'probe' asked for"):
        check(PROBE, POLICY.model_copy(update={"probes": False}))


@pytest.mark.parametrize(
    ("name", "value"),
    [("local_steps", 2), ("sample_rate", 1.5), ("session", "round-001"), ("noise_multiplier", 1.0)],
)
def test_a_probe_beyond_one_step_or_under_a_round_s_name_is_refused(name, value):
    with pytest.raises(PolicyError, match=f"^{name}: "):
        check(PROBE, **{name: value})


def test_a_hospital_that_agreed_to_train_without_dp_does():
    policy = POLICY.model_copy(
        update={"private": False, "min_noise_multiplier": None, "max_grad_norm": None}
    )
    check(ROUND, policy, noise_multiplier=None, max_grad_norm=None, delta=None)
    with pytest.raises(PolicyError, match=r"^max_grad_norm"):
        check(ROUND, policy, noise_multiplier=1.0, max_grad_norm=None)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "round-1", "round-001/..", "round-001/probe-b1-r0/x", "round-001\n"]
)
def test_a_session_that_is_no_round_or_probe_names_no_file(name):
    with pytest.raises(PolicyError, match=r"^session: "):
        session_name({"session": name})


def test_roster_digest_depends_on_names_and_keys_and_not_on_order():
    first = roster_digest({"a": b"1", "b": b"2"})
    assert first == roster_digest({"b": b"2", "a": b"1"})
    assert len({first, roster_digest({"a": b"2", "b": b"1"}), roster_digest({"a": b"1"})}) == 3
