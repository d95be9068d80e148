"""Was a record far outside the range in a hospital? It must not change how others are treated.

DP bounds what one record does to an update. Where statistics of the records feed the model (a mean,
a deviation, a range), one outlier turns all other records into something else, and what the known
ones should have sent is gone from the update.

Source: this project; the fault is one of those that Tramer et al. 2022, arXiv:2202.12219, and the
disclosures in NIST SP 800-226 warn of.
"""

from dataclasses import dataclass

import numpy as np

from attacks.attack import Budget
from audit.core.errors import ViewError
from audit.core.guesses import MembershipGuess
from audit.core.views import CanaryView, View

GONE = 0.5
"""An outlier is called present where less than this part of the expected update is there."""


@dataclass(frozen=True)
class OutlierCanary:
    """The audit that looks for what the other records should have sent."""

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Guess which outliers were in."""
        del rng
        if not isinstance(view, CanaryView) or view.likeness is None:
            raise ViewError(
                "canary-outlier needs audit cells with outliers, which are planted under DP only: "
                f"this {type(view).__name__} has none"
            )
        return MembershipGuess(candidates=view.canaries, scores=GONE - view.likeness.mean(axis=1))


def build(_: Budget) -> OutlierCanary:
    """Return the audit."""
    return OutlierCanary()
