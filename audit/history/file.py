"""The file of the history: opened for one transaction, refused where it is not ours.

The journal is SQLite's default and no write-ahead log: that would need shared memory, which network
drives do not have, and leave two more files beside the history. Writers wait for each other.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from audit.core.errors import AuditError, IntegrityError, LockedRunError, MissingEvidenceError
from audit.formats.files import private_folder
from audit.history.schema import APPLICATION_ID, VERSION, migrate

DEFAULT = Path("history.sqlite")
VARIABLE = "AUDIT_HISTORY"
PATIENCE = 60.0
"""Seconds that a process waits for another one to finish writing."""

ADVICE = "record runs with `audit history add RUN`, or `audit gate --history FILE`"


def history_path(given: Path | None) -> Path:
    """Return the file that was given, or the one of the environment, or ``./history.sqlite``."""
    return given or Path(os.environ.get(VARIABLE) or DEFAULT)


@contextmanager
def writing(path: Path, *, patience: float = PATIENCE) -> Iterator[sqlite3.Connection]:
    """Give a connection in which all is written, or nothing.

    Args:
        path: Made with mode 0600 if it is not there.
        patience: Seconds to wait for other writers.

    Raises:
        IntegrityError: It is no history, or damaged.
        MissingEvidenceError: A later version wrote it.
        LockedRunError: Another process was writing all the time.
        AuditError: It cannot be written.
    """
    try:
        private_folder(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise AuditError(f"history {path}: cannot write it: {error.strerror or error}") from None
    with _told(path), closing(_connect(path, "rw", patience)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection, path) < VERSION:
                migrate(connection)
            yield connection
        except BaseException:
            if connection.in_transaction:  # a full disk has ended it already
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection that sees one state of the file, and changes nothing.

    Raises:
        IntegrityError: It is no history, or damaged.
        MissingEvidenceError: It is not there, holds nothing, or a later version wrote it.
        LockedRunError: Another process was writing all the time.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingEvidenceError(f"no history at {path}: {ADVICE}") from None
    except OSError as error:
        raise AuditError(f"history {path}: cannot read it: {error.strerror or error}") from None
    with _told(path), _open_to_read(path) as connection:
        version = _version(connection, path)
        if version == 0:
            raise MissingEvidenceError(f"history {path} holds nothing: {ADVICE}")
        if version == VERSION:
            yield connection
            return
        connection.execute("ROLLBACK")
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
            connection.backup(copy)
            copy.execute("BEGIN")
            migrate(copy)
            yield copy


@contextmanager
def _open_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection inside a transaction that has read.

    With leave to write, what a killed writer left is undone. Without it that is done on a copy, and
    so is reading a file that another program has put into write-ahead mode: SQLite reads neither
    without writing beside it.
    """
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    with ExitStack() as stack:
        try:
            connection = _begun(stack, path, "rw" if writable else "ro")
        except sqlite3.OperationalError as error:
            if writable or not _name(error).startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
                raise
            folder = Path(stack.enter_context(TemporaryDirectory()))
            connection = _begun(stack, _copied(path, folder), "rw")
        yield connection


def _copied(path: Path, folder: Path) -> Path:
    try:
        for suffix in ("", "-journal", "-wal"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                shutil.copyfile(beside, folder / beside.name)
    except OSError as error:
        raise AuditError(f"history {path}: cannot read it: {error.strerror or error}") from None
    return folder / path.name


def _begun(stack: ExitStack, path: Path, mode: str) -> sqlite3.Connection:
    connection = stack.enter_context(closing(_connect(path, mode, PATIENCE)))
    connection.execute("PRAGMA query_only = ON")
    connection.execute("BEGIN")
    connection.execute("PRAGMA user_version").fetchone()
    return connection


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "")


def _connect(path: Path, mode: str, patience: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=patience, isolation_level=None
    )


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the file's version; 0: it is empty."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (version, owner, tables) == (0, 0, 0):
        return 0
    if owner != APPLICATION_ID or version < 1:
        raise IntegrityError(f"history {path}: it is another program's database, no history")
    if version > VERSION:
        raise MissingEvidenceError(
            f"history {path}: its schema is version {version}, and this program knows {VERSION}: "
            "use the newer version of the program that wrote it"
        )
    return int(version)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if _name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise LockedRunError(f"history {path} is in use by another process") from None
        raise AuditError(f"history {path}: {error}") from None
    except sqlite3.DatabaseError as error:
        raise IntegrityError(f"history {path} is damaged, or no history: {error}") from None
