"""Utility over complete runs of one configuration that differ in their seed only."""

from collections.abc import Sequence
from typing import Any

from audit.core.config import Config
from audit.core.errors import MissingEvidenceError
from audit.formats.files import read_json
from audit.stats import student_interval
from audit.store.run import RunDirectory

SCHEMA = "audit-seeds/v1"
CONFIDENCE = 0.95
MEASURES = ("accuracy", "balanced_accuracy", "auroc")


def pool_seeds(runs: Sequence[RunDirectory]) -> dict[str, Any]:
    """Return one row a cell: means over the runs with Student's intervals.

    Args:
        runs: At least two, of one configuration; cells that are not finished in each are left out.

    Raises:
        MissingEvidenceError: Two runs differ in more than the seed, share one, or no cell is
            finished in all.
    """
    configs = [run.config for run in runs]
    seeds = [config.seed for config in configs]
    for run, config in zip(runs, configs, strict=True):
        if _without_seed(config) != _without_seed(configs[0]):
            raise MissingEvidenceError(
                f"{run.path}: its configuration differs from that of {runs[0].path} in more than "
                "the seed; expected runs of one configuration"
            )
    if len(set(seeds)) < len(seeds):
        raise MissingEvidenceError(f"seeds {seeds}: expected runs with different seeds")
    tables = [{row["cell"]: row for row in _rows(run)} for run in runs]
    cells = [c.id for c in configs[0].cells if all(c.id in table for table in tables)]
    if not cells:
        raise MissingEvidenceError("no cell is finished in every one of these runs")
    return {
        "schema": SCHEMA,
        "runs": [str(run.path) for run in runs],
        "seeds": seeds,
        "rows": [_pooled([table[cell] for table in tables]) for cell in cells],
    }


def _without_seed(config: Config) -> dict[str, Any]:
    """A fixed noise key need not agree either: it only makes a run reproducible."""
    tree = config.model_dump()
    tree["seed"] = tree["privacy"]["noise_key"] = None
    return tree


def _rows(run: RunDirectory) -> list[dict[str, Any]]:
    path = run.path / "table.json"
    if not path.exists():
        raise MissingEvidenceError(f"{run.path} has no table: no cell is finished yet")
    rows: list[dict[str, Any]] = read_json(path)["rows"]
    return rows


def _pooled(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Join the rows of one cell; the claim is the largest."""
    first = rows[0]
    pooled: dict[str, Any] = {
        "cell": first["cell"],
        "target_epsilon": first["target_epsilon"],
        "claimed_epsilon": _largest(rows, "claimed_epsilon"),
        "noise_multiplier": first["noise_multiplier"],
        "selection_epsilon": _largest(rows, "selection_epsilon"),
        "delta": first["delta"],
        "reference_accuracy": first["reference_accuracy"],
        "tuning": first["tuning"],
        "reproduction": any(row["reproduction"] for row in rows),
        "repeats": len(rows),
        "seconds": sum(row["seconds"] for row in rows) / len(rows),
    }
    for measure in MEASURES:
        values = [row[measure] for row in rows]
        known = None not in values
        interval = student_interval(values, CONFIDENCE) if known else None
        pooled |= {
            measure: interval.value if interval else None,
            f"{measure}_low": max(0.0, interval.low) if interval else None,
            f"{measure}_high": min(1.0, interval.high) if interval else None,
            f"{measure}_worst": min(values) if known else None,
            f"{measure}_best": max(values) if known else None,
        }
    return pooled


def _largest(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return max(values) if values else None
