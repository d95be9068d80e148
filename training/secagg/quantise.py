"""Updates as small non-negative integers on a public grid, so that masks can be added exactly."""

import math
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import ProtocolError

MAX_BITS = 32


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """An update on the grid.

    Args:
        levels: Grid level of each coordinate, 0 to 2^bits - 1, shape (dimension,).
        clipped: Coordinates that lay outside the range. It depends on the data: private.
    """

    levels: NDArray[np.uint64]
    clipped: int


@dataclass(frozen=True)
class Quantiser:
    """A public symmetric grid: 2^bits levels from -clip_range to +clip_range, both included.

    Neighbouring levels are `step` = 2 * clip_range / (2^bits - 1) apart. Zero lies half-way
    between two levels: nearest rounding moves it by half a step, stochastic rounding keeps its
    mean. Within the range the error of a coordinate is at most half a step (nearest) or below one
    step (stochastic).

    Args:
        clip_range: R, units of the update; public and fixed before any data is seen.
        bits: 1 to 32.
        stochastic: Round up with probability equal to the fraction, else to the nearest level.

    Raises:
        ValueError: A value out of range.

    Source:
        Bonawitz et al. 2017, section 4, sums integers modulo R; the grid is this project's choice.
        Stochastic rounding as in Suresh et al. 2017, arXiv:1611.00429, section 2.2.
    """

    clip_range: float
    bits: int
    stochastic: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clip_range) and self.clip_range > 0):
            raise ValueError(f"clip_range: {self.clip_range}, expected a positive finite number")
        if not 1 <= self.bits <= MAX_BITS:
            raise ValueError(f"bits: {self.bits}, expected 1 to {MAX_BITS}")

    @property
    def top(self) -> int:
        """The highest level, 2^bits - 1."""
        return (1 << self.bits) - 1

    @property
    def step(self) -> float:
        """Distance of neighbouring levels, units of the update."""
        return 2.0 * self.clip_range / self.top

    def quantise(
        self, update: NDArray[np.floating], *, rng: np.random.Generator | None = None
    ) -> Quantised:
        """Put an update on the grid.

        Args:
            update: Shape (dimension,), any finite values; those outside the range are clipped.
            rng: Source of stochastic rounding, for tests; None reads the operating system's.

        Returns:
            The levels, and the number of clipped coordinates.

        Raises:
            ProtocolError: A coordinate is NaN or infinite.
        """
        values = np.asarray(update, dtype=np.float64)
        if not np.isfinite(values).all():
            bad = int(np.count_nonzero(~np.isfinite(values)))
            raise ProtocolError(f"update: {bad} coordinates are NaN or infinite; training diverged")
        clipped = int(np.count_nonzero(np.abs(values) > self.clip_range))
        inside = np.clip(values, -self.clip_range, self.clip_range)
        position = (inside + self.clip_range) / self.step
        rounded = (
            np.floor(position + _uniforms(position.size, rng))
            if self.stochastic
            else np.rint(position)
        )
        levels = np.clip(rounded, 0, self.top).astype(np.uint64)
        return Quantised(levels=levels, clipped=clipped)

    def mean(self, total: NDArray[np.unsignedinteger], weight: int) -> NDArray[np.float64]:
        """The weighted mean update of a weighted sum of levels.

        Args:
            total: Sum of weight x level, each below 2^53, shape (dimension,).
            weight: Sum of the weights in it.

        Returns:
            Shape (dimension,), units of the update.

        Raises:
            ProtocolError: A coordinate lies above what that weight can sum to.
        """
        if int(total.max(initial=0)) > self.top * weight:
            raise ProtocolError(
                "sum: a coordinate lies outside the public range; a client or a share lied"
            )
        centred = 2.0 * total.astype(np.float64) - float(self.top * weight)
        return centred * (self.step / (2.0 * weight))


def _uniforms(count: int, rng: np.random.Generator | None) -> NDArray[np.float64]:
    """53-bit uniforms in [0, 1)."""
    if rng is not None:
        return rng.random(count)
    words = np.frombuffer(os.urandom(8 * count), dtype=np.uint64)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
