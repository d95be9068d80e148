"""The one table of metric ids: unit, direction, chance. Nothing else defines a metric's name."""

from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """Which way a metric's leakage grows."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric.

    Args:
        id: The stable id of tables, policies and reports.
        title: A heading for people.
        unit: Unit of the value; "1" is a plain number or a fraction.
        leaks: The direction in which a larger leak lies.
        chance: What a guess without information scores; None: it has no fixed chance level and a
            baseline is measured beside it.
    """

    id: str
    title: str
    unit: str
    leaks: Direction
    chance: float | None


_ALL = (
    Metric(id="auc", title="AUC", unit="1", leaks=Direction.UP, chance=0.5),
    Metric(id="tpr_at_fpr_0.1", title="TPR at 10 % FPR", unit="1", leaks=Direction.UP, chance=0.1),
    Metric(id="tpr_at_fpr_0.01", title="TPR at 1 % FPR", unit="1", leaks=Direction.UP, chance=0.01),
    Metric(
        id="tpr_at_fpr_0.001",
        title="TPR at 0.1 % FPR",
        unit="1",
        leaks=Direction.UP,
        chance=0.001,
    ),
    Metric(id="advantage", title="advantage", unit="1", leaks=Direction.UP, chance=0.0),
    Metric(
        id="hospital_accuracy",
        title="members' hospital named",
        unit="1",
        leaks=Direction.UP,
        chance=None,
    ),
    Metric(
        id="empirical_epsilon_lower_bound",
        title="empirical epsilon, lower bound",
        unit="nat",
        leaks=Direction.UP,
        chance=0.0,
    ),
    Metric(
        id="hospital_epsilon_estimate",
        title="epsilon of a whole hospital, estimate",
        unit="nat",
        leaks=Direction.UP,
        chance=0.0,
    ),
    Metric(id="ssim", title="SSIM", unit="1", leaks=Direction.UP, chance=None),
    Metric(
        id="ssim_over_baseline",
        title="SSIM above the best baseline",
        unit="1",
        leaks=Direction.UP,
        chance=0.0,
    ),
    Metric(id="psnr", title="PSNR", unit="dB", leaks=Direction.UP, chance=None),
    Metric(id="mse", title="MSE", unit="squared input", leaks=Direction.DOWN, chance=None),
    Metric(id="lpips", title="LPIPS", unit="1", leaks=Direction.DOWN, chance=None),
    Metric(
        id="identification_rate_10",
        title="identified among 10",
        unit="1",
        leaks=Direction.UP,
        chance=0.1,
    ),
    Metric(
        id="identification_rate_100",
        title="identified among 100",
        unit="1",
        leaks=Direction.UP,
        chance=0.01,
    ),
    Metric(
        id="label_accuracy", title="labels recovered", unit="1", leaks=Direction.UP, chance=None
    ),
    Metric(
        id="field_accuracy", title="fields recovered", unit="1", leaks=Direction.UP, chance=None
    ),
    Metric(
        id="attribute_accuracy",
        title="hidden attribute guessed",
        unit="1",
        leaks=Direction.UP,
        chance=None,
    ),
    Metric(
        id="attribute_advantage",
        title="hidden attribute guessed, above imputation",
        unit="1",
        leaks=Direction.UP,
        chance=0.0,
    ),
    Metric(
        id="attribute_advantage_gap",
        title="attribute advantage of members above non-members",
        unit="1",
        leaks=Direction.UP,
        chance=0.0,
    ),
)

METRICS = {metric.id: metric for metric in _ALL}
