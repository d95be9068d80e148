"""Histograms of oriented gradients: fixed, smooth features of an image."""

import math

import torch
from torch import Tensor, nn

TINY = 1e-8
"""Added to squares before a root is taken."""


class OrientedGradients(nn.Module):
    """Which way brightness changes, at each place of a coarse grid, at unit length.

    What all directions have in common at a place is taken out: it says that something is there,
    not what, and would take up most of the length that DP-SGD clips.

    Args:
        size: Height and width of the images, pixels.
        orientations: Directions, evenly around the circle.
        sharpness: Power of the cosine by which a gradient counts for a direction near its own.
        blur: Standard deviation of the smoothed derivative, pixels.
        stride: Distance of the grid's places, pixels.
        spread: Standard deviation of the weights around a place, pixels.
        power: Of each gradient's strength and of each histogram's count: below 1, strong edges
            count less.

    Source:
        Dalal and Triggs 2005, doi 10.1109/CVPR.2005.177. Differs: smooth instead of hard bins and
        cells, so that it has useful derivatives; one normalisation of the whole, the mean over
        directions subtracted, and powers (Perronnin et al. 2010, doi
        10.1007/978-3-642-15561-1_11). As features for DP-SGD: Tramer and Boneh 2021,
        arXiv:2011.11660, who use scattering.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        orientations: int = 16,
        sharpness: float = 8.0,
        blur: float = 0.7,
        stride: int = 3,
        spread: float = 1.7,
        power: float = 0.7,
    ) -> None:
        super().__init__()
        self.sharpness, self.power = sharpness, power
        angles = 2 * math.pi * torch.arange(orientations) / orientations
        smooth, slope = _derivative(blur)
        self.reach = len(smooth) // 2
        constants = {
            "cosines": angles.cos().view(1, -1, 1, 1),
            "sines": angles.sin().view(1, -1, 1, 1),
            "smooth": smooth,
            "slope": slope,
            "rows": _places(size[0], stride, spread),
            "columns": _places(size[1], stride, spread),
        }
        for name, value in constants.items():
            self.register_buffer(name, value.to(torch.get_default_dtype()), persistent=False)
        self.features = (
            orientations * len(self.get_buffer("rows")) * len(self.get_buffer("columns"))
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return features of unit length, shape (records, features).

        Args:
            images: Shape (records, 1, height, width).
        """
        across = self._filtered(images, "smooth", "slope")
        down = self._filtered(images, "slope", "smooth")
        strength = (across**2 + down**2 + TINY).sqrt()
        cosine = (across * self.get_buffer("cosines") + down * self.get_buffer("sines")) / strength
        energy = cosine.clamp(min=0) ** self.sharpness * strength**self.power
        pooled = torch.einsum(
            "ncij,ai,bj->ncab", energy, self.get_buffer("rows"), self.get_buffer("columns")
        )
        pooled = (pooled.clamp(min=0) + TINY) ** self.power
        told_apart = (pooled - pooled.mean(dim=1, keepdim=True)).flatten(1)
        length = ((told_apart**2).sum(dim=1, keepdim=True) + TINY).sqrt()
        return told_apart / length

    def _filtered(self, images: Tensor, along_rows: str, along_columns: str) -> Tensor:
        vertical = self.get_buffer(along_rows).view(1, 1, -1, 1)
        horizontal = self.get_buffer(along_columns).view(1, 1, 1, -1)
        half = nn.functional.conv2d(images, vertical, padding=(self.reach, 0))
        return nn.functional.conv2d(half, horizontal, padding=(0, self.reach))


def _derivative(blur: float) -> tuple[Tensor, Tensor]:
    """A Gaussian of sum 1 and its derivative, as correlation kernels."""
    reach = max(1, math.ceil(3 * blur))
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    bell = torch.exp(-(places**2) / (2 * blur**2))
    bell = bell / bell.sum()
    return bell, places / blur**2 * bell


def _places(length: int, stride: int, spread: float) -> Tensor:
    """Gaussian weights of each pixel around evenly spaced places, shape (places, pixels)."""
    count = max(1, length // stride)
    centres = (length - 1 - (count - 1) * stride) / 2 + stride * torch.arange(count).double()
    distance = centres[:, None] - torch.arange(length).double()[None, :]
    weights = torch.exp(-(distance**2) / (2 * spread**2))
    return weights / (math.sqrt(2 * math.pi) * spread)
