"""The released models as a CycloneDX 1.6 bill of materials with model cards."""

import json
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from audit.formats.evidence import Cell, EvidenceRecord

STRONGEST = "strongest"


def render_mlbom(record: EvidenceRecord) -> bytes:
    """Return the bill of materials as JSON; the same record gives the same bytes.

    Args:
        record: The record.

    Source:
        CycloneDX 1.6, JSON schema bom-1.6: components of type ``machine-learning-model`` with a
        ``modelCard``.
    """
    data = {
        "type": "data",
        "bom-ref": "dataset",
        "name": record.federation.dataset,
        "hashes": [{"alg": "SHA-256", "content": record.federation.dataset_sha256}],
    }
    packages = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
        }
        for name, version in sorted(record.run.packages.items())
        if name != record.tool["name"]  # it stands among the tools
    ]
    bom: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'audit-run:{record.run.id}')}",
        "version": 1,
        "metadata": {
            "timestamp": record.run.finished,
            "tools": {
                "components": [
                    {
                        "type": "application",
                        "name": record.tool["name"],
                        "version": record.tool["version"],
                    }
                ]
            },
            "component": {
                "type": "application",
                "bom-ref": "run",
                "name": record.run.config,
                "version": record.run.id,
            },
        },
        "components": [*(_model(record, cell) for cell in record.cells), data, *packages],
    }
    return (json.dumps(bom, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _model(record: EvidenceRecord, cell: Cell) -> dict[str, Any]:
    claimed = "none" if cell.claimed_epsilon is None else f"{cell.claimed_epsilon:.6g}"
    properties = {
        "claimed_epsilon": claimed,
        "delta": f"{cell.delta:g}",
        "noise_multiplier": str(cell.noise_multiplier),
        "parameters": str(cell.model["parameters"]),
        "rounds": str(cell.schedule["rounds"]),
        "verdict": str(cell.verdict),
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{cell.cell}",
        "name": f"{record.run.config}/{cell.cell}",
        "version": record.run.id,
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": "classification",
                "architectureFamily": "neural network",
                "modelArchitecture": str(cell.model["name"]),
                "datasets": [{"ref": "dataset"}],
            },
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(cell))},
            "considerations": {
                "users": ["clinical research on the stated dataset; not a medical device"],
                "technicalLimitations": list(record.outside),
                "ethicalConsiderations": [
                    {
                        "name": "membership and reconstruction of patients' records",
                        "mitigationStrategy": "differential privacy at each hospital, claimed "
                        f"epsilon {claimed}; secure aggregation: {record.federation.protocol}",
                    }
                ],
            },
        },
        "properties": [
            {"name": f"fl-privacy-audit:{name}", "value": value}
            for name, value in properties.items()
        ],
    }


def _metrics(cell: Cell) -> list[dict[str, Any]]:
    found = [_metric("accuracy", cell.accuracy, cell.accuracy_low, cell.accuracy_high, "test")]
    found += [
        _metric(f"accuracy by {g.column}", g.accuracy, g.low, g.high, g.group)
        for g in cell.groups
        if g.accuracy is not None
    ]
    found += [
        _metric(
            f"{score.metric} of the strongest attack",
            score.value,
            score.low,
            score.high,
            score.adversary,
        )
        for score in cell.leakage
        if score.attack == STRONGEST and score.slice == "all" and score.value is not None
    ]
    return found


def _metric(
    name: str, value: float | None, low: float | None, high: float | None, where: str
) -> dict[str, Any]:
    found: dict[str, Any] = {"type": name, "value": f"{value:.6g}", "slice": where}
    if low is not None and high is not None:
        found["confidenceInterval"] = {"lowerBound": f"{low:.6g}", "upperBound": f"{high:.6g}"}
    return found
