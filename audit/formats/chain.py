"""A log whose lines are chained by hash: each names the SHA-256 of the line before it.

A line that was changed, removed or put between breaks the chain at the next one. The last line has
nobody to vouch for it, and whoever rewrites all of them makes a new chain: only a signature over
the whole file (the bundle's) settles that.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audit.core.errors import AuditError
from audit.core.problems import Problem
from audit.formats.files import private_folder, sync_folder

EVENTS = "events.jsonl"
"""What the log of a run is called, in the run and in its bundle."""

START = "0" * 64
"""Stands for the hash of the line before the first."""

OURS = ("sequence", "previous", "cut_bytes")
"""Fields that the chain itself sets."""


def append_event(path: Path, facts: Mapping[str, Any]) -> None:
    """Append an event to a chained log and sync it to disk before returning.

    Each line is JSON: ``sequence`` (its number, from 0), ``previous`` (the SHA-256 of the bytes of
    the line before it, its newline included), and the facts. A last line without a newline was
    half written by a process that was killed: it is cut off, and this event says how long it was
    (``cut_bytes``). The file is locked meanwhile, so that two processes cannot fork the chain.

    Args:
        path: The log; it need not exist.
        facts: JSON values, none of them under a name of the chain's own.

    Raises:
        ValueError: A fact has a name of the chain's own, or is no JSON value.
        AuditError: The disk is full or the file cannot be written.
    """
    taken = set(OURS) & set(facts)
    if taken:
        raise ValueError(f"an event's facts cannot be called {', '.join(sorted(taken))}")
    try:
        private_folder(path.parent)
        new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            content = log.read()
            whole = content[: content.rfind(b"\n") + 1]
            lines = whole.split(b"\n")[:-1]
            cut = len(content) - len(whole)
            event = {
                "sequence": len(lines),
                "previous": _hash(lines[-1] + b"\n") if lines else START,
                **facts,
                **({"cut_bytes": cut} if cut else {}),
            }
            line = (json.dumps(event, allow_nan=False) + "\n").encode()
            if cut:
                log.truncate(len(whole))
            _write_whole(log.fileno(), line)
            os.fsync(log.fileno())
        if new:
            sync_folder(path.parent)
    except OSError as error:
        raise AuditError(f"cannot write {path}: {error.strerror or error}") from error


def check_chain(content: bytes, *, name: str = EVENTS) -> Problem | None:
    """Find the first broken line of a chained log.

    Args:
        content: The bytes of the log.
        name: How the log is called in the answer.

    Returns:
        The first line at which the chain does not hold, and why; None: it holds.
    """
    if not content:
        return Problem(name, "is empty; expected at least one event")
    *lines, rest = content.split(b"\n")
    previous = START
    for number, line in enumerate(lines):
        reason = _broken(line, number, previous)
        if reason is not None:
            return Problem(name, f"line {number + 1} {reason}")
        previous = _hash(line + b"\n")
    if rest:
        return Problem(name, f"line {len(lines) + 1} is not finished")
    return None


def _broken(line: bytes, number: int, previous: str) -> str | None:
    try:
        event = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return "is not JSON"
    if not isinstance(event, dict):
        return "is not a JSON object"
    if "sequence" not in event and "previous" not in event:
        return "is not chained to the line before it: older versions wrote no chain"
    if type(event.get("sequence")) is not int or event["sequence"] != number:
        return f"has sequence {event.get('sequence')!r}; expected {number}"
    if event.get("previous") != previous:
        return "does not follow the line before it: that one was changed, removed or put between"
    return None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _write_whole(descriptor: int, content: bytes) -> None:
    """Write all bytes: the system may take fewer at once."""
    while content:
        content = content[os.write(descriptor, content) :]
