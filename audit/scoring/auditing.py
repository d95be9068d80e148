"""Guesses about canaries beside the truth: bounds on epsilon, and the evidence against a claim.

The claim that is tested is the accountant's whole curve: the stated number of steps of the stated
mechanism is (epsilon, delta)-DP at every point of it, and the claimed epsilon is one of them. One
test is fixed in advance for each audit: exact bounds on its two error rates against that curve. It
asks nothing of how scores are distributed. The bound beside it is in the family of the claimed
mechanism with any noise, and says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from audit import stats
from audit.core.audits import AuditRecord
from audit.core.guesses import MembershipGuess
from audit.core.scores import Score
from audit.scoring.origin import CONFIDENCE, Origin

EPSILON = "empirical_epsilon_lower_bound"
AUDIT_METRICS = (EPSILON,)
UNCONDITIONAL = "any-mechanism"
"""Slice of the bound that is conditional on no family of mechanisms."""


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """What a cell claims of each hospital's mechanism.

    Args:
        epsilon: Over all rounds; None: nothing is claimed.
        delta: Of the claim.
        noise_multiplier, sample_rate, steps: Of the Poisson-subsampled Gaussian mechanism.
    """

    epsilon: float | None
    delta: float
    noise_multiplier: float | None
    sample_rate: float
    steps: int


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What came out of one audit.

    Args:
        scores: For the table.
        record: With its p-values; not judged yet.
    """

    scores: list[Score]
    record: AuditRecord


@dataclass(frozen=True)
class _Counts:
    """Canaries that were in and called so, that were in, out and called in, out."""

    hits: int
    inside: int
    alarms: int
    outside: int

    @property
    def right(self) -> "_Counts":
        """The same canaries, all called right."""
        return _Counts(self.inside, self.inside, 0, self.outside)

    @property
    def all(self) -> tuple[int, int, int, int]:
        return self.hits, self.inside, self.alarms, self.outside


def score_audit(
    guess: MembershipGuess, present: Mapping[str, bool], claimed: Claimed, origin: Origin
) -> Audited:
    """Score canaries that are independent of each other: in is called what scores above 0.

    Args:
        guess: Scores whose threshold, 0, was fixed before the truth was seen.
        present: Pseudonym to whether that canary was in.
        claimed: By the cell.
        origin: Of the guess.
    """
    counts = _count(guess, present)
    bound = _family_bound(counts, claimed)
    pure = stats.clopper_pearson_epsilon_interval(
        *counts.all, delta=claimed.delta, confidence=CONFIDENCE
    )
    p_value, best = _evidence(counts, claimed), _evidence(counts.right, claimed)
    if guess.coincidence is not None and p_value is not None:  # its own test, fixed beforehand too
        p_value, best = guess.coincidence.chance, guess.coincidence.least
    record = _record(origin, guess, counts, claimed, bound).model_copy(
        update={
            "p_value": p_value,
            "best_p_value": best,
            "reversal_p_value": stats.rank_reversal_p_value(*counts.all),
        }
    )
    scores = [
        bound_score(origin, bound, slice="all"),
        bound_score(origin, pure, slice=UNCONDITIONAL),
    ]
    return Audited(scores=scores, record=record)


def score_one_run(
    guess: MembershipGuess, present: Mapping[str, bool], claimed: Claimed, origin: Origin
) -> Audited:
    """Score guesses about canaries of a single run, which may depend on each other.

    Args:
        guess: Above 0 means in; how many canaries it is about was fixed beforehand.
        present: Pseudonym to whether that canary was in; all canaries of the run.
        claimed: By the cell.
        origin: Of the guess.
    """
    counts = _count(guess, present)
    right, guesses = counts.hits + counts.outside - counts.alarms, len(guess.candidates)
    shared = len(present), guesses, right
    pure = stats.one_run_epsilon_interval(*shared, delta=claimed.delta, confidence=CONFIDENCE)
    family = stats.one_run_fdp_epsilon_interval(*shared, delta=claimed.delta, confidence=CONFIDENCE)
    p_values: list[float | None] = [None, None]
    if claimed.epsilon is not None:
        p_values = [
            stats.one_run_p_value(
                len(present), guesses, count, epsilon=claimed.epsilon, delta=claimed.delta
            )
            for count in (right, guesses)
        ]
    record = _record(origin, guess, counts, claimed, pure).model_copy(
        update={
            "p_value": p_values[0],
            "best_p_value": p_values[1],
            "reversal_p_value": float(special.bdtr(right, guesses, 0.5)) if guesses else None,
        }
    )
    scores = [
        bound_score(origin, family, slice="all"),
        bound_score(origin, pure, slice=UNCONDITIONAL),
    ]
    return Audited(scores=scores, record=record)


def bound_score(origin: Origin, bound: stats.EpsilonBound, *, slice: str) -> Score:
    """Return a lower bound as a score: there is no upper end."""
    return origin.score(
        EPSILON,
        value=bound.low,
        low=bound.low,
        confidence=bound.confidence,
        n=bound.n,
        chance=0.0,
        ceiling=bound.ceiling,
        method=bound.method,
        slice=slice,
    )


def _count(guess: MembershipGuess, present: Mapping[str, bool]) -> _Counts:
    was_in = np.array([present[name] for name in guess.candidates], dtype=np.bool_)
    called = guess.scores > 0
    return _Counts(
        int((called & was_in).sum()),
        int(was_in.sum()),
        int((called & ~was_in).sum()),
        int((~was_in).sum()),
    )


def _record(
    origin: Origin,
    guess: MembershipGuess,
    counts: _Counts,
    claimed: Claimed,
    bound: stats.EpsilonBound,
) -> AuditRecord:
    """Return an audit's record, its p-values still to come."""
    return AuditRecord(
        cell=origin.cell,
        adversary=origin.adversary,
        attack=origin.attack,
        claimed_epsilon=claimed.epsilon,
        delta=claimed.delta,
        lower_bound=bound.low,
        method=bound.method,
        confidence=bound.confidence,
        n=bound.n,
        ceiling=bound.ceiling,
        guessed_in=counts.hits,
        inside=counts.inside,
        guessed_in_wrongly=counts.alarms,
        outside=counts.outside,
        p_value=None,
        best_p_value=None,
        reversal_p_value=None,
        note=guess.note,
    )


def _family_bound(counts: _Counts, claimed: Claimed) -> stats.EpsilonBound:
    delta, confidence = claimed.delta, CONFIDENCE
    if claimed.noise_multiplier is None or claimed.sample_rate >= 1:
        return stats.gaussian_dp_epsilon_interval(*counts.all, delta=delta, confidence=confidence)
    return stats.poisson_gaussian_epsilon_interval(
        *counts.all,
        sample_rate=claimed.sample_rate,
        steps=claimed.steps,
        delta=delta,
        confidence=confidence,
    )


def _evidence(counts: _Counts, claimed: Claimed) -> float | None:
    """Return the p-value of the claimed curve; None: there is none."""
    if claimed.noise_multiplier is None:
        return None
    curve = stats.poisson_gaussian_curve(
        noise_multiplier=claimed.noise_multiplier,
        sample_rate=claimed.sample_rate,
        steps=claimed.steps,
    )
    return stats.curve_p_value(*counts.all, curve=curve)
