"""Files that appear whole or not at all, readable by their owner only."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from audit.core.errors import AuditError, IntegrityError

TEMPORARY = ".new-"
"""What the name of a file in the making begins with; a killed process leaves it behind."""


def private_folder(path: Path) -> Path:
    """Create a folder and its missing parents with mode 0700."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    return path


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically and durably: a temporary beside it, fsync, rename.

    Raises:
        AuditError: The disk is full or the file cannot be written; nothing is left half written.
    """
    temporary: str | None = None
    try:
        private_folder(path.parent)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        Path(temporary).replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise AuditError(f"cannot write {path}: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a file's own sync does not cover its name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Write one JSON value a line, atomically."""
    write_text(
        path, "".join(json.dumps(v, allow_nan=False, ensure_ascii=False) + "\n" for v in values)
    )


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        IntegrityError: The file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise IntegrityError(f"{path} is missing from the run") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path} is damaged: {error}") from None


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line; a missing file is an empty list.

    Raises:
        IntegrityError: A line is not JSON.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path} is damaged: {error}") from None


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Append one JSON object to a log and sync it to disk before returning."""
    try:
        private_folder(path.parent)
        new = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as handle:
            handle.write((json.dumps(value, allow_nan=False) + "\n").encode())
            handle.flush()
            os.fsync(handle.fileno())
        if new:
            sync_folder(path.parent)
    except OSError as error:
        raise AuditError(f"cannot write {path}: {error.strerror or error}") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
