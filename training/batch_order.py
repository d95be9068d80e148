"""Which record of a probe is in which mini-batch, epoch by epoch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from audit.core.randomness import named_generator
from training.randomness import NoiseStream


def public_order(
    seed: int, session: str, client: str, *, records: int, size: int, epochs: int
) -> NDArray[np.int64]:
    """Return an order that everyone can draw from the public seed.

    Records are anonymous places: the order says which place is in which batch, not whose it is.

    Args:
        seed: Public seed of the run.
        session: Name of the probe.
        client: The hospital.
        records: Of the hospital.
        size: Records of a batch.
        epochs: Passes over the records.

    Returns:
        The batch of each record in each epoch, shape (epochs, records).
    """
    rng = named_generator(seed, "probe-order", session, client)
    return _dealt(rng.random((epochs, records)), size)


def secret_order(stream: NoiseStream, *, records: int, size: int, epochs: int) -> NDArray[np.int64]:
    """Return an order that only the hospital knows; shape as in ``public_order``."""
    return _dealt(stream.uniform(epochs * records).reshape(epochs, records), size)


def batches(order: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
    """Return the records of every step, epoch after epoch."""
    return [np.flatnonzero(epoch == number) for epoch in order for number in range(epoch.max() + 1)]


def _dealt(keys: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Deal records out by the rank of their keys."""
    ranks = keys.argsort(axis=1).argsort(axis=1)
    return (ranks // size).astype(np.int64)
