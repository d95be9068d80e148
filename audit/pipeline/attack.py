"""`audit attack`: views, guesses and scores for every finished cell of a run."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from attacks.attack import Budget
from attacks.registry import ATTACKS, Entry, Family, select
from audit.core.adversaries import Adversary
from audit.core.config import CellConfig, Config
from audit.core.errors import (
    AuditError,
    ConfigError,
    DataError,
    IntegrityError,
    MissingEvidenceError,
    ViewError,
)
from audit.core.guesses import AttributeGuess, Guess, MembershipGuess, ReconstructionGuess
from audit.core.randomness import named_generator
from audit.core.scores import Outcome, Score
from audit.core.views import QueryView
from audit.formats.files import read_json, sha256_of, write_json
from audit.formats.guesses import read_guess, write_guess
from audit.formats.parcels import write_parcel
from audit.pipeline.code import code_digest
from audit.pipeline.leakage import Task, keep_scores, summarise
from audit.pipeline.references import ReferenceTrainer
from audit.pipeline.table import write_table
from audit.pipeline.views import CellViews
from audit.scoring import (
    ATTRIBUTE_METRICS,
    INVERSION_METRICS,
    MEMBERSHIP_METRICS,
    Origin,
    most_exposed,
    roc_points,
    score_attribute,
    score_membership,
    score_reconstruction,
    unmeasured,
)
from audit.store.run import RunDirectory
from audit.vault import Vault

RESULT_SCHEMA = "audit-result/v1"


@dataclass(frozen=True, kw_only=True)
class AttackOptions:
    """Which attacks, and how hard.

    Args:
        only: Ids of attacks; empty: all.
        adversaries: Names of adversaries; empty: all that an attack can run on.
        budget: How much computation each may spend.
        planned: Told once how many attacks will run, and what the reference federations that they
            need will cost; None: nothing is to be trained.
        progress: Told of each attack before it runs.
        trained: Told of a cell how many reference federations came in, and of how many.
    """

    only: tuple[str, ...] = ()
    adversaries: tuple[str, ...] = ()
    budget: Budget = Budget.STANDARD
    planned: Callable[[int, str | None], None] = lambda _count, _cost: None
    progress: Callable[[str], None] = lambda _: None
    trained: Callable[[str, int, int], None] = lambda _cell, _count, _total: None


@dataclass(frozen=True, kw_only=True)
class AttackReport:
    """What ``attack`` did.

    Args:
        failed: ``cell/adversary/attack`` to the error that it raised.
        unscored: Whether guesses were made but the secrets to score them are missing.
    """

    failed: dict[str, str] = field(default_factory=dict)
    unscored: bool = False


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
        self._references = ReferenceTrainer(run, self._config, options.budget.references)

    def run(self) -> AttackReport:
        """Run all tasks; scores are written after each cell, so an interrupt loses one cell."""
        self._options.planned(len(self._tasks), self._cost())
        for cell in self._config.cells:
            tasks = [task for task in self._tasks if task.cell.id == cell.id]
            if tasks:
                views = self._views(cell, tasks)
                scores = [score for task in tasks for score in self._perform(task, views)]
                keep_scores(self._run, self._config, scores)
                self._summarise(cell)
        write_table(self._run)
        self._run.event("attacked", budget=self._options.budget.value, failed=len(self._failed))
        return AttackReport(failed=self._failed, unscored=self._unscored)

    def _cost(self) -> str | None:
        """Say what the reference federations will cost; what stops them is said per attack."""
        ids = {task.cell.id for task in self._tasks if task.entry.references}
        cells = [cell for cell in self._config.cells if cell.id in ids]
        try:
            return self._references.cost(cells) if cells else None
        except AuditError as error:
            return f"no reference federations: {error}"

    def _views(self, cell: CellConfig, tasks: list[Task]) -> CellViews:
        """Train the references that a cell's attacks need; if that fails, only those fail."""
        keys: tuple[str, ...] = ()
        failure: Exception | None = None
        if any(task.entry.references for task in tasks):
            try:
                keys = self._references.train(
                    cell, lambda count, total: self._options.trained(cell.id, count, total)
                )
            except IntegrityError:
                raise
            except Exception as error:
                failure = error
        return CellViews(self._run, self._config, cell, keys, failure)

    def _summarise(self, cell: CellConfig) -> None:
        """Bring all guesses on a cell together, those of earlier calls too."""
        try:
            truth = self._vault.membership()
        except MissingEvidenceError:
            return
        summarise(self._run, self._config, cell, truth, self._recording)

    def _perform(self, task: Task, views: CellViews) -> list[Score]:
        """Guess, score, and write both; what went wrong becomes the outcome of every metric."""
        self._options.progress(task.name)
        origin = Origin(cell=task.cell.id, adversary=task.adversary.value, attack=task.entry.id)
        guessed, outcome, reason, queries = False, Outcome.EXECUTED, None, None
        try:
            guess, queries = self._guess(task, views)
            guessed = True
            scores = self._scores(task, origin, guess)
        except (ViewError, MissingEvidenceError, DataError) as error:
            outcome, reason = Outcome.NOT_RUN, str(error)
            self._unscored |= guessed
        except IntegrityError:
            raise
        except Exception as error:
            outcome, reason = Outcome.FAILED, f"{type(error).__name__}: {error}"
            self._failed[task.name] = reason
        if reason is not None:
            scores = unmeasured(origin, _metrics(task.entry), outcome, reason)
        write_json(
            self._folder(task) / "result.json",
            {
                "schema": RESULT_SCHEMA,
                "key": self._key(task, views),
                "recording": self._recording,
                "guessed": guessed,
                "queries": queries,
                "attack": task.entry.id,
                "title": task.entry.title,
                "source": task.entry.source,
                "adversary": task.adversary.value,
                "cell": task.cell.id,
                "budget": self._options.budget.value,
                "outcome": outcome.value,
                "reason": reason,
                "scores": [score.model_dump(mode="json") for score in scores],
            },
        )
        return scores

    def _folder(self, task: Task) -> Path:
        return self._run.attack_folder(task.cell.id, task.adversary.value, task.entry.id)

    def _guess(self, task: Task, views: CellViews) -> tuple[Guess, int | None]:
        """Return the guess made before for the same key, or a new one, and its oracle queries."""
        path = self._folder(task) / "result.json"
        if path.exists():
            result = read_json(path)
            if result.get("key") == self._key(task, views) and result.get("guessed"):
                return read_guess(path.parent), result.get("queries")
        attack = task.entry.build(self._options.budget)
        view = views.view(task)
        asked = view.oracle.queries if isinstance(view, QueryView) else 0
        guess = attack.guess(view, self._rng(task, "guess"))
        write_guess(path.parent, guess)
        queries = view.oracle.queries - asked if isinstance(view, QueryView) else None
        return guess, queries

    def _scores(self, task: Task, origin: Origin, guess: Guess) -> list[Score]:
        """Score a guess, and keep the pictures where they belong."""
        if isinstance(guess, MembershipGuess):
            truth = self._vault.membership()
            scores = score_membership(guess, truth, origin)
            self._vault.write_exposed(
                origin.cell, origin.adversary, origin.attack, most_exposed(guess, truth)
            )
            write_json(self._folder(task) / "roc.json", roc_points(guess, truth))
            return scores
        baseline = self._baseline(task)
        if isinstance(guess, AttributeGuess):
            return score_attribute(
                guess,
                baseline if isinstance(baseline, AttributeGuess) else None,
                self._vault.attributes(),
                self._vault.membership().member,
                origin,
            )
        found = score_reconstruction(
            guess,
            baseline if isinstance(baseline, ReconstructionGuess) else None,
            self._vault.victims(),
            origin,
            rng=self._rng(task, "bootstrap"),
        )
        public = bool(self._run.record["dataset"]["public"])
        base = self._folder(task) if public else self._run.secrets / "panels" / task.name
        write_parcel(base / "panels.safetensors", found.panels)
        return found.scores

    def _baseline(self, task: Task) -> Guess | None:
        """Return the guess of the attack's baseline, which ran before it on the same view."""
        if task.entry.baseline is None:
            return None
        return read_guess(self._folder(replace(task, entry=ATTACKS[task.entry.baseline])))

    def _key(self, task: Task, views: CellViews) -> str:
        """Hash everything that shaped a guess."""
        parts = (
            self._recording,
            *(views.references if task.entry.references else ()),
            task.name,
            self._options.budget.value,
            str(self._config.seed),
            code_digest("attacks", "audit.disclosure", "training"),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _rng(self, task: Task, purpose: str) -> np.random.Generator:
        return named_generator(self._config.seed, "attack", task.name, purpose)


def _metrics(entry: Entry) -> tuple[str, ...]:
    if entry.family is Family.ATTRIBUTE:
        return ATTRIBUTE_METRICS if entry.baseline else ATTRIBUTE_METRICS[:1]
    return MEMBERSHIP_METRICS if entry.family is Family.MEMBERSHIP else INVERSION_METRICS
