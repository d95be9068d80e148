"""LiRA for few references: what training on a record does is learned from records as difficult.

With four references a candidate's own two means and variances are mostly noise. But how much
training on a record raises its log-odds, and how much models differ on it, depend above all on how
difficult it is; and of records as difficult there are hundreds.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from attacks.attack import Budget
from attacks.membership.likelihood import MIN_VARIANCE, Side, evidence
from audit.core.guesses import MembershipGuess
from audit.core.views import View

NEIGHBOURS = 200
"""Candidates of like difficulty from which the gap and the spread are taken."""

VARIANCE_WEIGHT = 8.0
"""Models that the spread of like candidates counts for, beside a candidate's own."""


def local_lira_scores(
    target: NDArray[np.float64],
    inside: Side,
    outside: Side,
    *,
    neighbours: int = NEIGHBOURS,
    variance_weight: float = VARIANCE_WEIGHT,
) -> NDArray[np.float64]:
    """Score each candidate by a ratio of two predictive densities.

    A candidate's level is its own, from all its references; the gap between models that trained on
    it and others is the mean gap of the candidates nearest in difficulty, the mean of both sides.
    The variance is shrunk towards theirs.

    Args:
        target: The released model's log-odds, shape (candidates,).
        inside: Reference models that trained on each candidate.
        outside: Reference models that did not.
        neighbours: Candidates of like difficulty, itself among them; fewer if there are fewer.
        variance_weight: Degrees of freedom of the neighbours' variance, models.

    Returns:
        Log likelihood ratio, nats, shape (candidates,); higher means more likely a member.

    Source:
        This project's own. The ratio of Carlini et al. 2022, arXiv:2112.03570, Algorithm 1; shrunk
        variances and the Student t as in Brännvall 2026, arXiv:2603.11799.
    """
    models = inside.count + outside.count
    difficulty = (inside.mean + outside.mean) / 2
    gap = _neighbour_mean(difficulty, inside.mean - outside.mean, neighbours)
    freedom = models - 2
    squares = inside.squares + outside.squares
    spread = _neighbour_mean(difficulty, squares / freedom, neighbours).clip(MIN_VARIANCE)
    without = (inside.count * (inside.mean - gap) + outside.count * outside.mean) / models
    variance = (variance_weight * spread + squares) / (variance_weight + freedom)
    shape = variance_weight + freedom
    scale = np.sqrt(variance * (1 + 1 / models))
    ratio = student.logpdf(target, shape, loc=without + gap, scale=scale) - student.logpdf(
        target, shape, loc=without, scale=scale
    )
    return np.asarray(ratio, dtype=np.float64)


def _neighbour_mean(
    place: NDArray[np.float64], values: NDArray[np.float64], neighbours: int
) -> NDArray[np.float64]:
    """Return, for each candidate, the mean value of those next to it in order of place."""
    count = len(place)
    width = min(neighbours, count)
    order = np.argsort(place, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(values[order])])
    first = (np.arange(count) - width // 2).clip(0, count - width)
    means = np.empty(count)
    means[order] = (sums[first + width] - sums[first]) / width
    return means


class LocalLira:
    """The likelihood ratio with the gap and spread of records as difficult."""

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return log likelihood ratios in nats; ``rng`` is not used.

        Raises:
            ViewError: The view lacks the model or reference models on both sides.
        """
        seen = evidence(view, "lira-local")
        return MembershipGuess(
            candidates=view.background.candidates.ids,
            scores=local_lira_scores(seen.target, seen.inside, seen.outside),
        )


def build(budget: Budget) -> LocalLira:
    """Return the attack; the budget decides only how many reference models there are."""
    del budget
    return LocalLira()
