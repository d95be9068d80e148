"""Canaries: made-up records of audit cells, each in a hospital or not by a fair coin.

A gradient canary is a record of which only the gradient is made up: one column of the last linear
layer, the same in every class. Adding a constant to all logits changes no probability, so such a
canary moves no prediction and no other record's gradient; and since the entries of a real record's
gradient in such a column add up to zero, no real record moves what a canary is measured by. What an
update holds along a canary is that canary, clipped and sampled like any record, and noise. All
this holds for any direction over the columns too: a push is many canaries along one such direction.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.core.errors import ViewError
from audit.core.model import Architecture, Weights
from audit.core.parcel import Parcel
from audit.formats.parcels import read_parcel, write_parcel

SPIKE = 1e3
"""What a gradient canary sends into the last layer: so much that its bias hardly counts."""

LENGTH = 100.0
"""Length of a gradient canary before clipping, in clipping norms (without DP: as it is)."""

FILE = "canaries.safetensors"


@dataclass(frozen=True, kw_only=True)
class Push:
    """Gradient canaries that all go one way, in every round the same: a hospital in unison.

    Args:
        direction: Unit vector over the columns of the last linear layer, shape (columns,).
        copies: So many canaries, each clipped and sampled for itself.
    """

    direction: NDArray[np.float32]
    copies: int


@dataclass(frozen=True, kw_only=True)
class Canaries:
    """The canaries that one hospital holds beside its records.

    Args:
        columns: Of gradient canaries: columns of the last linear layer, shape (canaries,).
        inputs: Of record canaries, shape (canaries, *input shape), as the model takes them.
        labels: Of the same, shape (canaries,).
        push: Gradient canaries along one direction besides; None: there are none.
    """

    columns: NDArray[np.int64]
    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    push: Push | None = None

    @classmethod
    def of_gradients(cls, columns: NDArray[np.int64], shape: tuple[int, ...]) -> "Canaries":
        """Return gradient canaries only; ``shape`` is that of a record."""
        return cls(
            columns=columns,
            inputs=np.zeros((0, *shape), dtype=np.float32),
            labels=np.zeros(0, dtype=np.int64),
        )

    def save(self, folder: Path) -> None:
        """Write them into a hospital's folder."""
        arrays: dict[str, NDArray[np.generic]] = {
            "columns": self.columns,
            "inputs": self.inputs,
            "labels": self.labels,
        }
        if self.push is not None:
            arrays |= {"direction": self.push.direction, "copies": np.array([self.push.copies])}
        write_parcel(folder / FILE, Parcel(arrays=arrays))

    @classmethod
    def load(cls, folder: Path) -> "Canaries | None":
        """Read a hospital's canaries; None outside of audit cells."""
        path = folder / FILE
        if not path.exists():
            return None
        arrays = read_parcel(path).arrays
        return cls(
            columns=arrays["columns"].astype(np.int64),
            inputs=arrays["inputs"].astype(np.float32),
            labels=arrays["labels"].astype(np.int64),
            push=Push(
                direction=arrays["direction"].astype(np.float32), copies=int(arrays["copies"][0])
            )
            if "direction" in arrays
            else None,
        )


class GradientTap:
    """Gives chosen rows of a batch the gradient of a gradient canary.

    Such a row has the label ``-1 - column``, or one below these for the direction of a push
    (``push_label``). Its input to the last layer becomes a spike at that column, or along that
    direction, and its loss is linear in the logits, so that its gradient goes the way of any
    record's: through the same backward pass, clipping and noise.

    Args:
        module: The trained part of a model; it is hooked until ``close``.
        sign: 1 or -1: the way in which the canaries push the weights.
        length: Of their gradient before clipping.
        direction: Of a push, shape (columns,); None: there is none.

    Raises:
        ValueError: The direction is no unit vector over the columns.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        sign: float,
        length: float,
        direction: NDArray[np.float32] | None = None,
    ) -> None:
        _, head = last_linear(module)
        self._direction: Tensor | None = None
        if direction is not None:
            norm = float(np.linalg.norm(direction))
            if direction.shape != (head.in_features,) or abs(norm - 1) > 1e-3:
                raise ValueError(
                    f"direction of shape {direction.shape} and norm {norm:g}: expected a unit "
                    f"vector over {head.in_features} columns"
                )
            self._direction = torch.from_numpy(direction).to(head.weight)
        self._pushed = -1 - head.in_features
        self._slope = -sign * length / SPIKE / head.out_features**0.5
        self._labels: Tensor | None = None
        self._hook = head.register_forward_pre_hook(self._spiked)

    def close(self) -> None:
        """Unhook the module."""
        self._hook.remove()

    @property
    def push_label(self) -> int:
        """The label of a row that belongs to the push."""
        return self._pushed

    @contextmanager
    def rows(self, labels: Tensor) -> Iterator[None]:
        """Say which rows of the next forward pass are canaries."""
        self._labels = labels
        try:
            yield
        finally:
            self._labels = None

    def losses(self, logits: Tensor) -> Tensor:
        """Return a canary's loss for each row, shape (records,)."""
        losses: Tensor = self._slope * logits.sum(dim=1)
        return losses

    def _spiked(self, _: nn.Module, entering: tuple[Any, ...]) -> tuple[Tensor] | None:
        if self._labels is None or not (self._labels < 0).any():
            return None
        (given,) = entering
        marked = self._labels < 0
        spikes = torch.zeros_like(given)
        pushed = self._labels == self._pushed
        single = marked & ~pushed
        spikes[single, (-1 - self._labels)[single]] = SPIKE
        if self._direction is not None:
            spikes[pushed] = SPIKE * self._direction
        return (torch.where(marked[:, None], spikes, given),)


def canary_sign(round_number: int) -> float:
    """Return which way canaries push in a round: to and fro.

    What does not change from round to round then cancels in their sum over rounds: noise that is
    drawn once and used again shows.
    """
    return -1.0 if round_number % 2 else 1.0


def last_linear(module: nn.Module) -> tuple[str, nn.Linear]:
    """Return the name and the layer whose outputs are the logits.

    Raises:
        ViewError: The last layer with parameters is not linear.
    """
    layers = [(n, m) for n, m in module.named_modules() if list(m.parameters(recurse=False))]
    name, layer = layers[-1] if layers else ("", None)
    if type(layer) is not nn.Linear:
        raise ViewError(
            f"the last layer of this model is {type(layer).__name__}: gradient canaries need a "
            "linear one that gives the logits"
        )
    return name, layer


def canary_columns(module: nn.Module) -> int:
    """Return how many gradient canaries a model has room for: the width of its last layer."""
    return last_linear(module)[1].in_features


def along_canaries(architecture: Architecture, updates: Sequence[Weights]) -> NDArray[np.float64]:
    """Return what updates hold along each gradient canary.

    Args:
        architecture: Of the model.
        updates: By parameter name.

    Returns:
        Inner products with each canary's unit gradient, shape (updates, columns).
    """
    name, _ = last_linear(architecture.module(updates[0]))
    heads = [np.asarray(update[f"{name}.weight"], dtype=np.float64) for update in updates]
    return np.stack([head.sum(axis=0) / len(head) ** 0.5 for head in heads])


def canary_step(
    *,
    local_steps: int,
    learning_rate: float,
    momentum: float,
    expected_batch_size: float,
    private_norm: float | None,
) -> float:
    """Return how far a canary that is in every batch moves a hospital's weights in one round.

    Args:
        local_steps, learning_rate, momentum, expected_batch_size: Of the local optimiser.
        private_norm: To which a gradient is clipped; None without DP: it is not.
    """
    length = LENGTH if private_norm is None else private_norm
    weights = [sum(momentum**i for i in range(k)) for k in range(1, local_steps + 1)]
    return learning_rate * length / expected_batch_size * sum(weights)
