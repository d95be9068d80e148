"""What a DP audit found: a lower bound beside the claim, and a verdict."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Verdict(StrEnum):
    """What an audit says of a claim."""

    VIOLATED = "violated"
    CONSISTENT = "consistent"
    UNDERPOWERED = "underpowered"


class AuditRecord(BaseModel):
    """One audit of one cell's claim, by one adversary's view.

    Attributes:
        cell, adversary, attack: Where it comes from.
        about: ``recipe``: the cell's claim; ``probe``: the claim of a probe, a release of its own.
        unit: Of the claim and the bound alike.
        claimed_epsilon, delta: The claim against this adversary; null: nothing is claimed.
        lower_bound: Epsilon is at least this, at ``delta``, in nats.
        method: How the bound was computed, and what it is conditional on.
        confidence: Of the bound, one-sided.
        n: Canaries, or guesses about canaries.
        ceiling: The bound if every guess had been right.
        guessed_in, inside, guessed_in_wrongly, outside: Canaries that were in and called so, that
            were in, that were out and called in, that were out, among those guessed about.
        p_value: Of the claim, one-sided; null: nothing is claimed.
        best_p_value: The same if every guess had been right: what this n could show at most.
        reversal_p_value: Of scores and truth agreeing; small: members and others are swapped; null:
            this audit has no such test.
        adjusted_p_value, adjusted_reversal_p_value: After Holm over all tests of the run.
        tests: How many those are.
        accuracy_change, accuracy_change_low, accuracy_change_high: What canary records cost: an
            audit model's accuracy minus the released one's on the same held-out records, with a
            paired 95 % interval over records. The two models' own DP noise is in the change and
            not in the interval. Null for gradient canaries, which move no prediction.
        verdict: Null where nothing is claimed.
        note: What the audit says of itself, such as how much was tried.
        reason: What a reader must know of the verdict.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    adversary: str
    attack: str
    about: Literal["recipe", "probe"] = "recipe"
    unit: str = "record"
    claimed_epsilon: float | None
    delta: float
    lower_bound: float
    method: str
    confidence: float
    n: int
    ceiling: float
    guessed_in: int
    inside: int
    guessed_in_wrongly: int
    outside: int
    p_value: float | None
    best_p_value: float | None
    reversal_p_value: float | None
    note: str | None = None
    adjusted_p_value: float | None = None
    adjusted_reversal_p_value: float | None = None
    tests: int | None = None
    accuracy_change: float | None = None
    accuracy_change_low: float | None = None
    accuracy_change_high: float | None = None
    verdict: Verdict | None = None
    reason: str | None = None

    @property
    def name(self) -> str:
        """Unique in a run."""
        return f"{self.cell}/{self.adversary}/{self.attack}"
