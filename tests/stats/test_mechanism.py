"""The claimed mechanism: known curves, what its tests have in common, and how often they err."""

import doctest
import math
from functools import lru_cache

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from scipy import stats as scipy_stats

from audit.stats import (
    PrivacyCurve,
    clopper_pearson_epsilon,
    clopper_pearson_p_value,
    curve_p_value,
    epsilon_at,
    gaussian_dp_epsilon,
    mechanism,
    poisson_gaussian_curve,
    poisson_gaussian_epsilon,
    poisson_gaussian_epsilon_interval,
    rank_reversal_p_value,
)

SIZES = [pytest.param(400, id="quick"), pytest.param(8000, id="slow", marks=pytest.mark.slow)]
CHECK = settings(derandomize=True, deadline=None, max_examples=60)
COUNTS = st.tuples(st.integers(0, 60), st.just(60), st.integers(0, 60), st.just(60))
CLAIM = {"sample_rate": 0.083, "steps": 140}
SHARED = {"delta": 1e-5, "confidence": 0.95}


def curve_of(noise_multiplier, sample_rate=1.0, steps=100):
    return poisson_gaussian_curve(
        noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=steps
    )


def one_step_deltas(noise, rate, epsilons):
    """One subsampled step in closed form: the likelihood ratio ascends, so tails are optimal."""
    # Members above a threshold, where (1 - q) + q * exp((2 x - 1) / (2 s^2)) = e^eps.
    at = noise**2 * np.log((np.expm1(epsilons) + rate) / rate) + 0.5
    beyond = special.ndtr(-at / noise)
    remove = rate * special.ndtr((1 - at) / noise) + (1 - rate) * beyond - np.exp(epsilons) * beyond
    # Non-members below one, where the same ratio is e^-eps; never where that is under 1 - q.
    inside = np.expm1(-epsilons) + rate > 0
    ratio = np.where(inside, np.expm1(-epsilons) + rate, 1.0)
    at = noise**2 * np.log(ratio / rate) + 0.5
    members = rate * special.ndtr((at - 1) / noise) + (1 - rate) * special.ndtr(at / noise)
    add = np.where(inside, special.ndtr(at / noise) - np.exp(epsilons) * members, 0.0)
    return np.maximum(remove, add)


def test_examples_in_docstrings_run():
    assert doctest.testmod(mechanism).failed == 0


@pytest.mark.parametrize(
    ("noise", "epsilon"), [(37.81, 0.985), (20.08, 1.984), (10.84, 3.988), (5.005, 9.985)]
)
def test_epsilon_of_a_hundred_full_batch_steps(noise, epsilon):
    assert epsilon_at(curve_of(noise), 1e-5) == pytest.approx(epsilon, rel=0.003)
    # The same by discretised losses, as close to a sampling rate of 1 as they go.
    assert epsilon_at(curve_of(noise, 1 - 1e-9), 1e-5) == pytest.approx(epsilon, rel=0.006)


@pytest.mark.parametrize(
    ("noise", "rate", "steps"),
    [
        (0.8, 0.064, 100),
        (10.0, 0.064, 1570),
        (50.0, 0.064, 1570),
        (3.9, 0.083, 140),
        (0.9, 0.03, 400),
        (6.0, 0.5, 100),
        (1.0, 0.001, 10_000),
    ],
)
def test_epsilon_of_subsampled_steps_is_the_accountants(noise, rate, steps):
    accountant = PLDAccountant(value_discretization_interval=min(1e-4, rate / noise / 50))
    step = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise))
    accountant.compose(step, steps)
    curve = curve_of(noise, rate, steps)
    for delta in (1e-3, 1e-5, 1e-7):
        expected = accountant.get_epsilon(delta)
        assert epsilon_at(curve, delta) == pytest.approx(expected, rel=0.01), delta
    assert curve.deltas[0] == pytest.approx(accountant.get_delta(0.0), rel=0.005)
    assert curve.deltas[-1] <= 1e-8


@pytest.mark.parametrize(("noise", "rate"), [(0.7, 0.3), (2.0, 0.3), (0.5, 0.01), (1.0, 0.9)])
def test_one_step_is_never_below_its_closed_form(noise, rate):
    curve = curve_of(noise, rate, 1)
    exact = one_step_deltas(noise, rate, curve.epsilons)
    assert (curve.deltas >= exact - 1e-12).all()
    assert curve.deltas == pytest.approx(exact, rel=0.01, abs=2e-9)


@pytest.mark.parametrize(
    ("noise", "rate", "steps"),
    [(0.1, 0.5, 1000), (0.1, 1.0, 1000), (0.3, 0.064, 1570), (0.1, 0.083, 140)],
)
def test_a_mechanism_that_hides_nothing_forbids_nothing(noise, rate, steps):
    curve = curve_of(noise, rate, steps)
    assert np.isfinite(curve.deltas).all() and curve.deltas[0] == pytest.approx(1, abs=1e-5)
    assert curve_p_value(5000, 5000, 0, 5000, curve=curve) == 1.0


def test_a_mechanism_that_hides_all_is_a_single_point():
    curve = curve_of(1000.0, 1e-6, 1)
    assert curve.epsilons.tolist() == [0.0] and 0 < curve.deltas[0] < 1e-9
    assert epsilon_at(curve, 1e-5) == 0.0


def test_epsilon_between_points_is_the_one_below():
    curve = PrivacyCurve(epsilons=np.array([0.0, 1.0, 2.0]), deltas=np.array([0.5, 0.1, 0.0]))
    found = [epsilon_at(curve, delta) for delta in (0.6, 0.5, 0.3, 0.1, 0.01, 0.0)]
    assert found == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]


def test_a_shared_curve_cannot_be_changed():
    for rate in (1.0, 0.5):
        with pytest.raises(ValueError, match="read-only"):
            curve_of(5.0, rate).deltas[0] = 0.0


@pytest.mark.parametrize(
    ("epsilons", "deltas", "said"),
    [
        ([], [], "shapes"),
        ([0.0, 1.0], [0.1], "shapes"),
        ([[0.0]], [[0.1]], "shapes"),
        ([0.1, 1.0], [0.2, 0.1], "ascend from 0"),
        ([0.0, 0.0], [0.2, 0.1], "ascend from 0"),
        ([0.0, 1.0], [0.1, 0.2], "deltas ascend"),
        ([0.0], [1.5], "within 0 to 1"),
        ([0.0], [math.nan], "within 0 to 1"),
    ],
)
def test_what_is_no_curve_is_refused(epsilons, deltas, said):
    with pytest.raises(ValueError, match=said):
        PrivacyCurve(epsilons=np.array(epsilons), deltas=np.array(deltas))


@pytest.mark.parametrize("wrong", [{"noise_multiplier": 0.0}, {"sample_rate": 1.1}, {"steps": 0}])
def test_what_is_no_mechanism_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        poisson_gaussian_curve(**{"noise_multiplier": 1.0, "sample_rate": 0.1, "steps": 1, **wrong})


@pytest.mark.parametrize(
    ("counts", "said"),
    [((5, 4, 0, 4), "true_positives is 5 of 4"), ((1, 4, -1, 4), "false_positives is -1")],
)
def test_impossible_rates_are_refused(counts, said):
    with pytest.raises(ValueError, match=said):
        curve_p_value(*counts, curve=curve_of(5.0))
    with pytest.raises(ValueError, match=said):
        clopper_pearson_p_value(*counts, epsilon=1.0, delta=0.0)
    with pytest.raises(ValueError, match=said):
        poisson_gaussian_epsilon(*counts, **CLAIM, **SHARED)
    with pytest.raises(ValueError, match=said):
        rank_reversal_p_value(*counts)


def test_impossible_claims_are_refused():
    for wrong in ({"epsilon": -1.0, "delta": 0.0}, {"epsilon": 1.0, "delta": 1.5}):
        with pytest.raises(ValueError, match="expected"):
            clopper_pearson_p_value(1, 2, 1, 2, **wrong)
    with pytest.raises(ValueError, match="delta is -1"):
        poisson_gaussian_epsilon(1, 2, 1, 2, **CLAIM, delta=-1.0, confidence=0.95)
    with pytest.raises(ValueError, match="confidence is 1"):
        poisson_gaussian_epsilon(1, 2, 1, 2, **CLAIM, delta=1e-5, confidence=1.0)


@pytest.mark.parametrize(
    "counts", [(0, 0, 0, 0), (0, 0, 0, 50), (50, 50, 0, 0), (50, 100, 50, 100)]
)
def test_rates_that_show_nothing_reject_nothing(counts):
    assert curve_p_value(*counts, curve=curve_of(1000.0)) == 1.0
    assert clopper_pearson_p_value(*counts, epsilon=0.0, delta=0.0) == 1.0
    assert poisson_gaussian_epsilon(*counts, **CLAIM, **SHARED) == 0.0
    assert rank_reversal_p_value(*counts) > 0.5


def test_a_certain_violation_has_the_least_p_value():
    assert curve_p_value(1000, 1000, 0, 1000, curve=curve_of(1000.0)) == 1e-12


@given(counts=COUNTS, epsilon=st.floats(0.0, 4.0), log_s=st.floats(-8, -0.1))
@CHECK
def test_a_bound_exceeds_a_claim_from_its_p_value_on(counts, epsilon, log_s):
    p = clopper_pearson_p_value(*counts, epsilon=epsilon, delta=1e-3)
    for significance in (10**log_s, p * 0.99, min(p * 1.01, 0.999)):
        if not 1e-9 < significance < 1:
            continue
        low = clopper_pearson_epsilon(*counts, delta=1e-3, confidence=1 - significance)
        assert (low > epsilon) == (p <= significance), significance


@given(counts=COUNTS, noise=st.sampled_from([0.9, 2.0, 3.9, 10.0]))
@CHECK
def test_the_whole_curve_is_at_least_as_strict_as_each_of_its_points(counts, noise):
    curve = curve_of(noise, **CLAIM)
    whole = curve_p_value(*counts, curve=curve)
    for i in (0, 300, 650, 1000):
        point = clopper_pearson_p_value(*counts, epsilon=curve.epsilons[i], delta=curve.deltas[i])
        assert whole <= point * (1 + 1e-9)


@given(counts=COUNTS, noise=st.sampled_from([1.0, 3.9]))
@CHECK
def test_better_rates_reject_more_and_more_noise_rejects_more(counts, noise):
    curve = curve_of(noise, **CLAIM)
    p = curve_p_value(*counts, curve=curve)
    hits, positives, alarms, negatives = counts
    if hits < positives:
        better = hits + 1, positives, alarms, negatives
        assert curve_p_value(*better, curve=curve) <= p
        assert poisson_gaussian_epsilon(*better, **CLAIM, **SHARED) >= poisson_gaussian_epsilon(
            *counts, **CLAIM, **SHARED
        )
    if alarms > 0:
        assert curve_p_value(hits, positives, alarms - 1, negatives, curve=curve) <= p
    assert curve_p_value(*counts, curve=curve_of(1.5 * noise, **CLAIM)) <= p
    assert 1e-12 <= p <= 1


def test_always_wrong_rejects_as_much_as_always_right():
    curve = curve_of(10.0)
    right = curve_p_value(80, 100, 3, 100, curve=curve)
    assert right < 1e-3
    assert curve_p_value(97, 100, 20, 100, curve=curve) == pytest.approx(right)


@pytest.mark.parametrize(
    "counts", [(300, 500, 200, 500), (90, 100, 80, 1000), (500, 500, 0, 500), (100, 100, 60, 100)]
)
def test_in_full_batches_the_bound_is_the_gaussian_one(counts):
    expected = gaussian_dp_epsilon(*counts, **SHARED)
    assert expected > 0.5
    found = poisson_gaussian_epsilon(*counts, sample_rate=1.0, steps=100, **SHARED)
    assert found == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("counts", [(300, 500, 200, 500), (90, 100, 80, 1000), (60, 100, 10, 100)])
def test_the_bound_is_where_the_p_value_turns(counts):
    low = poisson_gaussian_epsilon(*counts, **CLAIM, **SHARED)
    noises = np.geomspace(0.3, 30, 40)
    curves = [curve_of(float(noise), **CLAIM) for noise in noises]
    turned = [curve_p_value(*counts, curve=curve) <= 0.05 for curve in curves]
    epsilons = [epsilon_at(curve, 1e-5) for curve in curves]
    assert {True, False} == set(turned)
    assert max(e for e, t in zip(epsilons, turned, strict=True) if t) <= low * 1.005
    assert min(e for e, t in zip(epsilons, turned, strict=True) if not t) >= low * 0.995


def test_rates_beyond_the_least_noise_bound_epsilon_by_that_of_the_least_noise():
    # One step that samples one in a thousand: no noise at all explains these rates.
    found = poisson_gaussian_epsilon(90, 100, 1, 100, sample_rate=0.001, steps=1, **SHARED)
    assert found == epsilon_at(curve_of(0.1, 0.001, 1), 1e-5) > 50


@pytest.mark.parametrize("sample_rate", [0.083, 1.0])
def test_a_bound_says_its_ceiling_and_what_it_is_conditional_on(sample_rate):
    options = {"sample_rate": sample_rate, "steps": 140, **SHARED}
    found = poisson_gaussian_epsilon_interval(60, 100, 30, 200, **options)
    assert found.low == poisson_gaussian_epsilon(60, 100, 30, 200, **options)
    assert found.ceiling == poisson_gaussian_epsilon(100, 100, 0, 200, **options)
    assert 0 < found.low < found.ceiling
    assert (found.n, found.confidence) == (300, 0.95)
    assert found.method == "poisson-gaussian, conditional on that family"


@lru_cache(maxsize=8192)
def cached(function, *counts, **options):
    return function(*counts, **options)


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("mu", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("alarm", [0.02, 0.3])
def test_a_gaussian_at_its_claim_is_seldom_rejected(assert_covers, runs, mu, alarm):
    rng = np.random.default_rng(41)
    found = rng.binomial(300, special.ndtr(special.ndtri(alarm) + mu), runs)
    alarmed = rng.binomial(300, alarm, runs)
    curve = curve_of(10 / mu)
    p = [
        cached(curve_p_value, int(t), 300, int(f), 300, curve=curve)
        for t, f in zip(found, alarmed, strict=True)
    ]
    for significance in (0.01, 0.05, 0.3):
        assert_covers([value > significance for value in p], 1 - significance)


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("threshold", [-0.5, 0.5, 1.5])
def test_a_subsampled_step_at_its_claim_is_seldom_rejected(assert_covers, runs, threshold):
    rng = np.random.default_rng(42)
    alarm = special.ndtr(-threshold / 0.5)
    hit = 0.4 * special.ndtr((1 - threshold) / 0.5) + 0.6 * alarm
    claim, truth = {"sample_rate": 0.4, "steps": 1}, epsilon_at(curve_of(0.5, 0.4, 1), 1e-3)
    kept, bounded = [], []
    for t, f in rng.binomial((300, 300), (hit, alarm), (runs, 2)).tolist():
        curve = curve_of(0.5, **claim)
        kept.append(cached(curve_p_value, t, 300, f, 300, curve=curve) > 0.05)
        options = {**claim, "delta": 1e-3, "confidence": 0.95}
        low = cached(poisson_gaussian_epsilon, t, 300, f, 300, **options)
        bounded.append(low <= truth)
    assert_covers(kept)
    assert_covers(bounded)


@pytest.mark.parametrize("mu", [0.3, 1.0])
def test_a_tenth_of_the_claimed_noise_is_found(mu):
    rng = np.random.default_rng(43)
    curve = curve_of(10 / mu)
    found = rng.binomial(200, special.ndtr(10 * mu / 2), 100)
    alarmed = rng.binomial(200, special.ndtr(-10 * mu / 2), 100)
    p = [
        curve_p_value(int(t), 200, int(f), 200, curve=curve)
        for t, f in zip(found, alarmed, strict=True)
    ]
    assert max(p) < 1e-6


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_an_attack_at_chance_is_seldom_called_reversed(assert_covers, runs, rate):
    rng = np.random.default_rng(44)
    p = [rank_reversal_p_value(t, 60, f, 90) for t, f in rng.binomial((60, 90), rate, (runs, 2))]
    for significance in (0.01, 0.05, 0.3):
        assert_covers([value > significance for value in p], 1 - significance)


def test_a_swapped_truth_is_called_reversed_and_a_right_one_is_not():
    assert rank_reversal_p_value(20, 100, 60, 100) < 1e-6
    assert rank_reversal_p_value(60, 100, 20, 100) > 0.999
    table = [[20, 80], [31, 69]]
    expected = scipy_stats.fisher_exact(table, alternative="less").pvalue
    assert rank_reversal_p_value(20, 100, 31, 100) == pytest.approx(expected)
