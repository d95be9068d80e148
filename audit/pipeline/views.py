"""The views of one cell, each built once, with what an attack asked for besides."""

from functools import cached_property

from attacks.registry import Family
from audit.core.adversaries import Adversary
from audit.core.config import CellConfig, Config
from audit.core.views import View
from audit.disclosure import Disclosure
from audit.pipeline.leakage import Task
from audit.store.run import RunDirectory


class CellViews:
    """The views of one cell.

    Args:
        run: The run.
        config: Its configuration.
        cell: Which cell.
        references: Keys of its reference federations; empty: no attack needs them.
        failure: What stopped them from being trained; None: nothing did.
    """

    def __init__(
        self,
        run: RunDirectory,
        config: Config,
        cell: CellConfig,
        references: tuple[str, ...],
        failure: Exception | None,
    ) -> None:
        self._run, self._config, self._cell = run, config, cell
        self.references, self._failure = references, failure
        self._built: dict[tuple[Adversary, bool, bool], View] = {}

    @cached_property
    def _disclosure(self) -> Disclosure:
        return Disclosure(self._run, self._config, self._cell)

    def view(self, task: Task) -> View:
        """Return the view of a task's adversary, with references if its attack needs them.

        Raises:
            Exception: What stopped the references from being trained.
        """
        needed = task.entry.references
        if needed and self._failure is not None:
            raise self._failure
        hides = task.entry.family is Family.ATTRIBUTE
        key = task.adversary, needed, hides
        if key not in self._built:
            if hides:
                self._built[key] = self._disclosure.attribute_view(task.adversary)
            else:
                keys = self.references if needed else ()
                self._built[key] = self._disclosure.view(task.adversary, keys)
        return self._built[key]
