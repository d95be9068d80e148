"""Which positive control each attack has to pass; fixed here, before anything is measured.

A control is a federation of embedded data, through the code that trains and attacks any run, in
which there is something to find. A model that generalises well is none: membership inference is at
chance there, with or without privacy. By family an attack gets:

- membership: images with random labels, which a model can only learn by heart;
- inversion, identification, labels: probes of one record without noise, on the smooth network that
  searches need, or, for what reads ReLU networks and tables, on such a one;
- attributes: a table with a made-up column that the model's answer tells and other fields do not;
- DP audits: canaries in the updates without noise; for audits that look for a fault, that fault.

One metric and one slice, each named beforehand: choosing the best of several on the data would let
noise pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from attacks.entry import Canary, Entry, Family
from audit.core.adversaries import Adversary
from audit.core.config import Config
from audit.core.controls import ControlKind
from audit.core.loading import load_config
from audit.pipeline.audit_cells import AuditEffort
from audit.pipeline.leakage import guess_stream
from training.faults import Fault, NarrowSeed, NarrowSeedNoise, PrivateStatistics
from training.randomness import NoiseStream

SINGLE, STEPS = "round-1/batch-1", "round-1/batch-1/steps-3"
"""Slices of the probes: one record in one step, and in three."""

UNCONDITIONAL = "any-mechanism"
"""Slice of the lower bound that supposes no family of mechanisms."""

SEEDS = 2**32
NEAR = 2**12
"""A planted seed lies among so many that every budget tries first."""


@dataclass(frozen=True, kw_only=True)
class ControlPlan:
    """One control federation and what is read off the attack on it.

    Args:
        kind: What there is to find.
        config: Shipped configuration of the federation; it has one cell.
        metric: By which the attack is judged; higher is better for the attack.
        slice: Of the scores.
        overrides: Of the configuration.
        fault: What is broken in the hospitals of audit cells; None: nothing.
        effort: Audit cells, whatever the budget; None: the budget's.
    """

    kind: ControlKind
    config: str
    metric: str
    slice: str = "all"
    overrides: tuple[str, ...] = ()
    fault: Fault | None = None
    effort: AuditEffort | None = None

    @property
    def settings(self) -> Config:
        """The configuration of the federation."""
        return load_config(self.config, self.overrides)

    @property
    def federation(self) -> str:
        """Equal for plans that share a recording and its audit cells."""
        return repr((self.config, self.overrides, self.fault, self.effort))


@dataclass(frozen=True)
class SearchedSeed(NarrowSeed):
    """Noise from 32-bit seeds that lie where the search of an audit begins.

    A budget tries a small part of all seeds; a control must plant them in that part.
    """

    name: ClassVar[str] = "searched-seed"
    title: ClassVar[str] = "noise from a generator with a seed that is tried"
    start: int = field(default=0, kw_only=True)

    def noise(self, key: bytes, client: str, session: str) -> NoiseStream:
        """Return torch's generator, at one of the first seeds that are tried."""
        del client, session
        seed = (self.start + int.from_bytes(key[:4], "little") % NEAR) % SEEDS
        return NarrowSeedNoise(seed.to_bytes(4, "little") + key[4:])


def control_plan(entry: Entry) -> ControlPlan | None:
    """Return the control of an attack; None: a baseline, which has nothing to find.

    Args:
        entry: The attack; a new one gets its family's control.
    """
    if entry.id in BASELINES:
        return None
    if entry.id == NOISE_SEED:
        return _canary(
            "control_noise",
            fault=SearchedSeed(start=_first_seed()),
            effort=AuditEffort(canaries=0, least=2),  # a search of many seeds for each update
        )
    if entry.id in BY_ATTACK:
        return BY_ATTACK[entry.id]
    if entry.canary is not None:
        return BY_CANARY[entry.canary]
    return BY_FAMILY[entry.family]


def _probe(metric: str, slice: str = SINGLE, config: str = "control_images") -> ControlPlan:
    return ControlPlan(kind=ControlKind.PROBE, config=config, metric=metric, slice=slice)


def _canary(
    config: str,
    *,
    overrides: tuple[str, ...] = (),
    fault: Fault | None = None,
    effort: AuditEffort | None = None,
) -> ControlPlan:
    return ControlPlan(
        kind=ControlKind.CANARY if fault is None else ControlKind.FAULT,
        config=config,
        metric="empirical_epsilon_lower_bound",
        slice=UNCONDITIONAL,
        overrides=overrides,
        fault=fault,
        effort=effort,
    )


def _first_seed() -> int:
    """Return where ``canary-noise-seed`` begins to search in the control's only cell."""
    config = load_config("control_noise")
    name = f"{config.cells[0].id}/{Adversary.SERVER.value}/{NOISE_SEED}"
    return int(guess_stream(config.seed, name).integers(SEEDS))


NOISE_SEED = "canary-noise-seed"

MANY_RUNS = (
    "audit={canary: blank, canaries: 1, runs: 32}",
    "schedule.rounds=2",
    "schedule.local_steps=40",
)
"""Overrides for the audit of many small runs."""

BASELINES = ("prior-mean", "label-prior", "attribute-imputation")
"""They see neither model nor update: what other attacks have to beat."""

BY_FAMILY: Mapping[Family, ControlPlan] = {
    Family.MEMBERSHIP: ControlPlan(kind=ControlKind.OVERFIT, config="control_images", metric="auc"),
    Family.INVERSION: _probe("ssim_over_baseline"),
    Family.IDENTIFICATION: _probe("identification_rate_10"),
    Family.LABELS: _probe("label_accuracy"),
    Family.ATTRIBUTE: ControlPlan(
        kind=ControlKind.ATTRIBUTE,
        config="control_table",
        metric="attribute_advantage",
        slice="nonmembers",
    ),
}

BY_CANARY: Mapping[Canary, ControlPlan] = {
    Canary.GRADIENT: _canary("control_images"),
    Canary.OUTLIER: _canary(
        "control_noise",
        fault=PrivateStatistics(),
        effort=AuditEffort(canaries=0, least=4),  # 40 outliers
    ),
    Canary.RECORD: _canary("control_records"),
    Canary.HOSPITAL: ControlPlan(
        kind=ControlKind.CANARY, config="control_noise", metric="hospital_epsilon_estimate"
    ),
}

BY_ATTACK: Mapping[str, ControlPlan] = {
    "fedavg-unrolled": _probe("ssim_over_baseline", STEPS),
    "fedavg-naive": _probe("ssim_over_baseline", STEPS),
    "first-layer": _probe("field_accuracy", config="control_table"),
    "spear": _probe("field_accuracy", config="control_table"),
    "tabular": _probe("field_accuracy", config="control_table"),
    "canary-runs": _canary("control_records", overrides=MANY_RUNS),
}
