"""What a hospital is asked to do in one round, or in one probe."""

from dataclasses import dataclass


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
