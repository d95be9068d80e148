"""The control stage of `audit attack`: each attack must find what there is to find in its control.

A control depends on code, budget and embedded data, never on the run's data. So it is kept by
content hash in a folder of the user's, and what it found is copied into each run
(``controls.jsonl``). A damaged result there is made anew.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from attacks.attack import Budget
from attacks.entry import Entry
from attacks.registry import ATTACKS
from audit.core.adversaries import Adversary
from audit.core.controls import ControlKind, ControlRecord
from audit.core.errors import IntegrityError
from audit.executor import Store, execute
from audit.formats.files import private_folder
from audit.pipeline.control_plans import control_plan
from audit.pipeline.control_records import keep_controls
from audit.pipeline.control_runs import ControlTask, read_records, run_controls, uncontrolled
from audit.store.run import RunDirectory

A_BASELINE = "a baseline: it sees neither model nor update, so there is nothing for it to find"


def cache_folder() -> Path:
    """Return where controls are kept: below ``$XDG_CACHE_HOME``, else ``~/.cache``.

    Source:
        XDG Base Directory Specification 0.8: a path that is not absolute is ignored.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME") or "")
    base = given if given.is_absolute() else Path("~/.cache").expanduser()
    return base / "fl-privacy-audit" / "controls"


class Controls:
    """The positive controls of one call of ``audit attack``.

    Args:
        entries: The attacks that may run.
        budget: Theirs, and so the controls'.
        folder: Where controls are kept between runs; None: the user's cache.
    """

    def __init__(
        self, entries: Sequence[Entry], budget: Budget, *, folder: Path | None = None
    ) -> None:
        self._budget = budget
        self._store = Store(folder=folder or cache_folder())
        self._tasks = {
            entry.id: ControlTask(attack=entry.id, plan=plan, budget=budget)
            for entry in entries
            if (plan := control_plan(entry)) is not None
        }

    def cost(self) -> str | None:
        """Say what may have to be run; None: all controls are there already."""
        missing = [t for t in self._tasks.values() if not self._store.path(t.job.key).is_file()]
        if not missing:
            return None
        federations = len({task.plan.federation for task in missing})
        return (
            f"positive controls of {len(missing)} attacks, of which those that find a view run "
            f"once more, on {federations} small federations of embedded data "
            f"({len(self._tasks) - len(missing)} kept from before); --no-controls skips them"
        )

    def check(
        self,
        run: RunDirectory,
        ran: set[tuple[Adversary, str]],
        *,
        done: Callable[[int, int], None] = lambda _count, _total: None,
    ) -> list[ControlRecord]:
        """Run the controls that are missing, and keep what they found with the run.

        Lines of attacks that did not run this time stay as they are.

        Args:
            run: The attacked run, locked.
            ran: Adversary and attack of all that measured something.
            done: Told of each control federation that is through, and of how many there are.

        Returns:
            A record for each of those, in the order of the registry.
        """
        with ExitStack() as stack:
            store = self._writable(stack)
            found = self._found(store, [t for i, t in self._tasks.items() if _of(ran, i)], done)
        records = [
            found.get((adversary.value, entry.id)) or self._none(entry, adversary)
            for entry in ATTACKS.values()
            for adversary in entry.adversaries
            if (adversary, entry.id) in ran
        ]
        keep_controls(run, records)
        return records

    def _found(
        self, store: Store, tasks: Sequence[ControlTask], done: Callable[[int, int], None]
    ) -> dict[tuple[str, str], ControlRecord]:
        found: dict[tuple[str, str], ControlRecord] = {}
        federations = list(dict.fromkeys(task.plan.federation for task in tasks))
        for federation in federations:
            group = [task for task in tasks if task.plan.federation == federation]
            for record in self._group(store, group):
                found[record.adversary, record.attack] = record
            done(1, len(federations))
        return found

    def _group(self, store: Store, tasks: Sequence[ControlTask]) -> list[ControlRecord]:
        """Return the records of attacks that share a federation; run those that are missing."""
        for task in tasks:
            if _kept(store, task) is None:  # missing, or damaged
                store.path(task.job.key).unlink(missing_ok=True)
        jobs = [task.job for task in tasks]
        try:
            execute(jobs, run_controls, store, workers=1, batch=len(jobs))
        except Exception as error:  # what the run shows stays, and says that it is unchecked
            reason = f"its control could not be run: {type(error).__name__}: {error}"
            return [
                uncontrolled(task.attack, adversary, self._budget, reason, task.plan.kind)
                for task in tasks
                for adversary in ATTACKS[task.attack].adversaries
            ]
        return [record for task in tasks for record in read_records(store.read(task.job.key))]

    def _none(self, entry: Entry, adversary: Adversary) -> ControlRecord:
        return uncontrolled(entry.id, adversary, self._budget, A_BASELINE, ControlKind.NONE)

    def _writable(self, stack: ExitStack) -> Store:
        """Return the store, or one for this call where the user's folder cannot be written."""
        try:
            private_folder(self._store.folder)
        except OSError:
            writable = False
        else:
            writable = os.access(self._store.folder, os.W_OK)
        if writable:
            return self._store
        return Store(folder=Path(stack.enter_context(TemporaryDirectory(prefix="audit-controls-"))))


def _of(ran: set[tuple[Adversary, str]], attack_id: str) -> bool:
    return any(one == attack_id for _, one in ran)


def _kept(store: Store, task: ControlTask) -> list[ControlRecord] | None:
    """Return what a control left; None: nothing, or it is damaged."""
    try:
        return read_records(store.read(task.job.key))
    except (IntegrityError, ValueError):
        return None
