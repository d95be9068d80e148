"""A history without write permission is read, and neither it nor its folder is changed.

Root may write everything, so the reader is a child process that has become nobody.
"""

import multiprocessing
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from history_snapshots import approved, snapshot

from audit.core.errors import AuditError
from audit.history.record import record
from audit.history.view import view

NOBODY = 65534
CANNOT = 77
"""Exit code of a child that could not become nobody."""


@pytest.fixture
def path() -> Iterator[Path]:
    """A history of two runs, in a folder that others may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    made = folder / "history.sqlite"
    record(made, [snapshot("one", day=1, table="a")], approved())
    record(made, [snapshot("two", day=2, table="b")])
    yield made
    folder.chmod(0o700)
    shutil.rmtree(folder)


def seal(path: Path, mode: int = 0o400) -> dict[str, bytes]:
    """Take all leave to write away; return what lies in the folder."""
    found = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    for file, bits in (*((f, mode) for f in path.parent.iterdir()), (path.parent, 0o500)):
        file.chmod(bits)
        if os.geteuid() == 0:
            os.chown(file, NOBODY, NOBODY)
    return found


def as_nobody(use: Callable[[Path], None], path: Path) -> None:
    """Run a function in a child process without privileges."""

    def child() -> None:
        if os.geteuid() == 0:
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                path.stat()
            except OSError:
                os._exit(CANNOT)
        use(path)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(timeout=60)
    if process.exitcode == CANNOT:
        pytest.skip("this process cannot become another user")
    assert process.exitcode == 0


def reads_both(path: Path, config: str = "hand") -> None:
    assert not os.access(path, os.W_OK)
    assert [(run.run_id, run.config) for run in view(path).runs] == [
        ("one", config),
        ("two", config),
    ]


def killed_while(path: Path, *statements: str) -> None:
    """Run statements in a process that ends without closing the file."""

    def child() -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(timeout=60)
    assert process.exitcode == 0


def beside(path: Path) -> set[str]:
    return {file.name.removeprefix(path.name) for file in path.parent.iterdir()} - {""}


def test_a_sealed_history_is_read_and_left_alone(path):
    found = seal(path)
    assert list(found) == ["history.sqlite"]
    as_nobody(reads_both, path)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == found


def test_what_a_killed_writer_left_is_undone_on_a_copy(path):
    spill = ("PRAGMA cache_size = 1", "BEGIN IMMEDIATE", "UPDATE runs SET config = 'half'")
    fill = "INSERT INTO series SELECT NULL, value, value, 'x', 'x', 'x' FROM generate"
    many = "WITH RECURSIVE generate(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM generate "
    killed_while(path, *spill, f"{many} LIMIT 20000) {fill}")
    assert beside(path) == {"-journal"}
    found = seal(path)
    as_nobody(reads_both, path)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == found


@pytest.mark.parametrize("cut_short", [False, True])
def test_a_file_in_write_ahead_mode_is_read_from_a_copy(path, cut_short):
    """Another program has put it into that mode; SQLite wants two more files then."""
    wal = "PRAGMA journal_mode = WAL"
    if cut_short:
        killed_while(path, wal, "UPDATE runs SET config = 'changed'")
        (path.parent / "history.sqlite-shm").unlink()
        assert beside(path) == {"-wal"}
    else:
        connection = sqlite3.connect(path)
        connection.execute(wal)
        connection.close()
        assert beside(path) == set()
    found = seal(path)

    config = "changed" if cut_short else "hand"
    as_nobody(lambda path: reads_both(path, config), path)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == found


def test_a_history_that_may_not_be_read_says_so(path):
    seal(path, mode=0)

    def use(path: Path) -> None:
        with pytest.raises(AuditError, match="cannot read it: Permission denied"):
            view(path)
        with pytest.raises(AuditError, match="cannot write it"):
            record(path, [snapshot("three")])

    as_nobody(use, path)
