"""Gradient-difference attack: an update gets shorter if a gradient that is in it is taken out."""

import numpy as np

from attacks.attack import Budget
from attacks.membership.updates import Held, combined, evenly_spread, held
from audit.core.guesses import MembershipGuess
from audit.core.views import View


class UpdateDifference:
    """Score a candidate by how much shorter the updates get without its gradient, over rounds.

    The update U is scaled to the sum of its records' gradients by the public recipe, and the
    candidate's gradient g is clipped as the recipe says: the score of a round is
    (|U|^2 - |U - g|^2) / |U|^2.

    Args:
        budget: How many rounds are looked at.

    Source:
        Li, Li and Ribeiro 2023, "Effective passive membership inference attacks in federated
        learning against overparameterized models" (ICLR, openreview QsCSLPP55Ku), the
        gradient-difference attack. Differs: divided by |U|^2, so that no round outweighs the others
        by its scale; the mean over rounds and clients is returned, and no threshold is fixed.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return the mean difference of each candidate; ``rng`` is not used.

        Raises:
            ViewError: The view has no updates of rounds.
        """
        rounds = evenly_spread(view, "update-difference", self._budget)
        scored = ((one, _difference(found)) for one, found in held(view, rounds))
        return combined(view, scored, lambda against: against.mean(axis=1))


def _difference(found: Held) -> np.ndarray:
    shorter = 2 * found.products - found.norms**2
    difference: np.ndarray = shorter / np.maximum(found.lengths**2, np.finfo(np.float64).tiny)
    return difference


def build(budget: Budget) -> UpdateDifference:
    """Return the attack."""
    return UpdateDifference(budget)
