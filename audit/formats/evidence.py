"""The canonical record of an audit, ``audit.json``: every other output is a rendering of it.

Nothing in it is about one person: counts, rates and intervals of at least ten records, and of
probes; no record id, no score of one record, no picture.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from audit.core.audits import AuditRecord
from audit.core.controls import ControlRecord
from audit.core.scores import GroupScore, Score


class Part(BaseModel):
    """What every part of the record is: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RunFacts(Part):
    """Which run this is, and what it ran with.

    Attributes:
        id, config, created, seed, backend: As in ``run.json``.
        finished: Time of the last event of training or attacking.
        reproduction: Whether a fixed noise key makes every guarantee void.
        python, packages: Versions.
        recording_sha256: Of the run's manifest: which recording was attacked.
        budgets: Of the calls of ``audit attack``, in order.
    """

    id: str
    config: str
    created: str
    finished: str
    seed: int
    backend: str
    reproduction: bool
    python: str
    packages: dict[str, str]
    recording_sha256: str
    budgets: list[str]


class Federation(Part):
    """Who trained, on what, and how their updates were joined.

    Attributes:
        dataset, dataset_sha256: Of the source.
        public: Whether its records may be shown.
        hospitals: Their names.
        partition: How records were spread over them.
        nominal_records: Public size of a hospital; the exact one is itself data.
        protocol, threshold, colluders: Of secure aggregation; threshold null: in the clear.
        pretrained: Whether the model started from records that every adversary knows.
    """

    dataset: str
    dataset_sha256: str
    public: bool
    hospitals: list[str]
    partition: str
    nominal_records: int
    protocol: str
    threshold: int | None
    colluders: int
    pretrained: bool


class RoundFacts(Part):
    """One round as it was executed.

    Attributes:
        round: From 1.
        survivors: Hospitals whose update is in the sum.
        spent_epsilon: Hospital to what it had spent up to and with this round; null without DP.
        refusals: Hospital to why it refused.
        failure: Why the round left the model as it was; null: it did not.
    """

    round: int
    survivors: list[str]
    spent_epsilon: dict[str, float | None]
    refusals: dict[str, str]
    failure: str | None


class GroupUtility(Part):
    """Accuracy of one group of records; null where it is too small to be shown.

    Attributes:
        column: ``class``, ``site``, a subgroup's, or ``hospital`` (its own training records).
        group: Which.
        n: Records.
        accuracy, low, high: Fractions, Wilson 95 %.
        change: Accuracy minus that of the cell without DP; null where there is none.
    """

    column: str
    group: str
    n: int | None
    accuracy: float | None
    low: float | None
    high: float | None
    change: float | None


class Roc(Part):
    """The ROC of one adversary's strongest membership attack, thinned.

    Attributes:
        adversary, attack: Which.
        points: Pairs of false-positive and true-positive rate.
    """

    adversary: str
    attack: str
    points: list[tuple[float, float]]


class ResidualRisk(Part):
    """What remains of membership risk at one false-positive rate, of 10,000 patients.

    Attributes:
        adversary: Whose attacks, and whose claim.
        false_positive_rate: At which the attack points at others.
        by_chance: Patients named by guessing.
        at_least: Patients named by these attacks, from the lower end of the joint interval; null:
            not measured.
        at_most: Patients that any attack could name, from the claimed privacy curve and under its
            assumptions; null: no guarantee.
        void: Whether the claim behind ``at_most`` is void, since the noise can be reproduced.
    """

    adversary: str
    false_positive_rate: float
    by_chance: int
    at_least: int | None
    at_most: int | None
    void: bool


class Cell(Part):
    """One released model: its claim, what it cost, and what it leaked.

    Attributes:
        cell: Its id.
        privacy: The content of ``privacy.json``; null: the run is older than that file.
        claims: By adversary, with assumptions.
        probe_epsilon, selection_epsilon: Of releases beside the claim, in nats.
        model: Name, options and number of parameters.
        schedule: Rounds, local steps, batch size and rates.
        rounds: As executed.
        accuracy, accuracy_low, accuracy_high, test_records: On held-out records.
        utility: Further measures of ``table.json``: balanced accuracy, AUROC.
        groups: Accuracy by group.
        verdict: Of its DP audits.
        audits, leakage, leakage_by_group, roc, residual: What was measured.
    """

    cell: str
    target_epsilon: float | None
    claimed_epsilon: float | None
    delta: float
    noise_multiplier: float | None
    privacy: dict[str, Any] | None
    claims: list[dict[str, Any]]
    probe_epsilon: float | None
    selection_epsilon: float | None
    model: dict[str, Any]
    schedule: dict[str, Any]
    rounds: list[RoundFacts]
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    test_records: int
    utility: dict[str, float | None]
    groups: list[GroupUtility]
    verdict: str | None
    audits: list[AuditRecord]
    leakage: list[Score]
    leakage_by_group: list[GroupScore]
    roc: list[Roc]
    residual: list[ResidualRisk]


class Coverage(Part):
    """What became of one attack of one adversary on one cell.

    Attributes:
        attack, title, family, source: From the registry.
        adversary, cell: Where.
        outcome: ``executed``, ``not_run``, ``failed``, ``underpowered``, ``not_resolvable``, or
            ``missing``: it was never tried.
        reason: Why it was not executed; or what one must know of it.
        control: Whether the same code detected its positive control; null: unknown.
    """

    attack: str
    title: str
    family: str
    source: str
    adversary: str
    cell: str
    outcome: str
    reason: str | None
    control: bool | None


class AdversaryFacts(Part):
    """One adversary: what it saw, and what it was granted besides.

    Attributes:
        adversary: Its name.
        sees: In one line.
        knows: Auxiliary knowledge that its attacks were given.
        attacks: How many kinds of attack ran from its view.
    """

    adversary: str
    sees: str
    knows: list[str]
    attacks: int


class Statement(Part):
    """A sentence of the verdict.

    Attributes:
        kind: ``alarm``, ``leak``, ``gap``, ``note`` or ``fine``.
        text: The sentence.
    """

    kind: Literal["alarm", "leak", "gap", "note", "fine"]
    text: str


State = Literal["claim_violated", "leakage_found", "incomplete", "no_contradiction"]


class VerdictFacts(Part):
    """What the evidence amounts to.

    Attributes:
        state: ``claim_violated``, ``leakage_found``, ``incomplete`` or ``no_contradiction``.
        headline: In one sentence.
        statements: What it rests on.
    """

    state: State
    headline: str
    statements: list[Statement]


class EvidenceRecord(Part):
    """The whole record.

    Attributes:
        schema_id: Always ``audit-evidence/v1``; written as ``schema``.
        tool: Name, version, and a SHA-256 over the code that attacked and scored.
        run, federation, adversaries, cells, coverage, verdict: See there.
        controls: Lines of ``controls.jsonl``.
        selftest: What the self-test of this version found; null: none is at hand.
        gate: The content of ``gate.json``; null: the gate has not run.
        crosswalk: Rows of the requirements crosswalk.
        outside: What stays outside of every guarantee here.
        reproduction: Commands that make the run again.
    """

    schema_id: Literal["audit-evidence/v1"] = Field(alias="schema", default="audit-evidence/v1")
    tool: dict[str, str]
    run: RunFacts
    federation: Federation
    adversaries: list[AdversaryFacts]
    cells: list[Cell]
    coverage: list[Coverage]
    verdict: VerdictFacts
    controls: list[ControlRecord]
    selftest: dict[str, Any] | None
    gate: dict[str, Any] | None
    crosswalk: list[dict[str, Any]]
    outside: list[str]
    reproduction: list[str]

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
