"""How far did the model move along each direction in which a whole hospital may have pushed?

A score is the inner product of a direction with the final model less the initial one, in units of
a hospital's expected push. Rounds need no weighing by a recipient: it sees only their sum.

Source: Andrew et al. 2024, arXiv:2302.03098, canary clients and the final model. Differs: inner
products instead of cosines. Where hospitals push harder than the noise, most of the model's way in
these directions is theirs, and a cosine can no longer tell how much harder.
"""

from dataclasses import dataclass

import numpy as np

from attacks.attack import Budget
from audit.core.errors import ViewError
from audit.core.guesses import MembershipGuess
from audit.core.views import CanaryView, View


@dataclass(frozen=True)
class HospitalCanary:
    """Inner products of directions with what was released."""

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Score every direction, pushed or not."""
        del rng
        if not isinstance(view, CanaryView) or view.released is None:
            raise ViewError(
                "canary-hospitals needs audit cells with canary hospitals, which this "
                f"{type(view).__name__} does not have"
            )
        return MembershipGuess(candidates=view.canaries, scores=view.released)


def build(_: Budget) -> HospitalCanary:
    """Return the attack."""
    return HospitalCanary()
