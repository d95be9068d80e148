"""Many small perceptrons trained at once, each on records of its own: reference federations.

The same steps as ``train_locally``: the same draws from the same streams, the same clipping. A
perceptron's per-record gradient is an outer product, layer by layer, so that its norm and the
clipped sum have closed forms (Goodfellow 2015, arXiv:1510.01799), here for a stack of models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.dp_sgd import train_locally
from training.layers import is_perceptron
from training.local_plan import LocalPlan
from training.models import load_weights
from training.randomness import NoiseStream

MOST_NUMBERS = 2**25
"""Numbers that a stack's gathered inputs hold at most (128 MB)."""

STABILITY = 1e-6
"""Opacus adds it to a gradient's norm before it clips."""


@dataclass(frozen=True, kw_only=True)
class LocalTask:
    """One hospital's round in one of many federations.

    Args:
        weights: Global model to start from, flat, shape (parameters,).
        records: Indices into the shared inputs.
        sampling: Stream for Poisson sampling and augmentation.
        noise: Another stream, for the noise.
    """

    weights: NDArray[np.float32]
    records: NDArray[np.int64]
    sampling: NoiseStream
    noise: NoiseStream


def train_many(
    module: nn.Module,
    inputs: Tensor,
    labels: NDArray[np.int64],
    tasks: Sequence[LocalTask],
    plan: LocalPlan,
) -> Iterator[NDArray[np.float32]]:
    """Yield each task's new weights, flat.

    Args:
        module: The trained part of the model; its own parameters are not read.
        inputs: What it takes, of all records, shape (records, ...).
        labels: Shape (records,).
        tasks: Whose records start from which model.
        plan: What each of them does.
    """
    if not is_perceptron(module) or plan.augment_shift:
        for task in tasks:
            yield _alone(module, inputs, labels, task, plan)
        return
    flat = inputs.flatten(1)
    most = max((len(task.records) for task in tasks), default=1)
    size = max(1, int(MOST_NUMBERS / (max(1.0, plan.sample_rate * most) * flat.shape[1])))
    for start in range(0, len(tasks), size):
        yield from _Stack(module, tasks[start : start + size], plan).train(
            flat, torch.from_numpy(labels)
        )


def set_flat(module: nn.Module, flat: NDArray[np.float32]) -> nn.Module:
    """Load a flat vector into a module's parameters, in their order."""
    parts = np.split(flat, np.cumsum([p.numel() for p in module.parameters()])[:-1])
    named = zip(module.named_parameters(), parts, strict=True)
    load_weights(module, {name: part.reshape(p.shape) for (name, p), part in named})
    return module


def _alone(
    module: nn.Module,
    inputs: Tensor,
    labels: NDArray[np.int64],
    task: LocalTask,
    plan: LocalPlan,
) -> NDArray[np.float32]:
    """Train one task by the hospitals' own code."""
    result = train_locally(
        set_flat(module, task.weights),
        inputs[torch.from_numpy(task.records)].numpy(),
        labels[task.records],
        plan,
        sampling=task.sampling,
        noise=task.noise,
    )
    return task.weights + result.update


class _Stack:
    """Models of one architecture in one tensor a parameter, first dimension: model."""

    def __init__(self, module: nn.Module, tasks: Sequence[LocalTask], plan: LocalPlan) -> None:
        self._tasks, self._plan = tasks, plan
        self._layers = [layer for layer in module if not isinstance(layer, nn.Flatten)]  # type: ignore[attr-defined]
        rows = torch.from_numpy(np.stack([task.weights for task in tasks]))
        shapes = [p.shape for p in module.parameters()]
        parts = torch.split(rows, [s.numel() for s in shapes], dim=1)
        self._parameters = [
            part.reshape(len(tasks), *shape).clone()
            for part, shape in zip(parts, shapes, strict=True)
        ]
        self._momentum: list[Tensor | None] = [None] * len(shapes)
        priors = plan.class_priors
        self._offsets = None if priors is None else torch.tensor(priors).log()

    @torch.no_grad()
    def train(self, inputs: Tensor, labels: Tensor) -> Iterator[NDArray[np.float32]]:
        full = None
        for _ in range(self._plan.steps):
            chosen = [
                task.records[
                    task.sampling.poisson_sample(len(task.records), self._plan.sample_rate)
                ]
                for task in self._tasks
            ]
            if full is None or self._plan.sample_rate < 1.0:
                full = _gathered(inputs, labels, chosen)
            self._step(*full)
        rows = torch.cat([p.flatten(1) for p in self._parameters], dim=1)
        yield from rows.numpy()

    def _step(self, x: Tensor, y: Tensor, present: Tensor) -> None:
        gradients = self._summed_gradients(x, y, present)
        plan = self._plan
        if plan.noise_multiplier is not None and plan.max_grad_norm is not None:
            deviation = plan.noise_multiplier * plan.max_grad_norm
            for i, task in enumerate(self._tasks):
                for gradient in gradients:
                    noise = task.noise.gaussian(gradient[i].numel()) * deviation
                    gradient[i] += torch.from_numpy(noise).view(gradient[i].shape).to(gradient)
        for i, (parameter, gradient) in enumerate(zip(self._parameters, gradients, strict=True)):
            step, before = gradient / plan.expected_batch_size, self._momentum[i]
            if plan.momentum:
                step = step if before is None else plan.momentum * before + step
                self._momentum[i] = step
            parameter.sub_(plan.learning_rate * step)

    def _summed_gradients(self, x: Tensor, y: Tensor, present: Tensor) -> list[Tensor]:
        """Return the sum over records of their (clipped) gradients, in the parameters' order."""
        taken, signals = self._signals(x, y)
        scale = present
        if self._plan.max_grad_norm is not None:
            square = torch.zeros_like(present)
            for (linear, _), a, signal in zip(self._linear(), taken, signals, strict=True):
                bias = 0.0 if linear.bias is None else 1.0
                square += signal.square().sum(2) * (a.square().sum(2) + bias)
            bound = self._plan.max_grad_norm / (square.sqrt() + STABILITY)
            scale = present * bound.clamp(max=1.0)
        gradients: list[Tensor] = []
        for (linear, _), a, signal in zip(self._linear(), taken, signals, strict=True):
            scaled = signal * scale[:, :, None]
            gradients.append(scaled.transpose(1, 2) @ a)
            if linear.bias is not None:
                gradients.append(scaled.sum(1))
        return gradients

    def _signals(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return each linear layer's input, and the loss' gradient at its output, per record."""
        taken: list[Tensor] = []
        activated: list[tuple[nn.Module, Tensor]] = []
        linear = iter(self._linear())
        a = x
        for layer in self._layers:
            if isinstance(layer, nn.Linear):
                _, (weight, *bias) = next(linear)
                taken.append(a)
                a = a @ weight.transpose(1, 2)
                if bias:
                    a = a + bias[0][:, None, :]
            else:
                a = layer(a)
                activated.append((layer, a))
        logits = a if self._offsets is None else a + self._offsets
        signal = logits.softmax(2)
        signal.scatter_add_(2, y[:, :, None], torch.full_like(signal[:, :, :1], -1.0))
        if self._plan.max_grad_norm is not None:
            signal = signal * self._plan.loss_scale
        signals = [signal]
        weights = [parameters[0] for _, parameters in self._linear()]
        for (layer, out), weight in zip(reversed(activated), reversed(weights[1:]), strict=True):
            signal = (signal @ weight) * _slope(layer, out)
            signals.insert(0, signal)
        return taken, signals

    def _linear(self) -> Iterator[tuple[nn.Linear, list[Tensor]]]:
        """Yield each linear layer with its stacked weight and, if it has one, bias."""
        start = 0
        for layer in self._layers:
            if isinstance(layer, nn.Linear):
                count = 1 if layer.bias is None else 2
                yield layer, self._parameters[start : start + count]
                start += count


def _slope(layer: nn.Module, out: Tensor) -> Tensor:
    """Return an activation's derivative from what came out of it."""
    if isinstance(layer, nn.Tanh):
        return 1 - out.square()
    if isinstance(layer, nn.Sigmoid):
        return out * (1 - out)
    return (out > 0).to(out)


def _gathered(
    inputs: Tensor, labels: Tensor, chosen: Sequence[NDArray[np.int64]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs, labels and presence of each model's batch, filled up to the longest."""
    longest = max(1, *(len(records) for records in chosen))
    index = torch.zeros((len(chosen), longest), dtype=torch.long)
    present = torch.zeros((len(chosen), longest))
    for i, records in enumerate(chosen):
        index[i, : len(records)] = torch.from_numpy(records)
        present[i, : len(records)] = 1.0
    return inputs[index], labels[index], present
