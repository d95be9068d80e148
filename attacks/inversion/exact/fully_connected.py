"""A model's first fully connected layer: how its gradient is made of the records behind it.

The layer turns a record x into z = W x + b. Over a batch its gradient is D X, where row i of X is
(x_i, 1) and column i of D is the gradient of record i's loss in z, times its share and clipping
factor: W's gradient, with b's as one more column. So the gradient has the rank of the batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.attack import NOT_FINITE, gradient_of
from audit.core.errors import ViewError
from audit.core.views import Background, Observation

Matrix = NDArray[np.float64]

TRIAL_RECORDS = 16
"""Made-up records on which a model is tried out, to see how its layers are joined."""

ROUNDING = 4096 * np.finfo(np.float64).eps
"""Below this part of the largest singular value all is rounding, even without noise."""

MATCHES = 1e-4
"""Squared part of a gradient that may stay unexplained where a record is called found."""


@dataclass(frozen=True, kw_only=True)
class FirstLayer:
    """The first layer of a model that holds a probe's weights, in double precision.

    Args:
        module: The whole model.
        layer: Its first layer.
        name: That layer's name, which starts its parameters' names.
        following: Weights of the layer behind a ReLU on this one, shape (outputs, neurons); None
            where no fully connected layer takes just that.
        rectified: Whether a ReLU follows: where z < 0 the logits do not depend on it.
        offsets: Logarithm of the class priors that the loss evens out, shape (classes,).
    """

    module: nn.Module
    layer: nn.Linear
    name: str
    following: Matrix | None
    rectified: bool
    offsets: Tensor

    @classmethod
    def of(cls, background: Background, probe: Observation, attack: str) -> "FirstLayer":
        """Find the layer.

        Raises:
            ViewError: No fully connected layer sees the record itself, or it has no bias.
        """
        architecture = background.architecture
        module: nn.Module = architecture.module(probe.weights).double()
        module.requires_grad_(False)
        trial = torch.from_numpy(
            np.random.default_rng(0).standard_normal((TRIAL_RECORDS, *architecture.input_shape))
        )
        seen = _inputs_of_linears(module, trial)
        found = [name for name, given in seen.items() if _equal(given, trial.flatten(1))]
        if not found:
            raise ViewError(
                f"{attack} needs a fully connected layer that sees the record itself, "
                f"which {architecture.name!r} lacks"
            )
        layer = module.get_submodule(found[0])
        if not isinstance(layer, nn.Linear) or layer.bias is None:
            raise ViewError(
                f"{attack} needs a bias in the first fully connected layer, "
                f"which {architecture.name!r} lacks"
            )
        rectified = layer(trial.flatten(1)).relu()
        following = [name for name, given in seen.items() if _equal(given, rectified)]
        priors = background.recipe.class_priors or np.ones(architecture.classes)
        first = cls(
            module=module,
            layer=layer,
            name=found[0],
            following=_weights(module, following[0]) if following else None,
            rectified=False,
            offsets=torch.from_numpy(np.log(priors)),
        )
        rectified_too = first._is_rectified(trial)
        return FirstLayer(**{**first.__dict__, "rectified": rectified_too})

    def gradient(self, probe: Observation) -> Matrix:
        """Return the layer's gradient, the bias' as its last column: (neurons, inputs + 1)."""
        gradient = gradient_of(probe)
        prefix = f"{self.name}." if self.name else ""
        return np.column_stack([gradient[f"{prefix}weight"], gradient[f"{prefix}bias"]])

    def active(self, records: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which neurons are above zero, shape (records, neurons)."""
        with torch.no_grad():
            flat = torch.from_numpy(np.asarray(records, dtype=np.float64)).flatten(1)
            above: NDArray[np.bool_] = (self.layer(flat) > 0).numpy()
        return above

    def in_neurons(self, records: Matrix, labels: NDArray[np.int64]) -> Matrix:
        """Return the gradients of records' losses in z, shape (records, neurons).

        Args:
            records: Shape (records, *record shape).
            labels: Shape (records,).
        """
        logits, z = self._forward(torch.from_numpy(records))
        loss = nn.functional.cross_entropy(
            logits + self.offsets, torch.from_numpy(labels), reduction="sum"
        )
        return torch.autograd.grad(loss, z)[0].numpy()

    def _forward(self, records: Tensor) -> tuple[Tensor, Tensor]:
        kept: list[Tensor] = []

        def cut(module: nn.Module, given: object, z: Tensor) -> Tensor:
            kept.append(z.detach().requires_grad_())
            return kept[-1]

        handle = self.layer.register_forward_hook(cut)
        try:
            logits: Tensor = self.module(records)
        finally:
            handle.remove()
        return logits, kept[0]

    def _is_rectified(self, trial: Tensor) -> bool:
        logits, z = self._forward(trial)
        slopes = torch.zeros_like(z)
        for column in range(logits.shape[1]):
            if not logits.requires_grad:
                return False
            slopes += torch.autograd.grad(logits[:, column].sum(), z, retain_graph=True)[0].abs()
        below = z < 0
        return bool(below.any() and (slopes[below] == 0).all() and (slopes[~below] > 0).any())


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Records, each with the label under which its gradient fits best.

    Args:
        labels: Shape (records,).
        columns: Gradients in z under these labels, unit norm, shape (records, neurons).
        misfits: Squared part of such a column outside of the observed gradient's columns, in
            [0, 1], shape (records,).
    """

    labels: NDArray[np.int64]
    columns: Matrix
    misfits: Matrix


def labelled(
    first: FirstLayer, records: Matrix, basis: Matrix, shown: Matrix | None, classes: int
) -> Labelled:
    """Give each record the label whose gradient in z lies closest to the observed columns' span.

    A record of the batch has its gradient in that span, whatever clipping did to its length; that
    of another record has not, if there are more neurons than records.

    Args:
        first: The layer.
        records: Shape (records, *record shape).
        basis: Orthonormal columns of the observed gradient, shape (neurons, rank).
        shown: What is known of a record's column; one that points away from it is ruled out, which
            tells two classes apart. Shape (records, neurons); None: nothing.
        classes: How many labels there are.
    """
    count = len(records)
    every = first.in_neurons(
        np.repeat(records, classes, axis=0), np.tile(np.arange(classes), count)
    )
    norms = np.linalg.norm(every, axis=1, keepdims=True)
    every = np.divide(every, norms, out=np.zeros_like(every), where=norms > 0)
    outside = (1.0 - ((every @ basis) ** 2).sum(axis=1)).clip(0.0, 1.0).reshape(count, classes)
    every = every.reshape(count, classes, -1)
    if shown is not None:
        outside[np.einsum("rcn,rn->rc", every, shown) <= 0.0] = 1.0
    labels = outside.argmin(axis=1)
    rows = np.arange(count)
    return Labelled(labels=labels, columns=every[rows, labels], misfits=outside[rows, labels])


def likely_labels(probe: Observation, background: Background, count: int) -> NDArray[np.int64]:
    """Guess a batch's labels from the last parameter's gradient, likeliest first.

    A true label makes the gradient of the last bias negative, and of one record only that entry
    (Zhao et al. 2020, arXiv:2001.02610, section 3). Without a bias the classes with the longest
    rows come first. If there are too few such classes, they come again.
    """
    names = [name for name, _ in background.architecture.module(probe.weights).named_parameters()]
    last = np.asarray(gradient_of(probe)[names[-1]], dtype=np.float64)
    if last.ndim == 1:
        order, found = np.argsort(last, kind="stable"), int((last < 0).sum())
    else:
        lengths = np.linalg.norm(last.reshape(len(last), -1), axis=1)
        order = np.argsort(-lengths, kind="stable")
        found = int((lengths > lengths.max() / 2).sum())
    return np.resize(order[: max(1, found)], count).astype(np.int64)


def noise_level(singular_values: Matrix, rank: int, shape: tuple[int, int]) -> float:
    """Estimate the standard deviation of an entry's noise from what exceeds the rank.

    Args:
        singular_values: Of the noisy matrix, falling.
        rank: Of the matrix without noise, below the smaller side.
        shape: Rows and columns.
    """
    rows, columns = shape
    left = float((singular_values[rank:] ** 2).sum()) / ((rows - rank) * (columns - rank))
    return max(float(left**0.5), float(ROUNDING * singular_values[0] / rows**0.5))


def unusable(gradient: Matrix) -> str | None:
    """Say why nothing can be read off a layer's gradient; None: something may."""
    if not np.isfinite(gradient).all():
        return NOT_FINITE
    if not gradient[:, -1].any():
        return "the first layer's bias has no gradient"
    return None


def _inputs_of_linears(module: nn.Module, trial: Tensor) -> dict[str, Tensor | None]:
    """Return what each linear layer is given, in the order of calls; None if called twice."""
    seen: dict[str, Tensor | None] = {}
    handles = []
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):

            def note(part: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
                seen[name] = None if name in seen else given[0].detach()

            handles.append(part.register_forward_pre_hook(note))
    try:
        with torch.no_grad():
            module(trial)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _equal(given: Tensor | None, expected: Tensor) -> bool:
    return given is not None and given.shape == expected.shape and torch.equal(given, expected)


def _weights(module: nn.Module, name: str) -> Matrix:
    weights: Matrix = module.get_parameter(f"{name}.weight").detach().numpy()
    return weights
