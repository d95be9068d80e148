"""Simulated coverage of every interval, under the null and under known effects."""

import math

import numpy as np
import pytest
from scipy import special, stats

from audit.stats import (
    auc_interval,
    auc_p_value,
    clopper_pearson_interval,
    cluster_mean_interval,
    tpr_at_fpr_interval,
    wilson_interval,
)

SIZES = [pytest.param(400, id="quick"), pytest.param(8000, id="slow", marks=pytest.mark.slow)]


def contains(interval, truth: float) -> bool:
    return bool(interval.low - 1e-12 <= truth <= interval.high + 1e-12)


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("truth", [0.5, 0.6, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("sample", [(20, 20), (50, 200)])
def test_auc_intervals_cover_for_two_normals(assert_covers, runs, truth, sample):
    m, n = sample
    rng = np.random.default_rng(11)
    shift = math.sqrt(2) * special.ndtri(truth)
    hits = [
        contains(auc_interval(rng.normal(shift, 1, m), rng.normal(0, 1, n)), truth)
        for _ in range(runs)
    ]
    assert_covers(hits)


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("found", [0.0, 0.05, 0.3, 0.9])
def test_auc_intervals_cover_when_a_share_of_members_is_found_outright(assert_covers, runs, found):
    # The shape of a membership attack: all others score as non-members do.
    rng = np.random.default_rng(12)
    hits = []
    for _ in range(runs):
        members = np.where(rng.random(60) < found, 9.0, rng.normal(size=60))
        hits.append(contains(auc_interval(members, rng.normal(size=60)), 0.5 + found / 2))
    assert_covers(hits)


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5])
def test_auc_intervals_cover_with_heavy_ties(assert_covers, runs, shift):
    rng = np.random.default_rng(13)
    # Scores rounded to three levels at cuts -0.5 and 0.5.
    p = np.diff(special.ndtr(np.array([-np.inf, -0.5 - shift, 0.5 - shift, np.inf])))
    q = np.diff(special.ndtr(np.array([-np.inf, -0.5, 0.5, np.inf])))
    truth = sum(p[i] * (q[:i].sum() + q[i] / 2) for i in range(3))
    hits = [
        contains(auc_interval(rng.choice(3, 60, p=p), rng.choice(3, 60, p=q)), float(truth))
        for _ in range(runs)
    ]
    assert_covers(hits)


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("sample", [(0.1, 100, 60), (0.01, 300, 600)])
def test_tpr_intervals_cover_for_two_normals(assert_covers, runs, shift, sample):
    fpr, m, n = sample
    rng = np.random.default_rng(14)
    truth = float(special.ndtr(shift + special.ndtri(fpr)))
    hits = [
        contains(tpr_at_fpr_interval(rng.normal(shift, 1, m), rng.normal(0, 1, n), fpr), truth)
        for _ in range(runs)
    ]
    assert_covers(hits)


@pytest.mark.parametrize("runs", SIZES)
def test_tpr_intervals_cover_where_a_tie_straddles_the_rate(assert_covers, runs):
    # Non-members: 8 % at 2 and 8 % at 1. At FPR 10 % only score 2 may count.
    rng = np.random.default_rng(15)
    hits = []
    for _ in range(runs):
        nonmembers = rng.choice(3, 300, p=[0.84, 0.08, 0.08])
        members = rng.choice(3, 300, p=[0.4, 0.3, 0.3])
        hits.append(contains(tpr_at_fpr_interval(members, nonmembers, 0.1), 0.3))
    assert_covers(hits)


@pytest.mark.parametrize("p", [0.003, 0.02, 0.1, 0.37, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("n", [5, 30, 200])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_clopper_pearson_covers_at_every_proportion_by_exact_sums(p, n, confidence):
    mass = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    intervals = [clopper_pearson_interval(k, n, confidence) for k in range(n + 1)]
    below = sum(w for w, i in zip(mass, intervals, strict=True) if i.high < p)
    above = sum(w for w, i in zip(mass, intervals, strict=True) if i.low > p)
    assert max(below, above) <= (1 - confidence) / 2 + 1e-12


@pytest.mark.parametrize("n", [10, 30, 200])
def test_wilson_covers_on_average_over_proportions_by_exact_sums(n):
    # Average over a uniform proportion: each count has the same mass, a beta integral.
    total = 0.0
    for k in range(n + 1):
        i = wilson_interval(k, n)
        between = special.betainc(k + 1, n - k + 1, np.array([i.low, i.high]))
        total += float(between[1] - between[0]) / (n + 1)
    assert 0.945 < total < 0.965


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("g", [3, 8, 12, 40])
@pytest.mark.parametrize("effect", [0.0, 2.0])
def test_cluster_intervals_cover_where_naive_ones_fail(assert_covers, runs, g, effect):
    rng = np.random.default_rng(16)
    hits, naive = [], []
    for _ in range(runs):
        clusters = np.repeat(np.arange(g), 6)
        values = effect + rng.normal(size=g)[clusters] + 0.3 * rng.normal(size=6 * g)
        interval = cluster_mean_interval(values, clusters, 0.95, 300, rng=rng)
        hits.append(contains(interval, effect))
        naive.append(
            abs(values.mean() - effect) <= 1.96 * values.std(ddof=1) / math.sqrt(len(values))
        )
    # The percentile bootstrap is approximate: at most 2 points below nominal is accepted.
    assert_covers(hits, allowance=0.02)
    assert np.mean(naive) < 0.75


@pytest.mark.parametrize("runs", SIZES)
def test_cluster_intervals_cover_for_unequal_clusters_of_successes(assert_covers, runs):
    rng = np.random.default_rng(17)
    hits = []
    for _ in range(runs):
        clusters = np.repeat(np.arange(40), rng.integers(1, 9, 40))
        rate = rng.beta(2, 3, 40)
        values = rng.random(len(clusters)) < rate[clusters]
        interval = cluster_mean_interval(values, clusters, 0.95, 300, rng=rng, limits=(0, 1))
        hits.append(contains(interval, 0.4))
    assert_covers(hits, allowance=0.02)


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("values", [2, 10**9], ids=["heavy ties", "no ties"])
@pytest.mark.parametrize("sample", [(10, 10), (60, 200)])
def test_auc_p_values_alarm_no_more_often_than_they_say(runs, values, sample):
    m, n = sample
    rng = np.random.default_rng(19)
    small = [
        auc_p_value(rng.integers(0, values, m), rng.integers(0, values, n)) <= 0.05
        for _ in range(runs)
    ]
    # The normal approximation may err by half a point; more would be a wrong test.
    assert sum(small) <= stats.binom.ppf(0.999, runs, 0.055)
