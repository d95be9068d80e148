"""Each record's own gradient, held against directions in parameter space a few at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from audit.core.views import GradientProducts

CHUNK = 128
"""Records whose gradients are in memory at a time."""


def gradient_products(
    module: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    directions: Sequence[Sequence[Tensor]],
    *,
    class_priors: Sequence[float] | None = None,
) -> GradientProducts:
    """Return inner products of every record's gradient with every direction, and its norm.

    Args:
        module: The trained part of a model, in evaluation mode.
        inputs: What it takes, shape (records, ...).
        labels: Shape (records,).
        directions: Tensors in the order and shapes of the module's parameters.
        class_priors: Shares of the classes that the loss evens out; None: cross-entropy as it is.
    """
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    offsets = torch.tensor(class_priors).log() if class_priors is not None else None

    def loss(current: dict[str, Tensor], record: Tensor, label: Tensor) -> Tensor:
        logits: Tensor = functional_call(module, current, (record[None],))
        if offsets is not None:
            logits = logits + offsets
        return nn.functional.cross_entropy(logits, label[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    stacked = [torch.stack([d[i] for d in directions]) for i in range(len(parameters))]
    products, norms = [], []
    for some, of in zip(torch.split(inputs, CHUNK), torch.split(labels, CHUNK), strict=True):
        gradients = [g.flatten(1) for g in each(parameters, some, of).values()]
        products.append(
            sum(g @ d.flatten(1).T for g, d in zip(gradients, stacked, strict=True)).double()
        )
        norms.append(sum(g.square().sum(dim=1) for g in gradients).double().sqrt())
    return GradientProducts(products=torch.cat(products).numpy(), norms=torch.cat(norms).numpy())
