import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from audit.stats import epsilon_of_mu, most_true_positives


def test_pure_dp_at_a_small_rate_multiplies_it_and_at_a_large_one_bounds_the_misses():
    assert most_true_positives([(1.0, 0.0)], false_positive_rate=0.01) == pytest.approx(
        math.e * 0.01
    )
    assert most_true_positives([(1.0, 0.0)], false_positive_rate=0.9) == pytest.approx(
        1 - 0.1 / math.e
    )


def test_a_dense_gaussian_curve_meets_its_trade_off_function_from_above():
    mu = 1.0
    deltas = [10 ** (-i / 20) for i in range(4, 240)]
    curve = [(epsilon_of_mu(mu, delta), delta) for delta in deltas]
    for rate in (0.001, 0.01, 0.1, 0.5):
        exact = float(norm.cdf(norm.ppf(rate) + mu))
        found = most_true_positives(curve, false_positive_rate=rate)
        assert exact <= found <= exact * 1.02


def test_no_curve_promises_nothing_and_a_perfect_one_leaves_chance():
    assert most_true_positives([], false_positive_rate=0.01) == 1
    assert most_true_positives([(0.0, 0.0)], false_positive_rate=0.01) == 0.01
    assert most_true_positives([(2000.0, 0.0)], false_positive_rate=0.01) == 1


@given(epsilon=st.floats(0, 20), delta=st.floats(0, 1), more=st.floats(0, 5), rate=st.floats(0, 1))
def test_it_is_a_rate_never_below_chance_and_grows_with_epsilon(epsilon, delta, more, rate):
    one = most_true_positives([(epsilon, delta)], false_positive_rate=rate)
    assert rate <= one <= 1
    assert most_true_positives([(epsilon + more, delta)], false_positive_rate=rate) >= one - 1e-12


@pytest.mark.parametrize(
    ("curve", "rate"), [([(1, 0)], -0.1), ([(1, 0)], 1.1), ([(-1, 0)], 0.1), ([(1, 2)], 0.1)]
)
def test_values_out_of_range_are_named(curve, rate):
    with pytest.raises(ValueError, match="expected"):
        most_true_positives(curve, false_positive_rate=rate)
