"""Local training at one hospital: DP-SGD by Opacus, its noise from the cryptographic stream."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from audit.core.errors import AuditError
from training.augmentation import shifted
from training.canaries import LENGTH, GradientTap, Push
from training.features.fixed import trained_part
from training.local_plan import LocalPlan
from training.models import flatten, to_weights
from training.randomness import NoiseStream
from training.steps import Broken, make_step


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


@dataclass(frozen=True, kw_only=True)
class Laboratory:
    """What an audit cell or a self-test adds to a hospital's training; never in a released model.

    Args:
        columns: Of gradient canaries, which are sampled like records, shape (canaries,).
        sign: 1 or -1: which way they push the weights.
        broken: A fault in the step; None: sound.
        push: More of them, all along one direction; None: there are none.
    """

    columns: NDArray[np.int64]
    sign: float = 1.0
    broken: Broken | None = None
    push: Push | None = None

    @property
    def canaries(self) -> int:
        """How many gradient canaries there are."""
        return len(self.columns) + (self.push.copies if self.push else 0)


def train_locally(
    module: nn.Module,
    inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    plan: LocalPlan,
    *,
    sampling: NoiseStream,
    noise: NoiseStream,
    device: str = "cpu",
    laboratory: Laboratory | None = None,
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
        laboratory: Canaries and faults; None outside of audits.

    Raises:
        AuditError: The update is not finite.
        ViewError: The model has no place for gradient canaries.
    """
    before = flatten(to_weights(module))
    trained, x = trained_part(module.to(device).train(), inputs)
    y, tap = torch.from_numpy(labels), None
    if laboratory is not None and laboratory.canaries:
        push, length = laboratory.push, LENGTH * (plan.max_grad_norm or 1.0)
        direction = push.direction if push else None
        tap = GradientTap(trained, sign=laboratory.sign, length=length, direction=direction)
        x = torch.cat([x, x.new_zeros((laboratory.canaries, *x.shape[1:]))])
        copies = y.new_full((push.copies if push else 0,), tap.push_label)
        y = torch.cat([y, -1 - torch.from_numpy(laboratory.columns), copies])
    broken = laboratory.broken if laboratory else None
    step = make_step(trained, plan, noise, tap=tap, broken=broken)
    x, y = x.to(device), y.to(device)
    total_loss, used = 0.0, 0
    for number in range(plan.steps):
        batch = torch.from_numpy(_batch(plan, number, len(y), sampling)).to(device)
        chosen = x if len(batch) == len(x) and plan.batches is None else x[batch]
        moved = shifted(chosen, plan.augment_shift, sampling)
        total_loss += step.take(_row_major(moved), y[batch])
        used += len(batch)
    step.close()
    if tap is not None:
        tap.close()
    update = flatten(to_weights(module)) - before
    if not np.isfinite(update).all():
        raise AuditError(
            f"training diverged: the update is not finite at learning rate {plan.learning_rate:g}"
        )
    return LocalResult(
        update=update, mean_loss=total_loss / used if used else None, records_used=used
    )


def _batch(
    plan: LocalPlan, number: int, records: int, sampling: NoiseStream
) -> NDArray[np.int64] | NDArray[np.intp]:
    """Return the records of a step: a fixed batch, or a Poisson sample."""
    if plan.batches is not None:
        return plan.batches[number]
    return sampling.poisson_sample(records, plan.sample_rate)


def _row_major(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor whose strides are those of its shape.

    Opacus unfolds the inputs of convolutions by strides that it works out for rows before
    channels: an image in channels-last order gets another image's gradient, silently.
    """
    return x.reshape(-1).view(x.shape)
