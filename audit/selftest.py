"""`audit selftest`: plants faults in hospitals and says which the audits find.

One small federation is trained; then, for each fault, audit cells whose hospitals carry it run
through the same client app, the same views, the same attacks and the same verdicts as any audit.
"""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attacks.attack import Budget
from attacks.entry import Entry
from attacks.registry import ATTACKS
from audit.core.audits import AuditRecord, Verdict
from audit.core.config import Config
from audit.core.loading import load_config
from audit.core.randomness import named_generator
from audit.executor import Job, execute, processors
from audit.pipeline.audit_cells import AuditCells, AuditEffort
from audit.pipeline.canary_trials import CanaryTrial, run_trials
from audit.pipeline.grading import Grader
from audit.pipeline.leakage import Task
from audit.pipeline.train import TrainOptions, train
from audit.pipeline.views import CellViews, Made, Need, needed
from audit.scoring import LEVEL, Origin, judge
from audit.store.run import RunDirectory
from audit.vault import Vault
from training.faults import FAULTS, Fault

QUICK, STANDARD = 10, 40
"""Audit cells for each fault, by budget."""

BATCH = 4
"""Audit cells that a process works on at a time."""


@dataclass(frozen=True, kw_only=True)
class SelfTestOptions:
    """How much is tried.

    Args:
        budget: Name of an attack budget: ``quick`` or ``standard``.
        repeats: How often each fault is planted.
        faults: Names; empty: all of them, and none.
        seed: Public seed of the federation.
        planned: Told once how many audit cells will run.
        done: Told how many came in.
    """

    budget: str = "quick"
    repeats: int = 1
    faults: tuple[str, ...] = ()
    seed: int = 1
    planned: Callable[[int], None] = lambda _: None
    done: Callable[[int], None] = lambda _: None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the audits made of one fault.

    Args:
        name, title: Of the fault; ``none``: the correct pipeline.
        repeats: How often it was planted.
        found: How often an audit raised an alarm.
        by: ``adversary/attack`` to how often that audit raised it.
        records: Of the first time, judged.
    """

    name: str
    title: str
    repeats: int
    found: int
    by: dict[str, int]
    records: list[AuditRecord] = field(default_factory=list)


def selftest(options: SelfTestOptions, folder: Path | None = None) -> list[Finding]:
    """Plant faults and look for them.

    Args:
        options: How much is tried.
        folder: Where the run is kept; None: it is deleted afterwards.

    Returns:
        One finding a fault, the correct pipeline first.
    """
    config = load_config("selftest", [f"seed={options.seed}"])
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="audit-selftest-") as scratch:
            return _SelfTest(config, Path(scratch) / "run", options).run()
    return _SelfTest(config, folder, options).run()


def null_alarms(
    seeds: Sequence[int], *, federations: int = 2, done: Callable[[int], None] = lambda _: None
) -> list[int]:
    """Audit the correct pipeline once for each seed; return the seeds at which an alarm is raised.

    The seed fixes the federation, its noise and its canaries, so that an alarm can be looked into.

    Args:
        seeds: Public seeds.
        federations: Audit cells of each run.
        done: Told of every seed when it is through.

    Returns:
        Seeds with a false alarm: at most 5 % of them in the long run.
    """
    found = []
    for seed in seeds:
        key = hashlib.sha256(f"self-test null {seed}".encode()).hexdigest()
        config = load_config("selftest", [f"seed={seed}", f"privacy.noise_key={key}"])
        with tempfile.TemporaryDirectory(prefix="audit-selftest-") as scratch:
            test = _SelfTest(config, Path(scratch) / "run", SelfTestOptions(seed=seed))
            if test.sound(federations):
                found.append(seed)
        done(seed)
    return found


def alarms(records: Sequence[AuditRecord]) -> list[str]:
    """Return which audits of one judged run raise an alarm."""

    def raised(record: AuditRecord) -> bool:
        reversal = record.adjusted_reversal_p_value
        return record.verdict is Verdict.VIOLATED or (reversal is not None and reversal <= LEVEL)

    return [f"{record.adversary}/{record.attack}" for record in records if raised(record)]


class _SelfTest:
    def __init__(self, config: Config, out: Path, options: SelfTestOptions) -> None:
        self._config, self._options = config, options
        self._run: RunDirectory = train(config, out, TrainOptions())
        (self._cell,) = config.cells
        self._vault = Vault(self._run.secrets)

    def run(self) -> list[Finding]:
        each = QUICK if self._options.budget == "quick" else STANDARD
        wanted = self._options.faults
        kinds: tuple[type[Fault], ...] = (Fault, *FAULTS)
        chosen = [kind for kind in kinds if not wanted or kind.name in wanted]
        self._run.mark_faults([fault.name for fault in chosen if fault is not Fault])
        effort = AuditEffort(canaries=0, least=each * self._options.repeats)
        planted: dict[type[Fault], AuditCells] = {
            kind: AuditCells(self._run, self._config, effort, None if kind is Fault else kind())
            for kind in chosen
        }
        jobs: dict[type[Fault], list[Job[CanaryTrial]]] = {
            kind: cells.jobs(self._cell) for kind, cells in planted.items()
        }
        everything = [job for some in jobs.values() for job in some]
        self._options.planned(len(everything))
        store = next(iter(planted.values())).store(self._cell)
        execute(
            everything,
            run_trials,
            store,
            workers=processors(),
            batch=BATCH,
            done=self._options.done,
        )
        return [self._finding(kind, [job.key for job in some], each) for kind, some in jobs.items()]

    def sound(self, federations: int) -> list[str]:
        """Return the alarms of the correct pipeline."""
        cells = AuditCells(self._run, self._config, AuditEffort(canaries=0, least=federations))
        keys = cells.train(self._cell, lambda _done, _total: None)
        return alarms(judge([self._audit(entry, keys) for entry in _audits()]))

    def _finding(self, kind: type[Fault], keys: list[str], each: int) -> Finding:
        found, by, first = 0, dict[str, int](), list[AuditRecord]()
        for start in range(0, len(keys), each):
            records = judge([self._audit(e, tuple(keys[start : start + each])) for e in _audits()])
            first = first or records
            raised = alarms(records)
            found += bool(raised)
            for name in raised:
                by[name] = by.get(name, 0) + 1
        return Finding(
            name=kind.name,
            title=kind.title,
            repeats=self._options.repeats,
            found=found,
            by=by,
            records=first,
        )

    def _audit(self, entry: Entry, keys: tuple[str, ...]) -> AuditRecord:
        (adversary,) = entry.adversaries
        task = Task(cell=self._cell, adversary=adversary, entry=entry)
        made = {Need.REFERENCES: Made(), Need.AUDIT_CELLS: Made(keys=keys)}
        views = CellViews(self._run, self._config, self._cell, made)
        rng = named_generator(self._config.seed, "attack", task.name, "guess")
        guess = entry.build(Budget(self._options.budget)).guess(views.view(task), rng)
        origin = Origin(cell=self._cell.id, adversary=adversary.value, attack=entry.id)
        graded = Grader(self._run, self._config, self._vault).grade(task, origin, guess, views)
        assert graded.audit is not None  # noqa: S101 - every audit has a record
        return graded.audit


def _audits() -> list[Entry]:
    """Return the audits that look at audit cells."""
    return [entry for entry in ATTACKS.values() if needed(entry) is Need.AUDIT_CELLS]
