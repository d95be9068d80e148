"""Cosine attack: the gradient of a record that was trained on points along the client's update."""

import numpy as np

from attacks.attack import Budget
from attacks.membership.updates import Held, combined, evenly_spread, held
from audit.core.guesses import MembershipGuess
from audit.core.views import View


class UpdateCosine:
    """Score a candidate by the cosine between its gradient and the updates, over rounds.

    Args:
        budget: How many rounds are looked at.

    Source:
        Li, Li and Ribeiro 2023, "Effective passive membership inference attacks in federated
        learning against overparameterized models" (ICLR, openreview QsCSLPP55Ku), the cosine
        attack. Differs: all parameters count as one vector where the authors' code takes layer by
        layer and leaves out biases; the mean over rounds is returned, and no threshold is fixed;
        over several clients it is the mean too, which was better than the largest (docs).
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return the mean cosine of each candidate; ``rng`` is not used.

        Raises:
            ViewError: The view has no updates of rounds.
        """
        rounds = evenly_spread(view, "update-cosine", self._budget)
        scored = ((one, _cosine(found)) for one, found in held(view, rounds))
        return combined(view, scored, lambda against: against.mean(axis=1))


def _cosine(found: Held) -> np.ndarray:
    tiny = np.finfo(np.float64).tiny
    cosine: np.ndarray = found.products / np.maximum(found.norms * found.lengths, tiny)
    return cosine


def build(budget: Budget) -> UpdateCosine:
    """Return the attack."""
    return UpdateCosine(budget)
