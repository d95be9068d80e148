"""A mean whose observations come in clusters: records of one patient, victims of one batch."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from audit.stats.interval import Interval, as_values, bounded_mean_interval, check_confidence

MIN_BOOTSTRAP_CLUSTERS = 10
_DRAWS_AT_ONCE = 1_000_000  # bounds memory


def cluster_mean_interval(
    values: ArrayLike,
    clusters: ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2000,
    *,
    rng: np.random.Generator,
    limits: tuple[float, float] | None = None,
) -> Interval:
    """Mean over records, with an interval that takes whole clusters as the independent unit.

    Args:
        values: One finite value a record, shape (records,), any unit.
        clusters: Cluster of each record, integers or strings, same shape.
        confidence: As a fraction.
        resamples: Bootstrap resamples.
        rng: Source of all randomness.
        limits: Smallest and largest possible value. Needed where all clusters have one mean: the
            bootstrap would then claim zero width, and Hoeffding's bound is given instead.

    Returns:
        The mean in the unit of the values; n is the number of clusters. Coverage is about
        nominal where cluster means are not very skewed. Below ten clusters a resampled mean
        cannot leave the few that were seen, so the cluster-robust t interval is given.

    Raises:
        ValueError: Values are empty, not finite, outside limits, or of one mean in all
            clusters without limits; shapes differ; or there are fewer than two clusters.

    Source:
        Bootstrap of clusters: Davison and Hinkley 1997, doi 10.1017/CBO9780511802843, section
        3.8. Percentiles expanded for few clusters: Hesterberg 2015, arXiv:1411.5279.
        Cluster-robust t: Cameron and Miller 2015, doi 10.3368/jhr.50.2.317, section VI.
    """
    x = as_values(values, "values")
    names: NDArray[Any] = np.asarray(clusters)
    if names.shape != x.shape:
        raise ValueError(f"clusters have shape {names.shape}, expected {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("values are infinite, expected finite ones: cap them first")
    if resamples < 100:
        raise ValueError(f"resamples is {resamples}, expected at least 100")
    side = check_confidence(confidence) / 2
    if limits is not None and not (limits[0] <= x.min() and x.max() <= limits[1]):
        raise ValueError(f"values lie in [{x.min()}, {x.max()}], expected within {limits}")
    _, codes = np.unique(names, return_inverse=True)
    sizes = np.bincount(codes).astype(np.float64)
    g = len(sizes)
    if g < 2:
        raise ValueError(f"there is {g} cluster, expected at least 2 for an interval")
    # Centred sums: a resampled mean then keeps its digits beside a large common offset.
    value = float(x[0]) if x.min() == x.max() else float(x.mean())
    sums = np.bincount(codes, weights=x - value)
    if np.abs(sums / sizes).max() <= 1e-12 * np.abs(x).max():
        return _all_equal(value, g, confidence, limits)
    t = float(special.stdtrit(g - 1, side))
    if g < MIN_BOOTSTRAP_CLUSTERS:
        half = -t * math.sqrt(g / (g - 1) * float((sums**2).sum())) / len(x)
        return Interval(
            value=value,
            low=value - half if limits is None else max(limits[0], value - half),
            high=value + half if limits is None else min(limits[1], value + half),
            confidence=confidence,
            n=g,
            method="cluster-t",
        )
    # Percentiles of g clusters are too narrow by sqrt((g - 1) / g), and by a normal quantile where
    # a t quantile with g - 1 degrees of freedom is due.
    tail = float(special.ndtr(math.sqrt(g / (g - 1)) * t))
    means = []
    rows = max(1, _DRAWS_AT_ONCE // g)
    for start in range(0, resamples, rows):
        drawn = rng.integers(0, g, (min(rows, resamples - start), g))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = value + np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(
        value=value,
        low=min(value, float(low)),
        high=max(value, float(high)),
        confidence=confidence,
        n=g,
        method=f"cluster-bootstrap-{resamples}",
    )


def _all_equal(
    value: float, g: int, confidence: float, limits: tuple[float, float] | None
) -> Interval:
    if limits is None or not limits[0] < limits[1]:
        raise ValueError(
            f"every cluster has the mean {value}: the spread is not known; give limits, the "
            "smallest and largest possible value, for an interval that holds without it"
        )
    start, span = limits[0], limits[1] - limits[0]
    low, high = bounded_mean_interval((value - start) / span, g, confidence)
    return Interval(
        value=value,
        low=min(value, start + span * low),
        high=max(value, start + span * high),
        confidence=confidence,
        n=g,
        method="hoeffding",
    )
