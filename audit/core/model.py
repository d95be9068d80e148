"""What is known of a model without torch: its weights, its architecture, an oracle of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[np.float32]]
"""Parameter name to array: a model, or an update of one."""


class Architecture(Protocol):
    """The public architecture of the model: known to every adversary."""

    @property
    def name(self) -> str:
        """Name of the model."""

    @property
    def classes(self) -> int:
        """Number of outputs."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one record."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the trained parameters, in the order that is used on the wire."""

    def module(self, weights: Weights) -> Any:
        """Return a fresh ``torch.nn.Module`` that holds these weights, in evaluation mode."""

    def logits(self, weights: Weights, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return logits of shape (records, classes) for inputs (records, *input_shape)."""

    def unflatten(self, flat: NDArray[np.floating[Any]]) -> Weights:
        """Name the parts of a flat parameter vector, in the order that is used on the wire."""

    def gradient_products(
        self,
        weights: Weights,
        inputs: NDArray[np.float32],
        labels: NDArray[np.int64],
        directions: Sequence[Weights],
        *,
        class_priors: Sequence[float] | None = None,
        norms: bool = True,
    ) -> "GradientProducts":
        """Hold each record's own gradient against given directions in parameter space."""

    def gradient_sums(
        self,
        weights: Weights,
        inputs: NDArray[np.float32],
        labels: NDArray[np.int64],
        coefficients: NDArray[np.float64],
        *,
        class_priors: Sequence[float] | None = None,
    ) -> Sequence[Weights]:
        """Sum the records' gradients with each column of coefficients (records, sums)."""


class Oracle(Protocol):
    """Query access to the released model. Counts what is asked."""

    @property
    def queries(self) -> int:
        """Records asked about so far."""

    def probabilities(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return class probabilities, shape (records, classes)."""

    def labels(self, inputs: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return only the most probable class, shape (records,)."""


@dataclass(frozen=True, kw_only=True)
class GradientProducts:
    """Records' own loss gradients, seen only through inner products.

    Args:
        products: Inner product of a record's gradient with a direction, shape (records,
            directions).
        norms: Euclidean norm of a record's gradient, shape (records,); NaN if not asked for.
    """

    products: NDArray[np.float64]
    norms: NDArray[np.float64]
