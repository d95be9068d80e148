"""Loss threshold: a record on which the released model's loss is low is called a member."""

import numpy as np
from scipy.special import log_softmax

from attacks.attack import Budget, released_model
from audit.core.guesses import MembershipGuess
from audit.core.views import View


class LossThreshold:
    """Score a candidate by the log-probability of its true label.

    Source:
        Yeom et al. 2018, arXiv:1709.01604, section 3.2, adversary 2. Differs: the score is
        returned and no threshold is fixed, so that scoring sees the whole ROC.
    """

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return minus the cross-entropy of each candidate; ``rng`` is not used.

        Raises:
            ViewError: The view has no released weights.
        """
        weights = released_model(view, "loss")
        candidates = view.background.candidates
        logits = view.background.architecture.logits(weights, candidates.inputs)
        scores = log_softmax(logits, axis=1)[np.arange(len(logits)), candidates.labels]
        return MembershipGuess(candidates=candidates.ids, scores=scores)


def build(budget: Budget) -> LossThreshold:
    """Return the attack; every budget is the same."""
    del budget
    return LossThreshold()
