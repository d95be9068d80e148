"""From a target epsilon to a noise multiplier, and back by an independent accountant."""

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache

from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from opacus.accountants import PRVAccountant
from opacus.accountants.utils import get_noise_multiplier

from audit.core.errors import PrivacyClaimError

warnings.filterwarnings("ignore", module=r"opacus\.accountants\..*")

RELATIVE_TOLERANCE = 1 / 200
"""Error of the accountant and tolerance of the search, each as a part of the target."""

LOOSE = 0.05
"""A claim is called loose when the independent value lies further below it than this part."""


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
    """Return the smallest noise multiplier found whose PRV epsilon is not above the target.

    The claim at this multiplier lies within 1 % below the target.

    Raises:
        PrivacyClaimError: No noise multiplier reaches the target.
    """
    tolerance = target_epsilon * RELATIVE_TOLERANCE
    try:
        return float(
            get_noise_multiplier(
                target_epsilon=target_epsilon,
                target_delta=delta,
                sample_rate=sample_rate,
                steps=steps,
                accountant="prv",
                epsilon_tolerance=tolerance,
                eps_error=tolerance,
            )
        )
    except ValueError as error:
        raise PrivacyClaimError(
            f"no noise multiplier reaches epsilon {target_epsilon:g} at delta {delta:g} with "
            f"sampling rate {sample_rate:g} over {steps} steps: {error}"
        ) from None


@lru_cache(maxsize=256)
def prv_epsilon(mechanism: Mechanism, *, delta: float, error: float) -> float:
    """Return the upper bound on epsilon by Opacus' PRV accountant.

    Args:
        mechanism: What was executed.
        delta: Of the claim.
        error: Discretisation error that the bound includes, in epsilon.
    """
    accountant = PRVAccountant()
    accountant.history = [(mechanism.noise_multiplier, mechanism.sample_rate, mechanism.steps)]
    return float(accountant.get_epsilon(delta=delta, eps_error=error))


@lru_cache(maxsize=256)
def pld_epsilon(mechanism: Mechanism, *, delta: float, interval: float = 1e-4) -> float:
    """Return epsilon by dp-accounting's privacy loss distributions, add/remove adjacency."""
    accountant = PLDAccountant(value_discretization_interval=interval)
    gaussian = dp_event.GaussianDpEvent(mechanism.noise_multiplier)
    step = (
        gaussian
        if mechanism.sample_rate >= 1.0
        else dp_event.PoissonSampledDpEvent(mechanism.sample_rate, gaussian)
    )
    accountant.compose(step, mechanism.steps)
    return float(accountant.get_epsilon(delta))


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

    Before the last step the accountant runs at twice the claim's error, for speed; the value is
    still an upper bound, and never above the claim for all steps.

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
    return min(
        claim, prv_epsilon(mechanism, delta=delta, error=2 * target * RELATIVE_TOLERANCE)
    )
