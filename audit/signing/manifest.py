"""The manifest of a bundle: the SHA-256 of every file in it."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from audit.core.errors import IntegrityError
from audit.signing.canonical import parse_strictly

MANIFEST = "manifest.json"
"""Lists every file of a bundle but itself and the attestation."""

ATTESTATION = "attestation.dsse.json"
"""Signs the manifest; an unsigned bundle has none."""

BUNDLE_SCHEMA = "audit-bundle/v1"

_SHA256 = re.compile(r"[0-9a-f]{64}")


def sha256_hex(content: bytes) -> str:
    """Return a SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def manifest_bytes(hashes: Mapping[str, str]) -> bytes:
    """Return the manifest: sorted, one file a line, the same bytes for the same files.

    Args:
        hashes: Name to SHA-256 in hexadecimal.

    Raises:
        ValueError: A name does not stay inside of the bundle, or a hash is none.
    """
    for name, value in hashes.items():
        reason = unfit_name(name) or (None if _is_hash(value) else f"{value!r} is no SHA-256")
        if reason is not None:
            raise ValueError(f"{name!r}: {reason}")
    record = {"schema": BUNDLE_SCHEMA, "sha256": dict(sorted(hashes.items()))}
    return (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()


def read_manifest(content: bytes) -> dict[str, str]:
    """Return name to SHA-256.

    Args:
        content: The bytes of a manifest. What they name is not trusted before the signature is.

    Raises:
        IntegrityError: Damaged, of another schema, or a name points outside of the bundle.
    """
    record = parse_strictly(content, where=MANIFEST)
    if not isinstance(record, dict) or record.get("schema") != BUNDLE_SCHEMA:
        raise IntegrityError(f"{MANIFEST}: expected schema {BUNDLE_SCHEMA!r}")
    hashes = record.get("sha256")
    if set(record) != {"schema", "sha256"} or not isinstance(hashes, dict):
        raise IntegrityError(f"{MANIFEST}: expected the fields schema and sha256, and no other")
    for name, value in hashes.items():
        reason = unfit_name(name)
        if reason is not None:
            raise IntegrityError(f"{MANIFEST} names {name!r}: {reason}")
        if not _is_hash(value):
            raise IntegrityError(f"{MANIFEST}: what it has for {name!r} is no SHA-256")
    return hashes


def unfit_name(name: str) -> str | None:
    """Say why a name cannot be that of a file in a bundle; None: it can.

    Args:
        name: Relative, with forward slashes.
    """
    if name in {MANIFEST, ATTESTATION}:
        return "this file cannot list itself, or its signature"
    if not name or not name.isprintable() or "\\" in name:
        return "expected printable text without a backslash"
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or name == ".":
        return "expected a plain path inside of the bundle"
    return None


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None
