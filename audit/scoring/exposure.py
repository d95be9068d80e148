"""Single records: which are exposed most, and the ROC over all of them."""

from typing import Any

import numpy as np

from audit.core.guesses import MembershipGuess
from audit.scoring.membership import judge
from audit.vault import MembershipTruth

MOST = 20
"""Exposed records that are kept, in the run's secrets."""

CURVE = 200
"""Points of a stored ROC."""


def most_exposed(guess: MembershipGuess, truth: MembershipTruth) -> list[dict[str, Any]]:
    """Return the members with the highest scores, most exposed first; patients' data.

    Each with the false-positive rate of a threshold at its score: the share of non-members that
    would be accused with it.

    Args:
        guess: Scores by pseudonym.
        truth: Members, hospitals and groups.
    """
    judged = judge(guess, truth)
    outside = np.sort(judged.outside)
    inside = np.flatnonzero(judged.member)
    chosen = inside[np.argsort(-judged.scores[inside], kind="stable")[:MOST]]
    return [
        {
            "candidate": judged.ids[i],
            "score": float(judged.scores[i]),
            "false_positive_rate": 1
            - int(np.searchsorted(outside, judged.scores[i])) / len(outside),
            "hospital": truth.hospital[judged.ids[i]],
            **{column: named[judged.ids[i]] for column, named in truth.groups.items()},
        }
        for i in chosen
        if np.isfinite(judged.scores[i])
    ]


def roc_points(guess: MembershipGuess, truth: MembershipTruth) -> list[tuple[float, float]]:
    """Return points (FPR, TPR) of the ROC, spaced for a logarithmic axis.

    Args:
        guess: Scores by pseudonym.
        truth: Members and others.
    """
    judged = judge(guess, truth)
    inside, outside = np.sort(judged.inside), np.sort(judged.outside)
    thresholds = np.unique(judged.scores)[::-1]
    false = 1 - np.searchsorted(outside, thresholds) / len(outside)
    true = 1 - np.searchsorted(inside, thresholds) / len(inside)
    wanted = np.geomspace(1 / len(outside), 1, CURVE)
    kept = sorted({int(np.searchsorted(false, level, side="right")) - 1 for level in wanted} - {-1})
    return [(float(false[i]), float(true[i])) for i in kept]
