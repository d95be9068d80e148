"""What a privacy curve allows any test: the largest true-positive rate at a false-positive rate."""

import math
from collections.abc import Sequence


def most_true_positives(
    curve: Sequence[tuple[float, float]], *, false_positive_rate: float
) -> float:
    """Return the largest TPR that any membership test can have against an (epsilon, delta) curve.

    Every point of the curve bounds a test in two ways, and the least bound counts: TPR is at most
    e^epsilon FPR + delta, and 1 - TPR at least e^-epsilon (1 - delta - FPR).

    Args:
        curve: Pairs (epsilon, delta) that the mechanism keeps, all of them; epsilon in nats.
        false_positive_rate: In [0, 1].

    Returns:
        A rate in [false_positive_rate, 1]; 1 for an empty curve, which promises nothing.

    Raises:
        ValueError: A rate, epsilon or delta is out of its range.

    Source:
        Kairouz, Oh and Viswanath 2015, arXiv:1311.0776, theorem 2.1. A curve of finitely many
        points bounds from above, so the true limit of the mechanism may be lower.
    """
    if not 0 <= false_positive_rate <= 1:
        raise ValueError(f"false_positive_rate {false_positive_rate}: expected 0 to 1")
    best = 1.0
    for epsilon, delta in curve:
        if not (epsilon >= 0 and 0 <= delta <= 1):
            raise ValueError(
                f"curve point ({epsilon}, {delta}): expected epsilon >= 0 and delta in 0 to 1"
            )
        # e^epsilon may overflow, and then bounds nothing.
        growing = math.exp(epsilon) * false_positive_rate + delta if epsilon < 700 else 1.0
        missed = math.exp(-epsilon) * max(0.0, 1 - delta - false_positive_rate)
        best = min(best, growing, 1 - missed)
    return max(best, false_positive_rate)
