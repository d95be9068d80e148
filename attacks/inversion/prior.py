"""The prior-only baseline: what can be said of a record without ever having seen its gradient."""

import numpy as np

from attacks.attack import Budget, probe_observations, records_in
from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.views import View


class PriorMean:
    """Answer every probe with the population's mean record and most frequent label."""

    def guess(self, view: View, rng: np.random.Generator) -> ReconstructionGuess:
        """Return the same guess for every probe; ``rng`` is not used.

        Raises:
            ViewError: The view has no probes, or no population is known.
        """
        population = view.background.population
        mean = population.inputs.mean(axis=0)
        label = np.bincount(population.labels).argmax()
        return ReconstructionGuess(
            reconstructions=tuple(
                Reconstruction(
                    observation=probe.name,
                    clients=probe.clients,
                    records=np.repeat(mean[None], records_in(probe), axis=0),
                    labels=np.full(records_in(probe), label, dtype=np.int64),
                    objective=0.0,
                )
                for probe in probe_observations(view, "prior-mean")
            )
        )


def build(budget: Budget) -> PriorMean:
    """Return the baseline; every budget is the same."""
    del budget
    return PriorMean()
