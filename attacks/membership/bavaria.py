"""BaVarIA: LiRA with means and variances shrunk towards all candidates' by a conjugate prior."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from attacks.attack import Budget
from attacks.membership.likelihood import MIN_VARIANCE, Side, evidence
from audit.core.guesses import MembershipGuess
from audit.core.views import View

VARIANCE_WEIGHT = 4.0
"""Models that a variance's prior counts for; chosen on other draws of digits than docs/ reports."""


def predictive_log_density(
    target: NDArray[np.float64], side: Side, *, variance_weight: float = VARIANCE_WEIGHT
) -> NDArray[np.float64]:
    """Return the log density of one more model's log-odds on one side of each candidate.

    Each candidate's mean and variance have one normal-inverse-gamma prior, fitted to all
    candidates: its mean is their mean, its variance the one within candidates, and its mean
    counts for as many models as the variance within over the variance between candidates says.

    Args:
        target: The released model's log-odds, shape (candidates,).
        side: Reference models on this side of each candidate.
        variance_weight: Degrees of freedom of the prior variance, models.

    Returns:
        Of a Student t with ``variance_weight`` + models degrees of freedom, nats, shape
        (candidates,).
    """
    within = side.pooled_variance
    if len(target) > 1:
        seen = float(side.mean.var(ddof=1)) - within * float((1 / side.count).mean())
    else:
        seen = 0.0
    mean_weight = within / max(seen, MIN_VARIANCE)
    centre = side.mean.mean()
    weight = mean_weight + side.count
    mean = (mean_weight * centre + side.count * side.mean) / weight
    freedom = variance_weight + side.count
    moved = mean_weight * side.count * (side.mean - centre) ** 2 / weight
    variance = (variance_weight * within + side.squares + moved) / freedom
    scale = np.sqrt(variance * (1 + 1 / weight))
    return np.asarray(student.logpdf(target, freedom, loc=mean, scale=scale), dtype=np.float64)


def bavaria_scores(
    target: NDArray[np.float64],
    inside: Side,
    outside: Side,
    *,
    variance_weight: float = VARIANCE_WEIGHT,
) -> NDArray[np.float64]:
    """Score each candidate by a ratio of two posterior predictive densities.

    Args:
        target: The released model's log-odds, shape (candidates,).
        inside: Reference models that trained on each candidate.
        outside: Reference models that did not.
        variance_weight: Degrees of freedom of the prior variance, models.

    Returns:
        Log likelihood ratio, nats, shape (candidates,); higher means more likely a member.

    Source:
        Brännvall 2026, arXiv:2603.11799, BaVarIA-t: normal-inverse-gamma priors and a Student t
        predictive in place of LiRA's switch between variances. Differs, or may: the prior is
        fitted as said at ``predictive_log_density``; the paper's own weights were not at hand.
    """
    scores: NDArray[np.float64] = predictive_log_density(
        target, inside, variance_weight=variance_weight
    ) - predictive_log_density(target, outside, variance_weight=variance_weight)
    return scores


class Bavaria:
    """Brännvall's Bayesian variance inference attack, with the Student t predictive."""

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return log likelihood ratios in nats; ``rng`` is not used.

        Raises:
            ViewError: The view lacks the model or reference models on both sides.
        """
        seen = evidence(view, "bavaria")
        return MembershipGuess(
            candidates=view.background.candidates.ids,
            scores=bavaria_scores(seen.target, seen.inside, seen.outside),
        )


def build(budget: Budget) -> Bavaria:
    """Return the attack; the budget decides only how many reference models there are."""
    del budget
    return Bavaria()
