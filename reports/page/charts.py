"""Figures of the page as SVG; the same record gives the same bytes."""

import base64
import io
import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from reports.figures import INK, MARKS

SVG = "data:image/svg+xml;base64,"
PNG = "data:image/png;base64,"
GAP = 3.0
"""Factor on an epsilon axis between the largest epsilon and the place of "no DP"."""

Curves = Mapping[str, Sequence[tuple[float, float]]]


def as_source(figure: Figure) -> str:
    """Return a figure as an address that a page can show without fetching anything."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r"<!--.*?-->\s*", "", buffer.getvalue(), flags=re.DOTALL)
    return SVG + base64.b64encode(text.encode()).decode()


def picture_source(png: bytes) -> str:
    """Return a PNG as an address."""
    return PNG + base64.b64encode(png).decode()


def privacy_curves(curves: Curves) -> str:
    """Draw epsilon against delta, a line a cell.

    Args:
        curves: Cell title to pairs (delta, epsilon).
    """
    figure, axes = _one_panel()
    for i, (title, points) in enumerate(curves.items()):
        deltas, epsilons = zip(*points, strict=True)
        axes.plot(
            deltas, epsilons, color=INK[i % 7], marker=MARKS[i % 7], markersize=4, label=title
        )
    axes.set(xscale="log", yscale="log", xlabel="delta (log scale)", ylabel="epsilon (log scale)")
    _plain_epsilons(axes)
    _finish(axes, len(curves))
    return as_source(figure)


def spending(curves: Curves) -> str:
    """Draw the epsilon spent up to each round, a line a cell.

    Args:
        curves: Cell title to pairs (round, epsilon).
    """
    figure, axes = _one_panel()
    for i, (title, points) in enumerate(curves.items()):
        rounds, spent = zip(*points, strict=True)
        axes.plot(rounds, spent, color=INK[i % 7], marker=MARKS[i % 7], markersize=4, label=title)
    axes.set(xlabel="round", ylabel="epsilon spent (log scale)", yscale="log")
    _plain_epsilons(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes, len(curves))
    return as_source(figure)


def against_epsilon(
    series: Mapping[str, Sequence[tuple[float | None, float, float | None, float | None]]],
    *,
    label: str,
    level: float | None = None,
    level_title: str = "",
) -> str:
    """Draw values with intervals against epsilon, a line a series.

    Args:
        series: Title to (target epsilon, None without DP; value; low; high).
        label: Of the vertical axis.
        level: Where a dotted line is drawn.
        level_title: What that line is.
    """
    figure, axes = _one_panel()
    finite = sorted({p[0] for points in series.values() for p in points if p[0] is not None})
    end = (finite[-1] if finite else 1.0) * GAP
    for i, (title, points) in enumerate(series.items()):
        places = [(end if p[0] is None else p[0]) * 1.04**i for p in points]
        values = np.array([p[1] for p in points])
        lows = np.array([p[1] if p[2] is None else p[2] for p in points])
        highs = np.array([p[1] if p[3] is None else p[3] for p in points])
        axes.errorbar(
            places,
            values,
            yerr=np.abs([values - lows, highs - values]),
            color=INK[i % 7],
            marker=MARKS[i % 7],
            markersize=5,
            capsize=3,
            label=title,
        )
    if level is not None:
        axes.axhline(level, color="#555555", linewidth=0.9, linestyle=":", label=level_title)
    ticks = [*finite, *([end] if any(p[0] is None for ps in series.values() for p in ps) else [])]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{t:g}" for t in finite] + ["no DP"] * (len(ticks) - len(finite)))
    axes.minorticks_off()
    axes.set(xlabel="target epsilon, total over all rounds (log scale)", ylabel=label)
    _finish(axes, len(series))
    return as_source(figure)


def roc_curves(curves: Curves) -> str:
    """Draw ROCs on logarithmic axes, a line a cell.

    Args:
        curves: Cell title to pairs (false-positive rate, true-positive rate).
    """
    figure, axes = _one_panel()
    lowest = min((f for points in curves.values() for f, _ in points if f > 0), default=0.01)
    axes.plot(
        [lowest, 1], [lowest, 1], color="#555555", linewidth=0.9, linestyle=":", label="chance"
    )
    for i, (title, points) in enumerate(curves.items()):
        kept = [(f, t) for f, t in points if f > 0 and t > 0]
        if kept:
            false, true = zip(*kept, strict=True)
            axes.step(false, true, where="post", color=INK[i % 7], linewidth=1.3, label=title)
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(lowest, 1),
        ylim=(lowest, 1),
        xlabel="false-positive rate (log scale)",
        ylabel="true-positive rate (log scale)",
    )
    _finish(axes, len(curves))
    return as_source(figure)


def claimed_and_found(
    rows: Sequence[tuple[str, float, float, float]],
) -> str:
    """Draw claims, lower bounds and ceilings of audits, a row an audit.

    Args:
        rows: Title, claimed epsilon, lower bound, ceiling.
    """
    height = 0.9 + 0.26 * len(rows)
    figure = Figure(figsize=(7.0, height), dpi=100, layout="constrained")
    axes = figure.subplots()
    for i, (_, claimed, bound, ceiling) in enumerate(rows):
        axes.plot([bound, ceiling], [i, i], color="#999999", linewidth=1)
        axes.plot([claimed], [i], "|", color=INK[1], markersize=13, markeredgewidth=2)
        axes.plot([bound], [i], "o", color=INK[0], markersize=6)
        axes.plot([ceiling], [i], ">", color="#555555", markersize=5)
    for mark, color, name in (
        ("o", INK[0], "lower bound found"),
        ("|", INK[1], "claimed"),
        (">", "#555555", "ceiling of the audit"),
    ):
        axes.plot([], [], mark, color=color, label=name, linestyle="none")
    axes.set_yticks(range(len(rows)), [title for title, *_ in rows], size=8)
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set_xlim(left=0)
    axes.set_xlabel("epsilon (0, then log scale)")
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return as_source(figure)


def _one_panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.0, 3.8), dpi=100, layout="constrained")
    return figure, figure.subplots()


def _plain_epsilons(axes: Axes) -> None:
    """Write 0.5 and not 5 x 10^-1 on a logarithmic axis, at the steps 1, 2, 5 or fewer."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda epsilon, _: f"{epsilon:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes, lines: int) -> None:
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if lines > 4:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        axes.legend(frameon=False, fontsize=8)
