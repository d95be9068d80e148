"""A gate for people at a terminal."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from audit.formats.gate import Check, Decision, GateRecord, Side
from audit.gate.github import headline

COLOURS = {
    Decision.PASS: "green",
    Decision.FAIL: "red",
    Decision.INCONCLUSIVE: "yellow",
    Decision.INCOMPARABLE: "magenta",
}
ORDER = (Decision.FAIL, Decision.INCOMPARABLE, Decision.INCONCLUSIVE, Decision.PASS)


def render(record: GateRecord, *, all_checks: bool = False) -> RenderableType:
    """Return what the terminal shows.

    Args:
        record: The gate.
        all_checks: Also guarantees that hold; else only how many.
    """
    table = Table(title="audit gate")
    for column in ("cell", "rule", "baseline", "run", "decision", "why, and what would decide"):
        table.add_column(column, overflow="fold")
    shown = [c for c in record.checks if all_checks or _worth_showing(c)]
    for same in _alike(shown):
        table.add_row(*_row(same))
    hidden = len(record.checks) - len(shown)
    lines = [
        *([f"{hidden} guarantees and controls held: not shown"] if hidden else []),
        *(f"note: {escape(note)}" for note in record.notes),
        f"approved by {escape(record.approved_by)} on {record.approved_at[:10]}; "
        f"signature: {record.signature}",
        f"[{COLOURS[record.decision]}]{headline(record)}[/], exit code {record.exit_code}",
    ]
    return Group(table, *lines) if shown else Group(*lines)


def _alike(checks: list[Check]) -> list[list[Check]]:
    """Checks of several adversaries that say the same, together; the worst first."""
    groups: dict[tuple[object, ...], list[Check]] = {}
    for check in sorted(checks, key=lambda c: ORDER.index(c.decision)):
        key = check.model_copy(update={"adversary": None}).model_dump_json(
            include={"cell", "rule", "attack", "metric", "slice", "decision", "reason", "level"}
        )
        groups.setdefault((key, check.waived_by), []).append(check)
    return list(groups.values())


def _worth_showing(check: Check) -> bool:
    return check.decision is not Decision.PASS or check.rule in {"limit", "margin", "claim"}


def _row(same: list[Check]) -> Iterator[str]:
    check = same[0]
    yield check.cell or check.baseline_cell or ""
    named = ", ".join(c.adversary for c in same if c.adversary is not None)
    yield escape(check.model_copy(update={"adversary": named or None}).name)
    yield _side(check.baseline)
    yield _side(check.run)
    standing = check.decision.value
    if check.waived_by is not None:
        standing += f"\nwaived: {escape(check.waived_by)}"
    elif check.level == "warn":
        standing += "\nwarn only"
    yield f"[{COLOURS[check.decision]}]{standing}[/]"
    yield escape(check.reason + (f"; {check.advice}" if check.advice else ""))


def _side(side: Side | None) -> str:
    if side is None or side.value is None:
        return ""
    told = f"{side.value:.3f}"
    if side.low is not None and side.high is not None:
        told += f"\n{side.low:.3f} to {side.high:.3f}"
    if side.seeds > 1:
        told += f"\n{side.seeds} seeds"
    return told + (f"\nn {side.n:,}" if side.n is not None else "")
