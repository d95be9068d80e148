"""From a target epsilon to a noise multiplier, and back by an independent accountant."""

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from opacus.accountants import PRVAccountant
from scipy.optimize import brentq
from scipy.stats import binom

from audit.core.errors import PrivacyClaimError

warnings.filterwarnings("ignore", module=r"opacus\.accountants\..*")

RELATIVE_TOLERANCE = 1 / 200
"""Error of the accountant and tolerance of the search, each as a part of the target."""

LOOSE = 0.05
"""A claim is called loose when the independent value lies further below it than this part."""


LEAST_NOISE, MOST_NOISE = 0.05, 1e5
"""Range of the search for a noise multiplier."""

MOST_CORRECTIONS = 100

ORDERS = (1.5, 1.75, 2, 2.5, *range(3, 65), *(2**k for k in range(7, 15)))
"""Renyi orders of the cost of a choice."""


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """Steps of the Poisson-subsampled Gaussian mechanism at one hospital.

    Args:
        noise_multiplier: Noise standard deviation over clipping norm.
        sample_rate: Of a record, in each step.
        steps: Over all rounds.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A privacy claim of one mechanism, and what a second accountant makes of it.

    Args:
        epsilon: Upper bound by PRV (Gopi et al. 2021, arXiv:2106.02848).
        delta: Of the claim.
        recomputed_epsilon: The same by dp-accounting's privacy loss distributions
            (Doroshenko et al. 2022, arXiv:2207.04380).
        loose: Whether the recomputed value is more than 5 % below the claim.
    """

    epsilon: float
    delta: float
    recomputed_epsilon: float
    loose: bool


@lru_cache(maxsize=256)
def solve_noise_multiplier(
    *, target_epsilon: float, delta: float, sample_rate: float, steps: int
) -> float:
    """Return a noise multiplier whose PRV epsilon lies within 1 % of the target, never above it.

    The quick accountant brackets it; the PRV accountant, which states the claim, has the last
    word.

    Raises:
        PrivacyClaimError: No noise multiplier up to ``MOST_NOISE`` reaches the target.
    """

    def excess(log_multiplier: float) -> float:
        mechanism = Mechanism(
            noise_multiplier=math.exp(log_multiplier), sample_rate=sample_rate, steps=steps
        )
        return pld_epsilon(mechanism, delta=delta, interval=target_epsilon / 1000) - aim

    aim = target_epsilon * (1 - 1.5 * RELATIVE_TOLERANCE)
    classic = sample_rate * math.sqrt(2 * steps * math.log(1.25 / delta)) / target_epsilon
    high = math.log(max(1.0, classic))
    while excess(high) > 0 and high < math.log(MOST_NOISE):
        high += 0.5
    low = high - 0.5
    while excess(low) < 0 and low > math.log(LEAST_NOISE):
        low, high = low - 0.5, low
    if excess(high) > 0:
        raise PrivacyClaimError(
            f"no noise multiplier up to {MOST_NOISE:g} reaches epsilon {target_epsilon:g} at "
            f"delta {delta:g} with sampling rate {sample_rate:g} over {steps} steps"
        )
    multiplier = math.exp(brentq(excess, low, high, xtol=1e-4))
    for _ in range(MOST_CORRECTIONS):
        found = prv_epsilon(
            Mechanism(noise_multiplier=multiplier, sample_rate=sample_rate, steps=steps),
            delta=delta,
            error=target_epsilon * RELATIVE_TOLERANCE,
        )
        if target_epsilon * (1 - 2 * RELATIVE_TOLERANCE) <= found <= target_epsilon:
            return multiplier
        multiplier *= 1.0005 if found > target_epsilon else 0.9995
    raise PrivacyClaimError(
        f"the accountants disagree about epsilon {target_epsilon:g} at delta {delta:g} with "
        f"sampling rate {sample_rate:g} over {steps} steps: no multiplier satisfies both"
    )


@lru_cache(maxsize=256)
def prv_epsilon(mechanism: Mechanism, *, delta: float, error: float) -> float:
    """Return the upper bound on epsilon by Opacus' PRV accountant.

    Args:
        mechanism: What was executed.
        delta: Of the claim.
        error: Discretisation error that the bound includes, in epsilon.

    Raises:
        PrivacyClaimError: The grid of so fine an error does not fit into memory.
    """
    accountant = PRVAccountant()
    accountant.history = [(mechanism.noise_multiplier, mechanism.sample_rate, mechanism.steps)]
    try:
        return float(accountant.get_epsilon(delta=delta, eps_error=error))
    except MemoryError as failure:
        raise PrivacyClaimError(
            f"the accountant cannot resolve epsilon to {error:g} for {mechanism}: {failure}"
        ) from None


@lru_cache(maxsize=256)
def pld_epsilon(mechanism: Mechanism, *, delta: float, interval: float = 1e-4) -> float:
    """Return epsilon by dp-accounting's privacy loss distributions, add/remove adjacency."""
    accountant = PLDAccountant(value_discretization_interval=interval)
    accountant.compose(_step(mechanism), mechanism.steps)
    return float(accountant.get_epsilon(delta))


def privacy_profile(mechanism: Mechanism, *, deltas: Sequence[float]) -> list[float]:
    """Return the epsilon that a mechanism keeps at each delta, by dp-accounting's PLD.

    Args:
        mechanism: What was executed.
        deltas: Each in (0, 1).

    Returns:
        Upper bounds on epsilon, one for each delta; add/remove adjacency.

    Source:
        Doroshenko et al. 2022, arXiv:2207.04380 (pessimistic discretisation).
    """
    accountant = PLDAccountant()
    accountant.compose(_step(mechanism), mechanism.steps)
    return [float(accountant.get_epsilon(delta)) for delta in deltas]


@lru_cache(maxsize=256)
def group_epsilon(mechanism: Mechanism, *, delta: float, records: int) -> float:
    """Return the epsilon of so many records of one hospital together, add or remove all of them.

    Each is sampled for itself, so that a step holds a binomial number of them.

    Args:
        mechanism: What was executed.
        delta: Of the claim.
        records: Of the group; with 1 this is ``pld_epsilon``.

    Returns:
        An upper bound by dp-accounting's PLD; its grid adds less than a thousandth.

    Source:
        Ganesh 2024, arXiv:2401.10294: a mixture of Gaussians, for gradients of any direction.
    """
    if mechanism.sample_rate >= 1.0:
        event: dp_event.DpEvent = dp_event.GaussianDpEvent(mechanism.noise_multiplier / records)
    else:
        drawn = np.arange(records + 1)
        chances = binom.pmf(drawn, records, mechanism.sample_rate)
        event = dp_event.MixtureOfGaussiansDpEvent(
            mechanism.noise_multiplier, drawn.astype(float).tolist(), chances.tolist()
        )
    one = pld_epsilon(mechanism, delta=delta)
    accountant = PLDAccountant(value_discretization_interval=min(1e-2, one * records / 4000))
    accountant.compose(event, mechanism.steps)
    return float(accountant.get_epsilon(delta))


def selection_epsilon(mechanism: Mechanism, *, delta: float, trials: int) -> float:
    """Return what it costs to release only the best of several trainings, each so private.

    The bound is for a random number of trainings with the given mean, geometrically distributed,
    drawn before and told to nobody, where the best is told by a test on the same records. Trying
    a fixed list, or looking at more than the best, has no such bound.

    Args:
        mechanism: Of each training.
        delta: Of the claim.
        trials: Mean number of trainings.

    Returns:
        Epsilon, by Renyi DP, which is not tight: also for one training above its own claim.

    Source:
        Papernot and Steinke 2022, arXiv:2110.03620, theorem 2 with eta = 1.
    """
    # Orders that do not converge are left out, which dp-accounting logs; the bound holds.
    logging.getLogger("absl").setLevel(logging.ERROR)
    accountant = RdpAccountant(orders=ORDERS)
    training = dp_event.SelfComposedDpEvent(_step(mechanism), mechanism.steps)
    accountant.compose(dp_event.RepeatAndSelectDpEvent(training, mean=trials, shape=1))
    return float(accountant.get_epsilon(delta))


def _step(mechanism: Mechanism) -> dp_event.DpEvent:
    gaussian = dp_event.GaussianDpEvent(mechanism.noise_multiplier)
    if mechanism.sample_rate >= 1.0:
        return gaussian
    return dp_event.PoissonSampledDpEvent(mechanism.sample_rate, gaussian)


@lru_cache(maxsize=256)
def check_claim(mechanism: Mechanism, *, delta: float, target_epsilon: float) -> Claim:
    """State the claim of a mechanism and recompute it independently.

    Args:
        mechanism: All steps of all rounds.
        delta: Of the claim.
        target_epsilon: Sets the accountant's error; the claim is what the accountant reports.

    Raises:
        PrivacyClaimError: The recomputed epsilon is above the claim.
    """
    claimed = prv_epsilon(mechanism, delta=delta, error=target_epsilon * RELATIVE_TOLERANCE)
    recomputed = pld_epsilon(mechanism, delta=delta, interval=min(1e-4, claimed / 1000))
    if not math.isfinite(claimed) or recomputed > claimed:
        raise PrivacyClaimError(
            f"claimed epsilon {claimed:g} at delta {delta:g} does not hold: an independent "
            f"accountant finds {recomputed:g} for {mechanism}"
        )
    return Claim(
        epsilon=claimed,
        delta=delta,
        recomputed_epsilon=recomputed,
        loose=recomputed < claimed * (1 - LOOSE),
    )


def spent_epsilon(mechanism: Mechanism, *, total_steps: int, delta: float, target: float) -> float:
    """Return what a hospital has spent so far, as it reports it after a round.

    Before the last step the quicker accountant answers: an upper bound too, and never above the
    claim for all steps.

    Args:
        mechanism: The steps made so far.
        total_steps: The steps of the whole schedule.
        delta: Of the claim.
        target: The epsilon that the multiplier was solved for; sets the accountant's error.
    """
    full = Mechanism(
        noise_multiplier=mechanism.noise_multiplier,
        sample_rate=mechanism.sample_rate,
        steps=max(total_steps, mechanism.steps),
    )
    claim = prv_epsilon(full, delta=delta, error=target * RELATIVE_TOLERANCE)
    if mechanism.steps >= total_steps:
        return claim
    return min(claim, pld_epsilon(mechanism, delta=delta, interval=target / 1000))
