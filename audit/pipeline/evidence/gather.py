"""The whole record of a run, from what its directory says; the vault is not opened."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from audit.core.errors import MissingEvidenceError
from audit.formats.evidence import EvidenceRecord, Federation, RunFacts
from audit.formats.files import read_json, read_json_lines, sha256_of
from audit.pipeline.code import JUDGING, code_digest
from audit.pipeline.control_records import read_controls
from audit.pipeline.evidence.adversaries import adversary_facts
from audit.pipeline.evidence.available import available
from audit.pipeline.evidence.cells import cell_evidence
from audit.pipeline.evidence.coverage import coverage
from audit.pipeline.evidence.texts import OUTSIDE, reproduction
from audit.pipeline.evidence.verdict import verdict
from audit.store.run import RunDirectory
from reports.crosswalk import crosswalk, crosswalk_json
from reports.selftest import shipped_selftest

PACKAGE = "fl-privacy-audit"


def gather(run: RunDirectory, *, signed: bool = False) -> EvidenceRecord:
    """Return the record of a run.

    Args:
        run: Checked against its manifest.
        signed: Whether the bundle will carry a signature: evidence for some requirements.

    Raises:
        MissingEvidenceError: No cell is finished, or nothing was attacked; says what to call.
        IntegrityError: A file is missing or damaged.
    """
    config, facts = run.config, run.record
    path = run.path / "table.json"
    rows: list[dict[str, Any]] = read_json(path)["rows"] if path.exists() else []
    unfinished = [cell.id for cell in config.cells if not run.cell(cell.id).done]
    if not rows or unfinished:
        raise MissingEvidenceError(
            f"{run.path} is not finished: {', '.join(unfinished) or 'no cell'} is missing; "
            f"go on with `audit train --resume --out {run.path}`"
        )
    events = read_json_lines(run.path / "events.jsonl")
    attacked = [event for event in events if event["event"] == "attacked"]
    if not attacked:
        raise MissingEvidenceError(
            f"{run.path} was not attacked: there is nothing to report; "
            f"call `audit attack {run.path}` first"
        )
    controls = read_controls(run)
    covered = coverage(run, config, controls)
    cells = [cell_evidence(run, config, row, _baseline(rows)) for row in rows]
    gate = run.path / "gate.json"
    record = EvidenceRecord(
        tool={
            "name": PACKAGE,
            "version": version(PACKAGE),
            "code_sha256": code_digest(*JUDGING),
        },
        run=RunFacts(
            id=facts["id"],
            config=facts["config"],
            created=facts["created"],
            finished=attacked[-1]["time"],
            seed=config.seed,
            backend=facts["backend"],
            reproduction=config.reproduction,
            python=facts["python"],
            packages=facts["packages"],
            recording_sha256=sha256_of(run.path / "manifest.json"),
            budgets=[str(event["budget"]) for event in attacked],
        ),
        federation=_federation(run),
        adversaries=adversary_facts(config, covered),
        cells=cells,
        coverage=covered,
        verdict=verdict(cells, covered, reproduction=config.reproduction),
        controls=controls,
        selftest=shipped_selftest(),
        gate=read_json(gate) if gate.exists() else None,
        crosswalk=[],
        outside=list(OUTSIDE),
        reproduction=reproduction(config, attacked[-1]["budget"]),
    )
    rows = crosswalk_json(crosswalk(available(record, signed=signed)))
    return record.model_copy(update={"crosswalk": rows})


def _baseline(rows: Sequence[dict[str, Any]]) -> str | None:
    return next((row["cell"] for row in rows if row["target_epsilon"] is None), None)


def _federation(run: RunDirectory) -> Federation:
    config, dataset = run.config, run.record["dataset"]
    first = read_json(run.cell(config.cells[0].id).privacy)
    return Federation(
        dataset=dataset["name"],
        dataset_sha256=dataset["sha256"],
        public=bool(dataset["public"]),
        hospitals=list(config.clients),
        partition=config.partition.method,
        nominal_records=config.privacy.nominal_records,
        protocol=first["aggregation"]["protocol"],
        threshold=first["aggregation"]["threshold"],
        colluders=first["aggregation"]["colluders"],
        pretrained=config.pretraining is not None,
    )
