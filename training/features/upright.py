"""Bring a drawn figure to a standard place, slant and size, by its own moments alone."""

import torch
from torch import Tensor, nn

LEAST_VARIANCE = 0.1
"""Square pixels; keeps an empty or one-pixel image from dividing by zero."""


class Brightness(nn.Module):
    """Bring inputs from [-1, 1] back to one channel in [0, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        """Return brightness, shape (records, 1, height, width)."""
        return (images.mean(dim=1, keepdim=True) + 1) / 2


class Upright(nn.Module):
    """Centre an image, take out its slant, and bring its spread nearer to a fixed one.

    Every number comes from the image itself or was fixed beforehand: nothing is fitted on data.

    Args:
        size: Height and width, pixels.
        strength: How far the spread is moved to the fixed one: 0 not at all, 1 all the way, on a
            logarithmic scale.
        spread: Fixed standard deviations of ink along rows and columns, as parts of the size.

    Source:
        Deskewing by second moments: LeCun et al. 1998, doi 10.1109/5.726791, section III.A.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        strength: float = 0.5,
        spread: tuple[float, float] = (5.2 / 28, 4.2 / 28),
    ) -> None:
        super().__init__()
        self.strength, self.spread = strength, spread
        for name, length in zip(("rows", "columns"), size, strict=True):
            places = torch.arange(length) - (length - 1) / 2
            self.register_buffer(name, places.to(torch.get_default_dtype()), persistent=False)

    def forward(self, ink: Tensor) -> Tensor:
        """Return the images made upright.

        Args:
            ink: Shape (records, 1, height, width), in [0, 1]; 0 is background.
        """
        rows: Tensor = self.get_buffer("rows")
        columns: Tensor = self.get_buffer("columns")
        weight = ink[:, 0] + 1e-6
        total = weight.sum(dim=(1, 2))
        row_of = (weight.sum(dim=2) @ rows) / total
        column_of = (weight.sum(dim=1) @ columns) / total
        down = rows - row_of[:, None]
        across = columns - column_of[:, None]
        tall = (weight.sum(dim=2) * down**2).sum(dim=1) / total + LEAST_VARIANCE
        wide = (weight.sum(dim=1) * across**2).sum(dim=1) / total
        both = torch.einsum("nij,ni,nj->n", weight, down, across) / total
        slant = both / tall
        wide = (wide - slant * (2 * both - slant * tall)).clamp(min=LEAST_VARIANCE)
        height, width = len(rows), len(columns)
        stretch_rows = (tall.sqrt() / (self.spread[0] * height)) ** self.strength
        stretch_columns = (wide.sqrt() / (self.spread[1] * width)) ** self.strength
        # Where in the given image each pixel of the new one lies, pixels from the middle.
        new_rows = (stretch_rows[:, None] * rows)[:, :, None]
        new_columns = (stretch_columns[:, None] * columns)[:, None, :]
        row = new_rows + row_of[:, None, None] + torch.zeros_like(new_columns)
        column = new_columns + slant[:, None, None] * new_rows + column_of[:, None, None]
        grid = torch.stack([2 * column / width, 2 * row / height], dim=-1)
        return nn.functional.grid_sample(ink, grid, align_corners=False)
