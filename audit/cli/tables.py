"""What `audit table` and the end of `audit demo` show."""

from collections.abc import Mapping, Sequence
from typing import Any

from audit.cli.options import print_json, stderr, stdout
from audit.core.adversaries import Adversary
from audit.core.errors import MissingEvidenceError
from audit.formats.files import read_json
from audit.pipeline.control_records import read_controls
from audit.pipeline.panels import reconstruction_panels
from audit.pipeline.seeds import pool_seeds
from audit.store.run import RunDirectory
from reports.audit_figures import draw_audits
from reports.columns import STRONGEST, audits_of, cell_title
from reports.details import render_details
from reports.figures import draw_accuracy, draw_plots, draw_reconstructions, draw_roc
from reports.terminal import render_seeds, render_table


def show_table(run: RunDirectory, *, as_json: bool, details: bool = False) -> None:
    """Print a run's table, with every attack in detail if wanted, and draw its plots.

    Raises:
        MissingEvidenceError: No cell is finished.
    """
    path = run.path / "table.json"
    if not path.exists() or not read_json(path)["rows"]:
        raise MissingEvidenceError(f"{run.path} has no table: no cell is finished yet")
    table = read_json(path)
    drawn = draw_plots(table, run.path / "report")
    panels = reconstruction_panels(run, table["rows"])
    curves = _curves(run, table)
    if curves:
        drawn += draw_roc(curves, run.path / "report" / "roc")
    if any(row["claimed_epsilon"] is not None and audits_of(row) for row in table["rows"]):
        drawn += draw_audits(table["rows"], run.path / "report" / "audits")
    if panels:
        drawn += draw_reconstructions(panels, run.path / "report" / "reconstructions")
    if as_json:
        print_json(table)
    else:
        stdout.print(render_table(table, title=f"{run.record['config']}: {run.path}"))
        if details:
            stdout.print(render_details(table, read_controls(run)))
    stderr.print(f"table: {path}", soft_wrap=True, highlight=False)
    for picture in drawn:
        if picture.suffix == ".png":
            stderr.print(f"plot:  {picture}", soft_wrap=True, highlight=False)


def show_seeds(runs: Sequence[RunDirectory], *, as_json: bool) -> None:
    """Print the utility of runs that differ in their seed, and plot it beside the first run's.

    Raises:
        MissingEvidenceError: The runs cannot be pooled.
    """
    pooled = pool_seeds(runs)
    count = len(runs)
    label = f"mean of {count} seeds"
    drawn = draw_accuracy(pooled["rows"], runs[0].path / "report" / "accuracy-seeds", label=label)
    if as_json:
        print_json(pooled)
    else:
        title = f"{runs[0].record['config']}: {count} seeds from {runs[0].path}"
        stdout.print(render_seeds(pooled, title=title))
    stderr.print(f"plot:  {drawn[-1]}", soft_wrap=True, highlight=False)


def _curves(
    run: RunDirectory, table: Mapping[str, Any]
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return the ROC of each adversary's strongest attack in each cell."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in table["rows"]:
        title = cell_title(row)
        for score in row["leakage"]:
            if (score["attack"], score["metric"]) != (STRONGEST, "auc") or not score.get("by"):
                continue
            adversary = Adversary(score["adversary"])
            for one in (adversary, *adversary.includes):
                path = run.attack_folder(row["cell"], one.value, score["by"]) / "roc.json"
                if path.exists():
                    points = [(float(f), float(t)) for f, t in read_json(path)]
                    curves.setdefault(adversary.value, {})[title] = points
                    break
    if Adversary.RECIPIENT in curves:  # it can do all that a query adversary can
        curves.pop(Adversary.QUERY.value, None)
    return {a.value: curves[a.value] for a in Adversary if a.value in curves}
