"""Writes the evidence bundle: whole, private, and only after a search for patients' data."""

import json
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from audit.core.errors import AuditError, ConfigError
from audit.formats.files import private_folder, sync_folder, write_bytes
from audit.signing.bundle import signed_files
from audit.signing.keys import PrivateKey
from audit.signing.manifest import BUNDLE_SCHEMA, MANIFEST
from audit.signing.statement import AuditResult
from reports.guard import check_free_of_patients
from reports.guard_numbers import CURVES


def write_bundle(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    result: AuditResult,
    private_key: PrivateKey | None,
    forbidden_ids: Collection[str],
    allow_images: bool = False,
    curves: frozenset[str] = CURVES,
) -> None:
    """Write a bundle in place of the one that may lie there.

    The same input gives the same bytes. All is written into a new folder beside, which then takes
    the old one's place: an interrupt leaves the old bundle, or none, never a mixture.

    Args:
        folder: The bundle, such as ``RUN/evidence``.
        files: Name, relative with forward slashes, to content. The manifest and the attestation
            are made here.
        result: What the attestation says.
        private_key: None: the bundle is not signed, and does not verify.
        forbidden_ids: See ``check_free_of_patients``; so are the last two.
        allow_images: Whether raster images may be in it.
        curves: Names of lists that are no values by record.

    Raises:
        PatientDataError: A file would name a patient or show a record; nothing is written.
        ConfigError: The folder holds something that is no bundle.
        AuditError: The disk is full or the folder cannot be written; the old bundle stays.
        ValueError: A name does not stay inside of the bundle, or the configuration is missing.
    """
    check_free_of_patients(files, forbidden_ids, allow_images=allow_images, curves=curves)
    bundle = signed_files(files, result, private_key)
    _check_replaceable(folder)
    private_folder(folder.parent)
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(leftover)  # of a process that was killed
    try:
        workshop = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise AuditError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        made, replaced = workshop / "new", workshop / "old"
        private_folder(made)
        for name, content in sorted(bundle.items()):
            write_bytes(made / name, content)
        if folder.exists():
            folder.rename(replaced)
        made.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise AuditError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        if not folder.exists() and replaced.exists():
            replaced.rename(folder)
        shutil.rmtree(workshop, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    """Refuse to take the place of something that is not a bundle of ours."""
    if not folder.is_symlink() and (not folder.exists() or _is_bundle(folder)):
        return
    raise ConfigError(f"{folder} exists and is no evidence bundle; expected a free name")


def _is_bundle(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        record = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("schema") == BUNDLE_SCHEMA
