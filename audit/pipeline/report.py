"""`audit report`: a finished run as a page for people, and as a bundle of evidence."""

import io
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.core.audits import AuditRecord
from audit.core.errors import ConfigError
from audit.core.scores import Score
from audit.formats.evidence import EvidenceRecord
from audit.formats.files import read_json, write_bytes
from audit.pipeline.evidence.attestation import audit_result
from audit.pipeline.evidence.gather import gather
from audit.pipeline.forbidden import forbidden_words
from audit.pipeline.panels import Panels, reconstruction_panels
from audit.signing.keys import load_private_key
from audit.store.run import RunDirectory
from reports.bundle import write_bundle
from reports.figures import reconstruction_figure
from reports.page.blocks import Chart
from reports.page.charts import picture_source
from reports.page.render import render_html, render_pdf
from reports.renderings.mlbom import render_mlbom
from reports.renderings.oscal import render_oscal
from reports.renderings.registry_entry import render_registry_entry
from reports.renderings.summary import render_latex, render_summary

SCHEMAS: Mapping[str, type[EvidenceRecord | Score | AuditRecord]] = {
    "audit": EvidenceRecord,
    "score": Score,
    "dp-audit": AuditRecord,
}
"""What the bundle's JSON is checked against, by the file's name."""


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """How a report is made.

    Args:
        out: Folder that gets ``report/`` and ``evidence/``; None: the run's own.
        key: Private key that signs the bundle; None: it stays unsigned.
        pdf: Whether to write a PDF beside the page; needs the extra ``pdf``.
        reconstructions: Whether pictures of patients' records may be shown.
    """

    out: Path | None = None
    key: Path | None = None
    pdf: bool = False
    reconstructions: bool = False


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written.

    Args:
        page: The report for people.
        pdf: The same for a printer; None: not asked for.
        bundle: The folder of the evidence.
        record: What all of it says.
        summary: In Markdown.
    """

    page: Path
    pdf: Path | None
    bundle: Path
    record: EvidenceRecord
    summary: str


def report(run: RunDirectory, options: ReportOptions) -> Report:
    """Write the report of a finished run, and the bundle of its evidence.

    The same run gives the same bytes.

    Raises:
        ConfigError: The key cannot be read; ``--pdf`` without WeasyPrint; the folder of the
            bundle holds something else.
        PatientDataError: A file would name a record, hold values by record, or show one.
        MissingEvidenceError: The run is unfinished, was not attacked, or carries planted faults.
        IntegrityError: The recording is damaged.
    """
    signer = load_private_key(options.key) if options.key else None
    with run.locked():
        run.check_sound()
        run.check_manifest()
        record = gather(run, signed=options.key is not None)
        rows: list[dict[str, Any]] = read_json(run.path / "table.json")["rows"]
        public = record.federation.public
        panels = (
            reconstruction_panels(run, rows, secret=options.reconstructions)
            if public or options.reconstructions
            else []
        )
        page = render_html(record, [_pictures(panels, public=public)] if panels else [])
        base = options.out or run.path
        folder = base / "report"
        write_bytes(folder / "report.html", page)
        pdf = None
        if options.pdf:
            pdf = folder / "report.pdf"
            write_bytes(pdf, _pdf(page))
        summary = render_summary(record)
        files = {"report.html": page, "summary.md": summary, **bundle_files(run, record)}
        write_bundle(
            base / "evidence",
            files,
            result=audit_result(record),
            private_key=signer,
            forbidden_ids=forbidden_words(run),
            allow_images=bool(panels),
        )
    return Report(
        page=folder / "report.html",
        pdf=pdf,
        bundle=base / "evidence",
        record=record,
        summary=summary.decode(),
    )


def bundle_files(run: RunDirectory, record: EvidenceRecord) -> dict[str, bytes]:
    """Return the files of the bundle but for the page and the summary.

    Args:
        run: What is copied as it is.
        record: What all else renders.
    """
    facts = record.model_dump(mode="json", by_alias=True)
    files = {
        "audit.json": _json(facts),
        "dp.json": _json(
            {
                "schema": "audit-dp/v1",
                "cells": [
                    {
                        key: cell[key]
                        for key in ("cell", "privacy", "claims", "probe_epsilon", "rounds")
                    }
                    for cell in facts["cells"]
                ],
            }
        ),
        "crosswalk.json": _json({"schema": "audit-crosswalk/v1", "rows": facts["crosswalk"]}),
        "env.json": _json(
            {
                "schema": "audit-env/v1",
                "tool": facts["tool"],
                "python": record.run.python,
                "packages": record.run.packages,
                "backend": record.run.backend,
            }
        ),
        "config.resolved.yaml": run.config_path.read_bytes(),
        "events.jsonl": (run.path / "events.jsonl").read_bytes(),
        "table.csv": (run.path / "table.csv").read_bytes(),
        "table.tex": render_latex(record),
        "mlbom.cdx.json": render_mlbom(record),
        "oscal.assessment-results.json": render_oscal(record),
        "dp-registry.yaml": render_registry_entry(record, run.config.roles.release_cell),
    }
    files |= {f"attacks/{name}.json": _json(found) for name, found in _by_attack(facts).items()}
    files |= {
        f"schemas/{name}.schema.json": _json(model.model_json_schema(by_alias=True))
        for name, model in SCHEMAS.items()
    }
    return files


def _by_attack(facts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what is known of each attack: coverage, scores and audits."""
    found: dict[str, dict[str, Any]] = {}
    scores, audits = defaultdict(list), defaultdict(list)
    for cell in facts["cells"]:
        for score in cell["leakage"]:
            scores[score["attack"]].append(score)
        for audit in cell["audits"]:
            audits[audit["attack"]].append(audit)
    for line in facts["coverage"]:
        name = line["attack"]
        entry = found.setdefault(
            name,
            {
                "schema": "audit-attack/v1",
                **{key: line[key] for key in ("attack", "title", "family", "source")},
                "runs": [],
                "scores": scores[name],
                "audits": audits[name],
            },
        )
        entry["runs"].append(
            {key: line[key] for key in ("adversary", "cell", "outcome", "reason", "control")}
        )
    return found


def _pictures(panels: Panels, *, public: bool) -> Chart:
    buffer = io.BytesIO()
    reconstruction_figure(panels).savefig(buffer, format="png", metadata={"Software": None})
    return Chart(
        title="Records, their reconstruction, and the baseline that never saw the update",
        description="A row a model and adversary. "
        + ("The records are public." if public else "PATIENTS' RECORDS: do not pass on."),
        source=picture_source(buffer.getvalue()),
    )


def _pdf(page: bytes) -> bytes:
    try:
        return render_pdf(page)
    except ModuleNotFoundError:
        raise ConfigError(
            "--pdf needs WeasyPrint: install the extra `pdf` (pip install 'fl-privacy-audit[pdf]')"
        ) from None


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
