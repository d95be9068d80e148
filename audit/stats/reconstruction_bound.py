"""How often a mechanism lets any attack name the true record, whatever it computes."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit.stats.gaussian import MOST_EPSILON, loss_interval

LEAST_DELTA = 1e-9
"""The bound is looked for up to the epsilon of this delta."""

POINTS = 4001
"""Epsilons at which the bound's minimum is looked for."""


def reconstruction_bound(
    prior_success: float, *, noise_multiplier: float, sample_rate: float, steps: int
) -> float:
    """Return the most that any attack can succeed against the Poisson-subsampled Gaussian.

    Args:
        prior_success: Probability of success without any output, in [0, 1]: 1 / N where the record
            is one of N equally likely candidates.
        noise_multiplier: Noise standard deviation over clipping norm, at or above 0; infinite: only
            noise is sent.
        sample_rate: Of a record, in each step, in (0, 1].
        steps: At least 1.

    Returns:
        A probability from ``prior_success`` to 1. Exact for full batches; else an upper bound that
        a discretised privacy loss makes less than 1 % too large.

    Raises:
        ValueError: A parameter is out of range.

    Source:
        Hayes et al. 2023, arXiv:2302.07225, theorem 2; Balle et al. 2022, arXiv:2201.04845: the
        power of the best test at that size between outputs with the record and without it, the
        minimum over epsilon of exp(epsilon) k + delta(epsilon) in the remove direction.

    Example:
        >>> round(reconstruction_bound(0.1, noise_multiplier=1, sample_rate=1, steps=1), 3)
        0.389
    """
    if not 0 <= prior_success <= 1:
        raise ValueError(f"prior_success is {prior_success}, expected from 0 to 1")
    if not noise_multiplier >= 0:
        raise ValueError(f"noise_multiplier is {noise_multiplier}, expected at or above 0")
    if not 0 < sample_rate <= 1:
        raise ValueError(f"sample_rate is {sample_rate}, expected above 0, at most 1")
    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1")
    if prior_success in {0.0, 1.0} or math.isinf(noise_multiplier):
        return float(prior_success)
    if sample_rate == 1:
        if noise_multiplier == 0:
            return 1.0
        return float(
            special.ndtr(special.ndtri(prior_success) + math.sqrt(steps) / noise_multiplier)
        )
    if noise_multiplier == 0:  # the record shows in the steps that it was drawn for
        unseen = (1 - sample_rate) ** steps
        return float(1 - unseen * (1 - prior_success))
    epsilons, deltas = _remove_curve(noise_multiplier, sample_rate, steps)
    found = float(np.min(np.exp(epsilons) * prior_success + deltas))
    return min(1.0, max(float(prior_success), found))


@lru_cache(maxsize=256)
def _remove_curve(
    noise_multiplier: float, sample_rate: float, steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Epsilons and deltas of outputs with a record against outputs without it."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    interval = loss_interval(noise_multiplier, sample_rate)
    step = pld.from_gaussian_mechanism(
        noise_multiplier, value_discretization_interval=interval, sampling_prob=sample_rate
    )
    # The distribution holds both directions, and answers for the worse one.
    removed = pld.PrivacyLossDistribution(step.self_compose(steps)._pmf_remove)
    top = min(float(removed.get_epsilon_for_delta(LEAST_DELTA)), MOST_EPSILON)
    least = max(-MOST_EPSILON, steps * math.log1p(-sample_rate))  # no loss is smaller
    epsilons = np.linspace(least, max(top, 0.0), POINTS)
    return epsilons, np.asarray(removed.get_delta_for_epsilon(epsilons), dtype=np.float64)
