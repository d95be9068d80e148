"""Progress on stderr, by rich."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from audit.cli.options import stderr
from audit.executor import processors
from audit.pipeline.train import Watcher


@contextmanager
def training_progress() -> Iterator[Watcher]:
    """Show one bar a cell, with the last test accuracy."""
    with _bars() as bars:
        tasks: dict[str, TaskID] = {}

        def cell(name: str, rounds: int, done: int) -> None:
            tasks[name] = bars.add_task(name, total=rounds, completed=done, note="")

        def finished(name: str, number: int, metrics: Mapping[str, float]) -> None:
            bars.update(tasks[name], completed=number, note=f"accuracy {metrics['accuracy']:.1%}")

        yield Watcher(
            planned=lambda text: bars.console.print(f"training: {text}"),
            warned=lambda text: bars.console.print(f"[yellow]warning:[/] {text}"),
            cell=cell,
            round=finished,
        )


class AttackProgress:
    """One bar over all attacks.

    Args:
        bars: Where it is drawn.
    """

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None
        self._trained: dict[tuple[str, str], TaskID] = {}

    def planned(self, count: int, costs: list[str]) -> None:
        """Say how many attacks will run, and what the federations that they need cost."""
        self._bars.console.print(f"attacking: {count} attacks, up to {processors()} at a time")
        for cost in costs:
            self._bars.console.print(f"attacking: {cost}", soft_wrap=True, highlight=False)
        self._task = self._bars.add_task("attacks", total=count, note="")

    def started(self, name: str) -> None:
        """Name the attack that runs now."""
        if self._task is not None:
            first = self._bars.tasks[self._task].fields["note"] == ""
            self._bars.update(self._task, advance=0 if first else 1, note=name)

    def trained(self, what: str, cell: str, count: int, total: int) -> None:
        """Count federations that are trained for a cell's attacks."""
        if (what, cell) not in self._trained:
            self._trained[what, cell] = self._bars.add_task(what, total=total, note=cell)
        self._bars.update(self._trained[what, cell], advance=count)

    def finished(self) -> None:
        """Fill the bar."""
        if self._task is not None:
            total = self._bars.tasks[self._task].total
            self._bars.update(self._task, completed=total, note="done")


@contextmanager
def attack_progress() -> Iterator[AttackProgress]:
    """Show a bar over all attacks."""
    with _bars() as bars:
        progress = AttackProgress(bars)
        yield progress
        progress.finished()


class SelfTestProgress:
    """One bar over all audit cells.

    Args:
        bars: Where it is drawn.
    """

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def planned(self, count: int) -> None:
        """Say how many audit cells will run."""
        self._bars.console.print(f"self-test: {count} audit cells, about a second each of one core")
        self._task = self._bars.add_task("audit cells", total=count, note="")

    def done(self, count: int) -> None:
        """Count audit cells."""
        if self._task is not None:
            self._bars.update(self._task, advance=count)


@contextmanager
def selftest_progress() -> Iterator[SelfTestProgress]:
    """Show a bar over all audit cells of a self-test."""
    with _bars() as bars:
        yield SelfTestProgress(bars)


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description:>11}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=stderr,
    )
