"""LiRA, online: is the released model's answer likelier among models that saw the record?"""

import numpy as np
from numpy.typing import NDArray

from attacks.attack import Budget
from attacks.membership.likelihood import Side, evidence
from audit.core.guesses import MembershipGuess
from audit.core.views import View

PER_CANDIDATE_FROM = 64
"""Reference models from which each candidate has variances of its own."""


def lira_online_scores(
    target: NDArray[np.float64],
    inside: Side,
    outside: Side,
    *,
    per_candidate_from: int = PER_CANDIDATE_FROM,
) -> NDArray[np.float64]:
    """Score each candidate by a likelihood ratio of two Gaussians.

    Args:
        target: The released model's log-odds, shape (candidates,).
        inside: Reference models that trained on each candidate.
        outside: Reference models that did not.
        per_candidate_from: Reference models, of both sides, from which variances are estimated
            for each candidate; below it one variance a side is shared by all candidates.

    Returns:
        Log likelihood ratio, nats, shape (candidates,); higher means more likely a member.

    Source:
        Carlini et al. 2022, arXiv:2112.03570, Algorithm 1 and section VI-B. Differs: one query a
        candidate, without augmentations; the shared variance is that within candidates, where
        the paper takes the spread of all scores of all candidates.
    """
    models = int((inside.count + outside.count).min())
    scores = np.zeros_like(target)
    for sign, side in ((1, inside), (-1, outside)):
        variance = side.variance if models >= per_candidate_from else side.pooled_variance
        scores += sign * -0.5 * ((target - side.mean) ** 2 / variance + np.log(variance))
    return scores


class LiraOnline:
    """Carlini et al.'s likelihood ratio attack with models that trained on the candidates."""

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return log likelihood ratios in nats; ``rng`` is not used.

        Raises:
            ViewError: The view lacks the model or reference models on both sides.
        """
        seen = evidence(view, "lira-online")
        return MembershipGuess(
            candidates=view.background.candidates.ids,
            scores=lira_online_scores(seen.target, seen.inside, seen.outside),
        )


def build(budget: Budget) -> LiraOnline:
    """Return the attack; the budget decides only how many reference models there are."""
    del budget
    return LiraOnline()
