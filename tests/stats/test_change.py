"""A rise from stored intervals: known answers, duality of bound and p-value, false alarms."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from audit.stats import clopper_pearson_interval, student_interval
from audit.stats.change import (
    Change,
    Estimate,
    above,
    independent_rise,
    paired_rise,
    seeds_rise,
    wider,
)

Z = 1.959963984540054


def test_symmetric_intervals_give_the_difference_of_two_gaussians():
    now = Estimate.of_interval(0.7, 0.7 - 3 * Z, 0.7 + 3 * Z, confidence=0.95)
    before = Estimate.of_interval(0.5, 0.5 - 4 * Z, 0.5 + 4 * Z, confidence=0.95)
    rise = independent_rise([now], [before])
    assert rise.value == pytest.approx(0.2)
    assert rise.down == rise.up == pytest.approx(5.0)
    assert rise.upper(0.025) == pytest.approx(0.2 + 5 * Z)


def test_two_proportions_as_newcombe_printed_them():
    """56 of 70 against 48 of 80 with Wilson's intervals: Newcombe 1998, table II (a), method 10."""

    def wilson(successes: int, n: int) -> Estimate:
        p = successes / n
        middle, half = p + Z**2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        scale = 1 + Z**2 / n
        low, high = (middle - half) / scale, (middle + half) / scale
        return Estimate.of_interval(p, low, high, confidence=0.95)

    rise = independent_rise([wilson(56, 70)], [wilson(48, 80)])
    assert rise.lower(0.025) == pytest.approx(0.0524, abs=5e-5)
    assert rise.upper(0.025) == pytest.approx(0.3339, abs=5e-5)


def test_ends_at_another_level_are_near_the_exact_ones():
    """Clopper-Pearson at 95 % rescaled to one-sided 5 %, against Clopper-Pearson at 90 %."""
    for successes, n in ((0, 9), (3, 9), (50, 1000), (500, 1000)):
        stored = clopper_pearson_interval(successes, n, 0.95)
        exact = clopper_pearson_interval(successes, n, 0.90)
        one = Estimate.of_interval(stored.value, stored.low, stored.high, confidence=0.95)
        upper = one.value + one.up * 1.6448536269514722
        assert upper == pytest.approx(exact.high, abs=0.02)


@given(
    value=st.floats(-1, 1),
    error=st.floats(0.01, 1),
    alpha=st.floats(0.001, 0.5),
    freedom=st.sampled_from([1, 2, 5, math.inf]),
)
def test_the_p_value_is_at_most_alpha_just_where_the_lower_bound_is_not_below_zero(
    value, error, alpha, freedom
):
    rise = Change(value=value, down=error, up=error, freedom=freedom, method="")
    assume(abs(rise.lower(alpha)) > 1e-9)
    assert (rise.p_value <= alpha) == (rise.lower(alpha) > 0)


def test_seeds_agree_with_students_interval_about_a_constant():
    values = [0.5, 0.6, 0.58, 0.61]
    rise, known = paired_rise(values), student_interval(values, 0.9)
    assert rise.lower(0.05) == pytest.approx(known.low)
    assert rise.upper(0.05) == pytest.approx(known.high)


def test_one_new_seed_against_several_is_a_prediction_interval():
    before = [0.5, 0.6, 0.7]
    rise = seeds_rise([0.9], before)
    assert rise.freedom == 2
    assert rise.down == pytest.approx(0.1 * math.sqrt(1 + 1 / 3))


@pytest.mark.parametrize("counts", [(1, 2), (1, 5), (3, 3)])
def test_seeds_of_one_recipe_raise_false_alarms_at_their_level(counts):
    rng = np.random.default_rng(3)
    now, before = (rng.normal(size=(4000, n)) for n in counts)
    alarms = sum(
        seeds_rise(ours.tolist(), theirs.tolist()).p_value <= 0.05
        for ours, theirs in zip(now, before, strict=True)
    )
    assert 150 <= alarms <= 250  # 200 expected, standard deviation 14


def test_wider_and_above():
    narrow, wide = (Change(value=0.1, down=e, up=e, method="") for e in (0.1, 0.2))
    assert wider(narrow, wide, 0.05) is wide is wider(wide, narrow, 0.05)
    assert above(narrow, 0.3).value == pytest.approx(-0.2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Estimate.of_interval(0.5, 0.6, 0.7, confidence=0.95),
        lambda: Estimate.of_interval(0.5, 0.4, 0.7, confidence=1.0),
        lambda: independent_rise([], [Estimate(value=0, down=1, up=1)]),
        lambda: seeds_rise([0.5], [0.5]),
        lambda: paired_rise([0.5]),
        lambda: Change(value=0, down=1, up=1, method="").lower(0.6),
    ],
)
def test_wrong_input_is_refused(wrong):
    with pytest.raises(ValueError, match=r"expected|interval"):
        wrong()
