"""Calibration measures what it says, on the gate's own decision code."""

import numpy as np
import pytest
from gate_facts import approved, cell, control_cell, facts, measured, policy

from audit.gate.calibrate import binomial_quantile, calibrate_policy
from audit.gate.redraw import redraw


def baseline(half: float, metric: str = "auc"):
    metrics = [measured(0.55, half=half, metric=metric)]
    return approved(facts(cell(metrics=metrics), control_cell(metrics=[]))).cells


def test_the_binomial_quantile_is_the_documented_one():
    assert binomial_quantile(200, 0.05, 0.95) == 15


def test_false_alarms_stay_within_the_quantile_and_precise_runs_find_smaller_regressions():
    rules = policy({"metric": "auc", "margin": 0.0})
    coarse, fine = (
        calibrate_policy(baseline(half), rules, pairs=200, seed=4) for half in (0.04, 0.01)
    )
    for result in (coarse, fine):
        assert result.false_alarms <= result.expected_at_most == 15
        assert result.rules[0].smallest is not None
    assert fine.rules[0].smallest < coarse.rules[0].smallest
    # One-sided 5 % and 80 % power of a difference: (1.645 + 0.842) standard errors.
    error = 0.04 / 1.96 * np.sqrt(2)
    assert coarse.rules[0].smallest == pytest.approx(2.487 * error, rel=0.15)


def test_so_many_observations_pass_an_unchanged_recipe():
    rules = policy({"metric": "auc", "margin": 0.05})
    (first,) = calibrate_policy(baseline(0.05), rules, pairs=200, seed=5).rules
    assert first.passed < 0.8
    assert first.n_to_pass is not None
    assert first.n_to_pass > first.n == 1000
    half = 0.05 * np.sqrt(first.n / first.n_to_pass)
    (again,) = calibrate_policy(baseline(half), rules, pairs=400, seed=6).rules
    assert again.passed == pytest.approx(0.8, abs=0.07)


@pytest.mark.parametrize("metric", ["auc", "tpr_at_fpr_0.01", "mse"])
def test_a_redrawn_measurement_spreads_as_its_interval_says(metric):
    stored = measured(0.5, half=0.06, metric=metric)
    drawn = redraw([stored], np.random.default_rng(1), count=2000, rise=0.1)
    values = np.array([m.value for m in drawn])
    assert values.mean() == pytest.approx(0.4 if metric == "mse" else 0.6, abs=0.004)
    assert values.std() == pytest.approx(0.06 / 1.96, rel=0.1)
    assert all(m.low <= m.value <= m.high for m in drawn)


def test_the_spread_of_seeds_is_drawn_too():
    stored = [measured(v, half=0.01, seed=s) for s, v in enumerate((0.4, 0.5, 0.6))]
    drawn = redraw(stored, np.random.default_rng(1), count=2000, rise=0.0)
    assert np.std([m.value for m in drawn]) == pytest.approx(0.1, rel=0.1)


def test_where_retraining_spreads_too_much_no_number_of_observations_helps():
    rules = policy({"metric": "auc", "margin": 0.05, "spread": 0.02})
    result = calibrate_policy(baseline(0.005), rules, pairs=200, seed=7)
    assert result.rules[0].n_to_pass is None
    assert result.false_alarms <= result.expected_at_most
