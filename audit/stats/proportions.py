"""Intervals for a proportion: Wilson's for display, Clopper-Pearson's where coverage must hold."""

import math

from scipy import special

from audit.stats.interval import Interval, check_confidence


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for successes out of n.

    Args:
        successes: Count in [0, n].
        n: Trials, at least 1.
        confidence: As a fraction; half of the error for each end.

    Returns:
        The proportion with an interval whose coverage is nominal on average over proportions, and
        may be a little below at some.

    Raises:
        ValueError: A count or the confidence is out of range.

    Source:
        Wilson 1927, doi 10.1080/01621459.1927.10502953; without continuity correction.

    Example:
        >>> interval = wilson_interval(5, 10)
        >>> round(interval.low, 4), round(interval.high, 4)
        (0.2366, 0.7634)
    """
    _check_counts(successes, n)
    z = float(-special.ndtri(check_confidence(confidence) / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(
        value=p,
        low=0.0 if successes == 0 else min(p, centre - half),
        high=1.0 if successes == n else max(p, centre + half),
        confidence=confidence,
        n=n,
        method="wilson",
    )


def clopper_pearson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The exact interval for successes out of n: coverage is at least nominal, always.

    Args:
        successes: Count in [0, n].
        n: Trials, at least 1.
        confidence: As a fraction; half of the error for each end.

    Returns:
        The proportion with its interval.

    Raises:
        ValueError: A count or the confidence is out of range.

    Source:
        Clopper and Pearson 1934, doi 10.1093/biomet/26.4.404.

    Example:
        >>> interval = clopper_pearson_interval(0, 10)
        >>> interval.low, round(interval.high, 4)
        (0.0, 0.3085)
    """
    side = check_confidence(confidence) / 2
    return Interval(
        value=successes / n if n > 0 else math.nan,
        low=clopper_pearson_low(successes, n, side),
        high=clopper_pearson_high(successes, n, side),
        confidence=confidence,
        n=n,
        method="clopper-pearson",
    )


def advantage_interval(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    confidence: float = 0.95,
) -> Interval:
    """True-positive minus false-positive rate of a test that was fixed beforehand.

    Args:
        true_positives: Members called members.
        positives: Members, at least 1.
        false_positives: Non-members called members.
        negatives: Non-members, at least 1.
        confidence: As a fraction; half of the error for each end.

    Returns:
        The membership advantage, in [-1, 1]; 0 is chance, higher is a better attack.

    Raises:
        ValueError: A count or the confidence is out of range.

    Source:
        Yeom et al. 2018, arXiv:1709.01604, definition 4. Interval: Newcombe 1998, doi
        10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I, method 10.
    """
    found = wilson_interval(true_positives, positives, confidence)
    alarmed = wilson_interval(false_positives, negatives, confidence)
    value = found.value - alarmed.value
    below = math.hypot(found.value - found.low, alarmed.high - alarmed.value)
    above = math.hypot(found.high - found.value, alarmed.value - alarmed.low)
    return Interval(
        value=value,
        low=max(-1.0, value - below),
        high=min(1.0, value + above),
        confidence=confidence,
        n=positives + negatives,
        method="newcombe-hybrid-score",
    )


def clopper_pearson_low(successes: int, n: int, significance: float) -> float:
    """One-sided exact lower bound on a proportion; wrong with probability at most significance."""
    _check_counts(successes, n)
    check_confidence(1 - significance)
    if successes == 0:
        return 0.0
    return float(special.betaincinv(successes, n - successes + 1, significance))


def clopper_pearson_high(successes: int, n: int, significance: float) -> float:
    """One-sided exact upper bound on a proportion; wrong with probability at most significance."""
    return 1 - clopper_pearson_low(n - successes, n, significance)


def _check_counts(successes: int, n: int) -> None:
    if n < 1:
        raise ValueError(f"n is {n}, expected at least 1")
    if not 0 <= successes <= n:
        raise ValueError(f"successes is {successes}, expected 0 to {n}")
