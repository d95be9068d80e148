"""Was a gradient canary in a hospital? Held against updates, sums, and differences of them.

A score is the mean over rounds of what was seen along the canary, less half of what the recipe lets
one expect of a canary that is in: above 0 means in. The threshold is fixed by the recipe, before
anything is seen. With full-batch steps the scores are Gaussian, and their distance in standard
deviations is the mechanism's own: sqrt(steps) / noise multiplier.

Source: gradient ("Dirac") canaries after Nasr et al. 2023, arXiv:2302.07956, section 4. Differs:
many at a time, in directions in which neither real records nor other canaries have anything.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.attack import Budget
from audit.core.errors import ViewError
from audit.core.guesses import MembershipGuess
from audit.core.views import CanaryView, View

Seen = Callable[[CanaryView], NDArray[np.float64] | None]


@dataclass(frozen=True, kw_only=True)
class GradientCanary:
    """The audit that sums what was seen along a canary.

    Args:
        id: As in the registry.
        seen: What of a view is summed; None: the view lacks it.
    """

    id: str
    seen: Seen

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Guess which canaries were in."""
        del rng
        found = self.seen(view) if isinstance(view, CanaryView) else None
        if found is None or not isinstance(view, CanaryView):
            raise ViewError(
                f"{self.id} needs audit cells seen as its adversary sees them, which this "
                f"{type(view).__name__} does not have"
            )
        expected = view.background.recipe.sample_rate
        return MembershipGuess(candidates=view.canaries, scores=found.mean(axis=1) - expected / 2)


def update(_: Budget) -> GradientCanary:
    """Against the single update of the hospital that the canary would be in."""
    return GradientCanary(id="canary-update", seen=lambda view: view.updates)


def total(_: Budget) -> GradientCanary:
    """Against the sum over hospitals."""
    return GradientCanary(id="canary-sum", seen=lambda view: view.sums)


def difference(_: Budget) -> GradientCanary:
    """Against the difference to another hospital's update: noise that both share cancels."""
    return GradientCanary(
        id="canary-difference",
        seen=lambda view: (
            None if view.updates is None or view.others is None else view.updates - view.others
        ),
    )


def own_noise(_: Budget) -> GradientCanary:
    """Against the sum less the noise that would be in it if all had the adversary's own."""
    return GradientCanary(
        id="canary-own-noise",
        seen=lambda view: None if view.sums is None or view.own is None else view.sums - view.own,
    )
