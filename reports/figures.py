"""Plots of a run's table, as SVG and PNG; the same input gives the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reports.columns import PLOTTED, Row, Series, main_series

INK = ("#1b5e9b", "#b3490f", "#2e7d4f", "#7a3e9d", "#8a6d00", "#555555", "#c2185b")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
APART = 1.04
"""Factor on the epsilon axis between curves, so that equal values do not hide each other."""

GAP = 3.0
"""Factor on the epsilon axis between the largest epsilon and the place of "no DP"."""

mpl.rcParams["svg.hashsalt"] = "fl-privacy-audit"
mpl.rcParams["svg.fonttype"] = "none"


def draw_plots(table: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw accuracy and leakage against epsilon.

    Args:
        table: The content of ``table.json``.
        folder: Gets ``accuracy.svg`` and ``.png``, and ``leakage.*`` once attacks have run.

    Returns:
        The files written.
    """
    rows: list[Row] = table["rows"]
    drawn = draw_accuracy(rows, folder / "accuracy", label="this run")
    if main_series(rows, PLOTTED):
        drawn += save_figure(_leakage(rows), folder / "leakage")
    return drawn


def draw_accuracy(rows: Sequence[Row], path: Path, *, label: str) -> list[Path]:
    """Draw accuracy against epsilon, with the published curve where there is one.

    Args:
        rows: Of a table, or of several seeds pooled.
        path: Without its ending.
        label: What the rows' own curve is called.
    """
    return save_figure(_accuracy(rows, label), path)


def draw_roc(
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], path: Path
) -> list[Path]:
    """Draw ROCs on logarithmic axes, a panel an adversary, a line a cell.

    Args:
        curves: Adversary to cell title to points (FPR, TPR) of its strongest attack.
        path: Without its ending.
    """
    figure = Figure(figsize=(4.4 * len(curves), 4.2), dpi=130, layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    lowest = min(f for c in curves.values() for points in c.values() for f, _ in points if f > 0)
    for axes, (adversary, cells) in zip(panels, curves.items(), strict=True):
        axes.plot([lowest, 1], [lowest, 1], color="#777777", linewidth=0.8, linestyle=":")
        for i, (title, points) in enumerate(cells.items()):
            false, true = np.array([p for p in points if p[0] > 0 and p[1] > 0]).reshape(-1, 2).T
            color = INK[i % len(INK)]
            axes.step(false, true, where="post", color=color, linewidth=1.2, label=title)
        axes.set(xscale="log", yscale="log", xlim=(lowest, 1), ylim=(lowest, 1), title=adversary)
        axes.set_xlabel("false-positive rate")
        axes.legend(frameon=False, fontsize=8)
    panels[0].set_ylabel("true-positive rate")
    figure.suptitle("ROC of the strongest attack", size=10)
    return save_figure(figure, path)


def draw_reconstructions(
    panels: Sequence[tuple[str, Mapping[str, NDArray[np.float32]]]], path: Path
) -> list[Path]:
    """Draw truth, reconstruction and baseline of public records, a row a cell and adversary.

    Args:
        panels: As ``reconstruction_figure`` takes them.
        path: Without its ending.
    """
    return save_figure(reconstruction_figure(panels), path)


def reconstruction_figure(
    panels: Sequence[tuple[str, Mapping[str, NDArray[np.float32]]]],
) -> Figure:
    """Return a grid of truth, reconstruction and baseline, a row a cell and adversary.

    Args:
        panels: Row title to arrays ``truth``, ``reconstruction`` and ``baseline``, each of shape
            (records, channels, height, width) in [0, 1].
    """
    most = max(len(arrays["truth"]) for _, arrays in panels)
    kinds = ("truth", "reconstruction", "baseline")
    width, height = 1.3 + 0.62 * most * len(kinds), 0.4 + 0.68 * len(panels)
    figure = Figure(figsize=(width, height), dpi=130)
    axes = figure.subplots(len(panels), most * len(kinds), squeeze=False)
    for line, (title, arrays) in zip(axes, panels, strict=True):
        for k, kind in enumerate(kinds):
            for i in range(most):
                spot: Axes = line[k * most + i]
                spot.set_axis_off()
                if kind in arrays and i < len(arrays[kind]):
                    image = np.moveaxis(arrays[kind][i], 0, -1).squeeze()
                    spot.imshow(image, cmap="gray", vmin=0, vmax=1)
        line[0].text(
            -0.15, 0.5, title, transform=line[0].transAxes, ha="right", va="center", size=7
        )
    for k, kind in enumerate(kinds):
        axes[0][k * most].set_title(kind, size=8, loc="left")
    figure.subplots_adjust(
        left=1.1 / width, right=0.995, top=1 - 0.3 / height, bottom=0.01, wspace=0.06, hspace=0.08
    )
    return figure


def _accuracy(rows: Sequence[Row], label: str) -> Figure:
    figure = Figure(figsize=(6.4, 4.0), dpi=130, layout="constrained")
    axes = figure.subplots()
    places, labels = _places(rows)
    values = np.array([[r["accuracy"], r["accuracy_low"], r["accuracy_high"]] for r in rows]) * 100
    _curve(axes, places, values, label, 0)
    published = [(p, r["reference_accuracy"]) for p, r in zip(places, rows, strict=True)]
    known = [(p, a * 100) for p, a in published if a is not None]
    if known:
        axes.plot(*zip(*known, strict=True), "--", color=INK[1], marker=MARKS[1], label="published")
    _epsilon_axis(axes, places, labels)
    axes.set_ylabel("test accuracy, %")
    axes.set_title("Accuracy against claimed privacy")
    axes.legend(frameon=False)
    return figure


def _leakage(rows: list[Row]) -> Figure:
    series = main_series(rows, PLOTTED)
    metrics = [m for m in PLOTTED if any(s.metric == m for s in series)]
    figure = Figure(figsize=(6.4 * len(metrics), 4.2), dpi=130, layout="constrained")
    places, labels = _places(rows)
    titles = {
        "auc": ("Membership inference: strongest attack, joint 95 %", "AUC"),
        "identification_rate_100": ("Records of probes named", "rate, of 100 candidates"),
        "identification_rate_10": ("Records of probes named", "rate, of 10 candidates"),
        "ssim_over_baseline": ("Gradient inversion of probes", "SSIM above the best baseline"),
        "attribute_advantage": ("Attribute inference", "accuracy above imputation"),
    }
    for axes, metric in zip(
        figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True
    ):
        for i, one in enumerate(s for s in series if s.metric == metric):
            found = [(p, one.find(row)) for p, row in zip(places, rows, strict=True)]
            known = [(p, s) for p, s in found if s is not None and s["value"] is not None]
            values = np.array([[s["value"], s["low"], s["high"]] for _, s in known])
            _curve(axes, [p * APART**i for p, _ in known], values, _legend(one), i)
        if metric == "auc":
            axes.axhline(0.5, color="#777777", linewidth=0.8, linestyle=":")
            axes.text(places[-1], 0.5, "chance", size=8, color="#555555", va="top", ha="right")
        _epsilon_axis(axes, places, labels)
        axes.set_title(titles[metric][0])
        axes.set_ylabel(titles[metric][1])
        axes.legend(frameon=False, fontsize=8)
    return figure


def _curve(
    axes: Axes, places: Sequence[float], values: NDArray[np.float64], label: str, number: int
) -> None:
    errors = np.abs(values[:, 1:].T - values[:, 0])
    axes.errorbar(
        places,
        values[:, 0],
        yerr=errors,
        color=INK[number % len(INK)],
        marker=MARKS[number % len(MARKS)],
        capsize=3,
        label=label,
    )


def _legend(series: Series) -> str:
    return series.title.rsplit(": ", 1)[0]


def _places(rows: Sequence[Row]) -> tuple[list[float], list[str]]:
    """Place of each row on the logarithmic axis; without DP at the right, set apart."""
    finite = [row["target_epsilon"] for row in rows if row["target_epsilon"] is not None]
    end = max(finite, default=1.0) * GAP
    places = [end if row["target_epsilon"] is None else row["target_epsilon"] for row in rows]
    labels = [
        "no DP" if row["target_epsilon"] is None else f"{p:g}"
        for row, p in zip(rows, places, strict=True)
    ]
    return places, labels


def _epsilon_axis(axes: Axes, places: list[float], labels: list[str]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(places, labels)
    axes.minorticks_off()
    axes.set_xlabel("epsilon, total over all rounds (log scale)")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as SVG and PNG, the same bytes for the same figure.

    Args:
        figure: It.
        path: Without its ending.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = [path.with_name(path.name + ending) for ending in (".svg", ".png")]
    figure.savefig(written[0], metadata={"Date": None})
    figure.savefig(written[1], metadata={"Software": None})
    return written
