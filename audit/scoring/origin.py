"""Where a score comes from, and what scoring of every family shares."""

from dataclasses import dataclass

from audit import stats
from audit.core.metrics import METRICS
from audit.core.scores import Outcome, Score

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a guess came from: the part of a score that scoring does not compute.

    Args:
        cell: The cell's id.
        adversary: Whose view it was.
        attack: The attack's id.
    """

    cell: str
    adversary: str
    attack: str

    def score(self, metric: str, **values: object) -> Score:
        """Return a score of this origin; the direction comes from the table of metrics."""
        return Score.model_validate(
            {
                "cell": self.cell,
                "adversary": self.adversary,
                "attack": self.attack,
                "metric": metric,
                "better": METRICS[metric].leaks.value,
                **values,
            }
        )


def unmeasured(
    origin: Origin, metrics: tuple[str, ...], outcome: Outcome, reason: str
) -> list[Score]:
    """Return the scores of an attack that gave no guess: every metric, with the reason."""
    return [origin.score(metric, outcome=outcome, reason=reason) for metric in metrics]


def interval_fields(found: stats.Interval) -> dict[str, object]:
    """Return the fields of a score that an interval fills."""
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "confidence": found.confidence,
        "n": found.n,
        "method": found.method,
    }
