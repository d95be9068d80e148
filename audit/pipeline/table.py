"""The accuracy / epsilon / leakage table of a run: ``table.json`` and ``table.csv``."""

import io
from collections.abc import Sequence
from typing import Any

import pandas as pd

from audit.core.audits import AuditRecord
from audit.core.scores import Score
from audit.formats.files import read_json, read_json_lines, write_json, write_text
from audit.pipeline.verdicts import read_audits
from audit.scoring import cell_verdict
from audit.store.run import RunDirectory

SCHEMA = "audit-table/v1"


def write_table(run: RunDirectory) -> dict[str, Any]:
    """Build the table from what is on disk, write both files, and return it.

    Args:
        run: Its finished cells become rows, in the order of the configuration; scores that
            ``audit attack`` wrote become the rows' leakage.
    """
    scores = [Score.model_validate(line) for line in read_json_lines(run.path / "scores.jsonl")]
    audits = read_audits(run)
    config = run.config
    cells = [c for c in (run.cell(cell.id) for cell in config.cells) if c.done]
    published = {
        cell.id: config.reference.at(cell.epsilon) if config.reference else None
        for cell in config.cells
    }
    summaries = [read_json(cell.summary) for cell in cells]
    baseline = next((s["accuracy"] for s in summaries if s["target_epsilon"] is None), None)
    rows = [
        {
            **{k: v for k, v in summary.items() if k not in {"schema", "claims"}},
            "baseline_accuracy": baseline,
            "reference_accuracy": published[summary["cell"]],
            "verdict": cell_verdict(_of(audits, summary["cell"])),
            "audits": [
                record.model_dump(mode="json", exclude={"cell"})
                for record in _of(audits, summary["cell"])
            ],
            "claims": summary["claims"],
            "leakage": [
                score.model_dump(mode="json", exclude={"cell"})
                for score in scores
                if score.cell == summary["cell"]
            ],
        }
        for summary in summaries
    ]
    table = {"schema": SCHEMA, "rows": rows}
    write_json(run.path / "table.json", table)
    write_text(run.path / "table.csv", _csv(rows))
    return table


def _of(audits: Sequence[AuditRecord], cell: str) -> list[AuditRecord]:
    return [record for record in audits if record.cell == cell]


def _csv(rows: list[dict[str, Any]]) -> str:
    """One line a cell; each leakage value and interval is a column named after its origin."""
    flat = []
    for row in rows:
        line = {k: v for k, v in row.items() if k not in {"claims", "leakage", "audits"}}
        for score in row["leakage"]:
            name = ":".join(
                score[k] for k in ("adversary", "attack", "metric", "slice") if score[k] != "all"
            )
            line[name] = score["value"]
            line[f"{name}:low"], line[f"{name}:high"] = score["low"], score["high"]
            line[f"{name}:outcome"] = score["outcome"]
        flat.append(line)
    buffer = io.StringIO()
    pd.DataFrame(flat).to_csv(buffer, index=False)
    return buffer.getvalue()
