"""A gate for people at a terminal."""

from collections.abc import Iterator

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from audit.formats.gate import Decision, GateRecord
from audit.gate.digest import Group, digest, headline, passed, singly

COLOURS = {
    Decision.PASS: "green",
    Decision.FAIL: "red",
    Decision.INCONCLUSIVE: "yellow",
    Decision.INCOMPARABLE: "magenta",
}


def render(record: GateRecord, *, all_checks: bool = False) -> RenderableType:
    """Return what the terminal shows, the outcome last.

    Args:
        record: The gate.
        all_checks: Every check by itself; else failures in full, what is undecided in groups, and
            of what passed only how many.
    """
    groups = singly(record.checks) if all_checks else digest(record.checks)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for group in groups:
        table.add_row(*_row(group))
    return Lines(*([table] if groups else []), *_lines(record, all_checks=all_checks))


def _row(group: Group) -> tuple[str, str]:
    colour = COLOURS[group.checks[0].decision]
    standing, _, aside = group.standing.partition(", ")
    lines = [
        f"[bold]{escape(group.what)}[/], {escape(group.where)}" + (f" ({aside})" if aside else ""),
        escape(group.values),
        escape(group.why),
    ]
    return f"[{colour}]{standing}[/]", "\n".join(line for line in lines if line)


def _lines(record: GateRecord, *, all_checks: bool) -> Iterator[str]:
    if not all_checks:
        yield from filter(None, [passed(record.checks)])
        yield "every check: gate.json of the run, --junit FILE, or --all"
    yield from (f"note: {escape(note)}" for note in record.notes)
    yield (
        f"approved by {escape(record.approved_by)} on {record.approved_at[:10]}; "
        f"signature: {record.signature}"
    )
    colour = COLOURS[record.decision]
    yield f"[{colour}]{headline(record)}[/], exit code {record.exit_code}"
