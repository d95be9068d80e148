"""Long-term signing identities, the roster that pins them, and the encoding of what is signed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from audit.core.errors import ProtocolError

KEY_BYTES = 32
SIGNATURE_BYTES = 64

Part: TypeAlias = bytes | str | int | Sequence[str] | Sequence[bytes]


def encode(*parts: Part) -> bytes:
    """One byte string for a tuple of values, different for different tuples of the same types.

    Every part is preceded by its length, and a list by its number of entries.
    """
    encoded = bytearray()
    for part in parts:
        if isinstance(part, bytes):
            body = part
        elif isinstance(part, str):
            body = part.encode()
        elif isinstance(part, int):
            body = str(part).encode()
        else:
            body = encode(len(part), *part)
        encoded += len(body).to_bytes(8, "big") + body
    return bytes(encoded)


@dataclass(frozen=True)
class Identity:
    """A client's long-term Ed25519 key pair.

    Args:
        private_key: The raw private key, 32 bytes; never printed.

    Raises:
        ValueError: Not 32 bytes.
    """

    private_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.private_key) != KEY_BYTES:
            raise ValueError(f"private_key: {len(self.private_key)} bytes, expected {KEY_BYTES}")

    @classmethod
    def generate(cls) -> "Identity":
        """A new identity from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_bytes(cls, private_key: bytes) -> "Identity":
        """The identity that `to_bytes` wrote."""
        return cls(private_key)

    def to_bytes(self) -> bytes:
        """The raw private key, 32 bytes."""
        return self.private_key

    @cached_property
    def public_key(self) -> bytes:
        """The raw public key for the roster, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes."""
        return self._key.sign(message)

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.private_key)


@dataclass(frozen=True)
class Roster:
    """The hospitals of a federation and their public identities, pinned at every party.

    Args:
        public_keys: Client id to raw Ed25519 public key, 32 bytes.

    Raises:
        ValueError: Fewer than 2 clients, an empty id, a key of the wrong length or used twice.
    """

    public_keys: Mapping[str, bytes]

    def __post_init__(self) -> None:
        if len(self.public_keys) < 2:
            raise ValueError(f"public_keys: {len(self.public_keys)} clients, expected 2 or more")
        for client, key in self.public_keys.items():
            if not client:
                raise ValueError("public_keys: a client id is empty")
            if len(key) != KEY_BYTES:
                raise ValueError(
                    f"public_keys: {client} has {len(key)} bytes, expected {KEY_BYTES}"
                )
        if len(set(self.public_keys.values())) != len(self.public_keys):
            raise ValueError("public_keys: two clients have the same key")
        object.__setattr__(self, "public_keys", dict(self.public_keys))

    @cached_property
    def clients(self) -> tuple[str, ...]:
        """All client ids, sorted."""
        return tuple(sorted(self.public_keys))

    def position(self, client: str) -> int:
        """1-based place in the sorted roster: the client's Shamir evaluation point."""
        self.require(client)
        return self.clients.index(client) + 1

    def require(self, client: str) -> None:
        """Refuse a client that is not in the roster, with ProtocolError."""
        if client not in self.public_keys:
            raise ProtocolError(f"{client}: not in the roster of {list(self.clients)}")

    def verify(self, client: str, signature: bytes, message: bytes) -> None:
        """Refuse, with ProtocolError, what this client's pinned identity did not sign."""
        self.require(client)
        key = Ed25519PublicKey.from_public_bytes(self.public_keys[client])
        try:
            key.verify(signature, message)
        except InvalidSignature:
            raise ProtocolError(
                f"{client}: the signature does not verify under the identity in the roster (a "
                "forged message, another session, or a party with different public terms)"
            ) from None
