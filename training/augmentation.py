"""Random shifts of images: several copies of a record, and still one clipped gradient."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.randomness import NoiseStream


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How a record is varied in each step.

    Args:
        copies: Variants of a record in a batch; its gradient is their mean, before clipping.
        shift: Each is moved by up to so many pixels along both axes, at random; 0: not at all.

    Source:
        Several variants of a record under one clipping: De et al. 2022, arXiv:2204.13650,
        section 3.2 (augmentation multiplicity).
    """

    copies: int = 1
    shift: int = 0

    def apply(self, x: Tensor, stream: NoiseStream) -> Tensor:
        """Return the variants, shape (records * copies, ...), those of a record side by side.

        Args:
            x: Images, shape (records, channels, height, width).
            stream: Where the shifts come from; not used without a shift.
        """
        repeated = x.repeat_interleave(self.copies, dim=0) if self.copies > 1 else x
        if self.shift == 0 or not len(repeated):
            return repeated
        drawn = stream.uniform(2 * len(repeated)) * (2 * self.shift + 1)
        offsets = torch.from_numpy(np.floor(drawn).astype(np.int64)).view(2, -1).to(x.device)
        return _windows(repeated, offsets, self.shift)


NO_AUGMENTATION = Augmentation()


def check_augmentation(copies: int, shift: int, input_shape: tuple[int, ...]) -> str | None:
    """Return why records of a shape cannot be varied like that, or None."""
    if shift and len(input_shape) != 3:
        return f"records of shape {input_shape} cannot be shifted: expected images"
    if copies > 1 and shift == 0:
        return f"{copies} copies without a shift are all alike: expected a shift of at least 1"
    return None


def _windows(images: Tensor, offsets: Tensor, shift: int) -> Tensor:
    """Cut one window out of each image, widened by its own edge; offsets: (2, images)."""
    height, width = images.shape[2:]
    widened = torch.nn.functional.pad(images, (shift,) * 4, mode="replicate")
    rows = offsets[0, :, None] + torch.arange(height, device=images.device)
    columns = offsets[1, :, None] + torch.arange(width, device=images.device)
    each = torch.arange(len(images), device=images.device)[:, None, None]
    return widened[each, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
