"""``baseline.json``: what was approved, with all that a later run is held against."""

import json
import math
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from audit.core.adversaries import Adversary
from audit.core.audits import AuditRecord, Verdict
from audit.core.errors import ConfigError, IntegrityError, MissingEvidenceError
from audit.core.metrics import METRICS
from audit.core.scores import Outcome

SCHEMA = "audit-baseline/v1"


def _metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"unknown metric; expected one of {', '.join(METRICS)}")
    return name


MetricId = Annotated[str, AfterValidator(_metric)]


class Part(BaseModel):
    """A part of a baseline: strict, frozen, and without NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Lenient(BaseModel):
    """A part that is read from another record of the run, of which more may be written later."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class CurvePoint(Lenient):
    """Epsilon at one delta."""

    delta: float = Field(ge=0, lt=1)
    epsilon: float = Field(ge=0)


class Aggregation(Lenient):
    """How updates are joined.

    Attributes:
        protocol: ``masked`` or ``plain``.
        clients, colluders: Hospitals, and how many of them may side with the server.
        threshold: So many hospitals are needed to unmask; null where nothing is masked.
    """

    protocol: str
    clients: int
    colluders: int
    threshold: int | None


class GroupFacts(Lenient):
    """What holds for a patient with the most records, all at one hospital.

    Attributes:
        records: So many at most.
        told_by: By what a patient's records were told: identifiers, or being identical.
        epsilon: Of all of them together, at the claim's delta; null at infinity.
    """

    records: int = Field(ge=1)
    told_by: str
    epsilon: float | None


class PrivacyFacts(Lenient):
    """What ``privacy.json`` of a cell says; at infinity the claim's parts are null.

    ``group`` is null in what was written before it was counted.
    """

    unit: str
    adjacency: str
    epsilon_scope: str
    delta: float
    target_epsilon: float | None
    claimed_epsilon: float | None
    accountant: str | None
    recomputed_by: str | None
    noise_source: str | None
    mechanism: dict[str, Any] | None
    curve: tuple[CurvePoint, ...] | None
    aggregation: Aggregation
    group: GroupFacts | None = None


class ClaimFacts(Lenient):
    """The claim against one adversary."""

    adversary: Adversary
    colluders: int
    unit: str
    claimed_epsilon: float
    delta: float
    assumptions: tuple[str, ...]


class Measurement(Lenient):
    """One score of one seed; fields as in ``audit.core.scores``."""

    adversary: Adversary
    attack: str
    metric: MetricId
    slice: str = "all"
    seed: int
    value: float | None
    low: float | None
    high: float | None
    confidence: float | None = Field(gt=0, lt=1)
    n: int | None
    chance: float | None
    method: str
    outcome: Outcome
    reason: str | None = None
    by: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Measurement":
        if self.outcome is Outcome.EXECUTED and self.value is None:
            raise ValueError("value is null although the outcome is executed")
        if self.value is None:
            return self
        if self.low is not None and self.low > self.value:
            raise ValueError(f"low {self.low} is above value {self.value}")
        if self.high is not None and self.high < self.value:
            raise ValueError(f"high {self.high} is below value {self.value}")
        return self

    @property
    def key(self) -> tuple[Adversary, str, str, str]:
        """What is the same in every seed."""
        return self.adversary, self.attack, self.metric, self.slice


class Covered(Part):
    """An attack that ran to its end, and with which budget; null: not recorded."""

    adversary: Adversary
    attack: str
    budget: str | None = None


class ControlFacts(Lenient):
    """Whether an attack detects its positive control; ``detected`` null: it has none."""

    adversary: Adversary
    attack: str
    control: str | None = None
    metric: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    n: int | None = None
    chance: float | None = None
    detected: bool | None
    reason: str | None = None
    code: str | None = None
    budget: str | None = None


class CellFacts(Part):
    """One cell: its guarantee, what attacked it, and what was measured.

    Attributes:
        cell: Its id.
        role: Of the configuration; null: none.
        target_epsilon, claimed_epsilon, delta: Of the claim; epsilons null at infinity.
        claims: One for each adversary.
        privacy: The mechanism and its curve.
        verdict: Of the cell's audits.
        coverage: Attacks that ran to their end in every seed.
        metrics: Every score of every seed.
        audits: Of every seed; not part of a baseline.
    """

    cell: str
    role: Literal["release", "control"] | None
    target_epsilon: float | None
    claimed_epsilon: float | None
    delta: float
    claims: tuple[ClaimFacts, ...]
    privacy: PrivacyFacts
    verdict: Verdict | None
    coverage: tuple[Covered, ...]
    metrics: tuple[Measurement, ...]
    audits: tuple[AuditRecord, ...] = ()

    @property
    def control(self) -> bool:
        """Whether this is the cell without a guarantee to compare with."""
        return self.role == "control"


class RunFacts(Part):
    """Where numbers come from.

    Attributes:
        run_id, config, seed, created, backend: Of ``run.json``.
        reproduction: The noise came from a fixed key.
        dataset: SHA-256 of the data.
        records: Digest of what decides which records are members, victims and held out, but for
            the seed: dataset, split, partition, candidates, probes.
        partition: Digest of the partition.
        models: Cell to the digest of its model's name and options.
        attack_code: Digests of the attack code, as the positive controls recorded them.
        python, packages: Versions.
    """

    run_id: str
    config: str
    seed: int
    created: str
    backend: str
    reproduction: bool
    dataset: str
    records: str
    partition: str
    models: dict[str, str]
    attack_code: tuple[str, ...]
    python: str
    packages: dict[str, str]


class Approval(Part):
    """Who approved, why, when, and until when; the public key that signs, in hexadecimal."""

    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    at: str
    expires: date | None = None
    public_key: str | None = None


class Baseline(Part):
    """An approved run, or several seeds of one configuration."""

    schema_: Literal["audit-baseline/v1"] = Field(alias="schema")
    approved: Approval
    runs: tuple[RunFacts, ...] = Field(min_length=1)
    cells: tuple[CellFacts, ...] = Field(min_length=1)
    controls: tuple[ControlFacts, ...]


def read_baseline(path: Path) -> tuple[Baseline, bytes]:
    """Read and check a baseline; its signature and expiry are not looked at here.

    Returns:
        The baseline and the bytes that it was read from.

    Raises:
        ConfigError: There is no such file.
        IntegrityError: It is not JSON, or a field is missing or malformed.
        MissingEvidenceError: It has another schema, or NaN or infinity in it.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"baseline {path}: no such file") from None
    except OSError as error:
        raise IntegrityError(f"baseline {path}: {error.strerror or error}") from None
    return parse_baseline(content, where=str(path)), content


def parse_baseline(content: bytes, *, where: str) -> Baseline:
    """Check the bytes of a baseline; errors as of ``read_baseline``."""
    try:
        tree = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"baseline {where} is damaged: {error}") from None
    schema = tree.get("schema") if isinstance(tree, dict) else None
    if schema != SCHEMA:
        raise MissingEvidenceError(
            f"baseline {where}: schema is {schema!r}, expected {SCHEMA!r}; approve the run again"
        )
    check_finite(tree, where=f"baseline {where}")
    try:
        return Baseline.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(f"baseline {where}: {field}: {first['msg']}") from None


def check_finite(tree: Any, *, where: str, field: str = "") -> None:
    """Refuse NaN and infinity anywhere in a JSON tree.

    Raises:
        MissingEvidenceError: Names the field.
    """
    if isinstance(tree, float) and not math.isfinite(tree):
        raise MissingEvidenceError(
            f"{where}: {field} is {tree}, which is no measurement; what was not measured is null"
        )
    if isinstance(tree, dict):
        items: Any = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    else:
        return
    for key, value in items:
        check_finite(value, where=where, field=f"{field}.{key}" if field else str(key))
