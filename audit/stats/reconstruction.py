"""How close a reconstruction is to the record that it was made from, in plain image metrics.

Learned metrics are elsewhere: they need a network. Pixel units are those of the arrays given.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

SSIM_WINDOW = 7
_K1, _K2 = 0.01, 0.03


def mse(a: ArrayLike, b: ArrayLike) -> float:
    """Mean squared error between two arrays of one shape.

    Args:
        a: A record, any shape.
        b: Another of the same shape and unit.

    Returns:
        In squared input units; 0 for identical arrays, lower is a closer reconstruction.

    Raises:
        ValueError: Shapes differ, an array is empty, or a value is not finite.

    Example:
        >>> mse([0.0, 2.0], [0.0, 0.0])
        2.0
    """
    first, second = _pair(a, b)
    return float(np.mean((first - second) ** 2))


def psnr(a: ArrayLike, b: ArrayLike, data_range: float) -> float:
    """Peak signal-to-noise ratio, 10 log10(data_range ** 2 / MSE).

    Args:
        a: A record, any shape.
        b: Another of the same shape and unit.
        data_range: Largest minus smallest possible value, in the unit of the arrays.

    Returns:
        In decibels, higher is a closer reconstruction; infinite for identical arrays, which a
        caller that stores or averages must cap.

    Raises:
        ValueError: As `mse`, or data_range is not positive.

    Example:
        >>> psnr([0.0, 0.0], [0.1, 0.1], data_range=1.0)
        20.0
    """
    error = mse(a, b)
    peak = _check_range(data_range) ** 2
    return math.inf if error == 0 else 10 * math.log10(peak / error)


def ssim(a: ArrayLike, b: ArrayLike, data_range: float) -> float:
    """Mean structural similarity of two images.

    Args:
        a: Image of shape (height, width) or (channels, height, width).
        b: Another of the same shape and unit.
        data_range: Largest minus smallest possible value, in the unit of the arrays.

    Returns:
        In [-1, 1]; 1 for identical images, higher is a closer reconstruction.

    Raises:
        ValueError: As `mse`; data_range is not positive; or an image is below 3 pixels a side.

    Source:
        Wang et al. 2004, doi 10.1109/TIP.2003.819861, equation 13, averaged over channels. As
        scikit-image's default: a uniform window of 7x7 (the paper weights 11x11 by a Gaussian),
        sample covariances, windows inside the image only. An image below 7 pixels a side takes the
        largest odd window that fits.
    """
    first, second = _pair(a, b)
    if first.ndim == 2:
        first, second = first[None], second[None]
    if first.ndim != 3 or min(first.shape[1:]) < 3:
        raise ValueError(
            f"image has shape {first.shape}, expected (height, width) or "
            "(channels, height, width) with at least 3 pixels a side"
        )
    c1, c2 = ((k * _check_range(data_range)) ** 2 for k in (_K1, _K2))
    side = min(SSIM_WINDOW, *first.shape[1:])
    side -= 1 - side % 2
    x, y = _windows(first, side), _windows(second, side)
    mean_x, mean_y = x.mean(-1), y.mean(-1)
    x, y = x - mean_x[..., None], y - mean_y[..., None]
    degrees = side * side - 1
    var_x, var_y = (x * x).sum(-1) / degrees, (y * y).sum(-1) / degrees
    covariance = (x * y).sum(-1) / degrees
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return float(np.mean(luminance * structure))


def match(reconstructions: ArrayLike, truths: ArrayLike) -> NDArray[np.int64]:
    """Pair reconstructions with records so that the summed squared error is smallest.

    A batch comes back in no order; the pairing favours the adversary, so a baseline must be
    paired in the same way.

    Args:
        reconstructions: Shape (records, ...).
        truths: Same shape and unit.

    Returns:
        Permutation of shape (records,): `reconstructions[match(reconstructions, truths)]` lines
        up with truths.

    Raises:
        ValueError: Shapes differ, there are no records, or a value is not finite.

    Source:
        Linear sum assignment, Crouse 2016, doi 10.1109/TAES.2016.140952, in SciPy.

    Example:
        >>> match([[5.0], [1.0]], [[1.1], [4.0]]).tolist()
        [1, 0]
    """
    # Imported here: scipy.optimize is slow to start, and only this function needs it.
    from scipy.optimize import linear_sum_assignment

    found, wanted = _pair(reconstructions, truths)
    if found.ndim == 0:
        raise ValueError("records have no first dimension, expected (records, ...)")
    found, wanted = found.reshape(len(found), -1), wanted.reshape(len(wanted), -1)
    cost = np.stack([((found - truth) ** 2).mean(axis=1) for truth in wanted])
    _, chosen = linear_sum_assignment(cost)
    return np.asarray(chosen, dtype=np.int64)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both arrays in double precision, so that uint8 does not wrap around."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"shapes are {first.shape} and {second.shape}, expected the same")
    if first.size == 0:
        raise ValueError(f"arrays have shape {first.shape}, expected at least one value")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("arrays hold NaN or infinite values, expected finite ones")
    return first, second


def _check_range(data_range: float) -> float:
    if not (math.isfinite(data_range) and data_range > 0):
        raise ValueError(f"data_range is {data_range}, expected a positive number")
    return data_range


def _windows(images: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Every window inside each channel, flattened: (channels, rows, columns, side * side)."""
    view = np.lib.stride_tricks.sliding_window_view(images, (side, side), axis=(1, 2))
    return view.reshape(*view.shape[:3], side * side)
