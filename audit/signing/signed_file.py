"""One file with its signature beside it: ``baseline.json`` and ``baseline.json.dsse.json``.

The envelope holds the file's bytes, so any DSSE tool verifies it without knowing this project.
"""

from pathlib import Path

from audit.core.errors import AuditError, ConfigError, IntegrityError
from audit.formats.files import write_bytes
from audit.signing.envelope import seal, unseal
from audit.signing.keys import PrivateKey, PublicKey

FILE_TYPE = "application/vnd.fl-privacy-audit.file+json"
SUFFIX = ".dsse.json"


def signature_path(path: Path) -> Path:
    """Return where the signature of a file lies."""
    return path.with_name(path.name + SUFFIX)


def sign_file(path: Path, private_key: PrivateKey) -> Path:
    """Sign a file and write the signature beside it.

    Returns:
        The signature's path.

    Raises:
        ConfigError: The file does not exist.
        AuditError: The signature cannot be written.
    """
    content = _read(path)
    write_bytes(
        signature_path(path), seal(content, payload_type=FILE_TYPE, private_key=private_key)
    )
    return signature_path(path)


def check_file(path: Path, public_key: PublicKey) -> bytes:
    """Check a file against the signature beside it.

    Returns:
        The file's bytes as they were checked: parse these, and do not read the file again.

    Raises:
        ConfigError: The file does not exist.
        IntegrityError: It is not signed, signed by another key, or was changed since.
    """
    content = _read(path)
    beside = signature_path(path)
    if not beside.is_file():
        raise IntegrityError(f"{path} is not signed: {beside.name} is missing")
    payload = unseal(
        _read(beside), payload_type=FILE_TYPE, public_key=public_key, where=str(beside)
    )
    if payload != content:
        raise IntegrityError(f"{path} was changed: it is not what {beside.name} signs")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise AuditError(f"cannot read {path}: {error.strerror or error}") from None
