"""What became of an attack's positive control: the same code where it must succeed."""

import math
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

CONTROL_SCHEMA: Literal["audit-control/v1"] = "audit-control/v1"


class ControlKind(StrEnum):
    """What an attack must find in its control."""

    OVERFIT = "overfit"
    PROBE = "probe"
    CANARY = "canary"
    FAULT = "fault"
    ATTRIBUTE = "attribute"
    NONE = "none"


class ControlRecord(BaseModel):
    """One attack of one adversary on its positive control: a line of ``controls.jsonl``.

    Attributes:
        schema_: ``schema`` on disk.
        adversary, attack: Whose control it is.
        control: What there was to find; ``overfit``: records learned by heart, ``probe``: single
            records, ``canary``: canaries without noise, ``fault``: a planted fault, ``attribute``:
            an attribute that only the model tells, ``none``: there is no control.
        metric: By which it is judged; null: there is no control.
        value, low, high, confidence, n, chance: As in a score.
        detected: Whether the interval lies above chance; null: the control says nothing.
        reason: Why it says nothing, or what a reader must know.
        code: SHA-256 of the attacks' sources that ran.
        budget: Of the attack.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["audit-control/v1"] = Field(default=CONTROL_SCHEMA, alias="schema")
    adversary: str
    attack: str
    control: ControlKind
    metric: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    n: int | None = None
    chance: float | None = None
    detected: bool | None = None
    reason: str | None = None
    code: str
    budget: str

    @field_validator("value", "low", "high", "confidence", "chance")
    @classmethod
    def _no_nan(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{value} is not a measurement; what was not measured is null")
        return value

    @model_validator(mode="after")
    def _judged_by_interval(self) -> "ControlRecord":
        """Refuse a verdict that the numbers beside it do not give."""
        if self.detected is None:
            if self.reason is None:
                raise ValueError("detected is null without a reason")
        elif self.low is None or self.chance is None:
            if self.detected:
                raise ValueError("detected without an interval and a chance level")
        elif self.detected != (self.low > self.chance):
            raise ValueError(
                f"detected {self.detected} with low {self.low} and chance {self.chance}: "
                "expected true where low is above chance, and only there"
            )
        return self

    @property
    def name(self) -> str:
        """Unique in a run."""
        return f"{self.adversary}/{self.attack}"
