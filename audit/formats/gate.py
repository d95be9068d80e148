"""``gate.json``: every check of a gate with its numbers, its decision and its reason."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Decision(StrEnum):
    """What a check came to."""

    PASS = "pass"  # noqa: S105 - a decision, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    INCOMPARABLE = "incomparable"


EXIT_CODES = {
    Decision.PASS: 0,
    Decision.FAIL: 1,
    Decision.INCONCLUSIVE: 3,
    Decision.INCOMPARABLE: 4,
}
"""From a decision to the exit code of the command line."""

WORST_FIRST = (Decision.FAIL, Decision.INCOMPARABLE, Decision.INCONCLUSIVE, Decision.PASS)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Side(_Strict):
    """A value with its interval, of one side or of the difference.

    Attributes:
        value, low, high: In the metric's unit; of several seeds the mean, with no interval.
        confidence: Of the interval.
        n: Observations of each seed, the smallest.
        seeds: How many.
        by: The attack whose value it is.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    n: int | None = None
    seeds: int = 1
    by: str | None = None


class Check(_Strict):
    """One thing that was checked.

    Attributes:
        rule: ``limit``, ``margin``, ``audit``, or a guarantee such as ``claim`` or ``coverage``.
        cell, baseline_cell: Which cells; null: the whole run.
        adversary, attack, metric, slice: Of the score; null where it is about none.
        level: Whether it moves the exit code.
        decision, reason: What it came to, and why, in words.
        advice: What would make an inconclusive check conclusive.
        needed_n, needed_seeds: Observations of each seed, or seeds, a side that would decide if the
            estimate stayed where it is; extrapolated.
        run, baseline, rise: The two sides and the difference, turned so that up is more leak.
        threshold: The limit, or the margin.
        alpha: Of the rule.
        p_value, adjusted_p_value: One-sided, of no rise; after Holm over all checks of the gate.
        method: How the difference was computed.
        waived_by: Owner of the waiver that keeps it out of the exit code.
    """

    rule: str
    cell: str | None = None
    baseline_cell: str | None = None
    adversary: str | None = None
    attack: str | None = None
    metric: str | None = None
    slice: str | None = None
    level: Literal["warn", "error"] = "error"
    decision: Decision
    reason: str
    advice: str | None = None
    needed_n: int | None = None
    needed_seeds: int | None = None
    run: Side | None = None
    baseline: Side | None = None
    rise: Side | None = None
    threshold: float | None = None
    alpha: float | None = None
    p_value: float | None = None
    adjusted_p_value: float | None = None
    method: str | None = None
    waived_by: str | None = None

    @property
    def name(self) -> str:
        """Unique in a gate."""
        parts = (self.rule, self.adversary, self.attack, self.metric, self.slice)
        return " ".join(part for part in parts if part is not None)

    @property
    def counts(self) -> bool:
        """Whether it moves the exit code."""
        return self.level == "error" and self.waived_by is None


class GateRecord(_Strict):
    """A whole gate.

    Attributes:
        created: When, UTC.
        runs: Ids of the runs that were gated.
        baseline: SHA-256 of the baseline's file, who approved it and when.
        signature: ``valid``, ``none``, or how far it was checked.
        policy: SHA-256 of the policy's file.
        decision, exit_code: The worst check that counts.
        checks: All of them.
        notes: What explains a change, and what was left out.
    """

    schema_: Literal["audit-gate/v1"] = Field(alias="schema")
    created: str
    runs: tuple[str, ...]
    baseline: str
    approved_by: str
    approved_at: str
    signature: str
    policy: str
    alpha: float
    decision: Decision
    exit_code: int
    checks: tuple[Check, ...]
    notes: tuple[str, ...]


def worst(checks: tuple[Check, ...]) -> Decision:
    """Return the worst decision among the checks that count."""
    found = {check.decision for check in checks if check.counts}
    return next((decision for decision in WORST_FIRST if decision in found), Decision.PASS)
