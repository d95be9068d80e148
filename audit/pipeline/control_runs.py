"""Training and attacking control federations: one run for all attacks that share one."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from attacks.attack import Budget
from attacks.registry import ATTACKS
from audit.core.adversaries import Adversary
from audit.core.controls import CONTROL_SCHEMA, ControlKind, ControlRecord
from audit.core.errors import IntegrityError
from audit.core.parcel import Parcel
from audit.core.scores import Score
from audit.executor import Job
from audit.formats.files import read_json_lines
from audit.pipeline.attack import AttackOptions, attack
from audit.pipeline.code import code_digest
from audit.pipeline.control_plans import ControlPlan
from audit.pipeline.opening import PACKAGES
from audit.pipeline.prepare import scratch_ledgers
from audit.pipeline.train import TrainOptions, train

CODE = (
    "attacks",
    "training",
    "audit.core",
    "audit.disclosure",
    "audit.formats",
    "audit.pipeline",
    "audit.scoring",
    "audit.stats",
    "audit.store",
)
"""Packages that shape what a control finds."""

MEASURED = ("value", "low", "high", "confidence", "n", "chance", "reason")
"""What a record takes from a score."""


@dataclass(frozen=True, kw_only=True)
class ControlTask:
    """The control of one attack, for all adversaries that it is made for.

    Args:
        attack: Its id.
        plan: The federation, and what is read off.
        budget: Of the attack.
    """

    attack: str
    plan: ControlPlan
    budget: Budget

    @cached_property
    def job(self) -> Job["ControlTask"]:
        """The task under the hash of everything that shapes its result: code, settings, budget."""
        plan = self.plan
        digest = hashlib.sha256()
        for text in (
            CONTROL_SCHEMA,
            self.attack,
            self.budget.value,
            repr((plan.kind, plan.metric, plan.slice)),
            plan.federation,
            plan.settings.model_dump_json(),
            code_digest(*CODE),
            repr([(name, version(name)) for name in (*PACKAGES, "scipy")]),
        ):
            digest.update(text.encode() + b"\x00")
        return Job(key=digest.hexdigest(), payload=self)


def run_controls(tasks: Sequence[ControlTask]) -> Iterator[Parcel]:
    """Train one federation and run the attacks on it that share it (``audit.executor.Work``).

    Args:
        tasks: All of one federation and one budget.

    Yields:
        The records of each task, as ``read_records`` reads them.
    """
    plan, budget = tasks[0].plan, tasks[0].budget
    with (
        TemporaryDirectory(prefix="audit-control-") as scratch,
        scratch_ledgers(Path(scratch) / "ledgers"),
    ):
        run = train(plan.settings, Path(scratch) / "run", TrainOptions())
        report = attack(
            run,
            AttackOptions(
                only=tuple(task.attack for task in tasks),
                budget=budget,
                fault=plan.fault,
                effort=plan.effort,
            ),
        )
        scores = [Score.model_validate(line) for line in read_json_lines(run.path / "scores.jsonl")]
        cell = run.config.cells[0].id
    for task in tasks:
        records = [
            _record(task, adversary, scores, report.failed.get(f"{cell}/{adversary}/{task.attack}"))
            for adversary in ATTACKS[task.attack].adversaries
        ]
        yield packed(records)


def read_records(parcel: Parcel) -> list[ControlRecord]:
    """Return the records that a control left.

    Raises:
        IntegrityError: They are damaged.
    """
    text = parcel.fields.get("records")
    if not isinstance(text, str) or parcel.fields.get("sha256") != _sha256(text):
        raise IntegrityError("the records of a positive control are damaged")
    return [ControlRecord.model_validate(line) for line in json.loads(text)]


def packed(records: Sequence[ControlRecord]) -> Parcel:
    """Return records as a parcel that shows any damage."""
    text = json.dumps([record.model_dump(mode="json", by_alias=True) for record in records])
    return Parcel(arrays={}, fields={"records": text, "sha256": _sha256(text)})


def uncontrolled(
    attack_id: str, adversary: Adversary, budget: Budget, reason: str, kind: ControlKind
) -> ControlRecord:
    """Return the record of an attack whose control says nothing.

    Args:
        attack_id: Its id.
        adversary: Whose view it has.
        budget: Of the attack.
        reason: Why.
        kind: Of the control that there should have been.
    """
    return ControlRecord(
        adversary=adversary.value,
        attack=attack_id,
        control=kind,
        reason=reason,
        code=code_digest("attacks"),
        budget=budget.value,
    )


def _record(
    task: ControlTask, adversary: Adversary, scores: Sequence[Score], failure: str | None
) -> ControlRecord:
    """Return what is read off the scores of one adversary's attack."""
    plan = task.plan
    blank = uncontrolled(task.attack, adversary, task.budget, "", plan.kind)
    said = {**blank.model_dump(), "metric": plan.metric}
    if failure is not None:
        why = f"it failed on its control: {failure}"
        return ControlRecord.model_validate({**said, "detected": False, "reason": why})
    mine = [s for s in scores if (s.adversary, s.attack) == (adversary.value, task.attack)]
    found = [s for s in mine if (s.metric, s.slice) == (plan.metric, plan.slice)]
    score = found[0] if len(found) == 1 else None
    if score is None or score.low is None or score.chance is None:
        why = next((s.reason for s in [*found, *mine] if s.reason), "nothing was measured")
        where = f"{plan.metric} of {plan.slice} on {plan.config}"
        said["reason"] = f"no control fits this attack: no {where} ({why})"
        return ControlRecord.model_validate(said)
    measured = {name: getattr(score, name) for name in MEASURED}
    detected = score.low > score.chance
    return ControlRecord.model_validate({**said, **measured, "detected": detected})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
