"""Local training at one hospital: DP-SGD by Opacus, its noise from the cryptographic stream."""

import warnings
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn

from audit.core.errors import AuditError
from training.models import flatten, to_weights
from training.randomness import NoiseStream

# Inputs need no gradients here, which is what this warns about.
warnings.filterwarnings("ignore", message="Full backward hook is firing")

CHUNK = 512
"""Records whose gradients are held in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class LocalPlan:
    """What a hospital does in one round, or in one probe.

    Args:
        steps: Optimiser steps.
        sample_rate: Probability of a record to be in a step's batch.
        expected_batch_size: Public normaliser of every step, records.
        learning_rate, momentum: Of SGD; momentum starts at zero.
        noise_multiplier, max_grad_norm: Of DP-SGD; both None without DP.
    """

    steps: int
    sample_rate: float
    expected_batch_size: float
    learning_rate: float
    momentum: float
    noise_multiplier: float | None
    max_grad_norm: float | None


@dataclass(frozen=True, kw_only=True)
class LocalResult:
    """What came out of local training.

    Args:
        update: New parameters minus old, flat, shape (parameters,).
        mean_loss: Over the records used; depends on data, so it stays with the hospital.
        records_used: Records drawn over all steps; likewise.
    """

    update: NDArray[np.float32]
    mean_loss: float | None
    records_used: int


class StreamNoiseOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus' DP optimiser with Gaussian noise from a ``NoiseStream``.

    Clipping, accumulation and scaling are Opacus' own; only the source of the noise differs.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, stream: NoiseStream, **options: Any):
        super().__init__(optimizer, **options)
        self._stream = stream

    def add_noise(self) -> None:
        """Set ``p.grad`` to the clipped sum plus noise of deviation multiplier times norm."""
        deviation = self.noise_multiplier * self.max_grad_norm
        for p in self.params:
            noise = torch.from_numpy(self._stream.gaussian(p.numel()) * deviation)
            p.grad = p.summed_grad + noise.view_as(p).to(p)


def train_locally(
    module: nn.Module,
    inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    plan: LocalPlan,
    *,
    sampling: NoiseStream,
    noise: NoiseStream,
    device: str = "cpu",
) -> LocalResult:
    """Train a module in place and return its update.

    Args:
        module: Holds the global model.
        inputs: The hospital's records, shape (records, *input shape).
        labels: Shape (records,).
        plan: What to do.
        sampling: Stream for Poisson sampling.
        noise: Another stream, for the noise.
        device: torch device.

    Raises:
        AuditError: The update is not finite.
    """
    before = flatten(to_weights(module))
    module.to(device).train()
    private = plan.noise_multiplier is not None
    wrapped: nn.Module = GradSampleModule(module, loss_reduction="sum") if private else module
    sgd = torch.optim.SGD(module.parameters(), lr=plan.learning_rate, momentum=plan.momentum)
    optimizer: Any = sgd
    if private:
        optimizer = StreamNoiseOptimizer(
            sgd,
            stream=noise,
            noise_multiplier=plan.noise_multiplier,
            max_grad_norm=plan.max_grad_norm,
            expected_batch_size=plan.expected_batch_size,
        )
    x, y = torch.from_numpy(inputs).to(device), torch.from_numpy(labels).to(device)
    total_loss, used = 0.0, 0
    step = _private_step if private else _plain_step
    for _ in range(plan.steps):
        batch = torch.from_numpy(sampling.poisson_sample(len(labels), plan.sample_rate)).to(device)
        total_loss += step(wrapped, optimizer, x[batch], y[batch], plan.expected_batch_size)
        used += len(batch)
    if private:
        cast(GradSampleModule, wrapped).to_standard_module()
    update = flatten(to_weights(module)) - before
    if not np.isfinite(update).all():
        raise AuditError(
            f"training diverged: the update is not finite at learning rate {plan.learning_rate:g}"
        )
    return LocalResult(
        update=update, mean_loss=total_loss / used if used else None, records_used=used
    )


def _private_step(
    module: nn.Module, optimizer: Any, x: torch.Tensor, y: torch.Tensor, _normaliser: float
) -> float:
    """One DP step; an empty batch still adds noise. Returns the summed loss."""
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    chunks = list(zip(torch.split(x, CHUNK), torch.split(y, CHUNK), strict=True)) if len(y) else []
    for i, (inputs, labels) in enumerate(chunks):
        loss = nn.functional.cross_entropy(module(inputs), labels, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
        optimizer.signal_skip_step(do_skip=i < len(chunks) - 1)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if not chunks:
        for p in optimizer.params:
            p.grad_sample = torch.zeros((0, *p.shape), dtype=p.dtype, device=p.device)
        optimizer.step()
    return total


def _plain_step(
    module: nn.Module, optimizer: Any, x: torch.Tensor, y: torch.Tensor, normaliser: float
) -> float:
    """One step of SGD without DP, with the same normaliser. Returns the summed loss."""
    optimizer.zero_grad(set_to_none=True)
    loss = nn.functional.cross_entropy(module(x), y, reduction="sum")
    (loss / normaliser).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.item())
