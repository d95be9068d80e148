"""What all parties of the masked protocol agree on beforehand, and the form of its messages.

A digest of the terms and of the session goes into every signature and every derived key. A party
with another roster, threshold, grid or weights is refused at the first signature, instead of
contributing to a wrong mean.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from audit.core.errors import ProtocolError
from audit.core.parcel import Parcel, Scalar
from training.secagg import fields
from training.secagg.identity import Roster, encode
from training.secagg.masking import NONCE_BYTES, TAG_BYTES
from training.secagg.protocol import Session
from training.secagg.quantise import Quantiser
from training.secagg.shamir import SHARE_BYTES
from training.secagg.threshold import threshold

ID = "masked"
PROTOCOL = "fl-privacy-audit/secagg-masked/v1"

KEYS = "keys"
SHARES = "shares"
TRAIN = "train"
CONSISTENCY = "consistency"
UNMASK = "unmask"

CONTEXT_BYTES = 32
SEALED_BYTES = NONCE_BYTES + 2 * SHARE_BYTES + TAG_BYTES
_EXACT_IN_FLOAT64 = 1 << 53


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The public terms of a federation, the same at the server and at every client.

    Args:
        roster: All hospitals and their pinned identities; n is its size.
        colluders: Hospitals assumed to work with the server, k.
        quantiser: The public grid.
        weights: Public positive weight of every client of the roster; None weighs all equally.

    Raises:
        ValueError: No threshold exists, weights that do not fit the roster, or a sum too large.
    """

    roster: Roster
    colluders: int
    quantiser: Quantiser
    weights: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        threshold(len(self.roster.clients), self.colluders)
        if self.weights is not None:
            if set(self.weights) != set(self.roster.clients):
                raise ValueError(
                    f"weights: for {sorted(self.weights)}, expected {list(self.roster.clients)}"
                )
            if any(weight < 1 for weight in self.weights.values()):
                raise ValueError(f"weights: {dict(self.weights)}, expected positive integers")
            object.__setattr__(self, "weights", dict(self.weights))
        if self._largest_sum >= _EXACT_IN_FLOAT64:
            raise ValueError(
                f"weights: the sum reaches {self._largest_sum}, expected below 2^53; use fewer "
                "bits or smaller weights"
            )

    @cached_property
    def threshold(self) -> int:
        """Shares, and clients, that it takes to open a sum."""
        return threshold(len(self.roster.clients), self.colluders)

    @cached_property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Words of the masked vector: uint32 where the sum over all clients fits, else uint64."""
        return np.dtype(np.uint32 if self._largest_sum < 1 << 32 else np.uint64)

    def weight(self, client: str) -> int:
        """Public weight of a client."""
        return 1 if self.weights is None else self.weights[client]

    def context(self, session: Session) -> bytes:
        """32-byte digest of the protocol version, the session and these terms."""
        clients = self.roster.clients
        return hashlib.sha256(
            encode(
                PROTOCOL,
                session.label,
                session.dimension,
                self.threshold,
                float(self.quantiser.clip_range).hex(),
                self.quantiser.bits,
                clients,
                [self.roster.public_keys[client] for client in clients],
                [str(self.weight(client)) for client in clients],
            )
        ).digest()

    def require_enough(self, clients: Sequence[str], stage: str) -> None:
        """Refuse, with ProtocolError, to go on with fewer clients than the threshold."""
        if len(clients) < self.threshold:
            raise ProtocolError(
                f"{stage}: {len(clients)} clients are left ({', '.join(clients) or 'none'}), "
                f"{self.threshold} of {len(self.roster.clients)} are needed"
            )

    @property
    def _largest_sum(self) -> int:
        return self.quantiser.top * sum(self.weight(client) for client in self.roster.clients)


@dataclass(frozen=True, kw_only=True)
class RoundKeys:
    """A client's public keys of one session: for sealing shares, and for pairwise masks."""

    share: bytes
    mask: bytes


def message(session: Session, **named: Scalar) -> dict[str, Scalar]:
    """Fields of a message of this session."""
    return {"protocol": PROTOCOL, "session": session.label, **named}


def require_session(parcel: Parcel, session: Session, sender: str) -> None:
    """Refuse, with ProtocolError, a message of another protocol version or session."""
    for name, expected in (("protocol", PROTOCOL), ("session", session.label)):
        got = fields.text(parcel, name)
        if got != expected:
            raise ProtocolError(f"{name}: {sender} sent {got!r}, expected {expected!r}")


def keys_statement(context: bytes, client: str, keys: RoundKeys) -> bytes:
    """What a client signs when it advertises its round keys."""
    return encode(PROTOCOL, "keys", context, client, keys.share, keys.mask)


def lists_statement(context: bytes, survivors: Sequence[str], dead: Sequence[str]) -> bytes:
    """What a client signs when it agrees to open the sum over the survivors."""
    return encode(PROTOCOL, "lists", context, sorted(survivors), sorted(dead))
