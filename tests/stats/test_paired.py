"""Paired differences against McNemar's test, a slow fit of the likelihood, and exact coverage."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from audit.stats import (
    advantage_interval,
    difference_interval,
    paired,
    paired_difference_interval,
    wilson_interval,
)

COUNTS = st.integers(1, 300).flatmap(
    lambda n: st.integers(0, n).flatmap(
        lambda b: st.tuples(st.just(b), st.integers(0, n - b), st.just(n))
    )
)
CHECK = settings(derandomize=True, deadline=None, max_examples=100)
Z = 1.959963984540054


def test_examples_in_docstrings_run():
    assert doctest.testmod(paired).failed == 0


@pytest.mark.parametrize("n", [1, 20, 341])
def test_without_a_discordant_case_the_ends_have_a_closed_form(n):
    interval = paired_difference_interval(0, 0, n)
    assert interval.value == 0
    assert interval.high == pytest.approx(Z**2 / (n + Z**2), abs=1e-9)
    assert interval.low == pytest.approx(-interval.high, abs=1e-9)


def test_the_published_example_of_large_counts():
    # Approval of a prime minister, 1,600 voters asked twice: Agresti, Categorical Data Analysis, on
    # matched pairs, by a Wald interval (0.021, 0.059).
    interval = paired_difference_interval(150, 86, 1600)
    assert interval.value == pytest.approx(0.040)
    assert interval.low == pytest.approx(0.021, abs=1e-3)
    assert interval.high == pytest.approx(0.059, abs=1e-3)


@given(COUNTS, st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@CHECK
def test_ends_hold_the_value_and_mirror(counts, confidence):
    b, c, n = counts
    one, other = (paired_difference_interval(*ends, n, confidence) for ends in ((b, c), (c, b)))
    assert -1 <= one.low <= one.value <= one.high <= 1
    assert one.width > 0
    assert one.low == pytest.approx(-other.high, abs=1e-9)


@given(COUNTS)
@CHECK
def test_zero_is_left_out_exactly_where_mcnemar_rejects(counts):
    b, c, n = counts
    statistic = (b - c) ** 2 / max(b + c, 1)
    if abs(statistic - Z**2) < 1e-6:
        return
    interval = paired_difference_interval(b, c, n)
    assert (interval.low > 0 or interval.high < 0) == (statistic > Z**2)


@pytest.mark.parametrize(("b", "c", "n"), [(9, 3, 60), (1, 7, 30), (40, 38, 100), (12, 0, 25)])
def test_ends_solve_the_score_equation_with_a_slow_fit(b, c, n):
    interval = paired_difference_interval(b, c, n)
    for end in (interval.low, interval.high):

        def loss(share: float, end: float = end) -> float:
            """Minus the log-likelihood of P(only second) where the difference is the end."""
            first, rest = share + end, 1 - 2 * share - end
            parts = ((b, first), (c, share), (n - b - c, rest))
            return -sum(k * math.log(max(p, 1e-300)) for k, p in parts if k)

        bounds = (max(0.0, -end), (1 - end) / 2)
        share = float(
            optimize.minimize_scalar(
                loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}
            ).x
        )
        variance = (2 * share + end - end**2) / n
        assert (interval.value - end) ** 2 / variance == pytest.approx(Z**2, rel=1e-4)


@pytest.mark.parametrize("n", [20, 60])
@pytest.mark.parametrize(
    ("first", "second"), [(0.05, 0.05), (0.2, 0.2), (0.1, 0.02), (0.3, 0.1), (0.02, 0.3)]
)
def test_paired_intervals_cover_by_exact_sums(n, first, second):
    covered = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            rest = n - b - c
            ways = math.comb(n, b) * math.comb(n - b, c)
            mass = ways * first**b * second**c * (1 - first - second) ** rest
            if mass < 1e-9:
                continue
            interval = paired_difference_interval(b, c, n)
            covered += mass * (interval.low <= first - second <= interval.high)
    assert covered > 0.93  # approximate: at most 2 points below nominal


@pytest.mark.parametrize(("b", "c", "n"), [(1, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_impossible_counts_are_refused(b, c, n):
    with pytest.raises(ValueError, match="expected"):
        paired_difference_interval(b, c, n)


def test_the_difference_of_two_wilson_intervals_is_newcombe_s():
    ours = difference_interval(wilson_interval(56, 70), wilson_interval(48, 80))
    theirs = advantage_interval(56, 70, 48, 80)
    assert (ours.value, ours.low, ours.high) == pytest.approx(
        (theirs.value, theirs.low, theirs.high)
    )
    # Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<873, table II (a), method 10
    assert (round(ours.low, 4), round(ours.high, 4)) == (0.0524, 0.3339)


def test_different_confidences_have_no_difference():
    with pytest.raises(ValueError, match=r"0\.9 and 0\.95"):
        difference_interval(wilson_interval(1, 2, 0.9), wilson_interval(1, 2, 0.95))


def test_gaps_of_paired_differences_cover(assert_covers):
    rng = np.random.default_rng(21)
    inside, outside = [0.08, 0.04, 0.88], [0.05, 0.05, 0.9]
    hits = []
    for _ in range(400):
        b, c, _ = rng.multinomial(340, inside)
        d, e, _ = rng.multinomial(180, outside)
        gap = difference_interval(
            paired_difference_interval(int(b), int(c), 340),
            paired_difference_interval(int(d), int(e), 180),
        )
        hits.append(gap.low <= 0.04 <= gap.high)
    assert_covers(hits)
