"""What an aggregation protocol is: two exchangeable halves that turn updates into their mean.

The halves move nothing themselves. The caller carries parcels between them, records them, and
keeps a client's state on its disk before a reply leaves, so a restart between any two stages works.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from audit.core.parcel import Parcel

Exchange: TypeAlias = Callable[[str, Mapping[str, Parcel]], Mapping[str, Parcel]]
"""exchange(stage, {client_id: request}): sends, and returns the replies of those that answered."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """One aggregation; bound into every signature and every derived key.

    Args:
        label: Unique over all runs, for example "run-uuid/eps-1/round-003".
        dimension: Length of the flat update vector.

    Raises:
        ValueError: The label is empty or the dimension is below 1.
    """

    label: str
    dimension: int

    def __post_init__(self) -> None:
        if not self.label:
            raise ValueError("label: a session needs one that is unique; it is empty")
        if self.dimension < 1:
            raise ValueError(f"dimension: {self.dimension}; an update has at least 1 coordinate")


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """The outcome of one session.

    Args:
        mean: Weighted mean of the survivors' updates, shape (dimension,), units of the update.
        survivors: Clients whose updates are in the mean, sorted.
    """

    mean: NDArray[np.float64]
    survivors: tuple[str, ...]


class ServerProtocol(Protocol):
    """The server's half. It is deterministic: the same replies give the same requests."""

    id: str

    def before_training(
        self, session: Session, clients: Sequence[str], exchange: Exchange
    ) -> Mapping[str, Parcel]:
        """Run the stages before training; return what goes beside the model, by living client."""
        ...

    def after_training(
        self, session: Session, replies: Mapping[str, Parcel], exchange: Exchange
    ) -> Aggregate:
        """Run the stages after training; return the mean over those that replied to it."""
        ...


class ClientProtocol(Protocol):
    """A client's half. It holds nothing of a session: the state goes in and comes out."""

    id: str

    def answer(
        self, session: Session, stage: str, request: Parcel, state: Parcel | None
    ) -> tuple[Parcel, Parcel | None]:
        """Answer a stage other than training; return the reply and the new private state."""
        ...

    def protect(
        self,
        session: Session,
        update: NDArray[np.float64],
        request: Parcel,
        state: Parcel | None,
    ) -> tuple[Parcel, Parcel | None]:
        """Turn the update into the train reply; return it and the new private state."""
        ...
