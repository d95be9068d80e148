"""Local training at one hospital: DP-SGD by Opacus, its noise from the cryptographic stream."""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
from torch import nn

from audit.core.errors import AuditError
from training.augmentation import shifted
from training.features.fixed import trained_part
from training.layers import is_perceptron
from training.models import flatten, to_weights
from training.randomness import NoiseStream

# Inputs need no gradients here, which is what this warns about.
warnings.filterwarnings("ignore", message="Full backward hook is firing")

CHUNK = 128
"""Records whose gradients are held in memory at a time: so few that they stay in the cache."""

GHOST_CHUNK = 4096
"""The same where only the gradients' norms are."""


@dataclass(frozen=True, kw_only=True)
class LocalPlan:
    """What a hospital does in one round, or in one probe.

    Args:
        steps: Optimiser steps.
        sample_rate: Probability of a record to be in a step's batch.
        expected_batch_size: Public normaliser of every step, records.
        learning_rate, momentum: Of SGD; momentum starts at zero.
        noise_multiplier, max_grad_norm: Of DP-SGD; both None without DP.
        loss_scale: Multiplies a record's loss before its gradient is clipped; DP only.
        augment_shift: Pixels by which an image is moved at most in each step; not with fixed
            features.
        class_priors: Public shares of the classes, which the loss evens out; None: as they come.
    """

    steps: int
    sample_rate: float
    expected_batch_size: float
    learning_rate: float
    momentum: float
    noise_multiplier: float | None
    max_grad_norm: float | None
    loss_scale: float = 1.0
    augment_shift: int = 0
    class_priors: tuple[float, ...] | None = None


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


class GhostNoiseOptimizer(StreamNoiseOptimizer, DPOptimizerFastGradientClipping):  # type: ignore[misc]
    """The same where the clipped sum is made from the gradients' norms alone."""


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
        sampling: Stream for Poisson sampling and augmentation.
        noise: Another stream, for the noise.
        device: torch device.

    Raises:
        AuditError: The update is not finite.
    """
    before = flatten(to_weights(module))
    trained, x = trained_part(module.to(device).train(), inputs)
    step = _step(trained, plan, noise)
    x, y = x.to(device), torch.from_numpy(labels).to(device)
    total_loss, used = 0.0, 0
    for _ in range(plan.steps):
        batch = torch.from_numpy(sampling.poisson_sample(len(labels), plan.sample_rate)).to(device)
        chosen = x if len(batch) == len(x) else x[batch]
        moved = shifted(chosen, plan.augment_shift, sampling)
        total_loss += step.take(_row_major(moved), y[batch])
        used += len(batch)
    step.close()
    update = flatten(to_weights(module)) - before
    if not np.isfinite(update).all():
        raise AuditError(
            f"training diverged: the update is not finite at learning rate {plan.learning_rate:g}"
        )
    return LocalResult(
        update=update, mean_loss=total_loss / used if used else None, records_used=used
    )


def _row_major(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor whose strides are those of its shape.

    Opacus unfolds the inputs of convolutions by strides that it works out for rows before
    channels: an image in channels-last order gets another image's gradient, silently.
    """
    return x.reshape(-1).view(x.shape)


class _Step(Protocol):
    """One optimiser step on a batch, and what has to be undone after the last."""

    def take(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """Step, and return the summed loss."""

    def close(self) -> None:
        """Leave the module as it was found, but for its parameters."""


def _step(module: nn.Module, plan: LocalPlan, noise: NoiseStream) -> _Step:
    """Choose how to step: the same mechanism, clipped by whichever of Opacus' ways is faster."""
    sgd = torch.optim.SGD(module.parameters(), lr=plan.learning_rate, momentum=plan.momentum)
    if plan.noise_multiplier is None:
        return _PlainStep(module, sgd, plan)
    return (_GhostStep if is_perceptron(module) else _RecordStep)(module, sgd, plan, noise)


class _PlainStep:
    """SGD without DP, with the same public normaliser."""

    def __init__(self, module: nn.Module, sgd: torch.optim.SGD, plan: LocalPlan) -> None:
        self._module, self._sgd, self._plan = module, sgd, plan

    def take(self, x: torch.Tensor, y: torch.Tensor) -> float:
        self._sgd.zero_grad(set_to_none=True)
        loss = _losses(self._module(x), y, self._plan).sum()
        (loss / self._plan.expected_batch_size).backward()  # type: ignore[no-untyped-call]
        self._sgd.step()
        return float(loss.item())

    def close(self) -> None:
        """Nothing was wrapped."""


class _PrivateStep(ABC):
    """One DP step, in chunks that bound memory; an empty batch still adds noise."""

    wrapped: Any
    optimizer: Any

    def __init__(self, plan: LocalPlan, *, chunk: int) -> None:
        self._plan, self._chunk = plan, chunk

    def take(self, x: torch.Tensor, y: torch.Tensor) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        if not len(y):
            self._no_gradients()
            self.optimizer.step()
            return 0.0
        total = 0.0
        inputs, labels = torch.split(x, self._chunk), torch.split(y, self._chunk)
        for i, (some, of) in enumerate(zip(inputs, labels, strict=True)):
            losses = _losses(self.wrapped(some), of, self._plan)
            self._backward(self._plan.loss_scale * losses)
            total += losses.sum().item()
            self.optimizer.signal_skip_step(do_skip=i < len(labels) - 1)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return total

    def close(self) -> None:
        self.wrapped.to_standard_module()

    @abstractmethod
    def _backward(self, losses: torch.Tensor) -> None:
        """Bring the chunk's clipped gradients to where the optimiser looks for them."""

    @abstractmethod
    def _no_gradients(self) -> None:
        """The same for a batch without records."""


class _RecordStep(_PrivateStep):
    """Every record's gradient in memory: for any layer."""

    def __init__(
        self, module: nn.Module, sgd: torch.optim.SGD, plan: LocalPlan, noise: NoiseStream
    ) -> None:
        super().__init__(plan, chunk=CHUNK)
        self.wrapped = GradSampleModule(module, loss_reduction="sum")
        self.optimizer = StreamNoiseOptimizer(sgd, stream=noise, **_mechanism(plan))

    def _backward(self, losses: torch.Tensor) -> None:
        losses.sum().backward()  # type: ignore[no-untyped-call]

    def _no_gradients(self) -> None:
        for p in self.optimizer.params:
            p.grad_sample = torch.zeros((0, *p.shape), dtype=p.dtype, device=p.device)


class _GhostStep(_PrivateStep):
    """Only the norms of records' gradients: for linear layers, however many features they have.

    Source:
        Ghost clipping, Li et al. 2022, arXiv:2110.05679, section 4, as Opacus has it.
    """

    def __init__(
        self, module: nn.Module, sgd: torch.optim.SGD, plan: LocalPlan, noise: NoiseStream
    ) -> None:
        super().__init__(plan, chunk=GHOST_CHUNK)
        self.wrapped = GradSampleModuleFastGradientClipping(
            module, loss_reduction="sum", max_grad_norm=plan.max_grad_norm, use_ghost_clipping=True
        )
        self.optimizer = GhostNoiseOptimizer(sgd, stream=noise, **_mechanism(plan))

    def _backward(self, losses: torch.Tensor) -> None:
        DPTensorFastGradientClipping(
            self.wrapped, self.optimizer, losses, loss_reduction="sum"
        ).backward()

    def _no_gradients(self) -> None:
        for p in self.optimizer.params:
            p.grad = torch.zeros_like(p)


def _losses(logits: torch.Tensor, labels: torch.Tensor, plan: LocalPlan) -> torch.Tensor:
    """Return each record's loss, shape (records,)."""
    if plan.class_priors is not None:
        logits = logits + logits.new_tensor(plan.class_priors).log()
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def _mechanism(plan: LocalPlan) -> dict[str, Any]:
    return {
        "noise_multiplier": plan.noise_multiplier,
        "max_grad_norm": plan.max_grad_norm,
        "expected_batch_size": plan.expected_batch_size,
    }
