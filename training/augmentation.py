"""Random shifts of images, so that a model sees each at other places."""

import numpy as np
import torch
from torch import Tensor

from training.randomness import NoiseStream


def shifted(images: Tensor, most: int, stream: NoiseStream) -> Tensor:
    """Move each image by up to so many pixels along both axes; its edge fills what is left.

    Args:
        images: Shape (records, channels, height, width).
        most: Largest shift, pixels; 0 moves nothing and draws nothing.
        stream: Where the shifts come from.
    """
    if most == 0 or not len(images):
        return images
    height, width = images.shape[2:]
    drawn = stream.uniform(2 * len(images)) * (2 * most + 1)
    offsets = torch.from_numpy(np.floor(drawn).astype(np.int64)).view(2, -1).to(images.device)
    widened = torch.nn.functional.pad(images, (most,) * 4, mode="replicate")
    rows = offsets[0, :, None] + torch.arange(height, device=images.device)
    columns = offsets[1, :, None] + torch.arange(width, device=images.device)
    each = torch.arange(len(images), device=images.device)[:, None, None]
    return widened[each, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
