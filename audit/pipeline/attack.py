"""`audit attack`: views, guesses and scores for every finished cell of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attacks.attack import Budget
from attacks.entry import Entry
from attacks.registry import select
from audit.core.adversaries import Adversary
from audit.core.audits import AuditRecord
from audit.core.config import CellConfig, Config
from audit.core.controls import ControlRecord
from audit.core.errors import (
    AuditError,
    ConfigError,
    DataError,
    IntegrityError,
    MissingEvidenceError,
    ViewError,
)
from audit.core.scores import Outcome, Score
from audit.formats.files import sha256_of, write_json
from audit.pipeline.audit_cells import EFFORT, AuditCells, AuditEffort
from audit.pipeline.code import code_digest
from audit.pipeline.grading import Grader, metrics_of
from audit.pipeline.guessing import AttackFailedError, Guesses, guesses
from audit.pipeline.hospital_cells import FEDERATIONS, HospitalCells
from audit.pipeline.inversion_cost import inversion_cost
from audit.pipeline.leakage import Task, keep_scores, summarise
from audit.pipeline.record_cells import RecordCells
from audit.pipeline.references import ReferenceTrainer
from audit.pipeline.table import write_table
from audit.pipeline.verdicts import keep_audits
from audit.pipeline.views import CellViews, Made, Need, Trainer, needed
from audit.scoring import Origin, unmeasured
from audit.store.run import RunDirectory
from audit.vault import Vault
from training.faults import Fault

if TYPE_CHECKING:
    from audit.pipeline.controls import Controls

RESULT_SCHEMA = "audit-result/v1"


@dataclass(frozen=True, kw_only=True)
class AttackOptions:
    """Which attacks, and how hard.

    Args:
        only: Ids of attacks; empty: all.
        adversaries: Names of adversaries; empty: all that an attack can run on.
        budget: How much computation each may spend.
        planned: Told once how many attacks will run, and what the federations that they need will
            cost, in sentences.
        progress: Told of each attack before it runs.
        trained: Told of what, of which cell, how many federations came in, and of how many.
        controls: Whether each attack that measured something is run on its positive control.
        workers: Processes that make guesses side by side, where those are many; 1: this one.
        fault: What is broken in the hospitals of audit cells; positive controls only.
        effort: Audit cells, whatever the budget; None: the budget's.
    """

    only: tuple[str, ...] = ()
    adversaries: tuple[str, ...] = ()
    budget: Budget = Budget.STANDARD
    planned: Callable[[int, list[str]], None] = lambda _count, _costs: None
    progress: Callable[[str], None] = lambda _: None
    trained: Callable[[str, str, int, int], None] = lambda _what, _cell, _count, _total: None
    controls: bool = False
    workers: int = 1
    fault: Fault | None = None
    effort: AuditEffort | None = None


@dataclass(frozen=True, kw_only=True)
class AttackReport:
    """What ``attack`` did.

    Args:
        failed: ``cell/adversary/attack`` to the error that it raised.
        unscored: Whether guesses were made but the secrets to score them are missing.
        controls: What each attack found in its positive control; empty: they were left out.
    """

    failed: dict[str, str] = field(default_factory=dict)
    unscored: bool = False
    controls: list[ControlRecord] = field(default_factory=list)


def attack(run: RunDirectory, options: AttackOptions) -> AttackReport:
    """Run the attacks on every finished cell, score them, and write the table.

    Guesses that were made before from the same recording, budget and seed are kept.

    Raises:
        ConfigError: An attack or adversary is unknown.
        MissingEvidenceError: No cell is finished, or the secrets are missing.
        IntegrityError: The recording is damaged.
    """
    wanted = _adversaries(options.adversaries)
    entries = select(list(options.only))
    with run.locked():
        run.check_manifest()
        return _Attacks(run, options, entries, wanted).run()


def _adversaries(names: tuple[str, ...]) -> set[Adversary]:
    known = {adversary.value: adversary for adversary in Adversary}
    for name in names:
        if name not in known:
            raise ConfigError(f"--adversary {name!r}: unknown; expected one of {', '.join(known)}")
    return {known[name] for name in names} or set(Adversary)


class _Attacks:
    """One call of ``attack``, the run's lock held."""

    def __init__(
        self,
        run: RunDirectory,
        options: AttackOptions,
        entries: list[Entry],
        adversaries: set[Adversary],
    ) -> None:
        self._run, self._options = run, options
        self._config: Config = run.config
        self._vault = Vault(run.secrets)
        self._recording = sha256_of(run.path / "manifest.json")
        self._failed: dict[str, str] = {}
        self._unscored = False
        self._tasks = [
            Task(cell=cell, adversary=adversary, entry=entry)
            for cell in self._config.cells
            if run.cell(cell.id).done
            for entry in entries
            for adversary in entry.adversaries
            if adversary in adversaries
        ]
        self._trainers: dict[Need, Trainer] = {
            Need.REFERENCES: ReferenceTrainer(run, self._config, options.budget.references),
            Need.AUDIT_CELLS: AuditCells(
                run, self._config, options.effort or EFFORT[options.budget.value], options.fault
            ),
            Need.RECORD_CELLS: RecordCells(run, self._config),
            Need.HOSPITAL_CELLS: HospitalCells(
                run, self._config, FEDERATIONS[options.budget.value]
            ),
        }
        self._grader = Grader(run, self._config, self._vault)
        self._audits: dict[str, AuditRecord | None] = {}
        self._ran: set[tuple[Adversary, str]] = set()
        self._controls = _controls(options, self._tasks)
        if options.fault is not None:
            run.mark_faults([options.fault.name])

    def run(self) -> AttackReport:
        """Run all tasks; scores are written after each cell, so an interrupt loses one cell."""
        checks = self._controls.cost() if self._controls else None
        options = self._options
        with guesses(self._run, self._config, options.budget, workers=options.workers) as made:
            costs = [*self._cost(made), *([checks] if checks else [])]
            options.planned(len(self._tasks), costs)
            for cell in self._config.cells:
                self._attack(cell, made)
        write_table(self._run)
        self._run.event("attacked", budget=self._options.budget.value, failed=len(self._failed))
        return AttackReport(failed=self._failed, unscored=self._unscored, controls=self._checked())

    def _attack(self, cell: CellConfig, made: Guesses) -> None:
        """Run the tasks of a cell, and keep what they show."""
        tasks = [task for task in self._tasks if task.cell.id == cell.id]
        if not tasks:
            return
        views = self._views(cell, tasks)
        made.begin(tasks, views)
        scores = [score for task in tasks for score in self._perform(task, views, made)]
        keep_scores(self._run, self._config, scores)
        keep_audits(self._run, self._config, self._audits)
        self._summarise(cell)

    def _checked(self) -> list[ControlRecord]:
        """Run every attack that measured something on its positive control."""
        if self._controls is None:
            return []
        records = self._controls.check(
            self._run,
            self._ran,
            done=lambda count, total: self._options.trained("controls", "", count, total),
        )
        verdicts = [record.detected for record in records]
        self._run.event(
            "controls",
            budget=self._options.budget.value,
            detected=verdicts.count(True),
            missed=verdicts.count(False),
            without=verdicts.count(None),
        )
        return records

    def _cost(self, made: Guesses) -> list[str]:
        """Say what references, audit cells and inversion will cost.

        What stops references and audit cells is said per attack.
        """
        said = []
        for need, trainer in self._trainers.items():
            ids = {task.cell.id for task in self._tasks if needed(task.entry) is need}
            cells = [cell for cell in self._config.cells if cell.id in ids]
            try:
                cost = trainer.cost(cells) if cells else None
            except AuditError as error:
                cost = f"no {need}: {error}"
            if cost is not None:
                said.append(cost)
        new = [t for t in self._tasks if needed(t.entry) is not None or not made.kept(t, ())]
        searched = inversion_cost(self._run, self._config, new, self._options.budget)
        return [*said, searched] if searched is not None else said

    def _views(self, cell: CellConfig, tasks: list[Task]) -> CellViews:
        """Train what a cell's attacks need; if that fails, only those fail."""
        needs = {needed(task.entry) for task in tasks}
        made = {
            need: self._trained(trainer, cell, need) if need in needs else Made()
            for need, trainer in self._trainers.items()
        }
        return CellViews(self._run, self._config, cell, made)

    def _trained(self, trainer: Trainer, cell: CellConfig, need: Need) -> Made:
        try:
            keys = trainer.train(
                cell, lambda count, total: self._options.trained(need, cell.id, count, total)
            )
        except IntegrityError:
            raise
        except Exception as error:
            return Made(failure=error)
        return Made(keys=keys)

    def _summarise(self, cell: CellConfig) -> None:
        """Bring all guesses on a cell together, those of earlier calls too."""
        try:
            truth = self._vault.membership()
        except MissingEvidenceError:
            return
        summarise(self._run, self._config, cell, truth, self._recording)

    def _perform(self, task: Task, views: CellViews, made: Guesses) -> list[Score]:
        """Guess, score, and write both; what went wrong becomes the outcome of every metric."""
        self._options.progress(task.name)
        origin = Origin(cell=task.cell.id, adversary=task.adversary.value, attack=task.entry.id)
        guessed, outcome, reason, queries = False, Outcome.EXECUTED, None, None
        audit: AuditRecord | None = None
        try:
            guess, queries = made.guess(task, views)
            guessed = True
            graded = self._grader.grade(task, origin, guess, views)
            scores, audit = graded.scores, graded.audit
        except (ViewError, MissingEvidenceError, DataError) as error:
            outcome, reason = Outcome.NOT_RUN, str(error)
            self._unscored |= guessed
        except IntegrityError:
            raise
        except Exception as error:
            said = isinstance(error, AttackFailedError)
            reason = str(error) if said else f"{type(error).__name__}: {error}"
            outcome = Outcome.FAILED
            self._failed[task.name] = reason
        if reason is not None:
            scores, audit = unmeasured(origin, metrics_of(task.entry), outcome, reason), None
        if any(score.value is not None for score in scores):
            self._ran.add((task.adversary, task.entry.id))
        self._audits[f"{task.cell.id}/{task.adversary.value}/{task.entry.id}"] = audit
        write_json(
            task.folder(self._run) / "result.json",
            {
                "schema": RESULT_SCHEMA,
                "key": made.key(task, views.keys(task)),
                "recording": self._recording,
                "guessed": guessed,
                "queries": queries,
                "attack": task.entry.id,
                "title": task.entry.title,
                "source": task.entry.source,
                "adversary": task.adversary.value,
                "cell": task.cell.id,
                "budget": self._options.budget.value,
                "code": code_digest("attacks"),
                "outcome": outcome.value,
                "reason": reason,
                "scores": [score.model_dump(mode="json") for score in scores],
            },
        )
        return scores


def _controls(options: AttackOptions, tasks: Sequence[Task]) -> "Controls | None":
    if not options.controls:
        return None
    from audit.pipeline.controls import Controls  # which attacks its federations: imports this file

    return Controls(list({t.entry.id: t.entry for t in tasks}.values()), options.budget)
