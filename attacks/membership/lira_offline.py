"""LiRA, offline: is the released model surer of a record than models that never saw it?"""

import numpy as np
from numpy.typing import NDArray

from attacks.attack import Budget
from attacks.membership.likelihood import Side, evidence
from attacks.membership.lira_online import PER_CANDIDATE_FROM
from audit.core.guesses import MembershipGuess
from audit.core.views import View


def lira_offline_scores(
    target: NDArray[np.float64],
    outside: Side,
    *,
    per_candidate_from: int = PER_CANDIDATE_FROM // 2,
) -> NDArray[np.float64]:
    """Score each candidate against models that did not train on it.

    Args:
        target: The released model's log-odds, shape (candidates,).
        outside: Reference models that did not train on the candidate.
        per_candidate_from: Models on this side from which the variance is each candidate's own;
            below it all candidates share one.

    Returns:
        Standard scores, unitless, shape (candidates,); higher means more likely a member.

    Source:
        Carlini et al. 2022, arXiv:2112.03570, section IV-C, equation 4. Differs: the standard
        score is returned, not its normal CDF, which saturates; the ranking is the same. The shared
        variance is that within candidates, as in ``lira_online``.
    """
    own = int(outside.count.min()) >= per_candidate_from
    variance = outside.variance if own else outside.pooled_variance
    scores: NDArray[np.float64] = (target - outside.mean) / np.sqrt(variance)
    return scores


class LiraOffline:
    """Carlini et al.'s likelihood ratio attack without models that trained on the candidates."""

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return standard scores; ``rng`` is not used.

        Raises:
            ViewError: The view lacks the model or reference models on both sides.
        """
        seen = evidence(view, "lira-offline")
        return MembershipGuess(
            candidates=view.background.candidates.ids,
            scores=lira_offline_scores(seen.target, seen.outside),
        )


def build(budget: Budget) -> LiraOffline:
    """Return the attack; the budget decides only how many reference models there are."""
    del budget
    return LiraOffline()
