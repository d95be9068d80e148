"""What a hospital is asked to do in one round, or in one probe."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
        batches: Indices of the records of each step; None: Poisson samples.
        epochs: With fixed batches, the steps that each record is in; None: it may be in all.
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
    batches: Sequence[NDArray[np.int64]] | None = None
    epochs: int | None = None

    @property
    def record_steps(self) -> int:
        """Steps that a record is in at most: what DP composes over.

        With fixed batches a record's gradient enters one step of every epoch, with the clipping
        norm as its sensitivity there, and no other: given the noised weights, the other steps do
        not depend on it. Removing the record leaves its place empty and every other record in its
        batch, and the normaliser is the batch's public size. So ``epochs`` Gaussian mechanisms
        compose; that the order is secret is not credited.
        """
        return self.steps if self.epochs is None else self.epochs
