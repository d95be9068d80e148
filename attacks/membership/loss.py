"""Loss threshold: a record on which the released model's loss is low is called a member."""

import numpy as np

from attacks.attack import Budget, answers
from attacks.membership.likelihood import log_probability
from audit.core.guesses import MembershipGuess
from audit.core.views import View


class LossThreshold:
    """Score a candidate by the log-probability of its true label.

    Source:
        Yeom et al. 2018, arXiv:1709.01604, adversary 2 (section III-B; for
        classifiers VI-B). Differs: the score is
        returned and no threshold is fixed, so that scoring sees the whole ROC.
    """

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return minus the cross-entropy of each candidate, nats; ``rng`` is not used.

        Raises:
            ViewError: The view has neither the released model nor an oracle of it.
        """
        candidates = view.background.candidates
        scores = log_probability(answers(view, "loss"), candidates.labels)
        return MembershipGuess(candidates=candidates.ids, scores=scores)


def build(budget: Budget) -> LossThreshold:
    """Return the attack; every budget is the same."""
    del budget
    return LossThreshold()
