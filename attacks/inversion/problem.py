"""What is searched for: sets of dummies, what they would send, and what they are fitted to."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.inversion.batch_order import Layout
from audit.core.views import Background


class Sent(Protocol):
    """What sets of dummy records would have sent, as one gradient a set (``DummyGradients``)."""

    parameters: int
    dtype: torch.dtype

    def target(self, gradient: dict[str, NDArray[np.float64]]) -> Tensor:
        """Return an observed gradient as one vector."""
        ...

    def __call__(self, records: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
        """Return the gradient of every set, shape (sets, parameters)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Sets of dummies, each to be fitted to one target.

    Args:
        background: Auxiliary knowledge.
        sent: What a set would send.
        targets: Shape (sets, parameters).
        labels: One-hot, shape (sets, dummies, classes).
        shares: Each record's part of its set's mean, shape (sets, records).
        noise: Standard deviation of the noise in each coordinate of the targets; 0 without DP.
        start: Random numbers in [0, 1), one for each value of the records.
        layout: In which steps the records are used.
    """

    background: Background
    sent: Sent
    targets: Tensor
    labels: Tensor
    shares: Tensor
    noise: float
    start: Tensor
    layout: Layout

    def gradients(self, records: Tensor) -> Tensor:
        """Return what the sets send with these records, shape (sets, parameters)."""
        return self.sent(*self.layout.used(records, self.labels), self.shares)

    def disagreement(self, records: Tensor) -> Tensor:
        """Return how far epochs of an unknown order are apart (``Layout``), shape (sets,)."""
        return self.layout.disagreement(records, self.labels)


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What a solver found.

    Args:
        records: Shape (sets, dummies, *record shape), within the records' range.
        losses: Of each set, shape (sets,); smaller is closer.
        labels: Probabilities, as the problem's, where they were fitted too; None: kept as given.
    """

    records: Tensor
    losses: Tensor
    labels: Tensor | None = None


class Solver(Protocol):
    """How a problem is solved."""

    @property
    def iterations(self) -> int:
        """Gradients of each set that are taken, about, at most."""
        ...

    def solve(self, problem: Problem) -> Solution:
        """Return what was found."""
        ...
