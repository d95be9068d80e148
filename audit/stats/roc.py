"""How well scores tell members from non-members: AUC, and the true-positive rate at a stated FPR.

Scores point up: higher means more likely a member. Ties count half in the AUC, and in full as
false positives where a threshold meets them.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from audit.stats.interval import (
    Interval,
    as_values,
    bisect,
    bounded_mean_interval,
    check_confidence,
)
from audit.stats.proportions import clopper_pearson_high, clopper_pearson_low

MIN_EXPECTED_FALSE_POSITIVES = 5
_ROUNDING = 1e-9  # 0.1 * 30 is a little more than 3


def auc(member_scores: ArrayLike, nonmember_scores: ArrayLike) -> float:
    """Probability that a member scores above a non-member, ties counted half.

    Args:
        member_scores: Shape (members,), any unit, higher means more likely a member.
        nonmember_scores: Shape (nonmembers,), same unit.

    Returns:
        In [0, 1]; 0.5 is chance, higher is a better attack.

    Raises:
        ValueError: A class is empty, or a score is NaN (infinite scores are ranked).

    Source:
        Mann and Whitney 1947, doi 10.1214/aoms/1177730491; U / (members * nonmembers).

    Example:
        >>> auc([3, 2], [2, 1])
        0.875
    """
    members, nonmembers = _classes(member_scores, nonmember_scores)
    return float(_placements(members, nonmembers).mean())


def auc_interval(
    member_scores: ArrayLike, nonmember_scores: ArrayLike, confidence: float = 0.95
) -> Interval:
    """AUC with a confidence interval.

    Args:
        member_scores: Shape (members,), higher means more likely a member.
        nonmember_scores: Shape (nonmembers,), same unit.
        confidence: As a fraction.

    Returns:
        The AUC; its interval is never of zero width; n counts both classes.

    Raises:
        ValueError: A class is empty, a score is NaN, or the confidence is out of range.

    Source:
        DeLong et al. 1988, doi 10.2307/2531595, equation 3, on the log-odds scale, joined with the
        score interval of Newcombe 2006, doi 10.1002/sim.2324 (method 5), since DeLong's variance
        is too small when few pairs are out of order. Where DeLong's variance is zero (perfect
        separation, all tied) or undefined (one record in a class): Hoeffding's bound, which
        holds for any distribution, see `bounded_mean_interval`.
    """
    members, nonmembers = _classes(member_scores, nonmember_scores)
    m, n = len(members), len(nonmembers)
    z = float(-special.ndtri(check_confidence(confidence) / 2))
    by_member = _placements(members, nonmembers)
    by_nonmember = 1 - _placements(nonmembers, members)
    value = float(by_member.mean())
    variance = 0.0
    if min(m, n) > 1:
        variance = float(by_member.var(ddof=1) / m + by_nonmember.var(ddof=1) / n)
    # Rounding leaves about 1e-33 where all placements are equal.
    if variance < 1e-24 or not 0 < value < 1:
        low, high = bounded_mean_interval(value, min(m, n), confidence)
        method = "hoeffding"
    else:
        centre = float(special.logit(value))
        half = z * math.sqrt(variance) / (value * (1 - value))
        score_low, score_high = _newcombe(value, m, n, z)
        low = min(float(special.expit(centre - half)), score_low)
        high = max(float(special.expit(centre + half)), score_high)
        method = "delong-logit+newcombe"
    return Interval(value=value, low=low, high=high, confidence=confidence, n=m + n, method=method)


def auc_p_value(member_scores: ArrayLike, nonmember_scores: ArrayLike) -> float:
    """One-sided p-value of the AUC against one half: are members' scores higher?

    Args:
        member_scores: Shape (members,), higher means more likely a member.
        nonmember_scores: Shape (nonmembers,), same unit.

    Returns:
        In (0, 1]; exact for few records without ties, else the normal approximation, with the
        variance that ties leave. All scores equal: 1.

    Raises:
        ValueError: A class is empty, or a score is NaN.

    Source:
        Mann and Whitney 1947, doi 10.1214/aoms/1177730491, as scipy has it.
    """
    from scipy.stats import mannwhitneyu

    members, nonmembers = _classes(member_scores, nonmember_scores)
    if np.ptp(np.concatenate([members, nonmembers])) == 0:
        return 1.0
    return float(mannwhitneyu(members, nonmembers, alternative="greater").pvalue)


def tpr_at_fpr(member_scores: ArrayLike, nonmember_scores: ArrayLike, fpr: float) -> float:
    """Share of members found by the lowest threshold whose false-positive rate stays within fpr.

    A record is called a member when its score reaches the threshold. Nothing is interpolated:
    where non-members tie, the threshold lies above the whole tie unless all of it is allowed.

    Args:
        member_scores: Shape (members,), higher means more likely a member.
        nonmember_scores: Shape (nonmembers,), same unit.
        fpr: Largest allowed share of non-members called members, in [0, 1].

    Returns:
        In [0, 1]; chance is about fpr, higher is a better attack.

    Raises:
        ValueError: A class is empty, a score is NaN, or fpr is out of range.

    Source:
        The metric of Carlini et al. 2022, arXiv:2112.03570, section 3.

    Example:
        >>> tpr_at_fpr([4, 3, 2, 1], [3, 1, 0, 0], 0.25)
        0.75
    """
    members, nonmembers = _classes(member_scores, nonmember_scores)
    allowed = math.floor(_check_fpr(fpr) * len(nonmembers) + _ROUNDING)
    return float((members > _from_top(nonmembers, allowed + 1)).mean())


def tpr_at_fpr_interval(
    member_scores: ArrayLike, nonmember_scores: ArrayLike, fpr: float, confidence: float = 0.95
) -> Interval:
    """True-positive rate at a stated FPR, with an interval that covers at any sample size.

    The threshold itself is estimated on the non-members: a quarter of the error is spent on each
    side of it by exact order statistics, a quarter on each side of the members' rate there.

    Args:
        member_scores: Shape (members,), higher means more likely a member.
        nonmember_scores: Shape (nonmembers,), same unit.
        fpr: Largest allowed share of non-members called members, in (0, 1].
        confidence: As a fraction.

    Returns:
        The rate of `tpr_at_fpr`; the interval covers the population's rate at that FPR with at
        least the stated confidence, ties included; n counts both classes.

    Raises:
        ValueError: As `tpr_at_fpr`; or fewer than five false positives are expected at fpr, so
            that the rate is not resolvable: ask `resolvable` first.

    Source:
        Order-statistic bounds of a quantile: David and Nagaraja 2003, doi 10.1002/0471722162,
        section 7.1; Clopper and Pearson 1934; joined by Bonferroni's inequality.
    """
    members, nonmembers = _classes(member_scores, nonmember_scores)
    n = len(nonmembers)
    part = check_confidence(confidence) / 4
    if not resolvable(_check_fpr(fpr), n):
        raise ValueError(
            f"TPR at FPR {fpr} is not resolvable with {n} non-members: {fpr * n:g} false positives "
            f"expected, at least {MIN_EXPECTED_FALSE_POSITIVES} needed"
        )
    # A binomial count of non-members beyond the true threshold is < `few` with probability at
    # most `part`, and >= `many` with probability at most `part`.
    counts = np.arange(n + 1)
    below = special.bdtr(counts, n, fpr)  # P(count <= k)
    few = int((below <= part).sum())
    # bdtrc(n) is 0, so the search below always ends at n + 1 at the latest.
    many = int((special.bdtrc(counts, n, fpr) > part).sum()) + 1
    surely = int((members > _from_top(nonmembers, few)).sum())
    possibly = int((members >= _from_top(nonmembers, many)).sum())
    value = tpr_at_fpr(members, nonmembers, fpr)
    return Interval(
        value=value,
        low=min(value, clopper_pearson_low(surely, len(members), part)),
        high=max(value, clopper_pearson_high(possibly, len(members), part)),
        confidence=confidence,
        n=len(members) + n,
        method="order-statistic+clopper-pearson",
    )


def resolvable(fpr: float, nonmembers: int) -> bool:
    """Whether at least five false positives are expected at fpr among that many non-members."""
    return fpr * nonmembers + _ROUNDING >= MIN_EXPECTED_FALSE_POSITIVES


def _classes(
    member_scores: ArrayLike, nonmember_scores: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return as_values(member_scores, "member_scores"), as_values(
        nonmember_scores, "nonmember_scores"
    )


def _check_fpr(fpr: float) -> float:
    if not 0 <= fpr <= 1:
        raise ValueError(f"fpr is {fpr}, expected 0 to 1")
    return fpr


def _placements(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of b below each of a, ties counted half."""
    ordered = np.sort(b)
    below = np.searchsorted(ordered, a, "left") + np.searchsorted(ordered, a, "right")
    return below / (2 * len(b))


def _from_top(scores: NDArray[np.float64], rank: int) -> float:
    """The rank-th largest score, 1 being the largest; infinite beyond either end."""
    if rank < 1:
        return math.inf
    if rank > len(scores):
        return -math.inf
    return float(np.partition(scores, len(scores) - rank)[len(scores) - rank])


def _newcombe(value: float, m: int, n: int, z: float) -> tuple[float, float]:
    """Newcombe's method 5: Hanley and McNeil's variance, taken at the end of the interval."""
    mean_size = (m + n) / 2 - 1

    def excess(a: float) -> float:
        spread = 1 + mean_size * ((1 - a) / (2 - a) + a / (1 + a))
        return (value - a) ** 2 - z * z * a * (1 - a) * spread / (m * n)

    return (
        bisect(excess, outside=0.0, inside=value),
        bisect(excess, outside=1.0, inside=value),
    )
