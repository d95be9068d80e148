"""A learned distance of images, where its package and its weights are there: an extra."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LPIPS = "lpips"
MOST_LPIPS = 2.0
"""The distance has no upper end; a value above counts as this."""

SIDE = 64
"""Pixels to which smaller images are enlarged: the backbone's pooling needs about as many."""

NO_PACKAGE = "needs the package lpips: install fl-privacy-audit[lpips]"
NO_WEIGHTS = (
    "the weights of its backbone (AlexNet of torchvision) are not on this machine, and scoring "
    "downloads nothing: once call lpips.LPIPS(net='alex') where there is a network"
)

Distance = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]
"""Two stacks of images in [0, 1], shape (images, channels, height, width), to a distance each."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The distance, or why there is none.

    Args:
        distance: None: it cannot be computed here.
        reason: Why not.
    """

    distance: Distance | None = None
    reason: str | None = None


def learned_metric() -> Learned:
    """Return LPIPS if it can be computed without a network.

    Source:
        Zhang et al. 2018, arXiv:1801.03924, by the authors' package, AlexNet. Images are enlarged
        to 64 pixels a side, bilinearly; grey ones are shown as three equal channels.
    """
    if find_spec("lpips") is None:
        return Learned(reason=NO_PACKAGE)
    if not _weights():
        return Learned(reason=NO_WEIGHTS)
    return Learned(distance=_distance)


def _weights() -> list[Path]:
    from torch import hub

    return sorted((Path(hub.get_dir()) / "checkpoints").glob("alexnet-*.pth"))


@cache
def _network() -> Callable[..., object]:
    import lpips

    network: Callable[..., object] = lpips.LPIPS(net="alex", verbose=False).eval()
    return network


def _distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    import torch

    def shown(images: NDArray[np.float32]) -> torch.Tensor:
        x = torch.from_numpy(np.ascontiguousarray(images)).float() * 2 - 1
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        if min(x.shape[2:]) < SIDE:
            x = torch.nn.functional.interpolate(x, size=(SIDE, SIDE), mode="bilinear")
        return x

    with torch.no_grad():
        found = torch.as_tensor(_network()(shown(a), shown(b)))
    values: NDArray[np.float64] = found.reshape(-1).double().numpy()
    return np.minimum(values, MOST_LPIPS)
