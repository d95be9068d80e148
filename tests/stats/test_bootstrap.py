"""The cluster bootstrap, intervals as objects, and the lazy exports of audit.stats."""

import math
import subprocess
import sys

import numpy as np
import pytest

import audit.stats
from audit.stats import Interval, cluster_mean_interval
from audit.stats.interval import bounded_mean_interval


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_value_is_the_mean_over_records_and_n_counts_clusters():
    interval = cluster_mean_interval([1, 2, 3, 10], ["a", "a", "b", "c"], rng=rng())
    assert (interval.value, interval.n, interval.method) == (4.0, 3, "cluster-t")
    clusters = np.repeat(np.arange(20), 3)
    assert cluster_mean_interval(rng(1).random(60), clusters, rng=rng()).n == 20


def test_the_same_generator_gives_the_same_interval():
    values, clusters = rng(1).random(60), np.repeat(np.arange(20), 3)
    same = [cluster_mean_interval(values, clusters, rng=rng(5)) for _ in range(2)]
    assert same[0] == same[1] != cluster_mean_interval(values, clusters, rng=rng(6))


def test_copies_within_a_cluster_add_no_certainty():
    values = rng(2).random(30)
    one = cluster_mean_interval(values, np.arange(30), rng=rng())
    many = cluster_mean_interval(np.repeat(values, 50), np.repeat(np.arange(30), 50), rng=rng())
    assert many.width == pytest.approx(one.width, rel=1e-9)


def test_with_records_as_clusters_it_is_close_to_the_t_interval():
    values = rng(3).normal(size=400)
    interval = cluster_mean_interval(values, np.arange(400), resamples=20_000, rng=rng())
    assert interval.width == pytest.approx(2 * 1.966 * values.std(ddof=1) / 20, rel=0.03)


def test_few_clusters_give_the_t_interval_of_their_means():
    interval = cluster_mean_interval([1.0, 2.0, 3.0], [0, 1, 2], rng=rng())
    assert interval.high - 2 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    within = cluster_mean_interval([0.0, 1.0, 1.0], [0, 1, 2], rng=rng(), limits=(0.0, 1.0))
    assert (within.low, within.high) == (0.0, 1.0)


def test_clusters_of_one_mean_never_claim_zero_width():
    for values in ([0.0] * 40, [0.0, 1.0] * 20, [0.1] * 40):
        clusters = np.repeat(np.arange(20), 2)
        with pytest.raises(ValueError, match=r"every cluster has the mean .* give limits"):
            cluster_mean_interval(values, clusters, rng=rng())
        interval = cluster_mean_interval(values, clusters, rng=rng(), limits=(0.0, 1.0))
        assert interval.width > 0.1 and interval.method == "hoeffding"
    nothing = cluster_mean_interval([0.0] * 20, range(20), rng=rng(), limits=(0.0, 1.0))
    assert nothing.high == pytest.approx(1 - 0.025 ** (1 / 20), abs=1e-9)


@pytest.mark.parametrize(
    ("values", "clusters", "options", "message"),
    [
        ([], [], {}, "values has shape"),
        ([1.0, math.nan], [0, 1], {}, "1 NaN"),
        ([1.0, math.inf], [0, 1], {}, "cap them first"),
        ([1.0, 2.0], [0], {}, "clusters have shape"),
        ([1.0, 2.0], [0, 0], {}, "there is 1 cluster"),
        ([1.0, 2.0], [0, 1], {"limits": (0, 1)}, "expected within"),
        ([1.0, 2.0], [0, 1], {"resamples": 10}, "resamples is 10"),
        ([1.0, 2.0], [0, 1], {"confidence": 1.0}, "confidence is"),
    ],
)
def test_what_has_no_interval_is_refused(values, clusters, options, message):
    with pytest.raises(ValueError, match=message):
        cluster_mean_interval(values, clusters, rng=rng(), **options)


@pytest.mark.parametrize("mean", [0.0, 0.01, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("n", [1, 10, 1000])
def test_the_bound_for_any_distribution_solves_its_equation(mean, n):
    low, high = bounded_mean_interval(mean, n, 0.95)
    assert 0 <= low <= mean <= high <= 1 and high > low
    for end in (low, high):
        if 0 < end < 1:
            parts = [(mean, end), (1 - mean, 1 - end)]
            divergence = sum(a * math.log(a / b) for a, b in parts if a > 0)
            assert n * divergence == pytest.approx(math.log(40), rel=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {"low": 0.6},
        {"high": 0.4},
        {"value": math.nan},
        {"low": math.nan},
        {"confidence": 1.0},
        {"n": 0},
    ],
)
def test_an_interval_that_makes_no_sense_is_refused(fields):
    good = {"value": 0.5, "low": 0.4, "high": 0.6, "confidence": 0.95, "n": 9, "method": "m"}
    Interval(**good)
    with pytest.raises(ValueError, match=r"interval|confidence|n is"):
        Interval(**{**good, **fields})


def test_exports_are_found_lazily_and_unknown_names_are_refused():
    assert {"auc", "Interval", "ssim"} <= set(dir(audit.stats))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = audit.stats.nothing
    code = (
        "import sys, audit.stats; assert not {'numpy', 'scipy'} & set(sys.modules);"
        "audit.stats.auc; assert not {'torch', 'scipy.stats', 'scipy.optimize'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
