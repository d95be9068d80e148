"""Each record's own gradient, held against directions in parameter space.

The attacks on updates need no more of a gradient than its inner products and its length, so that
all of a record's gradient is never kept: it may have more numbers than the record.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from audit.core.model import GradientProducts, Weights
from training.features.fixed import trained_part
from training.layers import is_perceptron

# torch's own forward differentiation compiles its helpers with what this warns about.
warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")

NUMBERS = 2**21
"""Gradient entries in memory at a time, over all records of a chunk: few enough to be fast."""

PERCEPTRON_CHUNK = 2048
"""Records at a time where no gradient is built."""

FORWARD_CHUNK = 256
"""Records at a time in forward differentiation."""

SUM_CHUNK = 512
"""Records at a time in a weighted sum of gradients."""

Loss = Callable[[Tensor, Tensor], Tensor]
Parts = tuple[Tensor, Tensor]


def named_products(
    module: nn.Module,
    inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    directions: Sequence[Weights],
    *,
    class_priors: Sequence[float] | None,
    norms: bool = True,
) -> GradientProducts:
    """``gradient_products`` of a whole model, its directions by parameter name."""
    trained, x, names = _trained(module, inputs)
    ordered = [[torch.from_numpy(np.asarray(d[name])) for name in names] for d in directions]
    return gradient_products(
        trained, x, torch.from_numpy(labels), ordered, class_priors=class_priors, norms=norms
    )


def named_sums(
    module: nn.Module,
    inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    coefficients: NDArray[np.float64],
    *,
    class_priors: Sequence[float] | None,
) -> list[dict[str, NDArray[np.float32]]]:
    """``gradient_sums`` of a whole model, by parameter name."""
    trained, x, names = _trained(module, inputs)
    weights = torch.from_numpy(coefficients.astype(np.float32))
    found = gradient_sums(trained, x, torch.from_numpy(labels), weights, class_priors=class_priors)
    return [{n: part.numpy() for n, part in zip(names, parts, strict=True)} for parts in found]


def gradient_products(
    module: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    directions: Sequence[Sequence[Tensor]],
    *,
    class_priors: Sequence[float] | None = None,
    norms: bool = True,
) -> GradientProducts:
    """Return inner products of every record's gradient with every direction, and its norm.

    Args:
        module: The trained part of a model, in evaluation mode.
        inputs: What it takes, shape (records, ...).
        labels: Shape (records,).
        directions: Tensors in the order and shapes of the module's parameters; there may be none.
        class_priors: Shares of the classes that the loss evens out; None: cross-entropy as it is.
        norms: Whether they are wanted; without them no gradient is built, whatever the layers.

    Source:
        The norms of linear layers: Goodfellow 2015, arXiv:1510.01799, section 4; the products with
        a direction go the same way.
    """
    loss = _losses(class_priors)
    stacked = [
        torch.stack([d[i] for d in directions]) if directions else p.detach()[None][:0]
        for i, p in enumerate(module.parameters())
    ]
    if _is_flat_perceptron(module, inputs):
        chunk, of_chunk = PERCEPTRON_CHUNK, _perceptron
    elif not norms:
        chunk, of_chunk = FORWARD_CHUNK, _forward
    else:
        chunk, of_chunk = max(1, NUMBERS // sum(p.numel() for p in module.parameters())), _any
    parts = [
        of_chunk(module, x, y, stacked, loss)
        for x, y in zip(torch.split(inputs, chunk), torch.split(labels, chunk), strict=True)
    ]
    products, squares = (torch.cat(part) for part in zip(*parts, strict=True))
    return GradientProducts(products=products.numpy(), norms=squares.sqrt().numpy())


def gradient_sums(
    module: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    coefficients: Tensor,
    *,
    class_priors: Sequence[float] | None = None,
) -> list[list[Tensor]]:
    """Return sums of the records' gradients: the transpose of ``gradient_products``.

    Args:
        module: The trained part of a model, in evaluation mode.
        inputs: What it takes, shape (records, ...).
        labels: Shape (records,).
        coefficients: Of each record's gradient in each sum, shape (records, sums).
        class_priors: Shares of the classes that the loss evens out; None: cross-entropy as it is.

    Returns:
        For each sum, tensors in the order and shapes of the module's parameters.
    """
    loss = _losses(class_priors)
    parameters = list(module.parameters())
    sums = [[torch.zeros_like(p) for p in parameters] for _ in range(coefficients.shape[1])]
    split = (torch.split(part, SUM_CHUNK) for part in (inputs, labels, coefficients))
    for x, y, weights in zip(*split, strict=True):
        losses = loss(module(x), y)
        for total, weight in zip(sums, weights.T, strict=True):
            parts = torch.autograd.grad((losses * weight).sum(), parameters, retain_graph=True)
            for i, part in enumerate(parts):
                total[i] += part
    return sums


def _trained(module: nn.Module, inputs: NDArray[np.float32]) -> tuple[nn.Module, Tensor, list[str]]:
    """Return the part that is trained, what it takes, and its parameters' names in order."""
    trained, x = trained_part(module, inputs)
    names = {id(p): name for name, p in module.named_parameters()}
    return trained, x, [names[id(p)] for p in trained.parameters()]


def _losses(class_priors: Sequence[float] | None) -> Loss:
    """Return the training loss of each record."""
    offsets = torch.tensor(class_priors).log() if class_priors is not None else torch.zeros(())

    def losses(logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits + offsets, labels, reduction="none")

    return losses


def _any(
    module: nn.Module, inputs: Tensor, labels: Tensor, directions: Sequence[Tensor], loss: Loss
) -> Parts:
    """Return products and squared norms by way of the gradients themselves, for any layer."""
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def of_one(current: dict[str, Tensor], record: Tensor, label: Tensor) -> Tensor:
        logits: Tensor = functional_call(module, current, (record[None],))
        return loss(logits, label[None]).sum()

    each = vmap(grad(of_one), in_dims=(None, 0, 0))(parameters, inputs, labels)
    gradients = [g.flatten(1) for g in each.values()]
    products = [g @ d.flatten(1).T for g, d in zip(gradients, directions, strict=True)]
    squares = [g.square().sum(dim=1) for g in gradients]
    return _summed(products), _summed(squares)


def _forward(
    module: nn.Module, inputs: Tensor, labels: Tensor, directions: Sequence[Tensor], loss: Loss
) -> Parts:
    """Return products by forward differentiation of all losses along a direction; norms as NaN."""
    names = [name for name, _ in module.named_parameters()]
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def losses(current: dict[str, Tensor]) -> Tensor:
        logits: Tensor = functional_call(module, current, (inputs,))
        return loss(logits, labels)

    products = [
        jvp(losses, (parameters,), (dict(zip(names, along, strict=True)),))[1]
        for along in zip(*directions, strict=True)
    ]
    return torch.stack(products, dim=1).double(), torch.full((len(labels),), torch.nan).double()


def _perceptron(
    module: nn.Module, inputs: Tensor, labels: Tensor, directions: Sequence[Tensor], loss: Loss
) -> Parts:
    """The same in closed form: a record's gradient of a linear layer is one outer product."""
    entering, leaving = [], []
    x = inputs
    for layer in _layers(module):
        if isinstance(layer, nn.Linear):
            entering.append(x.detach())
        x = layer(x)
        if isinstance(layer, nn.Linear):
            leaving.append(x)
    errors = torch.autograd.grad(loss(x, labels).sum(), leaving)
    left = iter(directions)
    products, squares = [], []
    layers = [layer for layer in _layers(module) if isinstance(layer, nn.Linear)]
    for layer, a, error in zip(layers, entering, errors, strict=True):
        along = [((error @ d) * a).sum(dim=1) for d in next(left)]
        products.append(torch.stack(along, dim=1) if along else error.new_zeros((len(error), 0)))
        lengths = a.square().sum(dim=1)
        if layer.bias is not None:
            products.append(error @ next(left).T)
            lengths = lengths + 1
        squares.append(lengths * error.square().sum(dim=1))
    return _summed(products), _summed(squares)


def _is_flat_perceptron(module: nn.Module, inputs: Tensor) -> bool:
    """Whether each of its linear layers, none of them used twice, takes one row a record."""
    if not is_perceptron(module):
        return False
    layers = _layers(module)
    flat = inputs.dim() == 2 or isinstance(layers[0], nn.Flatten)
    return flat and len({id(layer) for layer in layers}) == len(layers)


def _layers(module: nn.Module) -> list[nn.Module]:
    """Return a sequence's layers, one that is used twice two times."""
    return list(module) if isinstance(module, nn.Sequential) else []


def _summed(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([part.double() for part in parts]).sum(dim=0)
