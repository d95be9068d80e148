"""Judging a DP audit against the claimed mechanism: steps of the Poisson-subsampled Gaussian.

A claim names more than one (epsilon, delta): noise multiplier, sampling rate and steps imply a
whole curve of them, and a test's two rates must obey every point. Neighbours differ by one record
added or removed; each curve is the larger of both directions.

Tests must be fixed before the truth is seen, as for every bound on epsilon.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.stats.epsilon import EpsilonBound, check_claim, check_rates, rate_bounds
from audit.stats.gaussian import MOST_EPSILON, epsilon_of_mu, loss_interval
from audit.stats.interval import check_confidence

NOISES: Final = tuple(np.geomspace(0.1, 1000.0, 4611).tolist())
"""Noise multipliers that a bound is searched among, ascending, 0.2 % apart."""

POINTS: Final = 1001
"""Epsilons of a curve, evenly spaced from 0."""

LEAST_DELTA: Final = 1e-9
"""A curve ends where it falls to this delta."""

LEAST_P_VALUE: Final = 1e-12
"""Smaller p-values are reported as this one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PrivacyCurve:
    """What a mechanism promises: (epsilon, delta)-DP at every point of it.

    Args:
        epsilons: In nats, shape (points,), strictly ascending from 0.
        deltas: In [0, 1], same shape, never ascending.

    Raises:
        ValueError: The points are no such curve.
    """

    epsilons: NDArray[np.float64]
    deltas: NDArray[np.float64]

    def __post_init__(self) -> None:
        shapes = self.epsilons.shape, self.deltas.shape
        if self.epsilons.ndim != 1 or self.epsilons.size == 0 or shapes[0] != shapes[1]:
            raise ValueError(f"epsilons, deltas have shapes {shapes}, expected (n,) of both")
        if self.epsilons[0] != 0 or not (np.diff(self.epsilons) > 0).all():
            raise ValueError("epsilons do not ascend from 0")
        if not (np.diff(self.deltas, prepend=1.0, append=0.0) <= 0).all():
            raise ValueError("deltas ascend, or are not all within 0 to 1")


@lru_cache(maxsize=4096)
def poisson_gaussian_curve(
    *, noise_multiplier: float, sample_rate: float, steps: int
) -> PrivacyCurve:
    """Return the privacy curve of steps of the Poisson-subsampled Gaussian mechanism.

    Args:
        noise_multiplier: Noise standard deviation over clipping norm, above 0.
        sample_rate: Of a record, in each step, in (0, 1].
        steps: At least 1.

    Returns:
        From total variation, delta at epsilon 0, down to a delta of 1e-9, or to an epsilon of 700
        nats if that is less. An upper bound, up to the rounding of a Fourier transform; its
        epsilon at a delta of 1e-5 is less than 1 % too large wherever that lies in 0.1 to 10, for
        sampling rates from 1e-4. At a sampling rate of 1 it is exact.

    Raises:
        ValueError: A parameter is out of range.

    Source:
        Doroshenko et al. 2022, arXiv:2207.04380, by dp-accounting; Balle and Wang 2018,
        arXiv:1805.06530, theorem 8, at a sampling rate of 1.

    Example:
        >>> curve = poisson_gaussian_curve(noise_multiplier=37.81, sample_rate=1.0, steps=100)
        >>> round(epsilon_at(curve, 1e-5), 2)
        0.98
    """
    if not 0 < noise_multiplier < math.inf:
        raise ValueError(f"noise_multiplier is {noise_multiplier}, expected above 0")
    if not 0 < sample_rate <= 1:
        raise ValueError(f"sample_rate is {sample_rate}, expected above 0, at most 1")
    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1")
    if sample_rate == 1:
        epsilons, deltas = _full_batch(math.sqrt(steps) / noise_multiplier)
    else:
        epsilons, deltas = _subsampled(noise_multiplier, sample_rate, steps)
    # Each is an upper bound, so that the least so far is one too: rounding errors do not ascend.
    deltas = np.minimum.accumulate(np.clip(deltas, 0.0, 1.0))
    epsilons.flags.writeable = deltas.flags.writeable = False  # shared by the cache
    return PrivacyCurve(epsilons=epsilons, deltas=deltas)


def epsilon_at(curve: PrivacyCurve, delta: float) -> float:
    """Return the epsilon of a curve at a delta, from below.

    Args:
        curve: Of a mechanism.
        delta: In [0, 1].

    Returns:
        The last epsilon of the curve whose delta is larger, in nats, 0 if there is none; for a
        delta below all of the curve's its last epsilon, where the true one may be far larger.
    """
    check_claim(delta=delta)
    above = int((curve.deltas > delta).sum())
    return float(curve.epsilons[above - 1]) if above else 0.0


def curve_p_value(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    *,
    curve: PrivacyCurve,
) -> float:
    """Test whether the rates of a fixed test obey the privacy curve of a mechanism.

    Args:
        true_positives: Members that were called members.
        positives: Members; each observation independent of the others.
        false_positives: Non-members that were called members.
        negatives: Non-members.
        curve: Of the claimed mechanism.

    Returns:
        The smallest significance at which the exact bounds on the two rates, half of the error
        for each, violate the curve; from 1e-12 to 1, lower is more evidence against the claim. It
        holds for any test that was fixed beforehand and any mechanism that has this curve: no
        family is assumed. Without members or without non-members: 1.

    Raises:
        ValueError: A count is out of range.

    Source:
        Kairouz et al. 2015, arXiv:1311.0776, theorem 2.1, at every point of the curve, with the
        exact rates of Nasr et al. 2021, arXiv:2101.04535, section 3.

    Example:
        >>> curve = poisson_gaussian_curve(noise_multiplier=10.0, sample_rate=1.0, steps=100)
        >>> curve_p_value(99, 100, 1, 100, curve=curve) < 1e-6
        True
    """
    bounds = partial(rate_bounds, true_positives, positives, false_positives, negatives)

    def rejects(significance: float) -> bool:
        return _violates(*bounds(significance / 2), curve)

    if not rejects(1.0):
        return 1.0
    if rejects(LEAST_P_VALUE):
        return LEAST_P_VALUE
    low, high = math.log(LEAST_P_VALUE), 0.0
    for _ in range(50):
        middle = (low + high) / 2
        if rejects(math.exp(middle)):
            high = middle
        else:
            low = middle
    return math.exp(high)


def clopper_pearson_p_value(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    *,
    epsilon: float,
    delta: float,
) -> float:
    """Test whether the rates of a fixed test obey (epsilon, delta)-DP, a single point of a curve.

    Args:
        true_positives, positives, false_positives, negatives: As in ``curve_p_value``.
        epsilon: Of the claim, in nats, at least 0.
        delta: Of the claim, in [0, 1].

    Returns:
        The significance from which ``clopper_pearson_epsilon`` exceeds epsilon, from 1e-12 to 1.

    Raises:
        ValueError: A count, epsilon or delta is out of range.

    Example:
        >>> round(clopper_pearson_p_value(500, 500, 0, 500, epsilon=4.906, delta=0.0), 3)
        0.05
    """
    check_claim(delta=delta, epsilon=epsilon)
    ends = [(0.0, 1.0), (epsilon, delta)] if epsilon > 0 else [(0.0, delta)]  # delta 1: anything
    epsilons, deltas = np.array(ends).T
    curve = PrivacyCurve(epsilons=epsilons, deltas=deltas)
    return curve_p_value(true_positives, positives, false_positives, negatives, curve=curve)


def poisson_gaussian_epsilon(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    *,
    sample_rate: float,
    steps: int,
    delta: float,
    confidence: float,
) -> float:
    """Bound epsilon from the two rates, for the claimed mechanism with an unknown noise.

    Args:
        true_positives, positives, false_positives, negatives: As in ``curve_p_value``.
        sample_rate: Of a record, in each step, in (0, 1].
        steps: At least 1.
        delta: Of the claim, in [0, 1]; below 1e-9 the bound is the one at 1e-9.
        confidence: One-sided, as a fraction; half of the error for each rate.

    Returns:
        Epsilon in nats, at least 0, at delta: that of the least noise multiplier from 0.1 to 1000
        whose curve the rates violate, 0 if they violate none. It is as accurate as that curve and
        holds for Poisson-subsampled Gaussians of this sampling rate and these steps only, so it
        never decides a verdict alone.

    Raises:
        ValueError: A count, a parameter, delta or the confidence is out of range.

    Source:
        Nasr et al. 2023, arXiv:2302.07956, section 5, with the curve of the subsampled mechanism
        in place of a Gaussian's; the curve as in ``poisson_gaussian_curve``.
    """
    check_claim(delta=delta)
    side = check_confidence(confidence) / 2
    rates = rate_bounds(true_positives, positives, false_positives, negatives, side)

    def curve_of(noise: float) -> PrivacyCurve:
        return poisson_gaussian_curve(noise_multiplier=noise, sample_rate=sample_rate, steps=steps)

    # More noise promises more: from the first that is ruled out on, all are.
    first = bisect_left(NOISES, True, key=lambda noise: _violates(*rates, curve_of(noise)))
    return epsilon_at(curve_of(NOISES[first]), delta) if first < len(NOISES) else 0.0


def poisson_gaussian_epsilon_interval(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    *,
    sample_rate: float,
    steps: int,
    delta: float,
    confidence: float,
) -> EpsilonBound:
    """Return ``poisson_gaussian_epsilon`` with its ceiling."""
    bound = partial(poisson_gaussian_epsilon, sample_rate=sample_rate, steps=steps, delta=delta)
    return EpsilonBound(
        low=bound(true_positives, positives, false_positives, negatives, confidence=confidence),
        ceiling=bound(positives, positives, 0, negatives, confidence=confidence),
        confidence=confidence,
        n=positives + negatives,
        method="poisson-gaussian, conditional on that family",
    )


def rank_reversal_p_value(
    true_positives: int, positives: int, false_positives: int, negatives: int
) -> float:
    """Test whether members are called members less often than non-members are.

    A small value is what a truth with members and non-members swapped looks like.

    Args:
        true_positives, positives, false_positives, negatives: As in ``curve_p_value``.

    Returns:
        The probability of so few true positives among all that were called members, if both were
        called so equally often. Without members or without non-members: 1.

    Raises:
        ValueError: A count is out of range.

    Source:
        Fisher 1935, doi 10.2307/2342435: the exact test, one-sided.

    Example:
        >>> round(rank_reversal_p_value(0, 3, 3, 3), 4)
        0.05
    """
    from scipy.stats import hypergeom

    check_rates(true_positives, positives, false_positives, negatives)
    called, total = true_positives + false_positives, positives + negatives
    return float(hypergeom.cdf(true_positives, total, positives, called)) if total else 1.0


def _full_batch(mu: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve of two Gaussians whose means are mu standard deviations apart."""
    epsilons = _grid(epsilon_of_mu(mu, LEAST_DELTA))
    upper = special.log_ndtr(mu / 2 - epsilons / mu)
    lower = epsilons + special.log_ndtr(-mu / 2 - epsilons / mu)
    return epsilons, np.exp(upper) - np.exp(lower)


def _subsampled(
    noise_multiplier: float, sample_rate: float, steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve by discretised privacy losses."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    interval = loss_interval(noise_multiplier, sample_rate)
    step = pld.from_gaussian_mechanism(
        noise_multiplier, value_discretization_interval=interval, sampling_prob=sample_rate
    )
    composed = step.self_compose(steps)
    epsilons = _grid(float(composed.get_epsilon_for_delta(LEAST_DELTA)))
    return epsilons, np.asarray(composed.get_delta_for_epsilon(epsilons), dtype=np.float64)


def _grid(top: float) -> NDArray[np.float64]:
    """Epsilons from 0 to where the curve ends; 0 alone where it begins below the least delta."""
    return np.unique(np.linspace(0.0, min(top, MOST_EPSILON), POINTS))


def _violates(found: float, alarmed: float, curve: PrivacyCurve) -> bool:
    """Whether a point of the curve forbids such rates, members told from others or the reverse."""
    ratios = np.exp(np.minimum(curve.epsilons, MOST_EPSILON))
    forward = found > ratios * alarmed + curve.deltas
    backward = 1 - alarmed > ratios * (1 - found) + curve.deltas
    return bool((forward | backward).any())
