"""What canary hospitals say of a whole hospital: an estimate beside no claim, and never a bound."""

from collections.abc import Mapping

import numpy as np

from audit import stats
from audit.core.guesses import MembershipGuess
from audit.core.scores import Score
from audit.scoring.origin import CONFIDENCE, Origin, interval_fields

HOSPITAL_EPSILON = "hospital_epsilon_estimate"
HOSPITAL_METRICS = (HOSPITAL_EPSILON,)


def score_hospitals(
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
