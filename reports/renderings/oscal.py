"""The crosswalk and the audits as OSCAL assessment results, for who tracks assessments there.

Only observations: a finding would have to say whether a control is satisfied, and this tool says
what evidence there is.
"""

import json
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from audit.formats.evidence import EvidenceRecord

OSCAL_VERSION = "1.2.1"
SPACE = uuid5(NAMESPACE_URL, "fl-privacy-audit:oscal")
"""Of the ids here, so that the same run gives the same ones."""

NAMESPACE = "urn:fl-privacy-audit:evidence"


def render_oscal(record: EvidenceRecord) -> bytes:
    """Return the assessment results as JSON; the same record gives the same bytes.

    Args:
        record: The record.

    Source:
        NIST OSCAL 1.2.1, assessment-results model: ``observations`` by method TEST.
    """
    run = record.run
    observations = [_verdict(record), *_audits(record), *_requirements(record)]
    results = {
        "assessment-results": {
            "uuid": _id(record, "assessment-results"),
            "metadata": {
                "title": f"Privacy audit of {run.config}",
                "last-modified": run.finished,
                "version": run.id,
                "oscal-version": OSCAL_VERSION,
                "remarks": "Made from audit.json, which holds every number.",
            },
            "import-ap": {
                "href": "config.resolved.yaml",
                "remarks": "The resolved configuration stands for the assessment plan.",
            },
            "results": [
                {
                    "uuid": _id(record, "result"),
                    "title": record.verdict.headline,
                    "description": "What was measured, and what evidence there is for which "
                    "requirement. No finding says that a requirement is satisfied.",
                    "start": run.created,
                    "end": run.finished,
                    "reviewed-controls": {"control-selections": [{"include-all": {}}]},
                    "observations": observations,
                }
            ],
        }
    }
    return (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode()


def _verdict(record: EvidenceRecord) -> dict[str, Any]:
    said = "\n".join(statement.text for statement in record.verdict.statements)
    return _observation(
        record,
        "verdict",
        title="Verdict",
        description=said or record.verdict.headline,
        props={"state": record.verdict.state},
        files=["report.html", "audit.json"],
    )


def _audits(record: EvidenceRecord) -> list[dict[str, Any]]:
    return [
        _observation(
            record,
            f"audit/{audit.name}/{audit.about}",
            title=f"DP audit {audit.attack} of {audit.adversary} on {audit.cell}",
            description=f"Epsilon is at least {audit.lower_bound:.6g}, of n = {audit.n} and a "
            f"ceiling of {audit.ceiling:.6g}; claimed {audit.claimed_epsilon}. {audit.method}",
            props={"verdict": str(audit.verdict or "no claim"), "about": audit.about},
            files=[f"attacks/{audit.attack}.json"],
        )
        for cell in record.cells
        for audit in cell.audits
    ]


def _requirements(record: EvidenceRecord) -> list[dict[str, Any]]:
    return [
        _observation(
            record,
            f"requirement/{row['source']}/{row['id']}",
            title=f"{row['source_title']}, {row['id']}",
            description=row["requirement"],
            props={"evidence-state": row["state"], "text": row["text_check"]},
            files=sorted({each["file"] for each in row["evidence"] if each["file"]}),
            remarks=f"{row['reason']}. {row['limits']}",
        )
        for row in record.crosswalk
    ]


def _observation(
    record: EvidenceRecord,
    name: str,
    *,
    title: str,
    description: str,
    props: dict[str, str],
    files: list[str],
    remarks: str | None = None,
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "uuid": _id(record, name),
        "title": title,
        "description": description,
        "props": [{"name": key, "ns": NAMESPACE, "value": value} for key, value in props.items()],
        "methods": ["TEST"],
        "collected": record.run.finished,
    }
    if files:
        made["relevant-evidence"] = [
            {"href": file, "description": f"In this bundle: {file}"} for file in files
        ]
    if remarks:
        made["remarks"] = remarks
    return made


def _id(record: EvidenceRecord, name: str) -> str:
    return str(uuid5(SPACE, f"{record.run.id}/{name}"))
