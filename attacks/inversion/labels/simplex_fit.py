"""Shares that add up to one: the quadratic fit over them, and whole counts made of them."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SLACK = 1e-12
"""Below its bound by less than this a share is rounding."""


def fit_shares(curvature: Array, slope: Array, lower: Array) -> Array:
    """Minimise half w'Hw - b'w over shares w >= lower that add up to 1.

    A small active-set method: shares that fall below their bound are held there, and one whose
    multiplier says that it would rather rise is let go again.

    Args:
        curvature: H, symmetric and positive definite, shape (classes, classes).
        slope: b, shape (classes,).
        lower: Bounds, shape (classes,), non-negative, together at most 1.

    Returns:
        The shares, shape (classes,).

    Raises:
        ValueError: The bounds leave no room.
    """
    if lower.min() < 0 or lower.sum() > 1 + SLACK:
        raise ValueError(
            f"lower bounds add up to {lower.sum():g}: expected non-negative, at most 1"
        )
    held = np.zeros(len(slope), dtype=np.bool_)
    shares = lower.copy()
    for _ in range(4 * len(slope)):
        shares, multiplier = _with_held(curvature, slope, lower, held)
        low = shares < lower - SLACK
        if low.any():
            held |= low
            continue
        pull = curvature @ shares - slope + multiplier  # positive: held down rightly
        eager = held & (pull < -SLACK * np.abs(slope).max(initial=1.0))
        if not eager.any():
            break
        held[np.flatnonzero(eager)[pull[eager].argmin()]] = False
    return np.maximum(shares, lower)


def whole_counts(expected: Array) -> Array:
    """Round counts to whole ones of the same sum, the largest remainders up.

    Args:
        expected: Non-negative, with a sum that is whole up to rounding, shape (classes,).

    Returns:
        Whole numbers, shape (classes,).

    Example:
        >>> whole_counts(np.array([1.6, 0.2, 2.2]))
        array([2., 0., 2.])
    """
    total = round(float(expected.sum()))
    counts: Array = np.floor(expected + SLACK * max(1, total))
    left = total - int(counts.sum())
    largest = np.argsort(counts - expected, kind="stable")
    counts[largest[:left]] += 1
    return counts


def _with_held(
    curvature: Array, slope: Array, lower: Array, held: NDArray[np.bool_]
) -> tuple[Array, float]:
    """Solve with some shares at their bound; return all shares and the sum's multiplier."""
    free = np.flatnonzero(~held)
    shares = lower.copy()
    if not len(free):
        return shares, 0.0
    system = np.zeros((len(free) + 1, len(free) + 1))
    system[:-1, :-1] = curvature[np.ix_(free, free)]
    system[:-1, -1] = system[-1, :-1] = 1.0
    right = slope - curvature @ np.where(held, lower, 0.0)
    solved = np.linalg.solve(system, np.append(right[free], 1.0 - lower[held].sum()))
    shares[free] = solved[:-1]
    return shares, float(solved[-1])
