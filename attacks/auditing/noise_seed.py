"""Was the noise drawn from torch's generator? Its seeds can be tried out.

torch's generator on the CPU keeps 32 bits of its seed. One who sees an update and knows the
hospital's records takes their gradients off; the first numbers of the noise are left, nearly. One
seed that is found takes the noise off a whole update, and each update has a seed of its own: all of
them are held against the same part of all seeds (a birthday search). Noise of a cryptographic
stream is in no such table.

Source: the state of torch.Generator: Matsumoto and Nishimura 1998, doi 10.1145/272991.272995
(MT19937, seeded by 32 bits); normals by Box and Muller 1958, 16 at a time, as torch fills tensors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attacks.attack import Budget
from audit.core.errors import ViewError
from audit.core.guesses import Coincidence, MembershipGuess
from audit.core.views import CanaryView, Leftovers, View

FIRST = 16
"""Numbers of a stream that are compared: as many as torch makes at a time."""

NEAR = 0.3
"""Squared distance of 16 numbers that counts as the same seed; of another one it is 32 +- 11."""

SEEDS = 2**32
"""As many as torch's generator tells apart."""

CHUNK = 2**14
"""Seeds that are tried at a time: so few that they stay in the cache."""

_SHIFT, _TEMPER = np.uint32(1812433253), np.uint32(0x9908B0DF)
_MIDDLE = 397


@dataclass(frozen=True, kw_only=True)
class NoiseSeed:
    """The audit that tries seeds.

    Args:
        seeds: How many are tried.
    """

    seeds: int

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Guess which canaries were in, of those in an update whose noise was found."""
        left = _leftovers(view)
        assert isinstance(view, CanaryView) and view.updates is not None  # noqa: S101 - as above
        found = self._search(left.first.reshape(-1, FIRST), int(rng.integers(SEEDS)))
        _, hospitals, rounds, _ = left.first.shape
        readings: dict[int, list[float]] = {}
        for stream, seed in found.items():
            update, number = divmod(stream, rounds)
            where = np.flatnonzero((left.places == divmod(update, hospitals)).all(axis=1))
            size = (view.background.recipe.noise_multiplier or 0.0) * left.signs[number]
            noise = size * _along_last_layer(left.shapes, seed)[left.columns[where]]
            for canary, reading in zip(where, view.updates[where, number] + noise, strict=True):
                readings.setdefault(int(canary), []).append(float(reading))
        updates = int(np.isfinite(left.first).all(axis=3).sum())
        return MembershipGuess(
            candidates=tuple(view.canaries[i] for i in readings),
            scores=np.array([max(values) - 0.5 for values in readings.values()]),
            note=f"{len(found)} of {updates} updates have noise of one of the seeds that were "
            f"tried, {self.seeds / SEEDS:.2%} of all",
            coincidence=self._coincidence(updates, found=bool(found)),
        )

    def _coincidence(self, updates: int, *, found: bool) -> Coincidence:
        """Say how probable it is that sound noise comes so near to any of the seeds."""
        # Of 16 Gaussian differences of variance 2: chi squared below NEAR / 2, by its leading term.
        half = FIRST // 2
        near = (NEAR / 4) ** half / math.factorial(half)
        chance = min(1.0, near * updates * self.seeds)
        power = -math.expm1(-updates * self.seeds / SEEDS)
        return Coincidence(chance=chance if found else 1.0, least=chance if power >= 1 / 2 else 1.0)

    def _search(self, left: NDArray[np.float64], start: int) -> dict[int, int]:
        """Return update to seed, for each update whose first noise is that of a tried seed."""
        known = np.flatnonzero(np.isfinite(left).all(axis=1))
        targets = left[known].astype(np.float32)
        # One product gives all squared distances: |a|^2 + |b|^2 - 2 a b.
        squares = (targets**2).sum(axis=1, keepdims=True)
        right = np.hstack([-2 * targets, np.ones_like(squares), squares]).T
        found: dict[int, int] = {}
        for first in range(0, self.seeds if len(known) else 0, CHUNK):
            count = min(CHUNK, self.seeds - first)
            seeds = (np.arange(first, first + count, dtype=np.int64) + start) % SEEDS
            drawn = first_normals(seeds)
            lengths = (drawn**2).sum(axis=1, keepdims=True)
            far = np.hstack([drawn, lengths, np.ones_like(lengths)]) @ right
            for row, column in np.argwhere(far < NEAR):
                found[int(known[column])] = int(seeds[row])
        return found


def build(budget: Budget) -> NoiseSeed:
    """Return the audit with so many seeds as the budget allows."""
    return NoiseSeed(seeds={"quick": 2**18, "standard": 2**23, "thorough": 2**26}[budget.value])


def first_normals(seeds: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return what ``torch.randn`` gives first for each seed.

    Args:
        seeds: Below 2**32, shape (seeds,).

    Returns:
        Shape (seeds, 16), as far as float32 rounding goes.

    Example:
        >>> stream = torch.Generator().manual_seed(5)
        >>> drawn = torch.randn(100, generator=stream)[:16].numpy()
        >>> bool(np.allclose(first_normals(np.array([5]))[0], drawn, atol=1e-5))
        True
    """
    state, scratch = seeds.astype(np.uint32), np.empty(len(seeds), dtype=np.uint32)
    low = np.empty((FIRST + 1, len(seeds)), dtype=np.uint32)
    high = np.empty((FIRST, len(seeds)), dtype=np.uint32)
    low[0] = state
    for i in range(1, _MIDDLE + FIRST):
        np.right_shift(state, np.uint32(30), out=scratch)
        np.bitwise_xor(state, scratch, out=state)
        np.multiply(state, _SHIFT, out=state)
        np.add(state, np.uint32(i), out=state)
        if i <= FIRST:
            low[i] = state
        if i >= _MIDDLE:
            high[i - _MIDDLE] = state
    mixed = (low[:FIRST] & np.uint32(0x80000000)) | (low[1:] & np.uint32(0x7FFFFFFF))
    words = high ^ (mixed >> np.uint32(1)) ^ (mixed & np.uint32(1)) * _TEMPER
    words ^= words >> np.uint32(11)
    words ^= (words << np.uint32(7)) & np.uint32(0x9D2C5680)
    words ^= (words << np.uint32(15)) & np.uint32(0xEFC60000)
    words ^= words >> np.uint32(18)
    uniform = (words & np.uint32(0xFFFFFF)).astype(np.float32) * np.float32(2**-24)
    half = FIRST // 2
    radius = np.sqrt(-2 * np.log(1 - uniform[:half]))
    angle = np.float32(2 * np.pi) * uniform[half:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)]).T


def _leftovers(view: View) -> Leftovers:
    if not isinstance(view, CanaryView) or view.updates is None:
        raise ViewError(
            "canary-noise-seed needs single updates of audit cells, which this "
            f"{type(view).__name__} does not have"
        )
    if view.leftovers is None:
        raise ViewError(
            "canary-noise-seed needs hospitals that make one step with noise in a round: of more "
            "steps only the sum is seen"
        )
    return view.leftovers


def _along_last_layer(shapes: Sequence[tuple[int, ...]], seed: int) -> NDArray[np.float64]:
    """Return the noise along each gradient canary, in deviations, if it comes from a seed."""
    stream, noise = torch.Generator().manual_seed(seed), np.zeros(0)
    for shape in shapes:
        drawn = torch.randn(math.prod(shape), generator=stream)
        if len(shape) == 2:  # the last such parameter is the last layer's weight
            noise = drawn.double().view(shape).sum(0).numpy() / shape[0] ** 0.5
    return noise
