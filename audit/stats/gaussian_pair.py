"""Epsilon between two Gaussians of different spread: an estimate from a fit, never a bound."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from audit.stats.gaussian import largest
from audit.stats.interval import Interval

FINEST = 0.1
"""A fitted deviation below this part of the null's gives no finite estimate."""

RESAMPLES = 200


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
    first, second = (mean, deviation), (0.0, null_deviation)
    return max(_epsilon(first, second, delta), _epsilon(second, first, delta))


def canary_client_epsilon(
    cosines: ArrayLike, *, delta: float, confidence: float, rng: np.random.Generator
) -> Interval:
    """Estimate epsilon from how near canary clients' directions lie to what was released.

    Args:
        cosines: Between a client's random direction and the release, times the root of the
            dimension, shape (clients,): of a direction that was not used they are standard normal.
        delta: In (0, 1).
        confidence: Of the bootstrap interval over clients.
        rng: Resamples clients.

    Returns:
        Epsilon in nats; an estimate under a Gaussian fit, and no bound.

    Raises:
        ValueError: There are fewer than 3 clients, or their cosines hardly spread, as without
            noise: no finite epsilon is estimated.

    Source:
        Andrew et al. 2024, arXiv:2302.03098: a Gaussian is fitted to the canaries' cosines and
        held against that of unused directions.
    """
    values = np.asarray(cosines, dtype=np.float64)
    if len(values) < 3:
        raise ValueError(f"{len(values)} canary clients, expected at least 3")
    if values.std(ddof=1) < FINEST:
        raise ValueError(f"cosines spread by {values.std(ddof=1):.2g}, expected {FINEST} or more")
    drawn = rng.choice(values, size=(RESAMPLES, len(values)))
    found = np.array([_fitted(row, delta) for row in drawn])
    value = _fitted(values, delta)
    side = (1 - confidence) / 2
    return Interval(
        value=value,
        low=min(value, float(np.quantile(found, side))),
        high=max(value, float(np.quantile(found, 1 - side))),
        confidence=confidence,
        n=len(values),
        method="canary clients after Andrew et al. 2024, an estimate and no bound",
    )


def _fitted(values: NDArray[np.float64], delta: float) -> float:
    deviation = max(FINEST, float(values.std(ddof=1)))  # a resample may draw one client only
    return epsilon_of_gaussians(float(values.mean()), deviation, null_deviation=1.0, delta=delta)


def _epsilon(first: tuple[float, float], second: tuple[float, float], delta: float) -> float:
    """Epsilon of the first Gaussian (mean, deviation) over the second."""
    (m, s), (k, t) = first, second
    # log of the densities' ratio: a x^2 + b x + c
    a = 1 / (2 * t * t) - 1 / (2 * s * s)
    b = m / (s * s) - k / (t * t)
    c = math.log(t / s) - m * m / (2 * s * s) + k * k / (2 * t * t)

    def enough(epsilon: float) -> bool:
        inside, other = (_mass(a, b, c - epsilon, *g) for g in (first, second))
        if other <= 0:
            return inside > delta
        return inside - math.exp(min(700.0, epsilon + math.log(other))) > delta

    return largest(enough, most=1e6)


def _mass(a: float, b: float, c: float, mean: float, deviation: float) -> float:
    """Probability under a Gaussian that a x^2 + b x + c is above 0."""

    def below(x: float) -> float:
        return float(special.ndtr((x - mean) / deviation))

    def above(x: float) -> float:
        return float(special.ndtr((mean - x) / deviation))

    if abs(a) < 1e-12:
        if b == 0:
            return float(c > 0)
        return above(-c / b) if b > 0 else below(-c / b)
    square = b * b - 4 * a * c
    if square <= 0:
        return float(a > 0)
    root = math.sqrt(square)
    low, high = sorted(((-b - root) / (2 * a), (-b + root) / (2 * a)))
    if a > 0:
        return below(low) + above(high)
    return max(0.0, below(high) - below(low)) if low < mean else max(0.0, above(low) - above(high))
