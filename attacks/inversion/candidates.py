"""Which record of a pool was in an update: the mechanism's own question, and no pixels."""

from dataclasses import dataclass

import numpy as np

from attacks.attack import Budget, clip_factors, gradient_of, probe_observations, records_in
from attacks.inversion.expected import population_gradients
from audit.core.errors import ViewError
from audit.core.guesses import IdentificationGuess
from audit.core.model import Weights
from audit.core.views import Background, Observation, View

MOST_RECORDS = 200
"""Records of the population that stand for the others of a batch."""


@dataclass(frozen=True, kw_only=True)
class CandidateIdentification:
    """Score each record of the pool by the likelihood of the update with it.

    A record with clipped gradient g adds a g to the update, a being its share. Under Gaussian noise
    the log likelihood with it, less that without, grows with <r, g> - a |g|^2 / 2: r is the
    update less what the batch's other records add on average, by the population. Of one record
    this is the best that any attack can do against the mechanism. After several local steps the
    gradient has changed its length more than its direction: the likelihood with the best length
    for each candidate grows with <r, g> / |g|, which is used there.

    Source:
        This project; the likelihood ratio of Gaussian noise. For one record and candidates of equal
        length it is matched filtering.
    """

    def guess(self, view: View, rng: np.random.Generator) -> IdentificationGuess:
        """Score the pool for every probe; ``rng`` is not used.

        Raises:
            ViewError: The view has no probes, or no pool.
        """
        del rng
        probes = probe_observations(view, "candidate-identification")
        background = view.background
        if background.pool is None:
            raise ViewError(
                "candidate-identification needs a pool of candidates, which this run did not keep: "
                "train it again"
            )
        skipped = {
            one.name: "its update is not finite"
            for one in probes
            if not all(np.isfinite(part).all() for part in one.update.values())
        }
        kept = [one for one in probes if one.name not in skipped]
        scores: dict[str, np.ndarray] = {}
        for weights, group in _by_model(kept):
            scores |= _scored(background, weights, group)
        return IdentificationGuess(
            observations=tuple(one.name for one in kept),
            clients=tuple(one.clients for one in kept),
            pool=background.pool.ids,
            scores=np.array([scores[one.name] for one in kept]).reshape(
                len(kept), len(background.pool.ids)
            ),
            skipped=skipped,
        )


def _by_model(observations: list[Observation]) -> list[tuple[Weights, list[Observation]]]:
    """Put observations that began from the same model together."""
    groups: list[tuple[Weights, list[Observation]]] = []
    for one in observations:
        for weights, group in groups:
            if all(np.array_equal(weights[name], one.weights[name]) for name in weights):
                group.append(one)
                break
        else:
            groups.append((one.weights, [one]))
    return groups


def _scored(
    background: Background, weights: Weights, group: list[Observation]
) -> dict[str, np.ndarray]:
    pool, recipe = background.pool, background.recipe
    assert pool is not None  # noqa: S101
    built = background.architecture
    (average,) = population_gradients(background, weights, MOST_RECORDS)
    rests: list[Weights] = []
    for one in group:
        others = 1 - 1 / records_in(one)
        rests.append(
            {
                name: (part / one.steps - others * average[name]).astype(np.float32)
                for name, part in gradient_of(one).items()
            }
        )
    found = built.gradient_products(
        weights, pool.inputs, pool.labels, rests, class_priors=recipe.class_priors
    )
    factors = clip_factors(recipe, found.norms)
    scores = {}
    for one, along in zip(group, np.asarray(found.products).T, strict=True):
        length = factors * found.norms
        if one.steps == 1:
            scores[one.name] = factors * along - length**2 / (2 * records_in(one))
        else:
            scores[one.name] = factors * along / np.maximum(length, 1e-30)
    return scores


def build(budget: Budget) -> CandidateIdentification:
    """Return the attack; every budget is the same."""
    del budget
    return CandidateIdentification()
