"""Which record of a pool was in an update: the mechanism's own question, and no pixels."""

from dataclasses import dataclass

import numpy as np

from attacks.attack import (
    NOT_FINITE,
    Budget,
    clip_factors,
    finite,
    gradient_of,
    probe_observations,
    records_in,
)
from attacks.inversion.expected import population_gradients
from attacks.inversion.others import MOST_RECORDS, others
from attacks.inversion.search import noise_in
from audit.core.errors import ViewError
from audit.core.guesses import IdentificationGuess
from audit.core.model import Weights
from audit.core.views import Background, Observation, View


@dataclass(frozen=True, kw_only=True)
class CandidateIdentification:
    """Score each record of the pool by the likelihood of the update with it.

    A record with clipped gradient g adds a g to the update, a being its share. Of one record under
    Gaussian noise the log likelihood with it, less that without, grows with
    <r, g> - a |g|^2 / 2, r being the update: no attack on the mechanism can do better. Other
    records of the update are taken for Gaussians too, with the mean and covariance of the
    population's clipped gradients (``others``): r is then the update less their mean, and both
    products are divided by the covariance of what they and the noise add; where the noise is far
    larger, that is the form above. After several local steps the gradient has changed its length
    more than its direction: the likelihood with the best length for each candidate grows with
    <r, g> / |g|, which is used there, with others for isotropic noise: what the first model's
    gradients do not tell of the later ones' would be magnified.

    Source:
        This project; the likelihood ratio of Gaussian noise. For one record and candidates of equal
        length it is matched filtering, with others a whitened one.
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
        skipped = {one.name: NOT_FINITE for one in probes if not finite(one)}
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
    whitened = [one.steps == 1 and records_in(one) > 1 for one in group]
    beside = others(background, weights) if any(whitened) else None
    mean = beside.mean if beside else population_gradients(background, weights, MOST_RECORDS)[0]
    rests: list[Weights] = []
    for one in group:
        part = 1 - 1 / records_in(one)
        rests.append(
            {
                name: (array / one.steps - part * mean[name]).astype(np.float32)
                for name, array in gradient_of(one).items()
            }
        )
    directions = beside.directions if beside else ()
    found = background.architecture.gradient_products(
        weights,
        pool.inputs,
        pool.labels,
        [*rests, *directions],
        class_priors=recipe.class_priors,
    )
    factors = clip_factors(recipe, found.norms)
    clipped = factors[:, None] * np.asarray(found.products)
    squares = np.square(factors * found.norms)
    scores = {}
    for i, one in enumerate(group):
        share, product, square = 1 / records_in(one), clipped[:, i], squares
        if whitened[i] and beside is not None:
            along, elsewhere = beside.spread(
                part=share * (1 - share), noise=noise_in(one, background)
            )
            seen = np.array([_dot(rests[i], direction) for direction in directions])
            own, weigh = clipped[:, len(group) :], elsewhere / along - 1
            product = product + own @ (weigh * seen)
            square = square + np.square(own) @ weigh
        if one.steps == 1:
            scores[one.name] = product - share * square / 2
        else:
            scores[one.name] = product / np.sqrt(np.maximum(square, 1e-30))
    return scores


def _dot(a: Weights, b: Weights) -> float:
    return float(sum(np.vdot(a[name], b[name]) for name in b))


def build(budget: Budget) -> CandidateIdentification:
    """Return the attack; every budget is the same."""
    del budget
    return CandidateIdentification()
