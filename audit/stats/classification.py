"""How useful a classifier is where classes are uneven: the mean of its classes' recalls."""

import numpy as np
from numpy.typing import ArrayLike

from audit.stats.interval import Interval
from audit.stats.proportions import wilson_interval


def balanced_accuracy_interval(
    labels: ArrayLike, predicted: ArrayLike, confidence: float = 0.95
) -> Interval:
    """Mean recall over the classes that occur, with a confidence interval.

    Args:
        labels: True classes, shape (records,), integers.
        predicted: Predicted classes, same shape.
        confidence: As a fraction.

    Returns:
        In [0, 1]; guessing one class always gives 1 / classes; n counts the records.

    Raises:
        ValueError: There are no records, or the shapes differ.

    Source:
        Brodersen et al. 2010, doi 10.1109/ICPR.2010.764, for the measure. Interval: Wilson's for
        each recall, joined by Zou and Donner 2008, doi 10.1002/sim.3095 (the distances to the
        ends add in quadrature), since the classes' test records are independent.

    Example:
        >>> balanced_accuracy_interval([0, 0, 0, 1], [0, 0, 0, 0]).value
        0.5
    """
    truth, guess = np.asarray(labels), np.asarray(predicted)
    if truth.ndim != 1 or truth.shape != guess.shape or truth.size == 0:
        raise ValueError(
            f"labels have shape {truth.shape}, predictions {guess.shape}: expected (n,) for both "
            "with n at least 1"
        )
    recalls = [
        wilson_interval(int((guess[truth == c] == c).sum()), int((truth == c).sum()), confidence)
        for c in np.unique(truth)
    ]
    value = float(np.mean([r.value for r in recalls]))
    below = np.linalg.norm([r.value - r.low for r in recalls]) / len(recalls)
    above = np.linalg.norm([r.high - r.value for r in recalls]) / len(recalls)
    return Interval(
        value=value,
        low=max(0.0, value - float(below)),
        high=min(1.0, value + float(above)),
        confidence=confidence,
        n=len(truth),
        method="wilson+mover",
    )
