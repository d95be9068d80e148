"""Gaussian differential privacy: from a distance mu between two Gaussians to an epsilon."""

import math
from collections.abc import Callable

import numpy as np
from scipy import special

LARGEST = 1e3
"""No data of a size that fits a computer bounds epsilon, or mu, from below by more."""


MOST_EPSILON = 700.0
"""The largest epsilon whose exponential is finite; no rates that were counted show more."""


def epsilon_of_mu(mu: float, delta: float) -> float:
    """Return the epsilon of mu-Gaussian differential privacy at a delta.

    Args:
        mu: Distance of the two Gaussians in standard deviations; at or below 0: nothing leaks.
        delta: In [0, 1].

    Source:
        Balle and Wang 2018, arXiv:1805.06530, theorem 8; Dong et al. 2019, corollary 2.13.

    Example:
        >>> round(epsilon_of_mu(0.2644, 1e-5), 2)
        1.0
    """
    if mu <= 0:
        return 0.0
    if delta <= 0:
        return math.inf

    def enough(epsilon: float) -> bool:
        """Whether delta at this epsilon is still above the one asked for."""
        upper = special.log_ndtr(mu / 2 - epsilon / mu)
        lower = epsilon + special.log_ndtr(-mu / 2 - epsilon / mu)
        return bool(np.exp(upper) - np.exp(lower) > delta)

    return largest(enough, most=LARGEST * LARGEST)


def largest(holds: Callable[[float], bool], *, most: float = LARGEST) -> float:
    """The largest value at which a condition that fails from somewhere on still holds, or 0."""
    if not holds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while holds(high):
        if high >= most:
            return high
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def loss_interval(noise_multiplier: float, sample_rate: float) -> float:
    """Return the grid on which a step's privacy losses are rounded, in nats."""
    # Rounding onto a tenth of the loss's own spread adds less than 0.2 % to its variance.
    spread = sample_rate * math.sqrt(math.expm1(min(noise_multiplier**-2, MOST_EPSILON)))
    # Where few losses are large, the spread is far below their range, which the cost grows with.
    largest = noise_multiplier**-2 / 2 + 10 / noise_multiplier
    reach = math.log1p(sample_rate * math.exp(min(largest, MOST_EPSILON)))
    return min(0.05, max(spread / 10, reach / 1e5))
