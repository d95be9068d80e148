"""Epsilon bounds: known answers, slow versions, edges, ceilings, and how often they are wrong."""

import doctest
import math
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special
from scipy import stats as scipy_stats

from audit.stats import (
    clopper_pearson_epsilon,
    clopper_pearson_epsilon_interval,
    epsilon_of_mu,
    gaussian_dp_epsilon,
    gaussian_dp_epsilon_interval,
    one_run_epsilon,
    one_run_epsilon_interval,
    one_run_fdp_epsilon,
    one_run_fdp_epsilon_interval,
    one_run_p_value,
)
from audit.stats import epsilon as epsilon_module

SIZES = [pytest.param(400, id="quick"), pytest.param(8000, id="slow", marks=pytest.mark.slow)]
RATES = (clopper_pearson_epsilon, gaussian_dp_epsilon)
ONE_RUN = (one_run_epsilon, one_run_fdp_epsilon)


def gaussian_delta(mu: float, epsilon: float) -> float:
    """The closed form of Balle and Wang 2018, theorem 8."""
    return float(
        special.ndtr(mu / 2 - epsilon / mu)
        - math.exp(epsilon) * special.ndtr(-mu / 2 - epsilon / mu)
    )


def slow_one_run(m: int, r: int, v: int, *, delta: float, confidence: float) -> float:
    """Theorem 5.2 of Steinke et al., written out with explicit binomials."""

    def chance(epsilon: float) -> float:
        law = scipy_stats.binom(r, math.exp(epsilon) / (1 + math.exp(epsilon)))
        beta = sum(law.pmf(j) for j in range(v, r + 1))
        alpha = max(
            (sum(law.pmf(j) for j in range(v - i, v)) / i for i in range(1, v + 1)), default=0.0
        )
        return beta + 2 * m * delta * alpha

    if chance(0.0) > 1 - confidence:
        return 0.0
    return optimize.brentq(lambda e: chance(e) - (1 - confidence), 0.0, 30.0)


def test_examples_in_docstrings_run():
    assert doctest.testmod(epsilon_module).failed == 0


@pytest.mark.parametrize(
    ("multiplier", "epsilon"), [(37.81, 0.985), (20.08, 1.984), (5.005, 9.985)]
)
def test_epsilon_of_a_hundred_full_batch_steps(multiplier, epsilon):
    assert epsilon_of_mu(10 / multiplier, 1e-5) == pytest.approx(epsilon, abs=1e-3)


@given(mu=st.floats(0.01, 8), log_delta=st.floats(-14, -0.5))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_epsilon_of_mu_inverts_the_closed_form(mu, log_delta):
    delta = 10.0**log_delta
    epsilon = epsilon_of_mu(mu, delta)
    if epsilon == 0:
        assert gaussian_delta(mu, 0.0) <= delta * (1 + 1e-6)
    else:
        assert gaussian_delta(mu, epsilon) == pytest.approx(delta, rel=1e-3, abs=1e-15)


def test_without_delta_a_gaussian_has_no_finite_epsilon():
    assert epsilon_of_mu(1.0, 0.0) == math.inf
    assert epsilon_of_mu(0.0, 0.0) == 0.0
    assert gaussian_dp_epsilon(90, 100, 5, 100, delta=0.0, confidence=0.95) == math.inf


def test_the_best_that_rates_can_show():
    # All of n found and no false alarm: TPR above (s / 2)^(1 / n), FPR below 1 minus that.
    edge = 0.025 ** (1 / 500)
    expected = math.log(edge / (1 - edge))
    assert clopper_pearson_epsilon(500, 500, 0, 500, delta=0, confidence=0.95) == pytest.approx(
        expected
    )
    gaussian = epsilon_of_mu(2 * float(special.ndtri(edge)), 1e-5)
    assert gaussian_dp_epsilon(500, 500, 0, 500, delta=1e-5, confidence=0.95) == pytest.approx(
        gaussian
    )


def test_an_attack_that_is_always_wrong_bounds_as_much_as_one_that_is_always_right():
    right = clopper_pearson_epsilon(80, 100, 3, 100, delta=1e-5, confidence=0.95)
    mirrored = clopper_pearson_epsilon(97, 100, 20, 100, delta=1e-5, confidence=0.95)
    assert right == pytest.approx(mirrored)


@pytest.mark.parametrize("guesses", [1, 7, 100, 1000])
def test_all_right_in_one_run_reaches_the_closed_form_ceiling(guesses):
    expected = max(0.0, -math.log(0.05 ** (-1 / guesses) - 1))
    found = one_run_epsilon(2000, guesses, guesses, delta=0, confidence=0.95)
    assert found == pytest.approx(expected, abs=1e-9)
    assert found <= math.log(guesses / math.log(20)) + 1e-9 or guesses == 1


@given(data=st.data(), guesses=st.integers(1, 40), delta=st.sampled_from([0.0, 1e-6, 1e-3]))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_one_run_is_the_theorem(data, guesses, delta):
    correct = data.draw(st.integers(0, guesses))
    canaries = guesses + data.draw(st.integers(0, 100))
    found = one_run_epsilon(canaries, guesses, correct, delta=delta, confidence=0.9)
    slow = slow_one_run(canaries, guesses, correct, delta=delta, confidence=0.9)
    assert found == pytest.approx(slow, abs=1e-6)


@given(data=st.data(), epsilon=st.floats(0.0, 4.0), log_s=st.floats(-8, -0.1))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_one_run_exceeds_a_claim_from_its_p_value_on(data, epsilon, log_s):
    guesses = data.draw(st.integers(0, 60))
    counts = 100, guesses, data.draw(st.integers(guesses // 2, guesses))
    p = one_run_p_value(*counts, epsilon=epsilon, delta=1e-4)
    for significance in (10**log_s, p * 0.99, min(p * 1.01, 0.999)):
        low = one_run_epsilon(*counts, delta=1e-4, confidence=1 - significance)
        assert (low > epsilon) == (p <= significance) or significance < 1e-12, significance


def test_p_values_of_one_run_in_closed_form():
    # All of r right at epsilon: e^eps / (1 + e^eps) to the r-th.
    assert one_run_p_value(50, 20, 20, epsilon=1.0, delta=0.0) == pytest.approx(
        float(special.expit(1.0)) ** 20
    )
    assert one_run_p_value(50, 20, 0, epsilon=1.0, delta=0.0) == 1.0
    assert one_run_p_value(50, 0, 0, epsilon=0.0, delta=0.0) == 1.0
    assert one_run_p_value(50, 20, 20, epsilon=1.0, delta=1.0) == 1.0


def test_the_gaussian_family_sees_more_than_pure_counting():
    shared = {"delta": 1e-5, "confidence": 0.95}
    assert one_run_fdp_epsilon(10_000, 1000, 900, **shared) > 1.3 * one_run_epsilon(
        10_000, 1000, 900, **shared
    )


@pytest.mark.parametrize("bound", RATES)
@pytest.mark.parametrize(
    "counts",
    [(0, 0, 0, 0), (0, 0, 0, 50), (50, 50, 0, 0), (1, 1, 0, 1), (0, 50, 0, 50), (50, 100, 50, 100)],
)
def test_rates_that_show_nothing_bound_nothing(bound, counts):
    assert bound(*counts, delta=1e-5, confidence=0.95) == 0.0


@pytest.mark.parametrize("bound", ONE_RUN)
@pytest.mark.parametrize(
    "counts", [(10, 0, 0), (1, 1, 1), (100, 100, 50), (100, 100, 0), (5, 5, 2)]
)
def test_guesses_that_show_nothing_bound_nothing(bound, counts):
    assert bound(*counts, delta=1e-5, confidence=0.95) == 0.0


@pytest.mark.parametrize("bound", RATES)
def test_a_delta_above_the_numerator_leaves_nothing(bound):
    assert bound(30, 100, 0, 100, delta=1.0, confidence=0.95) == 0.0
    assert clopper_pearson_epsilon(1, 100, 0, 100, delta=0.5, confidence=0.95) >= 0.0


@pytest.mark.parametrize(
    ("counts", "delta", "said"),
    [
        ((5, 4, 0, 4), 0.0, "true_positives is 5 of 4"),
        ((1, 4, -1, 4), 0.0, "false_positives is -1"),
        ((1, 4, 1, 4), 1.5, "delta is 1.5"),
    ],
)
@pytest.mark.parametrize("bound", RATES)
def test_impossible_rates_are_refused(bound, counts, delta, said):
    with pytest.raises(ValueError, match=said):
        bound(*counts, delta=delta, confidence=0.95)


@pytest.mark.parametrize("counts", [(0, 0, 0), (5, 6, 1), (5, 3, 4), (5, 3, -1)])
@pytest.mark.parametrize("bound", ONE_RUN)
def test_impossible_guesses_are_refused(bound, counts):
    with pytest.raises(ValueError, match="correct <= guesses <= canaries"):
        bound(*counts, delta=0.0, confidence=0.95)
    with pytest.raises(ValueError, match="correct <= guesses <= canaries"):
        one_run_p_value(*counts, epsilon=1.0, delta=0.0)
    with pytest.raises(ValueError, match="confidence"):
        bound(5, 3, 2, delta=0.0, confidence=1.0)
    with pytest.raises(ValueError, match="epsilon is -1"):
        one_run_p_value(5, 3, 2, epsilon=-1.0, delta=0.0)


@given(
    hits=st.integers(0, 60),
    alarms=st.integers(0, 60),
    delta=st.sampled_from([1e-6, 1e-3, 0.2]),
    confidence=st.floats(0.5, 0.999),
)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_bounds_are_never_negative_nor_above_their_ceiling(hits, alarms, delta, confidence):
    shared = {"delta": delta, "confidence": confidence}
    for sibling in (clopper_pearson_epsilon_interval, gaussian_dp_epsilon_interval):
        found = sibling(hits, 60, alarms, 60, **shared)
        assert 0 <= found.low <= found.ceiling + 1e-9
    for one in (one_run_epsilon_interval, one_run_fdp_epsilon_interval):
        found = one(200, 60, hits, **shared)
        assert 0 <= found.low <= found.ceiling + 1e-9 and found.n == 60
    assert "conditional" in found.method


@lru_cache(maxsize=4096)
def cached(bound, *counts, delta, confidence):
    return bound(*counts, delta=delta, confidence=confidence)


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0, 6.0])
def test_rates_of_randomised_response_are_seldom_bounded_too_high(assert_covers, runs, epsilon):
    # The mechanism for which the bound is tight: TPR e^eps / (1 + e^eps), FPR 1 / (1 + e^eps).
    rng = np.random.default_rng(31)
    right = special.expit(epsilon)
    counts = rng.binomial(200, right, runs), rng.binomial(200, 1 - right, runs)
    assert_covers(
        [
            cached(clopper_pearson_epsilon, int(t), 200, int(f), 200, delta=0.0, confidence=0.95)
            <= epsilon
            for t, f in zip(*counts, strict=True)
        ]
    )


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("mu", [0.0, 0.5, 2.0, 4.0])
def test_rates_of_a_gaussian_are_seldom_bounded_too_high(assert_covers, runs, mu):
    rng = np.random.default_rng(32)
    found = rng.binomial(300, special.ndtr(mu / 2), runs)
    alarmed = rng.binomial(300, special.ndtr(-mu / 2), runs)
    truth = epsilon_of_mu(mu, 1e-5)
    for bound in RATES:
        assert_covers(
            [
                cached(bound, int(t), 300, int(f), 300, delta=1e-5, confidence=0.95) <= truth
                for t, f in zip(found, alarmed, strict=True)
            ]
        )


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 4.0])
def test_one_run_of_randomised_response_is_seldom_bounded_too_high(assert_covers, runs, epsilon):
    rng = np.random.default_rng(33)
    correct = rng.binomial(150, special.expit(epsilon), runs)
    assert_covers(
        [
            cached(one_run_epsilon, 150, 150, int(v), delta=0.0, confidence=0.95) <= epsilon
            for v in correct
        ]
    )


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("mu", [0.0, 0.7, 2.0])
def test_one_run_of_a_gaussian_is_seldom_bounded_too_high(assert_covers, runs, mu):
    """Guesses about the surest 40 of 200 canaries; their number is fixed beforehand."""
    rng = np.random.default_rng(34)
    truth = epsilon_of_mu(mu, 1e-5)
    hits: dict = {bound: [] for bound in ONE_RUN}
    for _ in range(runs):
        inside = rng.random(200) < 0.5
        scores = rng.normal(np.where(inside, mu / 2, -mu / 2), 1.0)
        surest = np.argsort(-np.abs(scores))[:40]
        correct = int(((scores > 0) == inside)[surest].sum())
        for bound in ONE_RUN:
            low = cached(bound, 200, 40, correct, delta=1e-5, confidence=0.95)
            hits[bound].append(low <= truth)
    for bound in ONE_RUN:
        assert_covers(hits[bound])
