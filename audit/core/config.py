"""The configuration of a run: one strict pydantic tree, and what each cell makes of it."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt, model_validator

from audit.core.epsilons import Epsilon, EpsilonKey, cell_id, epsilon_of_key
from audit.core.sections import (
    AuditConfig,
    CandidatesConfig,
    Fraction,
    MiniBatches,
    PartitionConfig,
    Positive,
    PretrainingConfig,
    RolesConfig,
    Section,
)


class DataConfig(Section):
    """Which records, and how they are split.

    Attributes:
        name: ``digits``, ``breast_cancer``, ``mnist``, ``medmnist``, ``npz`` or ``csv``; made
            for positive controls: ``mislabelled_digits`` and ``coin_table``.
        path: File, relative to the data root, for ``medmnist``, ``npz`` and ``csv``.
        label, patient, site: Column or array names.
        subgroups: Columns or arrays, such as sex or an age band, by whose values leakage is looked
            at apart. A CSV column among them is a feature too only if ``ranges`` or
            ``categories`` names it.
        classes: Number of classes; None: as many as the labels show, which makes it public.
        class_names: Names of the classes; needed where a CSV has text labels.
        public: Whether single records may be shown; None: what the source says.
        ranges: Public range of each CSV feature.
        categories: Public list of the categories of each categorical column of a CSV or npz table,
            such as ``ward: [icu, surgery]``; text as the file has it.
        value_range: Public range of all values of an npz file.
        sensitive: Feature of a table, by name or index from 0, that attribute inference is to
            guess; None: no such attack.
        holdout_fraction: Set aside for testing and as non-members, where the source sets
            nothing aside.
        auxiliary_fraction: Part of the held-out records that the adversary knows beforehand.
        validation_fraction: Part of the training records that is tested on in place of the
            held-out ones, which stay untouched: for choosing settings. Never in a final run.
        withheld: So many training records go to no hospital and are the non-members of the
            membership game. None: held-out records are, which is the same only where the split
            was drawn at random: a source's own test records may differ from what trains.
    """

    name: str
    path: str | None = None
    label: str = "label"
    patient: str | None = None
    site: str | None = None
    subgroups: tuple[str, ...] = ()
    classes: int | None = Field(default=None, ge=2)
    class_names: tuple[str, ...] | None = None
    public: bool | None = None
    ranges: dict[str, tuple[float, float]] | None = None
    value_range: tuple[float, float] | None = None
    categories: dict[str, tuple[StrictInt | str, ...]] | None = None
    sensitive: StrictInt | str | None = None
    holdout_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.3
    auxiliary_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    withheld: int | None = Field(default=None, ge=1)


class ModelConfig(Section):
    """A model's name in ``training.models`` and its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class ScheduleConfig(Section):
    """The training schedule.

    Attributes:
        rounds: Communication rounds.
        local_steps: Optimiser steps of each hospital in a round.
        batch_size: Expected size of a Poisson batch, records: sampling rate times nominal size.
        learning_rate: Of local SGD, on the mean gradient, in the first round.
        final_learning_rate: In the last round, reached linearly; None: constant.
        momentum: Of local SGD, reset at each round.
        loss_scale: Multiplies a record's loss before its gradient is clipped: s at clipping norm C
            is clipping norm C/s at s times the learning rate. Same guarantee; DP only.
        augment_shift: In each step an image is moved by up to so many pixels, at random.
        class_priors: Public shares of the classes among the training records, above 0, of sum 1;
            the model then learns to tell even classes apart (logit adjustment, Menon et al. 2021,
            arXiv:2007.07314). None: as the classes come.
        server_learning_rate: Multiplies the mean update.
    """

    rounds: int = Field(default=10, ge=1)
    local_steps: int = Field(default=20, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: Positive = 0.5
    final_learning_rate: Positive | None = None
    momentum: Fraction = 0.0
    loss_scale: Positive = 1.0
    augment_shift: int = Field(default=0, ge=0)
    class_priors: tuple[Positive, ...] | None = None
    server_learning_rate: Positive = 1.0

    @model_validator(mode="after")
    def _check(self) -> "ScheduleConfig":
        priors = self.class_priors
        if priors is not None and abs(sum(priors) - 1) > 1e-6:
            raise ValueError(f"class_priors {list(priors)}: expected shares of sum 1")
        return self

    def rate(self, round_number: int) -> float:
        """Return the local learning rate of a round, counted from 1."""
        if self.final_learning_rate is None or self.rounds == 1:
            return self.learning_rate
        part = (round_number - 1) / (self.rounds - 1)
        return self.learning_rate + part * (self.final_learning_rate - self.learning_rate)


class PrivacyConfig(Section):
    """The claim that is swept.

    Attributes:
        epsilons: Targets; .inf, inf or null: no DP.
        delta: Of the claim.
        max_grad_norm: Clipping norm of a record's gradient.
        epsilon_scope: Whether a target counts for all rounds together, or for each one.
        nominal_records: Public size of a hospital: sampling rate and normaliser use it, since
            the exact number is itself data.
        tuning_trials: Settings that were tried on these very records to choose a cell's; the
            table then says what an honest choice would have cost. None: chosen elsewhere.
        noise_key: 64 hexadecimal digits fix the noise: reproducible, and void as a guarantee.
        unit: What one unit of privacy is.
    """

    epsilons: tuple[Epsilon, ...] = Field(min_length=1)
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    max_grad_norm: Positive = 1.0
    epsilon_scope: Literal["total", "per_round"] = "total"
    nominal_records: int = Field(ge=1)
    tuning_trials: int | None = Field(default=None, ge=1)
    noise_key: str | None = None
    unit: Literal["record"] = "record"

    @model_validator(mode="after")
    def _check(self) -> "PrivacyConfig":
        names = [cell_id(e) for e in self.epsilons]
        if len(set(names)) != len(names):
            raise ValueError(f"epsilons {list(self.epsilons)}: two share the cell name")
        key = self.noise_key
        if key is not None and key != FIXED_KEY and not re.fullmatch(r"[0-9a-fA-F]{64}", key):
            raise ValueError("noise_key: expected 64 hexadecimal digits")
        return self


FIXED_KEY = "kept-in-secrets"
"""Stands for a fixed noise key wherever the key itself must not be written."""


class AggregationConfig(Section):
    """The secure-aggregation protocol.

    Attributes:
        protocol: ``masked`` or ``plain``.
        colluders: Number k of hospitals that may side with the server; the threshold t is the
            smallest with 2t > n + k.
        clip_range: Public range of a quantised coordinate, model units; far outside DP noise.
        bits: Levels of the quantiser, as a power of two.
        rounding: ``nearest`` or ``stochastic``.
        weights: Public positive integer weight of each hospital in the mean; None: equal.
    """

    protocol: Literal["masked", "plain"] = "masked"
    colluders: int = Field(default=0, ge=0)
    clip_range: Positive = 64.0
    bits: int = Field(default=32, ge=8, le=32)
    rounding: Literal["nearest", "stochastic"] = "nearest"
    weights: dict[str, Annotated[int, Field(ge=1)]] | None = None


class ProbesConfig(Section):
    """A few DP steps on small batches, recorded and thrown away: the worst case for inversion.

    Attributes:
        rounds: Before which rounds they are made.
        batch_sizes: Records of each client in one probe.
        local_steps: Steps of each client in one probe, each on all of its records: 1 is a single
            DP-SGD step, more are a FedAvg round in small.
        mini_batches: Probes of several steps on a part of the records each, of every size that
            whole batches make up.
        repeats: Probes of each size and round; every record is in one probe at most.
        learning_rate: Of their step; None: the schedule's. A rate that was made for the mean over
            thousands of records may throw a single one's update out of the range that
            aggregation quantises.
    """

    rounds: tuple[Annotated[int, Field(ge=1)], ...] = (1,)
    batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = (1, 4, 8)
    local_steps: tuple[Annotated[int, Field(ge=1, le=100)], ...] = (1,)
    mini_batches: tuple[MiniBatches, ...] = ()
    repeats: int = Field(default=1, ge=0)
    learning_rate: Positive | None = None

    @model_validator(mode="after")
    def _whole_batches(self) -> "ProbesConfig":
        for mini in self.mini_batches:
            if not any(mini.divides(size) for size in self.batch_sizes):
                raise ValueError(
                    f"mini_batches: size {mini.size}: expected two or more whole batches in one of "
                    f"batch_sizes {list(self.batch_sizes)}"
                )
        return self

    @property
    def most_uses(self) -> int:
        """Steps that a record is in at most: what one probe costs it."""
        return max((*self.local_steps, *(mini.epochs for mini in self.mini_batches)), default=1)

    def rate(self, schedule: ScheduleConfig, round_number: int) -> float:
        """Return the learning rate of the probes before a round."""
        return self.learning_rate or schedule.rate(round_number)


class ReferenceConfig(Section):
    """Accuracies that were published for the same experiment, shown beside ours.

    Attributes:
        title: Heading of the column.
        accuracy: Epsilon to accuracy, as a fraction.
    """

    title: str
    accuracy: dict[EpsilonKey, Fraction]

    def at(self, epsilon: float) -> float | None:
        """Return the published accuracy at an epsilon, or None."""
        found = (a for key, a in self.accuracy.items() if epsilon_of_key(key) == epsilon)
        return next(found, None)


class CellOverride(Section):
    """What one epsilon does differently: a model, and any keys of the schedule."""

    model: ModelConfig | None = None
    schedule: dict[str, Any] = Field(default_factory=dict)


class Config(Section):
    """A whole run: a sweep of epsilons over one federation."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = Field(default=1, ge=0)
    data: DataConfig
    partition: PartitionConfig = PartitionConfig()
    model: ModelConfig
    schedule: ScheduleConfig = ScheduleConfig()
    privacy: PrivacyConfig
    aggregation: AggregationConfig = AggregationConfig()
    probes: ProbesConfig = ProbesConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    audit: AuditConfig = AuditConfig()
    pretraining: PretrainingConfig | None = None
    reference: ReferenceConfig | None = None
    roles: RolesConfig = RolesConfig()
    per_epsilon: dict[EpsilonKey, CellOverride] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "Config":
        cells = [cell_id(e) for e in self.privacy.epsilons]
        for key in (*self.per_epsilon, *(self.reference.accuracy if self.reference else ())):
            epsilon_of_key(key)
        for epsilon, cell in zip(self.privacy.epsilons, cells, strict=True):
            schedule = self.cell(epsilon).schedule
            if schedule.batch_size > self.privacy.nominal_records:
                raise ValueError(
                    f"schedule.batch_size {schedule.batch_size} of {cell} is above "
                    f"privacy.nominal_records {self.privacy.nominal_records}: "
                    "expected a sampling rate of at most 1"
                )
        weights = self.aggregation.weights
        if weights is not None and set(weights) != set(self.clients):
            raise ValueError(
                f"aggregation.weights {weights}: expected one for each of {', '.join(self.clients)}"
            )
        self.roles.control_of({c.id: c.private for c in self.cells})
        late = [r for r in self.probes.rounds if r > self.schedule.rounds]
        if late:
            raise ValueError(f"probes.rounds {late}: expected rounds up to {self.schedule.rounds}")
        return self

    def cell(self, epsilon: float) -> "CellConfig":
        """Return the model and schedule of one epsilon, its own settings laid over the common."""
        override = next(
            (o for key, o in self.per_epsilon.items() if epsilon_of_key(key) == epsilon),
            CellOverride(),
        )
        schedule = ScheduleConfig.model_validate(
            {**self.schedule.model_dump(), **override.schedule}
        )
        return CellConfig(
            id=cell_id(epsilon),
            epsilon=epsilon,
            model=override.model or self.model,
            schedule=schedule,
        )

    @property
    def cells(self) -> tuple["CellConfig", ...]:
        """All cells of the sweep, in the order of the configuration."""
        return tuple(self.cell(epsilon) for epsilon in self.privacy.epsilons)

    def role(self, cell: str) -> Literal["release", "control"] | None:
        """Return what a cell stands for at the gate; None: it has no role of its own."""
        if cell == self.roles.release_cell:
            return "release"
        control = self.roles.control_of({c.id: c.private for c in self.cells})
        return "control" if cell == control else None

    @property
    def clients(self) -> tuple[str, ...]:
        """Names of the hospitals."""
        return tuple(f"hospital-{i + 1}" for i in range(self.partition.clients))

    @property
    def reproduction(self) -> bool:
        """Whether a fixed noise key makes this run reproducible and its guarantee void."""
        return self.privacy.noise_key is not None


class CellConfig(Section):
    """One epsilon of the sweep, with everything resolved."""

    id: str
    epsilon: float
    model: ModelConfig
    schedule: ScheduleConfig

    @property
    def private(self) -> bool:
        """Whether this cell trains with DP."""
        return math.isfinite(self.epsilon)
