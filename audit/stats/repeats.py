"""The mean over repeated runs, such as one for each seed."""

import math

from numpy.typing import ArrayLike
from scipy import special

from audit.stats.interval import Interval, as_values, check_confidence


def student_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean of independent repeats with Student's interval.

    Args:
        values: One a repeat, shape (repeats,), at least two.
        confidence: As a fraction.

    Returns:
        The mean in the values' unit. The interval is about the mean over repeats; three repeats
        give a wide one (4.3 standard errors). It assumes that repeats spread like a Gaussian.

    Raises:
        ValueError: Fewer than two values, or NaN among them.

    Source:
        Student 1908, doi 10.1093/biomet/6.1.1.

    Example:
        >>> interval = student_interval([0.9, 1.0, 1.1])
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.752, 1.248)
    """
    repeats = as_values(values, "values")
    n = len(repeats)
    if n < 2:
        raise ValueError(f"{n} repeat: expected at least 2 for an interval")
    t = float(special.stdtrit(n - 1, 1 - check_confidence(confidence) / 2))
    mean = float(repeats.mean())
    half = t * float(repeats.std(ddof=1)) / math.sqrt(n)
    return Interval(
        value=mean,
        low=mean - half,
        high=mean + half,
        confidence=confidence,
        n=n,
        method="student",
    )
