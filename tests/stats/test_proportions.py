"""Intervals of a proportion against published values and their defining equations."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.stats import clopper_pearson_interval, proportions, wilson_interval
from audit.stats.proportions import clopper_pearson_high, clopper_pearson_low

COUNTS = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
CHECK = settings(derandomize=True, deadline=None, max_examples=100)


def test_examples_in_docstrings_run():
    assert doctest.testmod(proportions).failed == 0


@pytest.mark.parametrize(
    ("successes", "n", "wilson", "exact"),
    [  # Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<857, table I: methods 3 and 5
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20, (0.0000, 0.1611), (0.0000, 0.1684)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
    ],
)
def test_published_intervals(successes, n, wilson, exact):
    for interval, expected in (
        (wilson_interval(successes, n), wilson),
        (clopper_pearson_interval(successes, n), exact),
    ):
        assert (round(interval.low, 4), round(interval.high, 4)) == expected


@given(COUNTS, st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@CHECK
def test_ends_hold_the_value_and_mirror(counts, confidence):
    successes, n = counts
    for method in (wilson_interval, clopper_pearson_interval):
        one, other = method(successes, n, confidence), method(n - successes, n, confidence)
        assert 0 <= one.low <= one.value <= one.high <= 1 and one.width > 0
        assert one.low == pytest.approx(1 - other.high, abs=1e-9)


@given(COUNTS)
@CHECK
def test_wilson_ends_solve_the_score_equation(counts):
    successes, n = counts
    interval = wilson_interval(successes, n)
    for end in (interval.low, interval.high):
        distance = (interval.value - end) ** 2
        assert distance == pytest.approx(1.9599639845**2 * end * (1 - end) / n, abs=1e-9)


@given(COUNTS, st.sampled_from([0.2, 0.05, 0.001]))
@CHECK
def test_one_sided_bounds_solve_the_binomial_tail(counts, significance):
    successes, n = counts

    def at_least(k: int, p: float) -> float:
        return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))

    if successes:
        low = clopper_pearson_low(successes, n, significance)
        assert at_least(successes, low) == pytest.approx(significance, rel=1e-6)
    if successes < n:
        high = clopper_pearson_high(successes, n, significance)
        assert 1 - at_least(successes + 1, high) == pytest.approx(significance, rel=1e-5)


@pytest.mark.parametrize(
    ("successes", "n", "confidence", "message"),
    [
        (0, 0, 0.95, "n is 0"),
        (-1, 5, 0.95, "successes is -1"),
        (6, 5, 0.95, "successes is 6, expected 0 to 5"),
        (1, 5, 1.0, "confidence is 1"),
        (1, 5, np.nan, "confidence is nan"),
    ],
)
def test_counts_out_of_range_are_refused(successes, n, confidence, message):
    for method in (wilson_interval, clopper_pearson_interval):
        with pytest.raises(ValueError, match=message):
            method(successes, n, confidence)
