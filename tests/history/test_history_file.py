"""The file of the history: who may read it, which files are refused, migrations, many writers."""

import multiprocessing
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest
from history_snapshots import approved, cell, gated, measured, snapshot

from audit.core.errors import AuditError, IntegrityError, LockedRunError, MissingEvidenceError
from audit.history.file import history_path, reading, writing
from audit.history.record import record
from audit.history.schema import VERSION
from audit.history.view import Wanted, view

WRITERS, EACH = 4, 25

VERSION_1 = """
PRAGMA application_id = 1179406401;
PRAGMA user_version = 1;
CREATE TABLE runs (run_id TEXT PRIMARY KEY, config TEXT NOT NULL, seed INTEGER NOT NULL,
    created TEXT NOT NULL, backend TEXT NOT NULL, reproduction INTEGER NOT NULL,
    dataset TEXT NOT NULL, records TEXT NOT NULL, partition_sha256 TEXT NOT NULL,
    python TEXT NOT NULL, packages TEXT NOT NULL);
CREATE TABLE snapshots (number INTEGER PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs,
    table_sha256 TEXT NOT NULL, attack_code TEXT NOT NULL, recorded TEXT NOT NULL,
    UNIQUE (run_id, table_sha256));
CREATE TABLE cells (number INTEGER NOT NULL REFERENCES snapshots, place INTEGER NOT NULL,
    cell TEXT NOT NULL, role TEXT, target_epsilon REAL, claimed_epsilon REAL, delta REAL NOT NULL,
    verdict TEXT, accuracy REAL, accuracy_low REAL, accuracy_high REAL,
    PRIMARY KEY (number, cell)) WITHOUT ROWID;
CREATE TABLE series (series INTEGER PRIMARY KEY, cell TEXT NOT NULL, adversary TEXT NOT NULL,
    attack TEXT NOT NULL, metric TEXT NOT NULL, slice TEXT NOT NULL,
    UNIQUE (cell, adversary, attack, metric, slice));
CREATE TABLE scores (number INTEGER NOT NULL REFERENCES snapshots,
    series INTEGER NOT NULL REFERENCES series, value REAL, low REAL, high REAL, confidence REAL,
    n INTEGER, chance REAL, outcome TEXT NOT NULL, found_by TEXT, PRIMARY KEY (number, series),
    CHECK (outcome <> 'executed' OR value IS NOT NULL)) WITHOUT ROWID;
CREATE TABLE events (event INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('approved', 'gated')), at TEXT NOT NULL,
    baseline_sha256 TEXT NOT NULL, approved_by TEXT NOT NULL, reason TEXT, expires TEXT,
    policy_sha256 TEXT, signature TEXT, decision TEXT, exit_code INTEGER);
CREATE TABLE event_snapshots (event INTEGER NOT NULL REFERENCES events,
    number INTEGER NOT NULL REFERENCES snapshots, PRIMARY KEY (event, number)) WITHOUT ROWID;
INSERT INTO runs VALUES ('old', 'hand', 7, '2029-06-01T00:00:00+00:00', 'inprocess', 0, 'd', 'r',
    'p', '3.11', '{"torch": "2"}');
INSERT INTO snapshots VALUES (1, 'old', 't1', '["c"]', '2029-06-02T00:00:00+00:00');
INSERT INTO cells VALUES (1, 0, 'eps-2', NULL, 2.0, 1.99, 1e-5, 'consistent', 0.9, 0.88, 0.92);
INSERT INTO series VALUES (1, 'eps-2', 'query', 'strongest', 'auc', 'all');
INSERT INTO scores VALUES (1, 1, 0.51, 0.49, 0.53, 0.95, 1000, 0.5, 'executed', 'loss');
INSERT INTO events VALUES (1, 'x', 'approved', '2029-06-03T00:00:00+00:00', 'b', 'A. Person',
    'first', NULL, NULL, NULL, NULL, NULL);
INSERT INTO event_snapshots VALUES (1, 1);
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


@pytest.fixture
def old(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_a_new_file_is_for_its_owner_only_and_alone(path):
    record(path, [snapshot()])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert version_of(path) == VERSION


def test_a_file_of_version_1_is_read_as_it_is_and_left_alone(old):
    before = old.read_bytes()
    shown = view(old)
    assert old.read_bytes() == before
    (point,) = shown.series[0].points
    assert (point.value, point.low, point.high, point.n, point.by) == (
        0.51,
        0.49,
        0.53,
        1000,
        "loss",
    )
    assert point.claimed_epsilon is None  # version 1 did not keep claims by adversary
    assert [(e.by, e.reason) for e in shown.runs[0].events] == [("A. Person", "first")]


def test_a_file_of_version_1_is_migrated_by_the_next_writer(old):
    record(old, [snapshot("new", day=1)])
    assert version_of(old) == VERSION
    shown = view(old, Wanted(adversary="query", cell="eps-2"))
    assert [run.run_id for run in shown.runs] == ["old", "new"]
    (series,) = shown.series
    assert [p.value for p in series.points] == [0.51, 0.55]
    assert [p.claimed_epsilon for p in series.points] == [None, 2.0]


def test_a_version_that_is_not_known_yet_is_neither_read_nor_written(path):
    record(path, [snapshot()])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    for use in (lambda: view(path), lambda: record(path, [snapshot("other")])):
        with pytest.raises(MissingEvidenceError, match=f"version {VERSION + 1}") as caught:
            use()
        assert caught.value.exit_code == 4
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(path):
    path.write_text("this is no database " * 100)
    before = path.read_bytes()
    for use in (lambda: view(path), lambda: record(path, [snapshot()])):
        with pytest.raises(IntegrityError, match="no history") as caught:
            use()
        assert caught.value.exit_code == 5
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE metrics (key TEXT)")
    before = path.read_bytes()
    for use in (lambda: view(path), lambda: record(path, [snapshot()])):
        with pytest.raises(IntegrityError, match="another program"):
            use()
    assert path.read_bytes() == before


def test_no_file_and_an_empty_file_say_how_to_make_one(path):
    with pytest.raises(MissingEvidenceError, match="audit history add"):
        view(path)
    assert not path.exists()
    path.touch()
    with pytest.raises(MissingEvidenceError, match="holds nothing"):
        view(path)


def test_a_folder_that_cannot_be_written_is_an_error_in_words(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AuditError, match="cannot write"):
        record(tmp_path / "file" / "history.sqlite", [snapshot()])


def test_a_damaged_value_is_refused_by_name(path):
    record(path, [snapshot()])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE scores SET value = 'much'")
        connection.commit()
    with pytest.raises(IntegrityError, match="value"):
        view(path)


def test_what_fails_half_way_leaves_nothing(path):
    record(path, [snapshot()])
    twice = cell(metrics=[measured(0.5), measured(0.6)])
    with pytest.raises(IntegrityError, match=r"eps-2 / query / strongest / auc / all: two values"):
        record(path, [snapshot("good"), snapshot("bad", cells=[twice])], approved())
    assert [run.run_id for run in view(path).runs] == ["run-0"]


def test_a_writer_that_waits_too_long_says_so(path):
    record(path, [snapshot()])
    with (
        writing(path),
        pytest.raises(LockedRunError, match="in use"),
        writing(path, patience=0.05),
    ):
        pass


def test_a_reader_sees_one_state(path):
    record(path, [snapshot()])
    with reading(path) as connection:
        count = "SELECT count(*) FROM snapshots"
        assert connection.execute(count).fetchone() == (1,)
        with pytest.raises(sqlite3.OperationalError):
            connection.execute("DELETE FROM snapshots")
        assert connection.execute(count).fetchone() == (1,)


def _write(path: Path, writer: int, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    for i in range(EACH):
        name = f"run-{writer}-{i}"
        record(path, [snapshot(name, day=i, table=name)], gated("pass", i))


def test_many_writers_of_one_new_file_lose_nothing(path):
    context = multiprocessing.get_context("fork")
    start = time.time() + 0.3  # together, so that they race for making the file too
    writers = [context.Process(target=_write, args=(path, w, start)) for w in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    shown = view(path, Wanted(cell="eps-2", adversary="server"))
    expected = {f"run-{w}-{i}" for w in range(WRITERS) for i in range(EACH)}
    assert len(shown.runs) == len(expected)
    assert {run.run_id for run in shown.runs} == expected
    assert {run.gate.decision for run in shown.runs if run.gate} == {"pass"}
    assert len(shown.series[0].points) == len(expected)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_path_comes_from_the_option_then_the_environment_then_the_folder(monkeypatch):
    monkeypatch.delenv("AUDIT_HISTORY", raising=False)
    assert history_path(None) == Path("history.sqlite")
    monkeypatch.setenv("AUDIT_HISTORY", "kept/there.sqlite")
    assert history_path(None) == Path("kept/there.sqlite")
    assert history_path(Path("given")) == Path("given")
