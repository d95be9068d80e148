"""What runs, approvals and gates leave in the history."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from audit.core.errors import IntegrityError
from audit.formats.baseline import Baseline
from audit.formats.files import read_json, sha256_of
from audit.formats.gate import GateRecord
from audit.formats.history import Accuracy, Event, Snapshot
from audit.gate.facts import held, read_facts
from audit.history.record import record
from audit.store.run import RunDirectory


class Recorder:
    """Keeps what is decided about runs, if they still are what they were when it was made.

    Make it before the decision: a run that is attacked anew between a gate and its recording must
    not get that gate's decision.

    Args:
        path: The history.
        runs: That will be decided about.
    """

    def __init__(self, path: Path, runs: Sequence[RunDirectory]) -> None:
        self._path = path
        self._runs = runs
        self._tables = [_table_digest(run) for run in runs]

    def add(self) -> int:
        """Record the runs alone; return how many were new."""
        return self._record(None)

    def approved(self, baseline: Path, made: Baseline) -> None:
        """Record an approval.

        Args:
            baseline: The file that it made.
            made: Its content.
        """
        approval = made.approved
        event = Event.model_validate(
            {
                "kind": "approved",
                "at": approval.at,
                "baseline_sha256": sha256_of(baseline),
                "by": approval.by,
                "reason": approval.reason,
                "expires": approval.expires,
            }
        )
        self._record(event)

    def gated(self, gate: GateRecord) -> None:
        """Record a gate."""
        event = Event.model_validate(
            {
                "kind": "gated",
                "at": gate.created,
                "baseline_sha256": gate.baseline,
                "by": gate.approved_by,
                "policy_sha256": gate.policy,
                "signature": gate.signature,
                "decision": gate.decision,
                "exit_code": gate.exit_code,
            }
        )
        self._record(event)

    def _record(self, event: Event | None) -> int:
        with held(self._runs):
            snapshots = [_snapshot(run) for run in self._runs]
        for run, snapshot, table in zip(self._runs, snapshots, self._tables, strict=True):
            if snapshot.table_sha256 != table:
                raise IntegrityError(
                    f"{run.path}: table.json was changed while it was decided about; not recorded"
                )
        return record(self._path, snapshots, event)


def _snapshot(run: RunDirectory) -> Snapshot:
    facts = read_facts([run])
    path = run.path / "table.json"
    try:
        accuracy = {
            str(row["cell"]): Accuracy.model_validate(
                {name: row.get(name) for name in Accuracy.model_fields}
            )
            for row in read_json(path)["rows"]
        }
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(f"{path}: {field}: {first['msg']}") from None
    return Snapshot(
        run=facts.runs[0], table_sha256=sha256_of(path), cells=facts.cells, accuracy=accuracy
    )


def _table_digest(run: RunDirectory) -> str | None:
    """Return the SHA-256 of a run's table; None: it has none, which others refuse in words."""
    path = run.path / "table.json"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
