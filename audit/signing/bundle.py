"""The evidence bundle: signed from a mapping of files, and checked wherever it was copied."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from audit.core.errors import ConfigError, IntegrityError, MissingEvidenceError
from audit.core.problems import Problem
from audit.formats.chain import EVENTS, check_chain
from audit.formats.files import sha256_of
from audit.signing.envelope import seal, unseal
from audit.signing.keys import PrivateKey, PublicKey
from audit.signing.manifest import (
    ATTESTATION,
    MANIFEST,
    manifest_bytes,
    read_manifest,
    sha256_hex,
)
from audit.signing.statement import (
    PAYLOAD_TYPE,
    AuditResult,
    Statement,
    read_statement,
    statement_bytes,
)


@dataclass(frozen=True, kw_only=True)
class BundleCheck:
    """What a check of a bundle found.

    Args:
        problems: What does not hold, the attestation's and the manifest's first; empty: all holds.
        files: How many files the manifest lists.
        result: What was signed; None: something does not hold.
    """

    problems: tuple[Problem, ...]
    files: int
    result: AuditResult | None


def signed_files(
    files: Mapping[str, bytes], result: AuditResult, private_key: PrivateKey | None
) -> dict[str, bytes]:
    """Return the files of a bundle with the manifest, and the attestation if there is a key.

    Args:
        files: Name to content.
        result: What the attestation says.
        private_key: None: the bundle stays unsigned, and does not verify.

    Raises:
        ValueError: A name is not that of a file in a bundle, or the configuration is missing.
    """
    hashes = {name: sha256_hex(content) for name, content in files.items()}
    manifest = manifest_bytes(hashes)
    statement = statement_bytes(result, manifest_sha256=sha256_hex(manifest), hashes=hashes)
    bundle = {**files, MANIFEST: manifest}
    if private_key is not None:
        bundle[ATTESTATION] = seal(statement, payload_type=PAYLOAD_TYPE, private_key=private_key)
    return bundle


def verify_bundle(folder: Path, public_key: PublicKey) -> list[Problem]:
    """Find everything in a bundle that is not as it was signed; an empty list: nothing.

    Args:
        folder: The bundle.
        public_key: Whose signature it must bear.

    Raises:
        ConfigError: There is no such folder.
        MissingEvidenceError: The folder is no bundle.
    """
    return list(check_bundle(folder, public_key).problems)


def check_bundle(folder: Path, public_key: PublicKey) -> BundleCheck:
    """Do as ``verify_bundle``, and tell besides what was signed."""
    if not folder.is_dir():
        raise ConfigError(f"bundle {folder}: expected a folder that exists")
    present = {name: folder / name for name in (MANIFEST, ATTESTATION)}
    if not any(os.path.lexists(path) for path in present.values()):
        raise MissingEvidenceError(f"{folder} is no evidence bundle: it has no {MANIFEST}")
    if (folder / "run.json").is_file() and not present[ATTESTATION].exists():
        raise MissingEvidenceError(f"{folder} is a run; its bundle is {folder / 'evidence'}")
    found = _Found(folder)
    manifest = found.read(MANIFEST)
    hashes: dict[str, str] | None = None
    if manifest is not None:
        try:
            hashes = read_manifest(manifest)
        except IntegrityError as error:
            found.wrong(MANIFEST, str(error))
    statement = _attested(found, public_key)
    if statement is not None and manifest is not None:
        if statement.manifest_sha256 != sha256_hex(manifest):
            found.wrong(MANIFEST, "was changed: it is not the one that was signed")
        elif hashes is not None and not statement.configuration.items() <= hashes.items():
            found.wrong(ATTESTATION, "names a configuration that is not the bundle's")
    found.compare(hashes)
    found.follow_chain()
    return BundleCheck(
        problems=tuple(found.problems),
        files=len(hashes or {}),
        result=statement.result if statement is not None and not found.problems else None,
    )


def _attested(found: "_Found", public_key: PublicKey) -> Statement | None:
    """Return the statement that is signed; None: it does not hold, and the problem is noted."""
    if not os.path.lexists(found.folder / ATTESTATION):
        found.wrong(ATTESTATION, "is missing: the bundle is not signed")
        return None
    content = found.read(ATTESTATION)
    if content is None:
        return None
    try:
        return read_statement(
            unseal(content, payload_type=PAYLOAD_TYPE, public_key=public_key, where=ATTESTATION)
        )
    except IntegrityError as error:
        found.wrong(ATTESTATION, str(error))
        return None


class _Found:
    """What lies in a bundle's folder, and what is wrong with it.

    Args:
        folder: The bundle.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[Problem] = []
        self._unread: set[str] = set()

    def wrong(self, file: str, reason: str) -> None:
        """Note a problem; a name that could move the cursor is shown escaped."""
        for opening in (f"{file}: ", f"{file}, ", f"{file} "):
            reason = reason.removeprefix(opening)  # errors begin with it
        self.problems.append(Problem(file if file.isprintable() else ascii(file), reason))

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes; None: it is no plain file that can be read, which is noted."""
        path = self.folder / name
        if path.is_symlink() or not path.is_file():
            kind = "is missing" if not os.path.lexists(path) else "is not a plain file"
            self._unread.add(name)
            self.wrong(name, kind)
            return None
        try:
            return path.read_bytes()
        except OSError as error:
            self._unread.add(name)
            self.wrong(name, f"cannot be read: {error.strerror or error}")
            return None

    def compare(self, hashes: dict[str, str] | None) -> None:
        """Note what is missing, changed, added, or no plain file."""
        there, folders = self._walk()
        if hashes is None:
            return
        for name, expected in sorted(hashes.items()):
            if name not in there:
                if name not in self._unread:
                    self.wrong(name, "is missing, renamed or moved: the manifest names it")
                continue
            try:
                actual = sha256_of(self.folder / name)
            except OSError as error:
                self.wrong(name, f"cannot be read: {error.strerror or error}")
                continue
            if actual != expected:
                self.wrong(name, "was changed: its SHA-256 is not the one in the manifest")
        for name in sorted(there - set(hashes) - {MANIFEST, ATTESTATION}):
            self.wrong(name, "was added: the manifest does not name it")
        parents = {str(parent) for name in hashes for parent in Path(name).parents}
        for name in sorted(folders - parents):
            self.wrong(name, "was added: no file of the manifest is in this folder")

    def follow_chain(self) -> None:
        """Note where the event log's chain breaks; a bundle without one has nothing to break."""
        path = self.folder / EVENTS
        if path.is_symlink() or not path.is_file():
            return
        try:
            problem = check_chain(path.read_bytes())
        except OSError:
            return  # noted when the hashes were compared
        if problem is not None:
            self.problems.append(problem)

    def _walk(self) -> tuple[set[str], set[str]]:
        """Return the plain files and the folders below the bundle; anything else is noted."""
        files, folders = set(), set()
        waiting = [self.folder]
        while waiting:
            for entry in os.scandir(waiting.pop()):
                path = Path(entry.path)
                name = path.relative_to(self.folder).as_posix()
                if entry.is_file(follow_symlinks=False):
                    files.add(name)
                elif entry.is_dir(follow_symlinks=False):
                    folders.add(name)
                    waiting.append(path)
                elif name not in self._unread:
                    self._unread.add(name)
                    self.wrong(name, "is a link or another special file; expected a plain file")
        return files, folders
