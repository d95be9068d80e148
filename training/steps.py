"""One optimiser step on a batch: plain, or private by Opacus with noise from our own stream."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
from torch import nn

from training.canaries import GradientTap
from training.layers import is_perceptron
from training.local_plan import LocalPlan
from training.randomness import NoiseStream

# Inputs need no gradients here, which is what this warns about.
warnings.filterwarnings("ignore", message="Full backward hook is firing")

CHUNK = 128
"""Records whose gradients are held in memory at a time: so few that they stay in the cache."""

GHOST_CHUNK = 4096
"""The same where only the gradients' norms are."""

Broken = Callable[[type[Any]], type[Any]]
"""Makes another optimiser class of a private one: how a self-test plants a fault in a step."""


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


class Step(Protocol):
    """One optimiser step on a batch, and what has to be undone after the last."""

    def take(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """Step, and return the summed loss."""

    def close(self) -> None:
        """Leave the module as it was found, but for its parameters."""


def make_step(
    module: nn.Module,
    plan: LocalPlan,
    noise: NoiseStream,
    *,
    tap: GradientTap | None = None,
    broken: Broken | None = None,
) -> Step:
    """Choose how to step: the same mechanism, clipped by whichever of Opacus' ways is faster."""
    sgd = torch.optim.SGD(module.parameters(), lr=plan.learning_rate, momentum=plan.momentum)
    if plan.noise_multiplier is None:
        return _PlainStep(module, sgd, plan, tap)
    kind = _GhostStep if is_perceptron(module) else _RecordStep
    return kind(module, sgd, plan, noise, tap=tap, broken=broken or _sound)


def _sound(optimizer: type[Any]) -> type[Any]:
    return optimizer


class _PlainStep:
    """SGD without DP, with the same public normaliser."""

    def __init__(
        self, module: nn.Module, sgd: torch.optim.SGD, plan: LocalPlan, tap: GradientTap | None
    ) -> None:
        self._module, self._sgd, self._plan, self._tap = module, sgd, plan, tap

    def take(self, x: torch.Tensor, y: torch.Tensor) -> float:
        self._sgd.zero_grad(set_to_none=True)
        loss = _losses(self._module, x, y, self._plan, self._tap).sum()
        (loss / self._plan.expected_batch_size).backward()  # type: ignore[no-untyped-call]
        self._sgd.step()
        return float(loss.item())

    def close(self) -> None:
        """Nothing was wrapped."""


class _PrivateStep(ABC):
    """One DP step, in chunks that bound memory; an empty batch still adds noise."""

    wrapped: Any
    optimizer: Any

    def __init__(self, plan: LocalPlan, tap: GradientTap | None, *, chunk: int) -> None:
        self._plan, self._tap, self._chunk = plan, tap, chunk

    def take(self, x: torch.Tensor, y: torch.Tensor) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        if not len(y):
            self._no_gradients()
            self.optimizer.step()
            return 0.0
        total = 0.0
        inputs, labels = torch.split(x, self._chunk), torch.split(y, self._chunk)
        for i, (some, of) in enumerate(zip(inputs, labels, strict=True)):
            losses = _losses(self.wrapped, some, of, self._plan, self._tap)
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
        self,
        module: nn.Module,
        sgd: torch.optim.SGD,
        plan: LocalPlan,
        noise: NoiseStream,
        *,
        tap: GradientTap | None,
        broken: Broken,
    ) -> None:
        super().__init__(plan, tap, chunk=CHUNK)
        self.wrapped = GradSampleModule(module, loss_reduction="sum")
        self.optimizer = broken(StreamNoiseOptimizer)(sgd, stream=noise, **_mechanism(plan))

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
        self,
        module: nn.Module,
        sgd: torch.optim.SGD,
        plan: LocalPlan,
        noise: NoiseStream,
        *,
        tap: GradientTap | None,
        broken: Broken,
    ) -> None:
        super().__init__(plan, tap, chunk=GHOST_CHUNK)
        self.wrapped = GradSampleModuleFastGradientClipping(
            module, loss_reduction="sum", max_grad_norm=plan.max_grad_norm, use_ghost_clipping=True
        )
        self.optimizer = broken(GhostNoiseOptimizer)(sgd, stream=noise, **_mechanism(plan))

    def _backward(self, losses: torch.Tensor) -> None:
        DPTensorFastGradientClipping(
            self.wrapped, self.optimizer, losses, loss_reduction="sum"
        ).backward()

    def _no_gradients(self) -> None:
        for p in self.optimizer.params:
            p.grad = torch.zeros_like(p)


def _losses(
    module: nn.Module, x: torch.Tensor, y: torch.Tensor, plan: LocalPlan, tap: GradientTap | None
) -> torch.Tensor:
    """Return each record's loss, shape (records,)."""
    if tap is None:
        return _cross_entropy(module(x), y, plan)
    with tap.rows(y):
        logits: torch.Tensor = module(x)
    return torch.where(y < 0, tap.losses(logits), _cross_entropy(logits, y.clamp(min=0), plan))


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor, plan: LocalPlan) -> torch.Tensor:
    if plan.class_priors is not None:
        logits = logits + logits.new_tensor(plan.class_priors).log()
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def _mechanism(plan: LocalPlan) -> dict[str, Any]:
    return {
        "noise_multiplier": plan.noise_multiplier,
        "max_grad_norm": plan.max_grad_norm,
        "expected_batch_size": plan.expected_batch_size,
    }
