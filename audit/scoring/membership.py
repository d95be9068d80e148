"""Scores of membership guesses."""

from collections.abc import Mapping

import numpy as np

from audit import stats
from audit.core.guesses import MembershipGuess
from audit.core.scores import Outcome, Score
from audit.scoring.origin import CONFIDENCE, Origin, interval_fields

FALSE_POSITIVE_RATES = ("0.1", "0.01", "0.001")
MEMBERSHIP_METRICS = ("auc", *(f"tpr_at_fpr_{rate}" for rate in FALSE_POSITIVE_RATES))


def score_membership(
    guess: MembershipGuess, member: Mapping[str, bool], origin: Origin
) -> list[Score]:
    """Score a membership guess: AUC, and TPR at fixed FPRs where n resolves them.

    Args:
        guess: Scores by pseudonym.
        member: The truth.
        origin: Where the guess came from.

    Raises:
        ValueError: A score is NaN, or the guess and the truth name different candidates.
    """
    if set(guess.candidates) != set(member):
        raise ValueError("the guess and the truth name different candidates")
    bits = np.array([member[name] for name in guess.candidates])
    inside, outside = guess.scores[bits], guess.scores[~bits]
    area = stats.auc_interval(inside, outside, CONFIDENCE)
    scores = [origin.score("auc", chance=0.5, **interval_fields(area), ceiling=1.0)]
    graded = len(np.unique(guess.scores)) > 2
    for rate in FALSE_POSITIVE_RATES:
        metric, fpr = f"tpr_at_fpr_{rate}", float(rate)
        if not graded:
            reason = "this attack answers only yes or no"
            scores.append(
                origin.score(metric, outcome=Outcome.NOT_RESOLVABLE, reason=reason, chance=fpr)
            )
            continue
        if not stats.resolvable(fpr, len(outside)):
            reason = f"{len(outside)} non-members do not resolve an FPR of {rate}"
            scores.append(
                origin.score(metric, outcome=Outcome.NOT_RESOLVABLE, reason=reason, chance=fpr)
            )
            continue
        found = stats.tpr_at_fpr_interval(inside, outside, fpr, CONFIDENCE)
        scores.append(origin.score(metric, chance=fpr, **interval_fields(found), ceiling=1.0))
    return scores
