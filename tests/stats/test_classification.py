"""Balanced accuracy and means over repeats: known answers, edges and simulated coverage."""

import numpy as np
import pytest
from scipy import stats as scipy_stats
from sklearn.metrics import balanced_accuracy_score

from audit.stats import balanced_accuracy_interval, student_interval

SIZES = [pytest.param(400, id="quick"), pytest.param(8000, id="slow", marks=pytest.mark.slow)]


def test_balanced_accuracy_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 300, p=[0.7, 0.2, 0.06, 0.04])
    guess = np.where(rng.random(300) < 0.6, labels, rng.integers(0, 4, 300))
    found = balanced_accuracy_interval(labels, guess)
    assert found.value == pytest.approx(balanced_accuracy_score(labels, guess))
    assert found.n == 300


def test_a_constant_guess_is_at_chance_and_a_perfect_one_at_one():
    labels = np.repeat([0, 1], [90, 10])
    assert balanced_accuracy_interval(labels, np.zeros(100, int)).value == 0.5
    perfect = balanced_accuracy_interval(labels, labels)
    assert perfect.value == perfect.high == 1.0 and 0.8 < perfect.low < 1.0


@pytest.mark.parametrize(("labels", "guess"), [([], []), ([0, 1], [0]), ([[0]], [[0]])])
def test_shapes_that_do_not_fit_are_refused(labels, guess):
    with pytest.raises(ValueError, match="expected"):
        balanced_accuracy_interval(labels, guess)


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("recalls", [(0.5, 0.5), (0.95, 0.7), (0.99, 0.9, 0.6, 0.3)])
def test_balanced_accuracy_intervals_cover(assert_covers, runs, recalls):
    rng = np.random.default_rng(21)
    sizes = [40 * (i + 1) for i in range(len(recalls))]
    labels = np.repeat(np.arange(len(recalls)), sizes)
    hits = []
    for _ in range(runs):
        right = rng.random(len(labels)) < np.array(recalls)[labels]
        found = balanced_accuracy_interval(labels, np.where(right, labels, labels + 100))
        hits.append(found.low <= np.mean(recalls) <= found.high)
    # Wilson's interval is nominal on average over proportions, and may be a little below at one.
    assert_covers(hits, allowance=0.01)


def test_student_s_interval_is_scipy_s():
    values = [0.71, 0.74, 0.70, 0.75]
    found = student_interval(values, 0.9)
    expected = scipy_stats.t.interval(0.9, 3, np.mean(values), scipy_stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.n == 4


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")]])
def test_too_few_repeats_are_refused(values):
    with pytest.raises(ValueError, match=r"expected|NaN"):
        student_interval(values)


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("repeats", [2, 3, 10])
def test_student_s_intervals_cover_for_gaussian_repeats(assert_covers, runs, repeats):
    rng = np.random.default_rng(22)
    found = [student_interval(rng.normal(0.9, 0.01, repeats)) for _ in range(runs)]
    assert_covers([f.low <= 0.9 <= f.high for f in found])
