"""Random Fourier features: a linear classifier on them is a smooth nonlinear one."""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.core.randomness import named_generator

SEED = 5
"""Public: the features are the same everywhere, and depend on no data."""


class KernelLift(nn.Module):
    """Append random Fourier features of a Gaussian kernel to vectors of unit length.

    The inner product of two results is close to s <x, y> + (1 - s) exp(-(b |x - y|)^2 / 2), with
    the share s and the bandwidth b; their length is 1 again.

    Args:
        inputs: Length of a vector.
        features: Number of random features.
        bandwidth: Standard deviation of the frequencies.
        linear_share: Part of the squared length that the vector itself keeps.

    Source:
        Rahimi and Recht 2007 (NIPS, random features for large-scale kernel machines), with the
        orthogonal directions of Yu et al. 2016, arXiv:1610.09072. Differs: brought to unit length.
    """

    def __init__(
        self,
        inputs: int,
        *,
        features: int = 2000,
        bandwidth: float = 2.1,
        linear_share: float = 0.35,
    ) -> None:
        super().__init__()
        if not 0 <= linear_share < 1:
            raise ValueError(f"linear_share is {linear_share}, expected 0 to below 1")
        self.linear_share = linear_share
        self.features = inputs + features
        frequencies, phases = _waves(inputs, features)
        for name, value in (("frequencies", bandwidth * frequencies), ("phases", phases)):
            constant = torch.from_numpy(value).to(torch.get_default_dtype())
            self.register_buffer(name, constant, persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the lifted vectors, shape (records, inputs + features)."""
        waves = torch.cos(vectors @ self.get_buffer("frequencies") + self.get_buffer("phases"))
        waves = waves / waves.norm(dim=1, keepdim=True)
        share = self.linear_share
        return torch.cat([math.sqrt(share) * vectors, math.sqrt(1 - share) * waves], dim=1)


@lru_cache(maxsize=4)
def _waves(inputs: int, features: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies, shape (inputs, features), orthogonal in blocks, and phases."""
    rng = named_generator(SEED, "kernel-lift", str(inputs), str(features))
    blocks = []
    for start in range(0, features, inputs):
        q, r = np.linalg.qr(rng.standard_normal((inputs, inputs)))
        blocks.append((q * np.sign(np.diag(r)))[:, : features - start])
    lengths = np.sqrt(rng.chisquare(inputs, features))
    return np.concatenate(blocks, axis=1) * lengths, rng.uniform(0, 2 * np.pi, features)
