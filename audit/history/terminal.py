"""A history for people at a terminal."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from audit.core.metrics import METRICS
from audit.core.scores import Outcome
from audit.formats.gate import Decision
from audit.formats.history import Event, HistoryView, Point, RecordedRun, Series

COLOURS = {
    Decision.PASS: "green",
    Decision.FAIL: "red",
    Decision.INCONCLUSIVE: "yellow",
    Decision.INCOMPARABLE: "magenta",
}
SHORT = 8
"""Characters of an id or a digest that are shown."""


def render(view: HistoryView) -> RenderableType:
    """Return the runs with what was decided about them, and each series over time."""
    parts: list[RenderableType] = [_runs(view.runs)]
    runs = {run.number: run for run in view.runs}
    for metric in dict.fromkeys(series.metric for series in view.series):
        parts.append(_values([s for s in view.series if s.metric == metric], runs))
    if not view.series:
        parts.append("no value of that kind was recorded for these runs")
    return Group(*parts)


def _runs(runs: Sequence[RecordedRun]) -> Table:
    table = Table(title="runs, in the order of their training (UTC)")
    for column in ("run", "trained", "config", "claims and accuracy", "approvals and gates"):
        table.add_column(column, overflow="fold")
    several = Counter(run.run_id for run in runs)
    for run in runs:
        name = run.run_id[:SHORT]
        if several[run.run_id] > 1:
            name += f"\ntable {run.table_sha256[:SHORT]}"
        config = f"{escape(run.config)}\nseed {run.seed}"
        if run.reproduction:
            config += "\n[yellow]fixed noise key[/]"
        table.add_row(
            name,
            f"{run.created:%Y-%m-%d %H:%M}",
            config,
            "\n".join(_guarantee(run)),
            "\n".join(_told(event) for event in run.events) or "none",
        )
    return table


def _guarantee(run: RecordedRun) -> list[str]:
    lines = []
    for cell in run.cells:
        claim = (
            "no claim" if cell.claimed_epsilon is None else f"epsilon {cell.claimed_epsilon:.4g}"
        )
        told = f"{escape(cell.cell)}: {claim}"
        if cell.accuracy is not None:
            told += f", {100 * cell.accuracy:.1f} %"
        if cell.accuracy_low is not None and cell.accuracy_high is not None:
            told += f" ({100 * cell.accuracy_low:.1f} to {100 * cell.accuracy_high:.1f})"
        lines.append(told)
    return lines


def _told(event: Event) -> str:
    day = f"{event.at:%Y-%m-%d}"
    baseline = f"baseline {event.baseline_sha256[:SHORT]}"
    if event.kind == "approved":
        until = f", until {event.expires}" if event.expires else ""
        reason = escape(event.reason or "")
        return f"[bold]approved[/] {day} by {escape(event.by)}{until}: {reason} ({baseline})"
    return f"gate {day}: {_decision(event)}, exit {event.exit_code} ({baseline})"


def _decision(event: Event) -> str:
    if event.decision is None:
        return "not recorded"
    return f"[{COLOURS[event.decision]}]{event.decision.value}[/]"


def _values(series: Sequence[Series], runs: dict[int, RecordedRun]) -> Table:
    metric = METRICS[series[0].metric]
    leaks = "larger" if metric.leaks == "up" else "smaller"
    unit = "" if metric.unit == "1" else f", {metric.unit}"
    table = Table(title=f"{metric.title}{unit}: {leaks} is more leak")
    for column in ("series", "trained", "seed", "value", "interval", "n", "chance", "claim", "run"):
        right = column in {"seed", "value", "n", "chance", "claim"}
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    several_configs = len({s.config for s in series}) > 1
    for one in series:
        names = [one.cell, one.adversary.value, one.attack]
        names = [one.config, *names] if several_configs else names
        names += [one.slice] if one.slice != "all" else []
        for i, point in enumerate(one.points):
            last = i == len(one.points) - 1
            table.add_row(
                escape(" / ".join(names)) if i == 0 else "",
                *_point(point, runs[point.number]),
                end_section=last,
            )
    return table


def _point(point: Point, run: RecordedRun) -> list[str]:
    if point.value is None:
        value, interval = escape(f"({point.outcome.value})"), ""
    else:
        value = _number(point.value)
        interval = f"{_number(point.low)} to {_number(point.high)}"
        if point.low is None and point.high is None:
            interval = ""
        elif point.high is None:
            interval = f"at least {_number(point.low)}"
        elif point.low is None:
            interval = f"at most {_number(point.high)}"
        if interval and point.confidence is not None:
            interval += f" ({100 * point.confidence:.3g} %)"
        if point.outcome is not Outcome.EXECUTED:
            interval += f" {point.outcome.value}"
    marks = ["[bold]approved[/]"] if run.approvals else []
    marks += [f"gate: {_decision(run.gate)}"] if run.gate else []
    return [
        f"{run.created:%Y-%m-%d %H:%M}",
        str(run.seed),
        value,
        interval,
        "" if point.n is None else f"{point.n:,}",
        "" if point.chance is None else _number(point.chance),
        "" if point.claimed_epsilon is None else f"{point.claimed_epsilon:.4g}",
        ", ".join([run.run_id[:SHORT], *marks]),
    ]


def _number(value: float | None) -> str:
    """Enough digits for a rate; the interval says how many count."""
    return "" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"
