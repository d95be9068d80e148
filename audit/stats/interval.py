"""A value with its interval, and the bound that holds for any distribution on a known range."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A point estimate with its confidence interval.

    Args:
        value: The estimate, in the statistic's unit.
        low: Lower end, at most the value.
        high: Upper end, at least the value.
        confidence: Of the two ends together, as a fraction in (0, 1).
        n: Independent observations behind the value.
        method: How the ends were computed.

    Raises:
        ValueError: An end is NaN or on the wrong side, or confidence or n is out of range.
    """

    value: float
    low: float
    high: float
    confidence: float
    n: int
    method: str

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"value {self.value} is not in its interval [{self.low}, {self.high}]")
        check_confidence(self.confidence)
        if self.n < 1:
            raise ValueError(f"n is {self.n}, expected at least 1")

    @property
    def width(self) -> float:
        """Upper minus lower end."""
        return self.high - self.low


def check_confidence(confidence: float) -> float:
    """Return the significance, 1 - confidence; ValueError unless it lies in (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected between 0 and 1")
    return 1 - confidence


def as_values(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Scores as float64, shape (n,); ValueError when empty, not one-dimensional or NaN."""
    array: NDArray[Any] = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {array.dtype}, expected real numbers")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}, expected (n,) with n at least 1")
    result = array.astype(np.float64)
    if np.isnan(result).any():
        raise ValueError(f"{name} has {int(np.isnan(result).sum())} NaN of {result.size} values")
    return result


def bounded_mean_interval(mean: float, n: int, confidence: float) -> tuple[float, float]:
    """Interval for the mean of n independent values in [0, 1], whatever their distribution.

    Args:
        mean: Observed mean, in [0, 1].
        n: Independent values; for an AUC the smaller class, see Source.
        confidence: Of both ends together, as a fraction; half of the error for each end.

    Returns:
        The means p with n * KL(mean, p) <= ln(2 / significance); never of zero width.

    Source:
        Hoeffding 1963, doi 10.1080/01621459.1963.10500830, theorem 1 (equation 2.1), and section 5
        for two-sample U-statistics such as the AUC, where n is the smaller sample size. At a mean
        of 0 or 1 it equals the Clopper-Pearson interval.
    """
    budget = math.log(2 / check_confidence(confidence)) / n

    def excess(p: float) -> float:
        first = mean * math.log(mean / p) if mean > 0 else 0.0
        second = (1 - mean) * math.log((1 - mean) / (1 - p)) if mean < 1 else 0.0
        return first + second - budget

    low = 0.0 if mean <= 0 else bisect(excess, outside=0.0, inside=mean)
    high = 1.0 if mean >= 1 else bisect(excess, outside=1.0, inside=mean)
    return low, high


def bisect(function: Callable[[float], float], *, outside: float, inside: float) -> float:
    """The point where a function turns from positive to not, returned from the positive side.

    `outside` may itself be a pole: it is never evaluated.
    """
    for _ in range(100):
        middle = (outside + inside) / 2
        if middle in (outside, inside):
            break
        if function(middle) > 0:
            outside = middle
        else:
            inside = middle
    return outside
