"""Writing into the history: snapshots of runs, approvals and gates; the same twice is once."""

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from audit.core.errors import IntegrityError
from audit.formats.baseline import CellFacts, RunFacts
from audit.formats.history import Accuracy, Event, Snapshot
from audit.history.file import writing


def record(path: Path, snapshots: Sequence[Snapshot], event: Event | None = None) -> int:
    """Keep snapshots, and what was decided about all of them together.

    What is there already stays as it is: a snapshot by its run and the SHA-256 of its table, an
    event by its content.

    Args:
        path: The history; made if it is not there.
        snapshots: At least one.
        event: None: the runs were only added.

    Returns:
        How many of the snapshots are new.

    Raises:
        IntegrityError: The file is no history or damaged, a run contradicts what is known of it,
            or a cell has two values of the same name.
        MissingEvidenceError: A later version wrote the file.
        LockedRunError: Another process was writing all the time.
        AuditError: The file cannot be written.
    """
    with writing(path) as connection:
        before = _count(connection)
        numbers = [_keep_snapshot(connection, snapshot) for snapshot in snapshots]
        if event is not None:
            _keep_event(connection, event, snapshots, numbers)
        return _count(connection) - before


def _count(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM snapshots").fetchone()
    return int(count)


def _keep_snapshot(connection: sqlite3.Connection, snapshot: Snapshot) -> int:
    run = snapshot.run
    _keep_run(connection, run)
    connection.execute(
        """INSERT INTO snapshots (run_id, table_sha256, attack_code, recorded)
        VALUES (?, ?, ?, ?) ON CONFLICT (run_id, table_sha256) DO NOTHING""",
        (run.run_id, snapshot.table_sha256, json.dumps(run.attack_code), _now()),
    )
    (number,) = connection.execute(
        "SELECT number FROM snapshots WHERE run_id = ? AND table_sha256 = ?",
        (run.run_id, snapshot.table_sha256),
    ).fetchone()
    for place, cell in enumerate(snapshot.cells):
        _keep_cell(connection, number, place, cell, snapshot.accuracy.get(cell.cell, Accuracy()))
    return int(number)


def _keep_run(connection: sqlite3.Connection, run: RunFacts) -> None:
    known = {
        "run_id": run.run_id,
        "config": run.config,
        "seed": run.seed,
        "created": run.created,
        "backend": run.backend,
        "reproduction": int(run.reproduction),
        "dataset": run.dataset,
        "records": run.records,
        "partition_sha256": run.partition,
        "python": run.python,
        "packages": json.dumps(run.packages, sort_keys=True),
    }
    names, marks = ", ".join(known), ", ".join("?" * len(known))
    connection.execute(
        f"INSERT INTO runs ({names}) VALUES ({marks}) ON CONFLICT (run_id) DO NOTHING",  # noqa: S608
        tuple(known.values()),
    )
    found = connection.execute(
        f"SELECT {names} FROM runs WHERE run_id = ?",  # noqa: S608
        (run.run_id,),
    ).fetchone()
    for (name, value), kept in zip(known.items(), found, strict=True):
        if value != kept:
            raise IntegrityError(
                f"run {run.run_id}: the history knows its {name} as {kept!r}, and it says {value!r}"
            )


def _keep_cell(
    connection: sqlite3.Connection, number: int, place: int, cell: CellFacts, accuracy: Accuracy
) -> None:
    connection.execute(
        """INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (number, cell) DO NOTHING""",
        (
            number, place, cell.cell, cell.role, cell.target_epsilon, cell.claimed_epsilon,
            cell.delta, cell.verdict, accuracy.accuracy, accuracy.accuracy_low,
            accuracy.accuracy_high,
        ),
    )  # fmt: skip
    _check_single([(cell.cell, c.adversary) for c in cell.claims], what="claims")
    connection.executemany(
        """INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (number, cell, adversary) DO NOTHING""",
        [
            (number, cell.cell, c.adversary, c.colluders, c.unit, c.claimed_epsilon, c.delta)
            for c in cell.claims
        ],
    )
    names = [(cell.cell, *m.key) for m in cell.metrics]
    _check_single(names, what="values")
    connection.executemany(
        """INSERT INTO series (cell, adversary, attack, metric, slice) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING""",
        names,
    )
    connection.executemany(
        """INSERT INTO scores
        SELECT ?, series, ?, ?, ?, ?, ?, ?, ?, ? FROM series
        WHERE cell = ? AND adversary = ? AND attack = ? AND metric = ? AND slice = ?
        ON CONFLICT (number, series) DO NOTHING""",
        [
            (number, m.value, m.low, m.high, m.confidence, m.n, m.chance, m.outcome, m.by, *name)
            for m, name in zip(cell.metrics, names, strict=True)
        ],
    )


def _check_single(names: Sequence[tuple[str, ...]], *, what: str) -> None:
    """A second one of a name would be dropped in silence."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise IntegrityError(f"{' / '.join(twice)}: two {what}, expected one")


def _keep_event(
    connection: sqlite3.Connection,
    event: Event,
    snapshots: Sequence[Snapshot],
    numbers: Sequence[int],
) -> None:
    about = sorted((s.run.run_id, s.table_sha256) for s in snapshots)
    content = json.dumps([event.model_dump(mode="json"), about], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    connection.execute(
        """INSERT INTO events (digest, kind, at, baseline_sha256, approved_by, reason, expires,
        policy_sha256, signature, decision, exit_code) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (digest) DO NOTHING""",
        (
            digest, event.kind, event.at.isoformat(), event.baseline_sha256, event.by,
            event.reason, event.expires.isoformat() if event.expires else None,
            event.policy_sha256, event.signature, event.decision, event.exit_code,
        ),
    )  # fmt: skip
    (number,) = connection.execute(
        "SELECT event FROM events WHERE digest = ?", (digest,)
    ).fetchone()
    connection.executemany(
        "INSERT INTO event_snapshots VALUES (?, ?) ON CONFLICT (event, number) DO NOTHING",
        [(number, snapshot) for snapshot in numbers],
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
