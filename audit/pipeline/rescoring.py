"""`audit verify --rescore`: every score again from the stored guesses and secrets, compared.

Nothing is trained, attacked or changed. The grading of `audit attack` runs on a shadow of the run:
a private temporary folder that links to what was recorded, guessed and kept secret, and in which
all that scoring writes is made anew. What lies in the run is then compared with it, value by value.
Scoring is deterministic, so floats must be equal.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attacks.registry import ATTACKS
from audit.core.adversaries import Adversary
from audit.core.audits import AuditRecord
from audit.core.config import CellConfig, Config
from audit.core.errors import IntegrityError, MissingEvidenceError
from audit.core.guesses import MembershipGuess
from audit.core.problems import Problem
from audit.core.scores import Outcome, Score
from audit.formats.files import private_folder, read_json, read_json_lines, sha256_of
from audit.formats.guesses import read_guess
from audit.pipeline.attack import RESULT_SCHEMA
from audit.pipeline.grading import Grader, metrics_of
from audit.pipeline.leakage import Task, keep_scores, summarise
from audit.pipeline.record_differences import different_lists, different_values
from audit.pipeline.table import write_table
from audit.pipeline.verdicts import keep_audits
from audit.pipeline.views import CellViews, needed
from audit.scoring import Origin, unmeasured
from audit.store.run import RunDirectory
from audit.vault import Vault

SCORED = ("scores.jsonl", "groups.jsonl", "audits.jsonl")
"""What scoring writes for the whole run, one record a line."""

RECOMPUTED = (*SCORED, "table.json", "table.csv", "attacks", "secrets")
"""What a shadow does not share with its run as it stands."""

NOT_SHARED = frozenset({*RECOMPUTED, "report", "evidence", ".lock", "events.jsonl"})


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """What came out.

    Args:
        problems: What differs; empty: nothing does.
        attacks: How many results of attacks were looked at.
        scores: How many scores were compared.
    """

    problems: tuple[Problem, ...]
    attacks: int
    scores: int


def rescore(run: RunDirectory) -> Rescored:
    """Compute all scores of a run again and compare them with what it says.

    Compared are ``attacks/*/result.json`` and ``roc.json``, ``scores.jsonl``, ``groups.jsonl``,
    ``audits.jsonl``, ``table.json`` and ``table.csv``. The run is not written to.

    Args:
        run: An attacked run.

    Raises:
        MissingEvidenceError: No attack has run, or the secrets are missing.
        IntegrityError: The recording or a guess is damaged.
    """
    run.check_manifest()
    Vault(run.secrets).membership()
    results = sorted((run.path / "attacks").glob("*/*/*/result.json"))
    if not results:
        raise MissingEvidenceError(f"{run.path} has no results to compare: run `audit attack`")
    with tempfile.TemporaryDirectory(prefix="audit-rescore-") as folder:
        return _Rescoring(run, _shadow(run, Path(folder))).compare(results)


def _shadow(run: RunDirectory, folder: Path) -> RunDirectory:
    """Link all that scoring reads, so that what it writes replaces links, not the run's files."""
    root = run.path.resolve()
    for path in root.iterdir():
        if path.name not in NOT_SHARED:
            (folder / path.name).symlink_to(path)
    for name in ("attacks", "secrets"):
        for path in (root / name).rglob("*"):
            here = folder / path.relative_to(root)
            if path.is_dir():
                private_folder(here)
            elif path.name not in {"roc.json"} and "measured" not in path.parts:
                private_folder(here.parent)
                here.symlink_to(path)
    return RunDirectory(folder)


class _KeptViews(CellViews):
    """The federations that a guess was made from, told from the names of its canaries."""

    def __init__(self, run: RunDirectory, config: Config, cell: CellConfig) -> None:
        super().__init__(run, config, cell, {})
        self._guesses, self._of = run, cell

    def keys(self, task: Task) -> tuple[str, ...]:
        """Return their keys, in the order in which the guess names them.

        Raises:
            MissingEvidenceError: The truth about one of them is not among the secrets.
        """
        if task.entry.canary is None or needed(task.entry) is None:
            return ()
        folder = self._guesses.attack_folder(self._of.id, task.adversary.value, task.entry.id)
        guess = read_guess(folder)
        if not isinstance(guess, MembershipGuess):
            return ()
        there = [p.stem for p in (self._guesses.secrets / "canaries" / self._of.id).glob("*")]
        short = dict.fromkeys(name.split("-")[1] for name in guess.candidates)
        found = []
        for start in short:
            keys = [key for key in there if key.startswith(start)]
            if len(keys) != 1:
                raise MissingEvidenceError(
                    f"{task.name}: the secrets hold {len(keys)} audit cells {start}…; expected one"
                )
            found += keys
        return tuple(found)


class _Rescoring:
    """One call of ``rescore``.

    Args:
        run: As it stands.
        shadow: Where scores are made anew.
    """

    def __init__(self, run: RunDirectory, shadow: RunDirectory) -> None:
        self._run, self._shadow = run, shadow
        self._config = run.config
        self._recording = sha256_of(run.path / "manifest.json")
        self._grader = Grader(shadow, self._config, Vault(shadow.secrets))
        self._problems: list[Problem] = []
        self._audits: dict[str, AuditRecord | None] = {}

    def compare(self, results: list[Path]) -> Rescored:
        """Grade every stored guess, bring all together, and compare."""
        order = {name: number for number, name in enumerate(ATTACKS)}
        # Baselines are registered before the attacks that are compared with them.
        read = sorted(self._tasks(results), key=lambda one: order[one[1].entry.id])
        for cell in self._config.cells:
            views = _KeptViews(self._shadow, self._config, cell)
            scores = [
                score
                for path, task in read
                if task.cell.id == cell.id
                for score in self._again(task, path, views)
            ]
            if scores:
                keep_scores(self._shadow, self._config, scores)
                truth = Vault(self._shadow.secrets).membership()
                summarise(self._shadow, self._config, cell, truth, self._recording)
        keep_audits(self._shadow, self._config, self._audits)
        write_table(self._shadow)
        compared = self._compare_files(results)
        return Rescored(problems=tuple(self._problems), attacks=len(results), scores=compared)

    def _tasks(self, results: list[Path]) -> Iterator[tuple[Path, Task]]:
        """Yield what each result is of; what nobody can score is noted."""
        cells = {cell.id: cell for cell in self._config.cells}
        adversaries = {adversary.value: adversary for adversary in Adversary}
        for path in results:
            cell, adversary, attack = path.parts[-4:-1]
            known = cell in cells and adversary in adversaries and attack in ATTACKS
            if not known:
                self._note(path, "is of a cell, adversary or attack that nobody knows")
                continue
            entry = ATTACKS[attack]
            yield path, Task(cell=cells[cell], adversary=adversaries[adversary], entry=entry)

    def _again(self, task: Task, path: Path, views: CellViews) -> list[Score]:
        """Return an attack's scores from its guess, and compare its result with them."""
        result = read_json(path)
        origin = Origin(cell=task.cell.id, adversary=task.adversary.value, attack=task.entry.id)
        said = {k: result.get(k) for k in ("schema", "cell", "adversary", "attack")}
        if said != {
            "schema": RESULT_SCHEMA, "cell": origin.cell, "adversary": origin.adversary,
            "attack": origin.attack,
        }:  # fmt: skip
            self._note(path, "is of another schema, cell, adversary or attack than its folder")
        if result.get("recording") != self._recording:
            self._note(path, "was made from another recording than the run's: attack it again")
        outcome = result.get("outcome")
        scores: list[Score] | None = None
        failure = "it has no guess"
        if result.get("guessed") is True:
            try:
                graded = self._grader.grade(task, origin, read_guess(path.parent), views)
                scores, self._audits[task.name] = graded.scores, graded.audit
            except (IntegrityError, MissingEvidenceError):
                if outcome == Outcome.EXECUTED.value:
                    raise
            except Exception as error:
                failure = str(error).replace(str(self._shadow.path), str(self._run.path))
        if scores is None and outcome == Outcome.EXECUTED.value:
            self._note(path, f"says {outcome}, but cannot be scored again: {failure}")
        if scores is not None and outcome != Outcome.EXECUTED.value:
            self._note(path, f"says {outcome}, but its guess can be scored")
        if scores is None:
            how = outcome if outcome in {o.value for o in Outcome} else Outcome.FAILED.value
            reason = result.get("reason")
            scores = unmeasured(origin, metrics_of(task.entry), Outcome(how), str(reason))
        again = [score.model_dump(mode="json") for score in scores]
        for reason in different_lists(result.get("scores"), again, SCORE_KEY):
            self._note(path, reason)
        return scores

    def _compare_files(self, results: list[Path]) -> int:
        """Compare what scoring wrote; return how many scores there are."""
        for path in results:
            curve = path.with_name("roc.json")
            made = self._shadow.path / curve.relative_to(self._run.path)
            if curve.exists() or made.exists():
                self._compare_json(curve, made)
        for name, key in zip(SCORED, (SCORE_KEY, GROUP_KEY, AUDIT_KEY), strict=True):
            stored, again = (read_json_lines(r.path / name) for r in (self._run, self._shadow))
            for reason in different_lists(stored, again, key):
                self._note(self._run.path / name, reason)
        self._compare_json(self._run.path / "table.json", self._shadow.path / "table.json")
        tables = [r.path / "table.csv" for r in (self._run, self._shadow)]
        if not tables[0].exists() or tables[0].read_bytes() != tables[1].read_bytes():
            self._note(tables[0], "is not the table that comes out again")
        return len(read_json_lines(self._shadow.path / "scores.jsonl"))

    def _compare_json(self, stored: Path, made: Path) -> None:
        if not stored.exists() or not made.exists():
            self._note(stored, "is missing" if made.exists() else "does not come out again")
            return
        for reason in different_values(read_json(stored), read_json(made)):
            self._note(stored, reason)

    def _note(self, path: Path, reason: str) -> None:
        self._problems.append(Problem(path.relative_to(self._run.path).as_posix(), reason))


SCORE_KEY = ("cell", "adversary", "attack", "metric", "slice", "by")
GROUP_KEY = (*SCORE_KEY, "column", "group")
AUDIT_KEY = ("cell", "adversary", "attack")
