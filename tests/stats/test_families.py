"""Holm's adjustment and the advantage: known answers, and errors that stay within their level."""

import numpy as np
import pytest
from scipy import special

from audit.stats import advantage_interval, holm

SIZES = [pytest.param(400, id="quick"), pytest.param(8000, id="slow", marks=pytest.mark.slow)]


def test_holm_on_the_textbook_example():
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(found) == ["a", "b", "c", "d"]


def test_one_test_needs_no_adjustment_and_none_is_fine():
    assert holm({"only": 0.04}) == {"only": 0.04}
    assert holm({}) == {}


def test_adjusted_values_never_pass_one():
    assert set(holm({"a": 0.9, "b": 0.6}).values()) == {1.0}


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(value):
    with pytest.raises(ValueError, match="'x'"):
        holm({"x": value})


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_some_alarm_among_twelve_true_nulls_is_rare(assert_covers, runs, shared):
    rng = np.random.default_rng(41)
    quiet = []
    for _ in range(runs):
        common, own = rng.normal(), rng.normal(size=12)
        p = special.ndtr(shared**0.5 * common + (1 - shared) ** 0.5 * own)
        quiet.append(min(holm({str(i): float(v) for i, v in enumerate(p)}).values()) > 0.05)
    assert_covers(quiet)


def test_advantage_is_the_difference_of_the_rates():
    found = advantage_interval(30, 40, 10, 50)
    assert found.value == pytest.approx(0.55) and found.n == 90
    mirrored = advantage_interval(10, 50, 30, 40)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize(("tpr", "fpr"), [(0.5, 0.5), (0.6, 0.5), (0.1, 0.01), (0.95, 0.05)])
def test_advantage_intervals_cover(assert_covers, runs, tpr, fpr):
    rng = np.random.default_rng(42)
    hits = []
    for _ in range(runs):
        found = advantage_interval(int(rng.binomial(80, tpr)), 80, int(rng.binomial(120, fpr)), 120)
        hits.append(found.low <= tpr - fpr <= found.high)
    # Wilson's intervals are nominal on average over proportions, and may be a little below at one.
    assert_covers(hits, allowance=0.01)
