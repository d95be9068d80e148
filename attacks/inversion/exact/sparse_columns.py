"""Factors of a low-rank matrix whose left factor is known to be sparse.

A layer's gradient is G = D X with one column of D and one row of X a record. Its singular vectors
give L and R with G = L R, so D = L Q for an unknown invertible Q. Behind a ReLU about half of each
column of D is zero, and as many rows of L as there are records less one, all zero in one column of
D, fix that column of Q up to its length: it is what they are all orthogonal to.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

DEVIATIONS = 8.0
"""An entry below this many deviations of the noise counts as zero."""

LOOSE = 1e-3
"""Part of a column's root mean square that is near enough to zero for a first look."""

SAME = 1e-5
"""Two directions whose squared sine is about twice this are looked at once."""

INDEPENDENT = 1e-6
"""Least singular value of unit columns that together are called independent."""

CHUNK = 1024
"""Draws that are worked on at a time."""

REFINED = 256
"""Most directions of a chunk that get a second look, those with the most zeros first."""


@dataclass(frozen=True, kw_only=True)
class Factors:
    """A gradient G = L R + noise of a rank that is known.

    Args:
        left: L, shape (neurons, rank); its entries have independent noise of one size.
        right: R, orthonormal rows, shape (rank, inputs + 1).
        scales: The singular values, shape (rank,).
        noise: Standard deviation of an entry's noise.
        following: Weights of the next layer, shape (outputs, neurons), if they are known. Then a
            column of D is, where it is not zero, a sum of their rows.
        odds: How much likelier than others a neuron is drawn, shape (neurons,).
    """

    left: Matrix
    right: Matrix
    scales: Matrix
    noise: float
    following: Matrix | None
    odds: Matrix

    @property
    def rank(self) -> int:
        """How many records there are to be found."""
        return len(self.scales)


@dataclass(frozen=True, kw_only=True, eq=False)
class Direction:
    """A direction p whose column L p is sparse.

    Args:
        vector: p, unit norm, shape (rank,).
        white: The same for the columns of L scaled to unit norm, unit norm itself.
        zeros: Entries of L p that are zero.
    """

    vector: Matrix
    white: Matrix
    zeros: int


def sparse_directions(
    factors: Factors, rng: np.random.Generator, *, draws: int
) -> Iterator[list[Direction]]:
    """Draw sets of rows, and yield all sparse directions found so far whenever there are more.

    Args:
        factors: Of rank 2 at least.
        rng: For the draws.
        draws: How many, a multiple of which is not exceeded.
    """
    rank, noise = factors.rank, factors.noise
    live = np.linalg.norm(factors.left, axis=1) > DEVIATIONS * noise * rank**0.5
    left = factors.left[live]
    distinct, odds = _distinct_rows(left / factors.scales, factors.odds[live])
    if len(distinct) < rank - 1:
        return
    following = None if factors.following is None else factors.following[:, live]
    seen, found = np.zeros((0, rank)), list[Direction]()
    for _ in range(max(1, draws // CHUNK)):
        white = _orthogonal_to(_drawn(distinct, odds, rank - 1, rng))
        vectors = _unit(white / factors.scales)
        columns = np.abs(vectors @ left.T)
        near = np.maximum(DEVIATIONS * noise, LOOSE * np.sqrt((columns**2).mean(axis=1)))
        counts = (columns < near[:, None]).sum(axis=1)
        more = len(found)
        promising = np.flatnonzero(counts >= rank - 1)
        for k in _unlike(white, promising[np.argsort(-counts[promising], kind="stable")], seen):
            seen = np.vstack([seen, white[k]])
            direction = _refined(left, factors, vectors[k], float(near[k]))
            if direction is None or not _fits(left @ direction.vector, following, noise):
                continue
            if not len(_unlike(direction.white[None], np.array([0]), _whites(found, rank))):
                continue
            found.append(direction)
        if len(found) > more:
            yield sorted(found, key=lambda direction: -direction.zeros)


def independent(directions: list[Direction], most: int) -> list[Direction]:
    """Keep the first directions, in their order, that no earlier ones add up to."""
    kept: list[Direction] = []
    for direction in directions:
        if len(kept) == most:
            break
        whites = np.stack([d.white for d in [*kept, direction]])
        if np.linalg.svd(whites, compute_uv=False)[-1] > INDEPENDENT:
            kept.append(direction)
    return kept


def rows_of(factors: Factors, columns: Matrix) -> Matrix:
    """Return X up to a factor for each row: the inverse of Q times R.

    Args:
        factors: Of the gradient.
        columns: Q's columns, in any length; shape (rank, rank).
    """
    return np.asarray(np.linalg.solve(columns, factors.right), dtype=np.float64)


def with_orthogonal(columns: Matrix) -> Matrix:
    """Return Q's columns but one, and in its place what is orthogonal to them all.

    The last row of Q's inverse is orthogonal to the other columns, so that the last row of X comes
    out right, up to a factor, without its own column. The others do not.

    Args:
        columns: Shape (rank, rank - 1).
    """
    whole = np.linalg.qr(columns, mode="complete")[0]
    return np.column_stack([columns, whole[:, -1]])


def direction_to(factors: Factors, column: Matrix) -> Matrix:
    """Return p for which L p comes closest to a column of D, unit norm."""
    found = np.linalg.lstsq(factors.left, column, rcond=None)[0]
    return np.asarray(found / np.linalg.norm(found), dtype=np.float64)


def _distinct_rows(rows: Matrix, odds: Matrix) -> tuple[Matrix, Matrix]:
    """Return unit rows, each direction once: neurons that the same records drive are parallel."""
    unit = _unit(rows)
    alike = np.abs(unit @ unit.T) > 1.0 - 1e-7
    first = ~np.triu(alike, 1).any(axis=0)
    return unit[first], odds[first]


def _drawn(rows: Matrix, odds: Matrix, size: int, rng: np.random.Generator) -> Matrix:
    """Draw sets of different rows, shape (draws, size, rank): half by the odds, half evenly."""
    waits = rng.exponential(size=(CHUNK, len(rows)))
    waits[::2] /= odds
    chosen = np.argsort(waits, axis=1, kind="stable")[:, :size]
    return rows[chosen]


def _orthogonal_to(rows: Matrix) -> Matrix:
    """Return a unit vector orthogonal to each set of rows, shape (sets, rank)."""
    last: Matrix = np.linalg.qr(rows.transpose(0, 2, 1), mode="complete")[0][:, :, -1]
    return last


def _unlike(white: Matrix, order: NDArray[np.int64], seen: Matrix) -> list[int]:
    """Return the places, in order and so many at most, of directions unlike those seen."""
    kept: list[int] = []
    for k in order:
        if len(seen) and (np.abs(seen @ white[k]) > 1.0 - SAME).any():
            continue
        if kept and (np.abs(white[kept] @ white[k]) > 1.0 - SAME).any():
            continue
        kept.append(int(k))
        if len(kept) == REFINED:
            break
    return kept


def _refined(left: Matrix, factors: Factors, vector: Matrix, near: float) -> Direction | None:
    """Fit a direction to all rows that it nearly kills, until these stay the same.

    Total least squares: the noise of L is the same in every entry. None: the rows do not fix it.
    """
    rank, before = factors.rank, None
    for _ in range(6):
        zero = np.abs(left @ vector) < near
        if zero.sum() < rank - 1:
            return None
        if before is not None and (zero == before).all():
            break
        _, values, vectors = np.linalg.svd(left[zero], full_matrices=True)
        if values[rank - 2] < DEVIATIONS * factors.noise * zero.sum() ** 0.5:
            return None
        vector, near, before = vectors[-1], DEVIATIONS * factors.noise, zero
    return Direction(
        vector=vector,
        white=_unit((vector * factors.scales)[None])[0],
        zeros=int(zero.sum()),
    )


def _fits(column: Matrix, following: Matrix | None, noise: float) -> bool:
    """Whether a column's entries that are not zero are a sum of the next layer's rows.

    A difference of two records' columns is sparse, too, where both drive the same neurons, as
    under two classes. It is no such sum: it changes sign with the record. Without a next layer,
    or with too many rows, this tells nothing and every column fits.
    """
    support = np.abs(column) >= DEVIATIONS * noise
    if following is None or support.sum() <= 2 * len(following):
        return True
    rows, values = following[:, support].T, column[support]
    weights = np.linalg.lstsq(rows, values, rcond=None)[0]
    left: float = np.sqrt(np.mean((values - rows @ weights) ** 2))
    return left < DEVIATIONS * noise


def _whites(directions: list[Direction], rank: int) -> Matrix:
    return np.array([d.white for d in directions]).reshape(-1, rank)


def _unit(rows: Matrix) -> Matrix:
    unit: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
