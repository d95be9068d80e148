"""AUC and TPR at a stated FPR: known answers, slow versions, invariances."""

import doctest
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from audit.stats import (
    auc,
    auc_interval,
    auc_p_value,
    resolvable,
    roc,
    tpr_at_fpr,
    tpr_at_fpr_interval,
)

SCORES = st.lists(st.integers(-4, 4), min_size=1, max_size=15)
CHECK = settings(derandomize=True, deadline=None, max_examples=100)
RNG = np.random.default_rng(7)


def test_examples_in_docstrings_run():
    assert doctest.testmod(roc).failed == 0


@given(SCORES, SCORES)
@CHECK
def test_auc_is_the_share_of_ordered_pairs_with_ties_half(members, nonmembers):
    pairs = [(a > b) + 0.5 * (a == b) for a in members for b in nonmembers]
    assert auc(members, nonmembers) == pytest.approx(np.mean(pairs), abs=1e-12)
    truth = [1] * len(members) + [0] * len(nonmembers)
    expected = roc_auc_score(truth, members + nonmembers)
    assert auc(members, nonmembers) == pytest.approx(expected, abs=1e-12)


@given(SCORES, SCORES, st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]))
@CHECK
def test_tpr_is_the_best_of_all_thresholds_that_keep_within_fpr(members, nonmembers, fpr):
    thresholds = [*members, *nonmembers, math.inf]
    m, n = np.array(members), np.array(nonmembers)
    best = max((m >= t).mean() for t in thresholds if (n >= t).mean() <= fpr + 1e-12)
    assert tpr_at_fpr(members, nonmembers, fpr) == best


@given(SCORES, SCORES)
@CHECK
def test_increasing_transforms_change_nothing(members, nonmembers):
    m, n = np.array(members), np.array(nonmembers)
    for f in (lambda x: 3 * x - 100, np.exp, lambda x: x.astype(float) ** 3):
        assert auc(f(m), f(n)) == auc(m, n)
        assert auc_interval(f(m), f(n)) == auc_interval(m, n)
        assert tpr_at_fpr(f(m), f(n), 0.2) == tpr_at_fpr(m, n, 0.2)


@given(SCORES, SCORES)
@CHECK
def test_swapping_the_classes_mirrors_auc_and_its_interval(members, nonmembers):
    one, other = auc_interval(members, nonmembers), auc_interval(nonmembers, members)
    assert one.value == pytest.approx(1 - other.value, abs=1e-12)
    assert one.low == pytest.approx(1 - other.high, abs=1e-9)
    assert one.high == pytest.approx(1 - other.low, abs=1e-9)


@given(SCORES, SCORES)
@CHECK
def test_auc_intervals_hold_their_value_and_are_never_of_zero_width(members, nonmembers):
    interval = auc_interval(members, nonmembers)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.width > 0.01
    assert interval.n == len(members) + len(nonmembers)


def test_a_tie_block_is_not_read_in_the_order_it_comes():
    # FACTS: an AUC that took the first element of a tie block read far from the right value.
    assert auc([0, 0, 1, 1], [0, 0, 0, 1]) == 0.625
    assert auc([1, 1, 1], [1, 1]) == 0.5


def test_delong_variance_by_the_sums_of_the_paper():
    # Equation 3 written out with loops, on the log-odds scale; the sample is large enough that
    # Newcombe's interval lies inside it.
    members = np.where(RNG.random(300) < 0.2, 9, RNG.normal(size=300)).round(1)
    nonmembers = np.where(RNG.random(200) < 0.1, 5, RNG.normal(size=200)).round(1)

    def psi(a: float, b: float) -> float:
        return 1.0 if a > b else 0.5 if a == b else 0.0

    v10 = [sum(psi(a, b) for b in nonmembers) / 200 for a in members]
    v01 = [sum(psi(a, b) for a in members) / 300 for b in nonmembers]
    theta = sum(v10) / 300
    s10 = sum((v - theta) ** 2 for v in v10) / 299
    s01 = sum((v - theta) ** 2 for v in v01) / 199
    se = math.sqrt(s10 / 300 + s01 / 200) / (theta * (1 - theta))
    centre = math.log(theta / (1 - theta))
    interval = auc_interval(members, nonmembers)
    assert interval.low <= 1 / (1 + math.exp(-(centre - 1.959964 * se))) + 1e-6
    assert interval.high >= 1 / (1 + math.exp(-(centre + 1.959964 * se))) - 1e-6
    assert interval.width == pytest.approx(2 * 1.96 * se * theta * (1 - theta), rel=0.1)


def test_perfect_separation_gives_the_exact_bound_of_the_smaller_class():
    interval = auc_interval(np.arange(50) + 100, np.arange(80))
    assert (interval.value, interval.high) == (1.0, 1.0)
    assert interval.low == pytest.approx(0.025 ** (1 / 50), abs=1e-9)
    assert interval.method == "hoeffding"


def test_one_record_in_a_class_gives_a_wide_interval():
    interval = auc_interval([1.5], np.arange(1000))
    assert interval.width > 0.9
    assert auc_interval([5.0], np.arange(4)).low == pytest.approx(0.025, abs=1e-9)


def test_infinite_scores_are_ranked():
    assert auc([math.inf, 0], [-math.inf, 0]) == 0.875
    assert tpr_at_fpr([math.inf, 0], [-math.inf, 1], 0.0) == 0.5


def test_tpr_known_answers():
    members, nonmembers = [10, 9, 5, 1], list(range(10))
    assert tpr_at_fpr(members, nonmembers, 0.0) == 0.25
    assert tpr_at_fpr(members, nonmembers, 0.1) == 0.5
    assert tpr_at_fpr(members, nonmembers, 0.49) == 0.5
    assert tpr_at_fpr(members, nonmembers, 0.5) == 0.75
    assert tpr_at_fpr(members, nonmembers, 1.0) == 1.0
    # Three non-members tie at the top: none of them fits into 20 % of ten.
    assert tpr_at_fpr([8, 9], [8, 8, 8, 0, 0, 0, 0, 0, 0, 0], 0.2) == 0.5
    # 0.1 * 30 is a little above 3, 0.3 * 10 a little below.
    assert tpr_at_fpr([26.5], np.arange(30), 0.1) == 1.0
    assert tpr_at_fpr([6.5], np.arange(10), 0.1 + 0.2) == 1.0


def test_tpr_interval_bounds_are_the_order_statistics_written_out():
    nonmembers, members = np.arange(200.0), np.arange(100.0) * 2 + 0.5
    interval = tpr_at_fpr_interval(members, nonmembers, 0.1, confidence=0.96)

    def cdf(k: int) -> float:
        return sum(math.comb(200, i) * 0.1**i * 0.9 ** (200 - i) for i in range(k + 1))

    few = max(a for a in range(50) if a == 0 or cdf(a - 1) <= 0.01)
    many = min(b for b in range(50) if b > 0 and 1 - cdf(b - 1) <= 0.01)
    low_count = int((members > 200 - few).sum())
    high_count = int((members >= 200 - many).sum())

    def tail(x: int, p: float) -> float:  # P(Bin(100, p) >= x)
        return sum(math.comb(100, i) * p**i * (1 - p) ** (100 - i) for i in range(x, 101))

    assert tail(low_count, interval.low) == pytest.approx(0.01, rel=1e-6)
    assert 1 - tail(high_count + 1, interval.high) == pytest.approx(0.01, rel=1e-6)


@given(SCORES, st.integers(20, 60), st.sampled_from([0.25, 0.5, 1.0]), st.integers(1, 9))
@CHECK
def test_tpr_intervals_hold_their_value_with_ties(members, n, fpr, levels):
    interval = tpr_at_fpr_interval(members, np.arange(n) % levels, fpr)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_more_non_members_narrow_the_tpr_interval():
    members = RNG.normal(1, 1, 2000)
    widths = [
        tpr_at_fpr_interval(members, np.random.default_rng(1).normal(size=n), 0.05).width
        for n in (100, 1000, 10000)
    ]
    assert widths[0] > widths[1] > widths[2]


def test_a_rate_that_the_sample_cannot_resolve_is_refused():
    assert resolvable(0.001, 5000) and resolvable(0.1, 50) and resolvable(0.01, 500)
    assert not resolvable(0.001, 4999) and not resolvable(0.1, 49) and not resolvable(0.0, 10**9)
    with pytest.raises(ValueError, match=r"FPR 0.001 is not resolvable with 100 non-members: 0.1"):
        tpr_at_fpr_interval(np.arange(100), np.arange(100), 0.001)


@pytest.mark.parametrize(
    ("members", "nonmembers", "message"),
    [
        ([], [1.0], "member_scores has shape"),
        ([1.0], [], "nonmember_scores has shape"),
        ([1.0, math.nan], [1.0], "member_scores has 1 NaN of 2"),
        ([1.0], [math.nan], "nonmember_scores has 1 NaN"),
        ([[1.0]], [1.0], r"member_scores has shape \(1, 1\)"),
        (["a"], [1.0], "dtype <U1"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(members, nonmembers, message):
    for statistic in (auc, auc_interval, lambda m, n: tpr_at_fpr(m, n, 0.1)):
        with pytest.raises(ValueError, match=message):
            statistic(members, nonmembers)


@pytest.mark.parametrize("fpr", [-0.1, 1.1, math.nan])
def test_an_fpr_that_is_no_rate_is_refused(fpr):
    with pytest.raises(ValueError, match="fpr is"):
        tpr_at_fpr([1], [0], fpr)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan, 95])
def test_a_confidence_that_is_no_fraction_is_refused(confidence):
    calls: list[Any] = [
        lambda: auc_interval([1, 2], [0, 1], confidence),
        lambda: tpr_at_fpr_interval(range(60), range(60), 0.5, confidence),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="confidence is"):
            call()


def test_auc_p_values_have_known_answers():
    assert auc_p_value([2, 3], [0, 1]) == pytest.approx(1 / 6)  # one of C(4, 2) orders
    assert auc_p_value([0, 1], [2, 3]) == 1.0
    assert auc_p_value([1, 1], [1, 1]) == 1.0
    assert auc_p_value(np.arange(200) + 150.5, np.arange(200)) < 1e-6


def test_auc_p_values_point_one_way():
    members, nonmembers = RNG.normal(0.3, 1, 200), RNG.normal(0, 1, 200)
    up, down = auc_p_value(members, nonmembers), auc_p_value(nonmembers, members)
    assert up < 0.05 < down
    assert up + down == pytest.approx(1, abs=0.01)


def test_auc_p_values_refuse_an_empty_class():
    with pytest.raises(ValueError, match="member_scores"):
        auc_p_value([], [1.0])
