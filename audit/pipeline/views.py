"""The views of one cell, each built once, with what an attack asked for besides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from attacks.entry import Canary, Entry, Family
from audit.core.adversaries import Adversary
from audit.core.config import CellConfig, Config
from audit.core.views import View
from audit.disclosure import Disclosure
from audit.pipeline.leakage import Task
from audit.store.run import RunDirectory


class Need(StrEnum):
    """What attacks need that was not recorded, and is trained for them."""

    REFERENCES = "references"
    AUDIT_CELLS = "audit cells"
    RECORD_CELLS = "record cells"
    HOSPITAL_CELLS = "hospital cells"


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was trained for a cell.

    Args:
        keys: Of the federations; empty: no attack needs them.
        failure: What stopped them; None: nothing did.
    """

    keys: tuple[str, ...] = ()
    failure: Exception | None = None


class Trainer(Protocol):
    """Trains federations that attacks need."""

    def cost(self, cells: Sequence[CellConfig]) -> str | None:
        """Say what is about to be trained and how long it takes; None: all is there already."""

    def train(self, cell: CellConfig, done: Callable[[int, int], None]) -> tuple[str, ...]:
        """Train what is missing for a cell; return all keys."""


class CellViews:
    """The views of one cell.

    Args:
        run: The run.
        config: Its configuration.
        cell: Which cell.
        made: What was trained for it.
    """

    def __init__(
        self, run: RunDirectory, config: Config, cell: CellConfig, made: Mapping[Need, Made]
    ) -> None:
        self._run, self._config, self._cell = run, config, cell
        self.made = made
        self._built: dict[tuple[Adversary, tuple[str, ...], bool, Canary | None], View] = {}

    @cached_property
    def _disclosure(self) -> Disclosure:
        return Disclosure(self._run, self._config, self._cell)

    def keys(self, task: Task) -> tuple[str, ...]:
        """Return the keys of the federations that a task's attack needs."""
        need = needed(task.entry)
        return self.made[need].keys if need is not None else ()

    def failure(self, task: Task) -> Exception | None:
        """Return what stopped the federations that a task's attack needs; None: nothing did."""
        need = needed(task.entry)
        return self.made[need].failure if need is not None else None

    def view(self, task: Task) -> View:
        """Return the view of a task's adversary, with what its attack needs.

        Raises:
            Exception: What stopped that from being trained.
        """
        if (failure := self.failure(task)) is not None:
            raise failure
        hides = task.entry.family is Family.ATTRIBUTE
        key = task.adversary, self.keys(task), hides, task.entry.canary
        if key not in self._built:
            self._built[key] = self._build(task, hides=hides)
        return self._built[key]

    def _build(self, task: Task, *, hides: bool) -> View:
        if task.entry.canary is Canary.RECORD:
            return self._disclosure.record_view(task.adversary, self.keys(task))
        if task.entry.canary is Canary.HOSPITAL:
            return self._disclosure.hospital_view(task.adversary, self.keys(task))
        if task.entry.canary is not None:
            outliers = task.entry.canary is Canary.OUTLIER
            return self._disclosure.canary_view(task.adversary, self.keys(task), outliers=outliers)
        if hides:
            return self._disclosure.attribute_view(task.adversary)
        return self._disclosure.view(task.adversary, self.keys(task))


def needed(entry: Entry) -> Need | None:
    """Return what has to be trained for an attack; None: it works on what was recorded."""
    if entry.canary is not None:
        return _CELLS.get(entry.canary, Need.AUDIT_CELLS)
    return Need.REFERENCES if entry.references else None


_CELLS = {Canary.RECORD: Need.RECORD_CELLS, Canary.HOSPITAL: Need.HOSPITAL_CELLS}
