"""`audit attack`: views, guesses and scores for every finished cell of a run."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from attacks.attack import Budget
from attacks.registry import ATTACKS, Entry, Family, select
from audit.core.adversaries import Adversary
from audit.core.config import CellConfig, Config
from audit.core.errors import (
    ConfigError,
    IntegrityError,
    MissingEvidenceError,
    ViewError,
)
from audit.core.guesses import AttributeGuess, Guess, MembershipGuess, ReconstructionGuess
from audit.core.randomness import named_generator
from audit.core.scores import Outcome, Score
from audit.core.views import View
from audit.disclosure import Disclosure
from audit.formats.files import read_json, read_json_lines, sha256_of, write_json, write_json_lines
from audit.formats.guesses import read_guess, write_guess
from audit.formats.parcels import write_parcel
from audit.pipeline.table import write_table
from audit.scoring import (
    ATTRIBUTE_METRICS,
    INVERSION_METRICS,
    MEMBERSHIP_METRICS,
    Origin,
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
        planned: Told once how many attacks will run.
        progress: Told of each attack before it runs.
    """

    only: tuple[str, ...] = ()
    adversaries: tuple[str, ...] = ()
    budget: Budget = Budget.STANDARD
    planned: Callable[[int], None] = lambda _: None
    progress: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, kw_only=True)
class AttackReport:
    """What ``attack`` did.

    Args:
        failed: ``cell/adversary/attack`` to the error that it raised.
        unscored: Whether guesses were made but the secrets to score them are missing.
    """

    failed: dict[str, str] = field(default_factory=dict)
    unscored: bool = False


@dataclass(frozen=True, kw_only=True)
class _Task:
    cell: CellConfig
    adversary: Adversary
    entry: Entry

    @property
    def name(self) -> str:
        return f"{self.cell.id}/{self.adversary.value}/{self.entry.id}"


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
            _Task(cell=cell, adversary=adversary, entry=entry)
            for cell in self._config.cells
            if run.cell(cell.id).done
            for entry in entries
            for adversary in entry.adversaries
            if adversary in adversaries
        ]

    def run(self) -> AttackReport:
        """Run all tasks; scores are written after each cell, so an interrupt loses one cell."""
        self._options.planned(len(self._tasks))
        for cell in self._config.cells:
            tasks = [task for task in self._tasks if task.cell.id == cell.id]
            if tasks:
                views = _Views(self._run, self._config, cell)
                self._keep([score for task in tasks for score in self._perform(task, views)])
        write_table(self._run)
        self._run.event("attacked", budget=self._options.budget.value, failed=len(self._failed))
        return AttackReport(failed=self._failed, unscored=self._unscored)

    def _perform(self, task: _Task, views: "_Views") -> list[Score]:
        """Guess, score, and write both; what went wrong becomes the outcome of every metric."""
        self._options.progress(task.name)
        origin = Origin(cell=task.cell.id, adversary=task.adversary.value, attack=task.entry.id)
        guessed, outcome, reason = False, Outcome.EXECUTED, None
        try:
            guess = self._guess(task, views)
            guessed = True
            scores = self._scores(task, origin, guess)
        except (ViewError, MissingEvidenceError) as error:
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
                "key": self._key(task),
                "guessed": guessed,
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

    def _folder(self, task: _Task) -> Path:
        return self._run.attack_folder(task.cell.id, task.adversary.value, task.entry.id)

    def _guess(self, task: _Task, views: "_Views") -> Guess:
        """Return the guess made before for the same key, or a new one."""
        path = self._folder(task) / "result.json"
        if path.exists():
            result = read_json(path)
            if result.get("key") == self._key(task) and result.get("guessed"):
                return read_guess(path.parent)
        attack = task.entry.build(self._options.budget)
        guess = attack.guess(views.view(task), self._rng(task, "guess"))
        write_guess(path.parent, guess)
        return guess

    def _scores(self, task: _Task, origin: Origin, guess: Guess) -> list[Score]:
        """Score a guess, and keep the pictures where they belong."""
        if isinstance(guess, MembershipGuess):
            return score_membership(guess, self._vault.membership(), origin)
        baseline = self._baseline(task)
        if isinstance(guess, AttributeGuess):
            return score_attribute(
                guess,
                baseline if isinstance(baseline, AttributeGuess) else None,
                self._vault.attributes(),
                self._vault.membership(),
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

    def _baseline(self, task: _Task) -> Guess | None:
        """Return the guess of the attack's baseline, which ran before it on the same view."""
        if task.entry.baseline is None:
            return None
        return read_guess(self._folder(replace(task, entry=ATTACKS[task.entry.baseline])))

    def _key(self, task: _Task) -> str:
        """Hash everything that shaped a guess."""
        from importlib.metadata import version

        parts = (
            self._recording,
            task.name,
            self._options.budget.value,
            str(self._config.seed),
            version("fl-privacy-audit"),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _rng(self, task: _Task, purpose: str) -> np.random.Generator:
        return named_generator(self._config.seed, "attack", task.name, purpose)

    def _keep(self, scores: list[Score]) -> None:
        """Replace the scores of what was run again, and keep all others, in a stable order."""
        path = self._run.path / "scores.jsonl"
        again = {(s.cell, s.adversary, s.attack) for s in scores}
        old = [Score.model_validate(line) for line in read_json_lines(path)]
        kept = [s for s in old if (s.cell, s.adversary, s.attack) not in again]
        order = {cell.id: i for i, cell in enumerate(self._config.cells)}
        ranked = sorted([*kept, *scores], key=lambda s: (order[s.cell], s.adversary, s.attack))
        write_json_lines(path, [score.model_dump(mode="json") for score in ranked])


class _Views:
    """The views of one cell, each built once."""

    def __init__(self, run: RunDirectory, config: Config, cell: CellConfig) -> None:
        self._run, self._config, self._cell = run, config, cell
        self._built: dict[tuple[Adversary, bool], View] = {}

    @cached_property
    def _disclosure(self) -> Disclosure:
        return Disclosure(self._run, self._config, self._cell)

    def view(self, task: _Task) -> View:
        hides = task.entry.family is Family.ATTRIBUTE
        key = (task.adversary, hides)
        if key not in self._built:
            build = self._disclosure.attribute_view if hides else self._disclosure.view
            self._built[key] = build(task.adversary)
        return self._built[key]


def _metrics(entry: Entry) -> tuple[str, ...]:
    if entry.family is Family.ATTRIBUTE:
        return ATTRIBUTE_METRICS if entry.baseline else ATTRIBUTE_METRICS[:1]
    return MEMBERSHIP_METRICS if entry.family is Family.MEMBERSHIP else INVERSION_METRICS
