"""What a history holds: runs as they stood, what was decided about them, values over time.

Aggregates only: no record, no score of a record, no key, and no text that an attack wrote.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from audit.core.adversaries import Adversary
from audit.core.audits import Verdict
from audit.core.scores import Outcome
from audit.formats.baseline import CellFacts, MetricId, RunFacts
from audit.formats.gate import Decision


class Stored(BaseModel):
    """What is read from a history: frozen, and without NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Accuracy(Stored):
    """Of the released model, as fractions; null: not measured."""

    accuracy: float | None = Field(default=None, ge=0, le=1)
    accuracy_low: float | None = Field(default=None, ge=0, le=1)
    accuracy_high: float | None = Field(default=None, ge=0, le=1)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A run as it stood when it was recorded; attacking it again makes another one.

    Args:
        run: Where the numbers come from.
        table_sha256: Of ``table.json``, which tells a run's snapshots apart.
        cells: Guarantees and measurements.
        accuracy: Cell to accuracy.
    """

    run: RunFacts
    table_sha256: str
    cells: tuple[CellFacts, ...]
    accuracy: Mapping[str, Accuracy]


class Event(Stored):
    """An approval, or a gate.

    Attributes:
        kind: Which.
        at: When.
        baseline_sha256: Of the baseline that was made, or held against.
        by, reason, expires: Who approved, why, and until when; of a gate, who approved the
            baseline.
        policy_sha256, signature, decision, exit_code: Of a gate.
    """

    kind: Literal["approved", "gated"]
    at: AwareDatetime
    baseline_sha256: str
    by: str
    reason: str | None = None
    expires: date | None = None
    policy_sha256: str | None = None
    signature: str | None = None
    decision: Decision | None = None
    exit_code: int | None = None


class RecordedCell(Accuracy):
    """A cell's guarantee and utility.

    Attributes:
        cell, role: Its id, and what it is to the configuration.
        target_epsilon, claimed_epsilon: Null at infinity.
        verdict: Of its audits; null: none.
    """

    cell: str
    role: Literal["release", "control"] | None
    target_epsilon: float | None
    claimed_epsilon: float | None
    delta: float
    verdict: Verdict | None


class RecordedRun(Stored):
    """A snapshot without its measurements, with what was decided about it.

    Attributes:
        number: Of the snapshot in the file.
        run_id, config, seed, created, backend, python, packages: Of ``run.json``.
        reproduction: The noise came from a fixed key: no guarantee.
        dataset, records, partition: Digests; values compare over time where they stay.
        table_sha256: Of ``table.json`` as it stood.
        attack_code: Digests of the attack code.
        recorded: When this was written.
        cells: In the order of the run.
        events: By time.
    """

    number: int
    run_id: str
    config: str
    seed: int
    created: AwareDatetime
    backend: str
    reproduction: bool
    dataset: str
    records: str
    partition: str
    python: str
    packages: dict[str, str]
    table_sha256: str
    attack_code: tuple[str, ...]
    recorded: AwareDatetime
    cells: tuple[RecordedCell, ...]
    events: tuple[Event, ...]

    @property
    def gate(self) -> Event | None:
        """The last gate, or None."""
        return next((e for e in reversed(self.events) if e.kind == "gated"), None)

    @property
    def approvals(self) -> tuple[Event, ...]:
        """All of them, by time."""
        return tuple(e for e in self.events if e.kind == "approved")


class Point(Stored):
    """One measurement of a series.

    Attributes:
        number: Of the snapshot.
        value, low, high, confidence, n, chance, outcome, by: As in ``audit.core.scores``.
        claimed_epsilon, delta, unit: The claim against this adversary; null: none is recorded.
    """

    number: int
    value: float | None
    low: float | None
    high: float | None
    confidence: float | None
    n: int | None
    chance: float | None
    outcome: Outcome
    by: str | None
    claimed_epsilon: float | None = None
    delta: float | None = None
    unit: str | None = None


class Series(Stored):
    """One quantity over time, of one configuration; its points are in the order of the runs."""

    config: str
    cell: str
    adversary: Adversary
    attack: str
    metric: MetricId
    slice: str
    points: tuple[Point, ...]


class HistoryView(Stored):
    """What was asked of a history: runs by time, and series of them."""

    schema_: Literal["audit-history/v1"] = Field(default="audit-history/v1", alias="schema")
    runs: tuple[RecordedRun, ...]
    series: tuple[Series, ...]
