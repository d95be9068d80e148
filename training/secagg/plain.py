"""Aggregation in the clear: the baseline in which the server reads every single update."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import ProtocolError
from audit.core.parcel import Parcel
from training.secagg import fields
from training.secagg.protocol import Aggregate, Exchange, Session

ID = "plain"
WIRE = np.dtype(np.float32)


class PlainServer:
    """Takes the weighted mean of readable updates.

    Args:
        weights: Public positive weight of each client; None weighs all equally.

    Raises:
        ValueError: A weight is not a positive integer.
    """

    id: str = ID

    def __init__(self, *, weights: Mapping[str, int] | None = None) -> None:
        if weights is not None and any(weight < 1 for weight in weights.values()):
            raise ValueError(f"weights: {dict(weights)}, expected positive integers")
        self._weights = None if weights is None else dict(weights)

    def before_training(
        self, session: Session, clients: Sequence[str], exchange: Exchange
    ) -> Mapping[str, Parcel]:
        """Ask nothing; every client gets an empty request that names the session."""
        return {
            client: Parcel(fields={"protocol": ID, "session": session.label})
            for client in sorted(clients)
        }

    def after_training(
        self, session: Session, replies: Mapping[str, Parcel], exchange: Exchange
    ) -> Aggregate:
        """Take the weighted mean of those that replied.

        Raises:
            ProtocolError: Nobody replied, an update is malformed, or a client has no weight.
        """
        if not replies:
            raise ProtocolError("replies: 0 clients answered training, 1 is needed")
        total = np.zeros(session.dimension)
        weight = 0
        for client in sorted(replies):
            update = fields.vector(
                replies[client], "update", dtype=WIRE, dimension=session.dimension
            ).astype(np.float64)
            _require_finite(update, client)
            total += self._weight(client) * update
            weight += self._weight(client)
        return Aggregate(mean=total / weight, survivors=tuple(sorted(replies)))

    def _weight(self, client: str) -> int:
        if self._weights is None:
            return 1
        if client not in self._weights:
            raise ProtocolError(f"{client}: no weight is configured for it")
        return self._weights[client]


class PlainClient:
    """Sends its update as it is, in float32 (relative rounding error up to 2^-24).

    Args:
        client_id: This client.
    """

    id: str = ID

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id

    def answer(
        self, session: Session, stage: str, request: Parcel, state: Parcel | None
    ) -> tuple[Parcel, Parcel | None]:
        """Refuse: this protocol has no stage but training."""
        raise ProtocolError(f"{stage}: the plain protocol has no such stage")

    def protect(
        self,
        session: Session,
        update: NDArray[np.float64],
        request: Parcel,
        state: Parcel | None,
    ) -> tuple[Parcel, Parcel | None]:
        """Return the update as float32 array "update".

        Raises:
            ProtocolError: Wrong shape, or a value that is not finite in float32.
        """
        if update.shape != (session.dimension,):
            raise ProtocolError(f"update: shape {update.shape}, expected ({session.dimension},)")
        with np.errstate(over="ignore"):
            wire = update.astype(WIRE)
        _require_finite(wire, self.client_id)
        return Parcel(arrays={"update": wire}), state


def _require_finite(update: NDArray[np.floating], client: str) -> None:
    if not np.isfinite(update).all():
        raise ProtocolError(f"update: {client} has NaN or infinite coordinates (in float32)")
