"""Epsilon between two Gaussians of different spread: an estimate from a fit, never a bound."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from audit.stats.interval import Interval, as_values, check_confidence

DRAWS = 1000
"""Of what the fitted moments may be."""

DOUBLINGS = 200
"""After so many epsilon is beyond any number of use."""


def epsilon_of_gaussians(
    mean: float, deviation: float, *, null_deviation: float, delta: float
) -> float:
    """Return epsilon at a delta between N(mean, deviation^2) and N(0, null_deviation^2).

    Args:
        mean: Of the first.
        deviation: Of the first, above 0.
        null_deviation: Of the second, above 0.
        delta: In (0, 1).

    Returns:
        In nats: the larger one of both directions.

    Raises:
        ValueError: A deviation or delta is out of range.

    Source:
        The hockey-stick divergence of two densities whose log ratio is a quadratic; for equal
        deviations that is Balle and Wang 2018, arXiv:1805.06530, theorem 8.

    Example:
        >>> round(epsilon_of_gaussians(1.0, 1.0, null_deviation=1.0, delta=1e-5), 2)
        4.38
    """
    if min(deviation, null_deviation) <= 0 or not 0 < delta < 1:
        raise ValueError(
            f"deviations {deviation}, {null_deviation}, delta {delta}: expected above 0, delta "
            "below 1"
        )
    scaled = np.array([mean / null_deviation]), np.array([deviation / null_deviation])
    return float(_larger(*scaled, delta)[0])


def pushed_epsilon(
    pushed: ArrayLike,
    unpushed: ArrayLike,
    *,
    delta: float,
    confidence: float,
    rng: np.random.Generator,
) -> Interval:
    """Estimate epsilon from readings along directions that were pushed, and along others.

    Args:
        pushed: One reading for each canary client, independent, any unit, shape (clients,).
        unpushed: Readings of the noise alone, of mean 0, same unit, shape (directions,).
        delta: In (0, 1).
        confidence: Of the interval.
        rng: Draws what the moments may be.

    Returns:
        Epsilon in nats between the two fitted Gaussians; an estimate, and no bound. A push adds to
        the noise and takes nothing away, so its fitted deviation is at least the noise's. The
        interval is that of the moments if both are Gaussian; how far they are, in the tails that
        decide at a small delta, no number of clients shows.

    Raises:
        ValueError: There are fewer than 3 clients or 3 other directions, or no noise.

    Source:
        Andrew et al. 2024, arXiv:2302.03098: a Gaussian fitted to what canaries show, against the
        law of canaries that were not there. Differs: that law is measured, and readings are not
        divided by the release's length, which pushes dominate where clients are few. Interval:
        generalised pivots of a normal sample's mean and deviation, Weerahandi 1993, doi
        10.1080/01621459.1993.10476355.
    """
    x, noise = as_values(pushed, "pushed"), as_values(unpushed, "unpushed")
    side = check_confidence(confidence) / 2
    k, n = len(x), len(noise)
    t = float(np.sqrt((noise**2).mean()))
    if min(k, n) < 3 or not t > 0:
        raise ValueError(
            f"{k} canary clients, {n} other directions, noise {t}: expected at least 3 of each, "
            "and noise above 0"
        )
    mean, s = float(x.mean()), float(x.std(ddof=1))
    value = epsilon_of_gaussians(mean, max(s, t), null_deviation=t, delta=delta)
    deviations = s * np.sqrt((k - 1) / rng.chisquare(k - 1, DRAWS))
    means = mean + deviations / math.sqrt(k) * rng.standard_normal(DRAWS)
    nulls = t * np.sqrt(n / rng.chisquare(n, DRAWS))
    found = _larger(means / nulls, np.maximum(deviations / nulls, 1.0), delta)
    return Interval(
        value=value,
        low=min(value, float(np.quantile(found, side))),
        high=max(value, float(np.quantile(found, 1 - side))),
        confidence=confidence,
        n=k,
        method="canary hospitals after Andrew et al. 2024, an estimate and no bound",
    )


def _larger(
    mean: NDArray[np.float64], deviation: NDArray[np.float64], delta: float
) -> NDArray[np.float64]:
    """The larger epsilon of both directions between N(mean, deviation^2) and N(0, 1)."""
    m = np.abs(mean)
    return np.maximum(_one_way(m, deviation, delta), _one_way(m / deviation, 1 / deviation, delta))


def _one_way(m: NDArray[np.float64], s: NDArray[np.float64], delta: float) -> NDArray[np.float64]:
    """Epsilon of N(m, s^2) over N(0, 1) for m at or above 0."""
    target = math.log(delta)
    low, high = np.zeros_like(m), np.ones_like(m)
    for _ in range(DOUBLINGS):
        above = _log_delta(high, m, s) > target
        if not above.any():
            break
        low, high = np.where(above, high, low), np.where(above, 2 * high, high)
    for _ in range(50):
        middle = (low + high) / 2
        above = _log_delta(middle, m, s) > target
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    some = _log_delta(np.zeros_like(m), m, s) > target
    return np.where(some, low, 0.0)


def _log_delta(
    epsilon: NDArray[np.float64], m: NDArray[np.float64], s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log of the hockey-stick divergence of N(m, s^2) from N(0, 1).

    Their log ratio less epsilon is a x^2 + b x + c. Masses stay logarithms: at an epsilon of
    thousands they are far below the smallest float.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a, b = (1 - s**-2) / 2, m / s**2
        c = -((m / s) ** 2) / 2 - np.log(s) - epsilon
        square = (m / s) ** 2 + 2 * (1 - s**-2) * (np.log(s) + epsilon)  # b^2 - 4 a c, uncancelled
        q = -(b + np.sqrt(np.maximum(square, 0))) / 2
        near, far = c / q, np.where(a == 0, -np.inf, q / a)
        tails = [
            np.logaddexp(
                special.log_ndtr((centre - near) / width), special.log_ndtr((far - centre) / width)
            )
            for centre, width in ((m, s), (0.0, 1.0))
        ]
        between = [
            _log_between((near - centre) / width, (far - centre) / width)
            for centre, width in ((m, s), (0.0, 1.0))
        ]
        inside, other = (
            np.where(a >= 0, tail, middle) for tail, middle in zip(tails, between, strict=True)
        )
        found = inside + np.log1p(-np.exp(np.minimum(0.0, epsilon + other - inside)))
    return np.where((square > 0) & (q < 0) & ~np.isnan(found), found, -np.inf)


def _log_between(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of a standard normal's mass between two points, in the tail where it keeps its digits."""
    flip = low + high > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    upper = special.log_ndtr(high)
    return np.asarray(upper + np.log1p(-np.exp(special.log_ndtr(low) - upper)))
