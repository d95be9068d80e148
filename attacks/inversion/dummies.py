"""The gradients that made-up records would have caused, for many sets of them at once."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from attacks.attack import CLIP_SLACK
from audit.core.errors import ViewError
from audit.core.model import Weights
from audit.core.views import Background


class DummyGradients:
    """What sets of dummy records would send, by the public recipe.

    A set stands for the records of one observation. Each record's gradient is clipped where the
    recipe says so; a set's gradient is their mean by shares. Everything is differentiable, and
    sets do not see each other, so that one backward pass serves them all.

    Args:
        background: Architecture and recipe.
        weights: Of the model at which gradients are taken.
        dtype: Precision of everything.

    Raises:
        ViewError: The model's features are fixed, so that no gradient leads back to a record.
    """

    def __init__(
        self, background: Background, weights: Weights, *, dtype: torch.dtype = torch.float32
    ) -> None:
        recipe = background.recipe
        self.module: nn.Module = background.architecture.module(weights).to(dtype)
        self.weights = {n: p.detach() for n, p in self.module.named_parameters()}
        self._max_grad_norm, self._loss_scale = recipe.max_grad_norm, recipe.loss_scale
        priors = recipe.class_priors or np.ones(background.architecture.classes)
        self.offsets = torch.from_numpy(np.log(priors)).to(dtype)
        self.dtype = dtype
        self.parameters = sum(p.numel() for p in self.weights.values())

    def target(self, gradient: dict[str, Any]) -> Tensor:
        """Return an observed gradient as one vector, in the order of the parameters."""
        parts = [torch.from_numpy(np.asarray(gradient[n])).flatten() for n in self.weights]
        return torch.cat(parts).to(self.dtype)

    def __call__(self, records: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
        """Return the gradient of every set.

        Args:
            records: Shape (sets, records, *record shape).
            labels: Probabilities of the classes, shape (sets, records, classes).
            shares: Each record's part of its set's mean, shape (sets, records).

        Returns:
            Shape (sets, parameters).
        """
        sets, count = shares.shape
        if self._max_grad_norm is None:
            each = vmap(grad(self._loss), in_dims=(None, 0, 0, 0))(
                self.weights, records, labels, shares
            )
            return torch.cat([g.flatten(1) for g in each.values()], dim=1)
        flat = records.flatten(0, 1)[:, None], labels.flatten(0, 1)[:, None]
        alone = torch.ones((len(flat[0]), 1), dtype=self.dtype)
        each = vmap(grad(self._loss), in_dims=(None, 0, 0, 0))(self.weights, *flat, alone)
        own = torch.cat([g.flatten(1) for g in each.values()], dim=1)
        factors = (self._max_grad_norm / (own.norm(dim=1) + CLIP_SLACK)).clamp(max=self._loss_scale)
        parts = (factors[:, None] * own).view(sets, count, -1)
        return torch.einsum("sr,srp->sp", shares, parts)

    def _loss(
        self, weights: dict[str, Tensor], records: Tensor, labels: Tensor, shares: Tensor
    ) -> Tensor:
        logits = functional_call(self.module, weights, (records,)) + self.offsets
        loss: Tensor = -(shares * (labels * logits.log_softmax(dim=1)).sum(dim=1)).sum()
        return loss


def reachable(dummies: DummyGradients, records: Tensor, attack: str) -> None:
    """Check that gradients lead back to the records.

    Raises:
        ViewError: They do not: the model's features are fixed, or not differentiable.
    """
    start = records.clone().requires_grad_()
    labels = torch.full((1, 1, len(dummies.offsets)), 1 / len(dummies.offsets))
    try:
        found = dummies(start, labels.to(dummies.dtype), torch.ones((1, 1), dtype=dummies.dtype))
        (back,) = torch.autograd.grad(found.square().sum(), start)
    except RuntimeError as error:
        raise ViewError(
            f"{attack} needs a gradient path from weights to records: {error}"
        ) from None
    if not back.abs().max() > 0:
        raise ViewError(
            f"{attack} needs a gradient path from weights to records, which this model's features "
            "do not leave"
        )
