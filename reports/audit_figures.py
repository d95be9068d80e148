"""Plots of DP audits: found against claimed, and how far an audit reaches with n canaries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.columns import Row, adversary_rank, audits_of
from reports.figures import INK, MARKS, save_figure

APART = 1.06
"""Factor on the epsilon axis between audits, so that equal values do not hide each other."""

TOP = 50.0
"""Bounds and ceilings above this are drawn at the upper edge."""


def draw_audits(rows: Sequence[Row], path: Path) -> list[Path]:
    """Draw epsilon found against epsilon claimed, a panel an adversary, a line an audit.

    Args:
        rows: Of a table, with ``audits``; those that claim nothing are left out.
        path: Without its ending.

    Returns:
        The files written.
    """
    private = [row for row in rows if row["claimed_epsilon"] is not None]
    adversaries = sorted(
        {a["adversary"] for row in private for a in audits_of(row)}, key=adversary_rank
    )
    figure = Figure(figsize=(4.4 * len(adversaries), 4.4), dpi=130, layout="constrained")
    panels = figure.subplots(1, len(adversaries), squeeze=False, sharey=True)[0]
    for axes, adversary in zip(panels, adversaries, strict=True):
        _audits(axes, private, adversary)
    panels[0].set_ylabel("epsilon, lower bound at 95 % (log scale)")
    figure.suptitle(
        "DP audit: epsilon found against claimed; a line ends at what so few canaries could show",
        size=11,
    )
    return save_figure(figure, path)


def draw_power(results: Sequence[Mapping[str, Any]], path: Path) -> list[Path]:
    """Draw bounds against the number of canaries, where the true epsilon is known.

    Args:
        results: For each claim and adversary: ``claimed``, ``adversary``, ``truth`` and ``sizes``,
            a list of ``n``, ``mean`` and ``ideal``.
        path: Without its ending.

    Returns:
        The files written.
    """
    adversaries = sorted({r["adversary"] for r in results}, key=adversary_rank)
    figure = Figure(figsize=(5.2 * len(adversaries), 4.2), dpi=130, layout="constrained")
    panels = figure.subplots(1, len(adversaries), squeeze=False, sharey=True)[0]
    for axes, adversary in zip(panels, adversaries, strict=True):
        shown = [r for r in results if r["adversary"] == adversary]
        for i, result in enumerate(shown):
            color, sizes = INK[i % len(INK)], result["sizes"]
            n = [line["n"] for line in sizes]
            parts = np.array([[line["mean"], line["ideal"]] for line in sizes]) / result["truth"]
            label = f"epsilon {result['claimed']:g}"
            axes.plot(n, parts[:, 0], color=color, marker=MARKS[i % len(MARKS)], label=label)
            axes.plot(n, parts[:, 1], color=color, linestyle=":", linewidth=1)
        axes.axhline(1.0, color="#777777", linewidth=0.8)
        axes.set(xscale="log", ylim=(0, 1.1), title=adversary)
        axes.set_xlabel("canaries (log scale)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.legend(fontsize=8, loc="upper left", framealpha=0.9)
    panels[0].set_ylabel("bound, as a part of the true epsilon")
    figure.suptitle("What n canaries show (dotted: ideal Gaussian scores)", size=11)
    return save_figure(figure, path)


def _audits(axes: Axes, rows: Sequence[Row], adversary: str) -> None:
    claimed = [row["claimed_epsilon"] for row in rows]
    low = min(claimed) / 20
    names = sorted({a["attack"] for r in rows for a in audits_of(r) if a["adversary"] == adversary})
    ends = [min(claimed), max(claimed)]
    axes.plot(ends, ends, color="#777777", linewidth=0.8, label="found = claimed")
    for i, name in enumerate(names):
        found = [
            (row["claimed_epsilon"] * APART**i, a)
            for row in rows
            for a in audits_of(row)
            if (a["adversary"], a["attack"]) == (adversary, name)
        ]
        places = [place for place, _ in found]
        color, mark = INK[i % len(INK)], MARKS[i % len(MARKS)]
        bounds = np.clip([a["lower_bound"] for _, a in found], low, TOP)
        ceilings = np.clip([a["ceiling"] for _, a in found], low, TOP)
        axes.vlines(places, bounds, ceilings, color=color, linewidth=0.7, alpha=0.5)
        axes.plot(places, ceilings, linestyle="", marker="_", color=color)
        axes.plot(places, bounds, linestyle="", marker=mark, color=color, label=name)
    axes.set(xscale="log", yscale="log", ylim=(low * 0.8, TOP * 1.3), title=adversary)
    axes.set_xticks(claimed, [f"{c:.2g}" for c in claimed])
    inner = [t for t in (0.01, 0.1, 1.0, 10.0) if low < t < TOP]
    axes.set_yticks([low, *inner, TOP], ["0", *(f"{t:g}" for t in inner), f"{TOP:g} or more"])
    axes.minorticks_off()
    axes.set_xlabel("epsilon claimed (log scale)")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
