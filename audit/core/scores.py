"""What scoring writes and the table shows: one record a measured, or unmeasured, quantity."""

import math
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, field_validator

from audit.core.metrics import METRICS


class Outcome(StrEnum):
    """What became of an attack, or of one metric of it."""

    EXECUTED = "executed"
    NOT_RUN = "not_run"
    FAILED = "failed"
    UNDERPOWERED = "underpowered"
    NOT_RESOLVABLE = "not_resolvable"


class Score(BaseModel):
    """One value with its interval, or the reason why there is none.

    Attributes:
        cell: The cell's id, such as ``eps-1``.
        adversary: Whose view the attack had.
        attack: The attack's id.
        metric: An id of ``audit.core.metrics``.
        value, low, high: Point estimate and interval in the metric's unit; null: not measured.
        confidence: Of the interval, as a fraction.
        n: Independent observations behind the value (records, or victims).
        chance: What a guess without information scores: the metric's own chance level, or the
            best prior-only baseline measured on the same victims.
        ceiling: The largest value that this n could have shown; null where it has none.
        bound: The largest value that the claimed mechanism allows any attack; null: none is known.
        method: How value and interval were computed.
        better: The direction in which the attack does better.
        outcome, reason: Whether it was measured, and why not; or what a reader must know of it.
        slice: Which observations: ``all``, or for instance ``batch-1``.
        by: The attack whose value it is, where the largest of several is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    adversary: str
    attack: str
    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    n: int | None = None
    chance: float | None = None
    ceiling: float | None = None
    bound: float | None = None
    method: str = ""
    better: str = ""
    outcome: Outcome = Outcome.EXECUTED
    reason: str | None = None
    slice: str = "all"
    by: str | None = None

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")
        return metric

    @field_validator("value", "low", "high", "confidence", "chance", "ceiling", "bound")
    @classmethod
    def _no_nan(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{value} is not a measurement; what was not measured is null")
        return value


class GroupScore(Score):
    """A score of one group of records, held in ``groups.jsonl`` and not in the table.

    Attributes:
        column: What the groups differ in: ``class``, ``site``, ``hospital`` or a subgroup column.
        group: Which group.
        members, nonmembers: Records of each kind, at least 10.
        p_value: One-sided, against chance.
        adjusted_p_value: After Holm, over all groups, attacks and adversaries of the cell.
    """

    column: str
    group: str
    members: int
    nonmembers: int
    p_value: float
    adjusted_p_value: float
