"""What canaries say of a whole hospital: an estimate beside no claim, and never a bound.

Each hospital of an audit cell is a canary client: its gradient canaries are in or out by coins, so
that together they push in a random direction. How near the release lies to that direction, against
directions that nobody pushed in, estimates the epsilon of a whole hospital with so many records.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core.guesses import MembershipGuess
from audit.core.scores import Outcome, Score
from audit.scoring.origin import CONFIDENCE, Origin, interval_fields

HOSPITAL_EPSILON = "hospital_epsilon_estimate"
HOSPITAL_METRICS = (HOSPITAL_EPSILON,)
HOSPITALS = "hospitals"
LEAST_CLIENTS, LEAST_DIMENSION = 6, 10


def score_hospitals(
    guess: MembershipGuess,
    present: Mapping[str, bool],
    groups: Mapping[str, str],
    *,
    delta: float,
    origin: Origin,
    rng: np.random.Generator,
) -> Score:
    """Estimate epsilon of a whole hospital.

    Args:
        guess: Scores of gradient canaries.
        present: Pseudonym to whether that canary was in.
        groups: Pseudonym to audit cell and hospital.
        delta: At which epsilon is estimated.
        origin: Of the guess.
        rng: For the bootstrap over hospitals.
    """
    names = np.array([groups[name] for name in guess.candidates])
    coins = np.array([1.0 if present[name] else -1.0 for name in guess.candidates])
    clients = [_cosine(coins[names == g], guess.scores[names == g]) for g in np.unique(names)]
    known = [value for value in clients if value is not None]
    if len(known) < LEAST_CLIENTS:
        return origin.score(
            HOSPITAL_EPSILON,
            outcome=Outcome.NOT_RESOLVABLE,
            slice=HOSPITALS,
            reason=f"{len(known)} canary hospitals with {LEAST_DIMENSION} canaries or more, "
            f"expected at least {LEAST_CLIENTS}",
        )
    found = stats.canary_client_epsilon(known, delta=delta, confidence=CONFIDENCE, rng=rng)
    records = sum(present[name] for name in guess.candidates) / len(clients)
    return origin.score(
        HOSPITAL_EPSILON,
        chance=0.0,
        slice=HOSPITALS,
        reason=f"of a hospital of {records:.0f} records that push together; nothing is claimed for "
        "whole hospitals",
        **interval_fields(found),
    )


def score_canary_hospitals(
    guess: MembershipGuess,
    present: Mapping[str, bool],
    *,
    records: int,
    delta: float,
    origin: Origin,
    rng: np.random.Generator,
) -> Score:
    """Estimate epsilon of a whole hospital of nominal size from canary hospitals.

    Args:
        guess: Reading along each direction.
        present: Pseudonym of a direction to whether a hospital pushed along it.
        records: That each of them held.
        delta: At which epsilon is estimated.
        origin: Of the guess.
        rng: For the interval.
    """
    pushed = np.array([present[name] for name in guess.candidates], dtype=np.bool_)
    readings, noise = guess.scores[pushed], guess.scores[~pushed]
    found = stats.pushed_epsilon(readings, noise, delta=delta, confidence=CONFIDENCE, rng=rng)
    alone = stats.clopper_pearson_epsilon_interval(
        len(readings), len(readings), 0, len(noise), delta=delta, confidence=CONFIDENCE
    )
    return origin.score(
        HOSPITAL_EPSILON,
        chance=0.0,
        reason=f"of a hospital of {records} records in unison; nothing is claimed for whole "
        f"hospitals. It follows from the Gaussian fit: {len(readings)} canary hospitals without "
        f"one show at most {alone.ceiling:.1f}",
        **interval_fields(found),
    )


def _cosine(coins: NDArray[np.float64], scores: NDArray[np.float64]) -> float | None:
    """Return the cosine of both, less their means, times the root of the dimension that is left."""
    if len(coins) < LEAST_DIMENSION:
        return None
    pushed, seen = coins - coins.mean(), scores - scores.mean()
    lengths = float(np.linalg.norm(pushed) * np.linalg.norm(seen))
    return float(pushed @ seen) / lengths * (len(coins) - 1) ** 0.5 if lengths > 0 else None
