"""The table of gradient inversion: what the best attack of each adversary read off probes."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from reports.columns import OF_PROBES, STRONGEST, Row, adversary_rank, cell_title

NOT_MEASURED = "–"
COLUMNS = {
    "identification_rate_100": "named of 100",
    "identification_rate_10": "named of 10",
    "ssim_over_baseline": "SSIM above the\nbest baseline",
    "field_accuracy": "fields read",
    "label_accuracy": "labels read",
}


def inversion_table(rows: Sequence[Row]) -> Table | None:
    """Return the table, or None where no attack on probes has run.

    Args:
        rows: Of a run's table.
    """
    best = [s for row in rows for s in row["leakage"] if _summary(s)]
    if not best:
        return None
    metrics = [m for m in COLUMNS if any(s["metric"] == m for s in best)]
    if "identification_rate_100" in metrics and "identification_rate_10" in metrics:
        metrics.remove("identification_rate_10")
    slices = sorted({s["slice"].replace("/", " ").replace("-", " ") for s in best})
    shown = Table(
        title=f"Gradient inversion of probes ({'; '.join(slices)}): the best attack of each "
        "adversary",
        title_justify="left",
        caption="Intervals allow for the choice among attacks; n counts updates. SSIM counts above "
        "the best guess without the gradient. At most: what the probe's own mechanism allows any "
        "attack.",
        caption_justify="left",
    )
    shown.add_column("epsilon", justify="right")
    shown.add_column("adversary", no_wrap=True)
    shown.add_column("n", justify="right")
    for metric in metrics:
        shown.add_column(COLUMNS[metric], justify="right")
        if metric.startswith("identification"):
            shown.add_column("at most", justify="right")
    for row in rows:
        found = {(s["adversary"], s["metric"]): s for s in row["leakage"] if _summary(s)}
        for adversary in sorted({who for who, _ in found}, key=adversary_rank):
            own = {metric: found.get((adversary, metric)) for metric in metrics}
            cells = []
            for metric, score in own.items():
                cells.append(_value(score))
                if metric.startswith("identification"):
                    bound = None if score is None else score.get("bound")
                    cells.append(NOT_MEASURED if bound is None else f"{bound:.3g}")
            counts = [score["n"] for score in own.values() if score is not None]
            shown.add_row(cell_title(row), adversary, str(max(counts, default=0)), *cells)
    return shown


def _summary(score: Mapping[str, Any]) -> bool:
    wanted = {*OF_PROBES, "label_accuracy", "field_accuracy"}
    return bool(
        score["attack"] == STRONGEST and score["metric"] in wanted and score["value"] is not None
    )


def _value(score: Mapping[str, Any] | None) -> str:
    if score is None or score["value"] is None:
        return NOT_MEASURED
    low, value, high = (format(score[key], ".2f") for key in ("low", "value", "high"))
    return f"{value} [{low}, {high}]\n{score['by']}"
