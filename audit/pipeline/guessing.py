"""The guesses of attacks: kept from before, or made here or in processes side by side."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from attacks.attack import Budget
from attacks.registry import ATTACKS
from audit.core.adversaries import Adversary
from audit.core.config import CellConfig, Config
from audit.core.errors import AuditError
from audit.core.guesses import Guess
from audit.core.views import QueryView
from audit.executor import processes
from audit.formats.files import read_json, sha256_of
from audit.formats.guesses import read_guess, write_guess
from audit.pipeline.code import code_digest
from audit.pipeline.leakage import Task, guess_stream
from audit.pipeline.views import CellViews, Made, Need
from audit.store.run import RunDirectory

MANY = 24
"""New guesses on a cell from which worker processes are worth their start, some seconds."""


class AttackFailedError(Exception):
    """What an attack raised in a worker process: type and message."""


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """What a worker process needs to build the views of a cell.

    Args:
        run: Path of the run.
        cell: Id.
        keys: Of what was trained for the cell's attacks.
    """

    run: Path
    cell: str
    keys: tuple[tuple[Need, tuple[str, ...]], ...]


class Guesses:
    """The guesses of one call of ``audit attack``.

    Args:
        run: The run.
        config: Its configuration.
        budget: Of every attack.
        pool: Processes that make them; None: this one does.
    """

    def __init__(
        self, run: RunDirectory, config: Config, budget: Budget, pool: ProcessPoolExecutor | None
    ) -> None:
        self._run, self._config, self._budget, self._pool = run, config, budget, pool
        self._recording = sha256_of(run.path / "manifest.json")
        self._begun: dict[str, Future[int | None]] = {}

    def key(self, task: Task, keys: Sequence[str]) -> str:
        """Hash everything that shapes a guess.

        Args:
            task: The attack.
            keys: Of the federations that it needs.
        """
        parts = (
            self._recording,
            *keys,
            task.name,
            self._budget.value,
            str(self._config.seed),
            code_digest("attacks", "audit.disclosure", "training"),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def kept(self, task: Task, keys: Sequence[str]) -> bool:
        """Say whether the same guess was made before."""
        path = task.folder(self._run) / "result.json"
        if not path.exists():
            return False
        result = read_json(path)
        return bool(result.get("guessed")) and result.get("key") == self.key(task, keys)

    def begin(self, tasks: Sequence[Task], views: CellViews) -> None:
        """Let worker processes make the guesses that are missing on a cell, if they are many."""
        new = [
            task
            for task in tasks
            if views.failure(task) is None and not self.kept(task, views.keys(task))
        ]
        if self._pool is None or len(new) < MANY:
            return
        for task in new:
            keys = tuple((need, made.keys) for need, made in views.made.items())
            cell = _Cell(run=self._run.path, cell=task.cell.id, keys=keys)
            self._begun[task.name] = self._pool.submit(
                _in_worker, cell, task.adversary, task.entry.id, self._budget
            )

    def guess(self, task: Task, views: CellViews) -> tuple[Guess, int | None]:
        """Return a guess and the queries that it asked of an oracle; None: there is no oracle.

        Raises:
            Exception: What the attack raised, or what stopped that which it needs.
        """
        folder = task.folder(self._run)
        begun = self._begun.pop(task.name, None)
        if begun is not None:
            queries = begun.result()
            return read_guess(folder), queries
        if self.kept(task, views.keys(task)):
            return read_guess(folder), read_json(folder / "result.json").get("queries")
        return _make(self._run, self._config, task, views, self._budget)


@contextmanager
def guesses(
    run: RunDirectory, config: Config, budget: Budget, *, workers: int
) -> Iterator[Guesses]:
    """Give the guesses of one call; worker processes end with it.

    Args:
        run: The run.
        config: Its configuration.
        budget: Of every attack.
        workers: Processes; 1: this one.
    """
    if workers == 1:
        yield Guesses(run, config, budget, None)
        return
    with processes(workers) as pool:
        yield Guesses(run, config, budget, pool)


def _make(
    run: RunDirectory, config: Config, task: Task, views: CellViews, budget: Budget
) -> tuple[Guess, int | None]:
    """Make a guess and keep it; return it and its oracle queries."""
    attack = task.entry.build(budget)
    view = views.view(task)
    asked = view.oracle.queries if isinstance(view, QueryView) else 0
    guess = attack.guess(view, guess_stream(config.seed, task.name))
    write_guess(task.folder(run), guess)
    return guess, view.oracle.queries - asked if isinstance(view, QueryView) else None


def _in_worker(cell: _Cell, adversary: Adversary, attack: str, budget: Budget) -> int | None:
    """Make a guess in a worker process; return its oracle queries."""
    run, config, of, views = _opened(cell)
    task = Task(cell=of, adversary=adversary, entry=ATTACKS[attack])
    try:
        return _make(run, config, task, views, budget)[1]
    except AuditError:
        raise
    except Exception as error:  # it need not survive the way to the parent process
        raise AttackFailedError(f"{type(error).__name__}: {error}") from None


@lru_cache(maxsize=1)
def _opened(cell: _Cell) -> tuple[RunDirectory, Config, CellConfig, CellViews]:
    """Return a run, one of its cells, and its views, which the cell's attacks share."""
    run = RunDirectory.open(cell.run)
    config = run.config
    of = next(one for one in config.cells if one.id == cell.cell)
    made = {need: Made(keys=keys) for need, keys in cell.keys}
    return run, config, of, CellViews(run, config, of, made)
