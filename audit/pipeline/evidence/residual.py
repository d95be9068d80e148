"""What remains of membership risk, in patients out of 10,000."""

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

from audit import stats
from audit.core.adversaries import PASSIVE
from audit.core.scores import Score
from audit.formats.evidence import ResidualRisk
from audit.scoring import STRONGEST

PATIENTS = 10_000
RATES = {"tpr_at_fpr_0.01": 0.01, "tpr_at_fpr_0.001": 0.001}


def residual_risk(
    leakage: Sequence[Score], privacy: Mapping[str, Any], *, void: bool
) -> list[ResidualRisk]:
    """Return for each adversary what was shown, and what the claim allows.

    Args:
        leakage: Of one cell.
        privacy: Content of the cell's ``privacy.json``.
        void: Whether its noise can be reproduced.
    """
    found = {
        (score.adversary, score.metric): score
        for score in leakage
        if score.attack == STRONGEST and score.slice == "all"
    }
    curve = _curve(privacy)
    rows = []
    for adversary in PASSIVE:
        for metric, rate in RATES.items():
            score = found.get((adversary.value, metric))
            if score is None and (adversary.value, "auc") not in found:
                continue
            low = None if score is None else score.low
            rows.append(
                ResidualRisk(
                    adversary=adversary.value,
                    false_positive_rate=rate,
                    by_chance=round(PATIENTS * rate),
                    at_least=None if low is None else floor(PATIENTS * low),
                    at_most=None
                    if curve is None
                    else ceil(
                        PATIENTS * stats.most_true_positives(curve, false_positive_rate=rate)
                    ),
                    void=void and curve is not None,
                )
            )
    return rows


def _curve(privacy: Mapping[str, Any]) -> list[tuple[float, float]] | None:
    """Return the curve, and the claim itself: both accountants bound from above."""
    if privacy["curve"] is None:
        return None
    points = [(float(point["epsilon"]), float(point["delta"])) for point in privacy["curve"]]
    return [*points, (float(privacy["claimed_epsilon"]), float(privacy["delta"]))]
