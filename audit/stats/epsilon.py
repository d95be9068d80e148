"""Lower bounds on epsilon from the guesses of an attack: what DP rules out cannot have happened.

Each plain function returns the bound; its ``*_interval`` sibling says beside it how far the same
number of guesses could have reached (the ceiling), at which confidence and by which method.

Guesses must be fixed before the truth is seen: a threshold or a number of guesses that was chosen
on the data that it is scored on breaks every one of these bounds.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import special

from audit.stats.gaussian import epsilon_of_mu, largest
from audit.stats.interval import check_confidence
from audit.stats.proportions import clopper_pearson_high, clopper_pearson_low


@dataclass(frozen=True, kw_only=True)
class EpsilonBound:
    """A lower bound on epsilon.

    Args:
        low: Epsilon is at least this, in nats; 0 says nothing.
        ceiling: The bound if every guess had been right: more could not have been found.
        confidence: One-sided, as a fraction.
        n: Observations behind it.
        method: How it was computed, and what it is conditional on.
    """

    low: float
    ceiling: float
    confidence: float
    n: int
    method: str


def clopper_pearson_epsilon(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    *,
    delta: float,
    confidence: float,
) -> float:
    """Bound epsilon from the true- and false-positive rates of a fixed test, many runs.

    Args:
        true_positives: Members that were called members.
        positives: Members; each observation independent of the others.
        false_positives: Non-members that were called members.
        negatives: Non-members.
        delta: Of the claim, in [0, 1].
        confidence: One-sided, as a fraction; half of the error for each rate.

    Returns:
        Epsilon in nats, at least 0. Both directions (members told from non-members and the other
        way round) follow from the same two bounds, so that their larger one needs no correction.
        Without members or without non-members: 0.

    Raises:
        ValueError: A count, delta or the confidence is out of range.

    Source:
        Kairouz et al. 2015, arXiv:1311.0776, theorem 2.1, with the exact rates of Nasr et al.
        2021, arXiv:2101.04535, section 3.

    Example:
        >>> round(clopper_pearson_epsilon(500, 500, 0, 500, delta=0.0, confidence=0.95), 3)
        4.906
    """
    check_claim(delta=delta)
    side = check_confidence(confidence) / 2
    found, alarmed = rate_bounds(true_positives, positives, false_positives, negatives, side)
    forward = _log_ratio(found - delta, alarmed)
    backward = _log_ratio(1 - alarmed - delta, 1 - found)
    return max(0.0, forward, backward)


def gaussian_dp_epsilon(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    *,
    delta: float,
    confidence: float,
) -> float:
    """Bound epsilon from the two rates, for mechanisms whose trade-off is that of a Gaussian.

    Args:
        true_positives, positives, false_positives, negatives: As in ``clopper_pearson_epsilon``.
        delta: Of the claim, in [0, 1]; at 0 any mu above 0 is an infinite epsilon.
        confidence: One-sided, as a fraction; half of the error for each rate.

    Returns:
        Epsilon in nats, at least 0: the largest mu that the rates rule out, at delta. It holds
        for Gaussian differential privacy only, so it never decides a verdict alone.

    Raises:
        ValueError: A count, delta or the confidence is out of range.

    Source:
        Nasr et al. 2023, arXiv:2302.07956, section 5; Dong et al. 2019, arXiv:1905.02383,
        corollary 2.13.
    """
    check_claim(delta=delta)
    side = check_confidence(confidence) / 2
    found, alarmed = rate_bounds(true_positives, positives, false_positives, negatives, side)
    if found <= 0 or alarmed >= 1:
        return 0.0
    return epsilon_of_mu(float(special.ndtri(found) - special.ndtri(alarmed)), delta)


def one_run_epsilon(
    canaries: int, guesses: int, correct: int, *, delta: float, confidence: float
) -> float:
    """Bound epsilon from guesses about canaries of a single run.

    Args:
        canaries: Records that were in or out by independent fair coins.
        guesses: How many of them were guessed about; the number was fixed beforehand.
        correct: Right guesses.
        delta: Of the claim, in [0, 1].
        confidence: One-sided, as a fraction.

    Returns:
        Epsilon in nats, at least 0; without guesses 0.

    Raises:
        ValueError: A count, delta or the confidence is out of range.

    Source:
        Steinke et al. 2023, arXiv:2305.08846, theorem 5.2.

    Example:
        >>> round(one_run_epsilon(1000, 100, 100, delta=0.0, confidence=0.95), 2)
        3.49
    """
    _check_one_run(canaries, guesses, correct)
    check_claim(delta=delta)
    significance = check_confidence(confidence)

    def rejected(epsilon: float) -> bool:
        chance = _one_run_chance(canaries, guesses, correct, epsilon=epsilon, delta=delta)
        return chance <= significance

    return largest(rejected)


def one_run_p_value(
    canaries: int, guesses: int, correct: int, *, epsilon: float, delta: float
) -> float:
    """Test whether a single run is (epsilon, delta)-DP by the guesses about its canaries.

    Args:
        canaries, guesses, correct: As in ``one_run_epsilon``.
        epsilon: Of the claim, in nats, at least 0.
        delta: Of the claim, in [0, 1].

    Returns:
        The significance from which ``one_run_epsilon`` exceeds epsilon, at most 1.

    Raises:
        ValueError: A count, epsilon or delta is out of range.

    Source:
        Steinke et al. 2023, arXiv:2305.08846, theorem 5.2.

    Example:
        >>> one_run_p_value(1000, 3, 3, epsilon=0.0, delta=0.0)
        0.125
    """
    _check_one_run(canaries, guesses, correct)
    check_claim(delta=delta, epsilon=epsilon)
    return min(1.0, _one_run_chance(canaries, guesses, correct, epsilon=epsilon, delta=delta))


def one_run_fdp_epsilon(
    canaries: int, guesses: int, correct: int, *, delta: float, confidence: float
) -> float:
    """Bound epsilon from guesses of a single run, for the trade-off curves of a Gaussian.

    Args:
        canaries, guesses, correct: As in ``one_run_epsilon``.
        delta: Of the claim, in [0, 1]; at 0 any mu above 0 is an infinite epsilon.
        confidence: One-sided, as a fraction.

    Returns:
        Epsilon in nats, at least 0: the largest mu that is rejected, converted at delta. It holds
        for Gaussian differential privacy only, so it never decides a verdict alone.

    Raises:
        ValueError: A count, delta or the confidence is out of range.

    Source:
        Mahloujifar et al. 2025, arXiv:2410.22235, algorithm 3 with k = 2.
    """
    _check_one_run(canaries, guesses, correct)
    check_claim(delta=delta)
    significance = check_confidence(confidence)

    def rejected(mu: float) -> bool:
        return _improbable(canaries, guesses, correct, mu=mu, significance=significance)

    return epsilon_of_mu(largest(rejected), delta)


def clopper_pearson_epsilon_interval(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    *,
    delta: float,
    confidence: float,
) -> EpsilonBound:
    """Return ``clopper_pearson_epsilon`` with its ceiling."""
    bound = partial(clopper_pearson_epsilon, delta=delta, confidence=confidence)
    return EpsilonBound(
        low=bound(true_positives, positives, false_positives, negatives),
        ceiling=bound(positives, positives, 0, negatives),
        confidence=confidence,
        n=positives + negatives,
        method="clopper-pearson",
    )


def gaussian_dp_epsilon_interval(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    *,
    delta: float,
    confidence: float,
) -> EpsilonBound:
    """Return ``gaussian_dp_epsilon`` with its ceiling."""
    bound = partial(gaussian_dp_epsilon, delta=delta, confidence=confidence)
    return EpsilonBound(
        low=bound(true_positives, positives, false_positives, negatives),
        ceiling=bound(positives, positives, 0, negatives),
        confidence=confidence,
        n=positives + negatives,
        method="gaussian-dp, conditional on that family",
    )


def one_run_epsilon_interval(
    canaries: int, guesses: int, correct: int, *, delta: float, confidence: float
) -> EpsilonBound:
    """Return ``one_run_epsilon`` with its ceiling."""
    bound = partial(one_run_epsilon, canaries, guesses, delta=delta, confidence=confidence)
    return EpsilonBound(
        low=bound(correct),
        ceiling=bound(guesses),
        confidence=confidence,
        n=guesses,
        method="one-run",
    )


def one_run_fdp_epsilon_interval(
    canaries: int, guesses: int, correct: int, *, delta: float, confidence: float
) -> EpsilonBound:
    """Return ``one_run_fdp_epsilon`` with its ceiling."""
    bound = partial(one_run_fdp_epsilon, canaries, guesses, delta=delta, confidence=confidence)
    return EpsilonBound(
        low=bound(correct),
        ceiling=bound(guesses),
        confidence=confidence,
        n=guesses,
        method="one-run f-dp, conditional on the gaussian family",
    )


def rate_bounds(
    true_positives: int, positives: int, false_positives: int, negatives: int, side: float
) -> tuple[float, float]:
    """Lower bound on the true-, upper bound on the false-positive rate; `side`: error of each."""
    check_rates(true_positives, positives, false_positives, negatives)
    found = clopper_pearson_low(true_positives, positives, side) if positives else 0.0
    alarmed = clopper_pearson_high(false_positives, negatives, side) if negatives else 1.0
    return found, alarmed


def check_rates(true_positives: int, positives: int, false_positives: int, negatives: int) -> None:
    """ValueError unless each count lies within its total."""
    for name, count, total in (
        ("true_positives", true_positives, positives),
        ("false_positives", false_positives, negatives),
    ):
        if total < 0 or not 0 <= count <= total:
            raise ValueError(f"{name} is {count} of {total}, expected 0 to {max(total, 0)}")


def _log_ratio(numerator: float, denominator: float) -> float:
    """Its logarithm; where the numerator is used up by delta, nothing is bounded."""
    return math.log(numerator / denominator) if numerator > 0 and denominator > 0 else 0.0


def _one_run_chance(
    canaries: int, guesses: int, correct: int, *, epsilon: float, delta: float
) -> float:
    """Upper bound on the probability of so many right guesses under (epsilon, delta)-DP."""
    right = special.expit(epsilon)
    counts = np.arange(correct, -1, -1)
    # P(exactly v - 1), P(exactly v - 2), ... right guesses under pure epsilon-DP.
    upper = special.bdtrc(counts - 1, guesses, right)
    upper[-1] = 1.0  # at least 0 of them
    below = upper[1:] - upper[0]
    worst = float((below / np.arange(1, correct + 1)).max()) if correct else 0.0
    return float(upper[0]) + 2 * canaries * delta * worst


def _improbable(
    canaries: int, guesses: int, correct: int, *, mu: float, significance: float
) -> bool:
    """Whether so many right guesses have at most that probability under mu-Gaussian DP."""
    right = significance * correct / canaries
    wrong = significance * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        # The inverse of x -> 1 - f(x) for the Gaussian trade-off curve f.
        grown = max(wrong, float(special.ndtr(special.ndtri(min(right, 1.0)) - mu)))
        if grown == wrong:
            break  # nothing changes any more
        right += i / (guesses - i) * (grown - wrong)
        wrong = grown
    return right + wrong > guesses / canaries


def _check_one_run(canaries: int, guesses: int, correct: int) -> None:
    if canaries < 1 or not 0 <= correct <= guesses <= canaries:
        raise ValueError(
            f"canaries, guesses, correct are {canaries}, {guesses}, {correct}: expected "
            "correct <= guesses <= canaries, none below 0, at least one canary"
        )


def check_claim(*, delta: float, epsilon: float = 0.0) -> None:
    """ValueError unless delta and epsilon are those of a claim."""
    if not 0 <= delta <= 1:
        raise ValueError(f"delta is {delta}, expected 0 to 1")
    if not epsilon >= 0:
        raise ValueError(f"epsilon is {epsilon}, expected at least 0")
