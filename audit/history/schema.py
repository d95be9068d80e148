"""Tables of the history, as migrations from one version to the next; only ever appended to.

``PRAGMA user_version`` says how many were applied.
"""

import sqlite3

APPLICATION_ID = 0x464C5041
"""In the header of the file: it tells a history from another program's database."""

_FIRST = (
    """CREATE TABLE runs (
        run_id TEXT PRIMARY KEY,
        config TEXT NOT NULL,
        seed INTEGER NOT NULL,
        created TEXT NOT NULL,
        backend TEXT NOT NULL,
        reproduction INTEGER NOT NULL,
        dataset TEXT NOT NULL,
        records TEXT NOT NULL,
        partition_sha256 TEXT NOT NULL,
        python TEXT NOT NULL,
        packages TEXT NOT NULL
    )""",
    """CREATE TABLE snapshots (
        number INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL REFERENCES runs,
        table_sha256 TEXT NOT NULL,
        attack_code TEXT NOT NULL,
        recorded TEXT NOT NULL,
        UNIQUE (run_id, table_sha256)
    )""",
    """CREATE TABLE cells (
        number INTEGER NOT NULL REFERENCES snapshots,
        place INTEGER NOT NULL,
        cell TEXT NOT NULL,
        role TEXT,
        target_epsilon REAL,
        claimed_epsilon REAL,
        delta REAL NOT NULL,
        verdict TEXT,
        accuracy REAL,
        accuracy_low REAL,
        accuracy_high REAL,
        PRIMARY KEY (number, cell)
    ) WITHOUT ROWID""",
    """CREATE TABLE series (
        series INTEGER PRIMARY KEY,
        cell TEXT NOT NULL,
        adversary TEXT NOT NULL,
        attack TEXT NOT NULL,
        metric TEXT NOT NULL,
        slice TEXT NOT NULL,
        UNIQUE (cell, adversary, attack, metric, slice)
    )""",
    """CREATE TABLE scores (
        number INTEGER NOT NULL REFERENCES snapshots,
        series INTEGER NOT NULL REFERENCES series,
        value REAL,
        low REAL,
        high REAL,
        confidence REAL,
        n INTEGER,
        chance REAL,
        outcome TEXT NOT NULL,
        found_by TEXT,
        PRIMARY KEY (number, series),
        CHECK (outcome <> 'executed' OR value IS NOT NULL)
    ) WITHOUT ROWID""",
    """CREATE TABLE events (
        event INTEGER PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK (kind IN ('approved', 'gated')),
        at TEXT NOT NULL,
        baseline_sha256 TEXT NOT NULL,
        approved_by TEXT NOT NULL,
        reason TEXT,
        expires TEXT,
        policy_sha256 TEXT,
        signature TEXT,
        decision TEXT,
        exit_code INTEGER
    )""",
    """CREATE TABLE event_snapshots (
        event INTEGER NOT NULL REFERENCES events,
        number INTEGER NOT NULL REFERENCES snapshots,
        PRIMARY KEY (event, number)
    ) WITHOUT ROWID""",
)

_CLAIMS_BY_ADVERSARY = (
    """CREATE TABLE claims (
        number INTEGER NOT NULL REFERENCES snapshots,
        cell TEXT NOT NULL,
        adversary TEXT NOT NULL,
        colluders INTEGER NOT NULL,
        unit TEXT NOT NULL,
        claimed_epsilon REAL NOT NULL,
        delta REAL NOT NULL,
        PRIMARY KEY (number, cell, adversary)
    ) WITHOUT ROWID""",
)

MIGRATIONS = (_FIRST, _CLAIMS_BY_ADVERSARY)
VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to the present version; the caller holds a transaction for writing."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
