"""Ed25519 key pairs in PEM files: made, and read with errors that say what is wrong."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from audit.core.errors import AuditError, ConfigError
from audit.formats.files import private_folder, sync_folder

PRIVATE_NAME = "audit.key"
PUBLIC_NAME = "audit.pub"

PrivateKey = CryptoSigner
"""Signs; its ``public_key`` is the other half."""

PublicKey = SSlibKey
"""Verifies; its ``keyid`` names it in a signature."""


def generate_key_pair(folder: Path) -> PublicKey:
    """Make a key pair: ``audit.key`` (PKCS#8) and ``audit.pub``, PEM, unencrypted, mode 0600.

    Args:
        folder: Made with mode 0700 where it is missing.

    Returns:
        The public half.

    Raises:
        ConfigError: One of the two files exists, or the folder is a file; nothing is written.
        AuditError: The files cannot be written.
    """
    targets = [folder / PRIVATE_NAME, folder / PUBLIC_NAME]
    for target in targets:
        if os.path.lexists(target):
            raise ConfigError(f"--out {folder}: {target} exists, and a key is never overwritten")
    signer = CryptoSigner.generate_ed25519()
    written: list[Path] = []
    try:
        private_folder(folder)
        for target, content in zip(
            targets, (signer.private_bytes, _public_pem(signer.public_key)), strict=True
        ):
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            written.append(target)
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
        sync_folder(folder)
    except (FileExistsError, NotADirectoryError):
        _remove(written)
        raise ConfigError(
            f"--out {folder}: expected a folder without {PRIVATE_NAME} and {PUBLIC_NAME}"
        ) from None
    except OSError as error:
        _remove(written)
        raise AuditError(f"cannot write keys to {folder}: {error.strerror or error}") from error
    return signer.public_key


def load_private_key(path: Path) -> PrivateKey:
    """Read a private key.

    Raises:
        ConfigError: The file is missing, damaged, encrypted, or holds another kind of key.
    """
    content = _read(path)
    if b"PUBLIC KEY-----" in content:
        raise ConfigError(f"key {path} holds a public key; expected the private one")
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise ConfigError(f"key {path} is encrypted; expected unencrypted PEM") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"key {path} is damaged; expected an Ed25519 private key, PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"key {path} is {_kind(key)}; expected an Ed25519 private key")
    return CryptoSigner(key)


def load_public_key(path: Path) -> PublicKey:
    """Read a public key.

    Raises:
        ConfigError: The file is missing, damaged, or holds another kind of key.
    """
    content = _read(path)
    if b"PRIVATE KEY-----" in content:
        raise ConfigError(f"key {path} holds a private key; expected the public one")
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"key {path} is damaged; expected an Ed25519 public key, PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"key {path} is {_kind(key)}; expected an Ed25519 public key")
    return SSlibKey.from_crypto(key)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"key {path}: {error.strerror or error}") from None


def _kind(key: object) -> str:
    """Return a word for a key of another algorithm: of RSA, of EllipticCurve."""
    name = type(key).__name__.lstrip("_")
    return f"of another kind ({name.removesuffix('PrivateKey').removesuffix('PublicKey')})"


def _public_pem(key: PublicKey) -> bytes:
    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
