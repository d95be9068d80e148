"""Plots of a history: each metric over the runs, with intervals, approvals and gates."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from audit.core.metrics import METRICS
from audit.formats.gate import Decision
from audit.formats.history import HistoryView, Point, RecordedRun, Series
from reports.figures import INK, save_figure

COLUMNS = 3
"""Panels beside each other."""

SPREAD = 0.5
"""Part of the distance between two runs over which the series of one run are spread."""

BESIDE = -0.38
"""Place of an approval's line beside its run, in distances between two runs: left of its series."""

GATES: Mapping[Decision | None, tuple[str, str]] = {
    None: ("o", "run not gated"),
    Decision.PASS: ("^", "gate of the run: pass"),
    Decision.FAIL: ("X", "gate of the run: fail"),
    Decision.INCONCLUSIVE: ("s", "gate of the run: inconclusive"),
    Decision.INCOMPARABLE: ("D", "gate of the run: incomparable"),
}
STROKES: tuple[Literal["-", "--", "-."], ...] = ("-", "--", "-.")
BOUND = "empirical_epsilon_lower_bound"
GREY, DARK = "#777777", "#222222"
MOST_LABELS = 12
"""Runs that get a date below the axis; of more, so many of them."""


def draw_history(view: HistoryView, folder: Path) -> list[Path]:
    """Draw a figure for each configuration and metric, a panel a cell, a line a series.

    Args:
        view: What was asked of a history.
        folder: Gets ``<config>-<metric>.svg`` and ``.png``.

    Returns:
        The files written.
    """
    drawn = []
    for config, metric in dict.fromkeys((s.config, s.metric) for s in view.series):
        series = [s for s in view.series if (s.config, s.metric) == (config, metric)]
        runs = [run for run in view.runs if run.config == config]
        name = re.sub(r"[^\w.-]", "_", f"{config}-{metric}")
        drawn += save_figure(history_figure(series, runs), folder / name)
    return drawn


def history_figure(series: Sequence[Series], runs: Sequence[RecordedRun]) -> Figure:
    """Return the figure of one metric of one configuration.

    Args:
        series: Of it, at least one.
        runs: Of the configuration, in the order of their training.
    """
    cells = list(dict.fromkeys(s.cell for s in series))
    kinds = list(dict.fromkeys(_label(s) for s in series))
    columns = min(COLUMNS, len(cells))
    lines = math.ceil(len(cells) / columns)
    width = max(4.6, min(9.0, 1.6 + 0.7 * len(runs)))
    figure = Figure(
        figsize=(max(6.4, width * columns), 3.6 * lines + 1.2), dpi=130, layout="constrained"
    )
    metric = METRICS[series[0].metric]
    panels = figure.subplots(
        lines, columns, squeeze=False, sharex=True, sharey=metric.unit != "nat"
    ).ravel()  # epsilons of different cells are far apart
    unit = "" if metric.unit == "1" else f", {metric.unit}"
    for axes, cell in zip(panels, cells, strict=False):
        _panel(axes, [s for s in series if s.cell == cell], runs, kinds)
        axes.set_title(cell, size=10)
        axes.set_ylabel(f"{metric.title}{unit}")
        axes.tick_params(labelbottom=True)
    for axes in panels[len(cells) :]:
        axes.set_axis_off()
    figure.suptitle(
        f"{series[0].config}: {metric.title} over time; {_direction(series[0])} is more leak",
        size=11,
    )
    handles = _legend(series, runs, kinds)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=2 * columns, frameon=False, fontsize=8
    )
    return figure


def _panel(
    axes: Axes, series: Sequence[Series], runs: Sequence[RecordedRun], kinds: Sequence[str]
) -> None:
    places = {run.number: i for i, run in enumerate(runs)}
    for run in runs:
        if run.approvals:
            axes.axvline(
                places[run.number] + BESIDE, color=DARK, linewidth=1.2, linestyle=(0, (6, 3))
            )
    for one in series:
        kind = kinds.index(_label(one))
        shift = SPREAD * ((kind + 0.5) / len(kinds) - 0.5)
        _line(axes, one, runs, kind=kind, shift=shift)
    _chance(axes, series, runs)
    step = math.ceil(len(runs) / MOST_LABELS)
    axes.set_xticks(
        range(0, len(runs), step),
        [f"{run.created:%Y-%m-%d}\n{run.run_id[:8]}" for run in runs[::step]],
        size=7,
        rotation=45 if len(runs) > COLUMNS else 0,
    )
    axes.set_xlim(-0.6, len(runs) - 0.4)
    axes.set_xlabel("runs in the order of their training", size=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)


def _line(
    axes: Axes, series: Series, runs: Sequence[RecordedRun], *, kind: int, shift: float
) -> None:
    color, places = INK[kind % len(INK)], {run.number: i for i, run in enumerate(runs)}
    for stretch in _stretches(series.points, {run.number: run for run in runs}):
        xs = [places[p.number] + shift for p in stretch]
        ys = [p.value for p in stretch]
        axes.plot(xs, np.array(ys, float), color=color, linewidth=0.8, linestyle=_stroke(kind))
    for point in series.points:
        x, run = places[point.number] + shift, runs[places[point.number]]
        if series.metric == BOUND and point.claimed_epsilon is not None:
            axes.plot([x], [point.claimed_epsilon], "_", color=color, markersize=12)
        if point.value is None:
            axes.plot([x], [0.02], "1", color=color, transform=axes.get_xaxis_transform())
            continue
        decision = run.gate.decision if run.gate else None
        low = point.value if point.low is None else point.low
        high = point.value if point.high is None else point.high
        axes.errorbar(
            [x],
            [point.value],
            yerr=[[point.value - low], [high - point.value]],
            color=color,
            marker=GATES[decision][0],
            markersize=10 if decision is Decision.FAIL else 6,
            markeredgecolor=DARK if decision is Decision.FAIL else color,
            capsize=2,
            linewidth=1,
        )


def _stretches(
    points: Sequence[Point], runs: Mapping[int, RecordedRun]
) -> list[list[Point]]:  # fmt: skip
    """Cut a series where nothing was measured, or where data or attacks are other ones."""
    stretches: list[list[Point]] = [[]]
    for point in points:
        last = stretches[-1][-1] if stretches[-1] else None
        if last is not None and _origin(runs[last.number]) != _origin(runs[point.number]):
            stretches.append([])
        if point.value is None:
            stretches.append([])
        else:
            stretches[-1].append(point)
    return stretches


def _origin(run: RecordedRun) -> tuple[str, tuple[str, ...]]:
    return run.records, run.attack_code


def _chance(axes: Axes, series: Sequence[Series], runs: Sequence[RecordedRun]) -> None:
    """One line where chance is one level; else what was measured at each run, dotted."""
    levels = {p.chance for s in series for p in s.points if p.chance is not None}
    if len(levels) == 1:
        axes.axhline(levels.pop(), color=GREY, linewidth=0.9, linestyle=":")
        return
    places = {run.number: i for i, run in enumerate(runs)}
    for one in series:
        for point in one.points:
            if point.chance is not None:
                x = places[point.number]
                axes.hlines(
                    point.chance,
                    x - SPREAD / 2,
                    x + SPREAD / 2,
                    color=GREY,
                    linewidth=0.9,
                    linestyle=":",
                )


def _legend(
    series: Sequence[Series], runs: Sequence[RecordedRun], kinds: Sequence[str]
) -> list[Line2D]:
    handles = [
        Line2D([], [], color=INK[i % len(INK)], linestyle=_stroke(i), label=kind)
        for i, kind in enumerate(kinds)
    ]
    decisions = {run.gate.decision if run.gate else None for run in runs}
    handles += [
        Line2D([], [], color=DARK, marker=mark, linestyle="", label=label)
        for decision, (mark, label) in GATES.items()
        if decision in decisions
    ]
    points = [p for s in series for p in s.points]
    if any(run.approvals for run in runs):
        handles.append(
            Line2D([], [], color=DARK, linestyle=(0, (6, 3)), label="run right of it was approved")
        )
    if any(p.chance is not None for p in points):
        handles.append(Line2D([], [], color=GREY, linestyle=":", label="chance"))
    if series[0].metric == BOUND and any(p.claimed_epsilon is not None for p in points):
        handles.append(Line2D([], [], color=DARK, marker="_", linestyle="", label="claim"))
    if any(p.value is None for p in points):
        handles.append(Line2D([], [], color=DARK, marker="1", linestyle="", label="not measured"))
    return handles


def _label(series: Series) -> str:
    parts = [series.adversary.value, series.attack]
    return ", ".join([*parts, series.slice] if series.slice != "all" else parts)


def _direction(series: Series) -> str:
    return "larger" if METRICS[series.metric].leaks == "up" else "smaller"


def _stroke(kind: int) -> Literal["-", "--", "-."]:
    return STROKES[kind // len(INK) % len(STROKES)]
