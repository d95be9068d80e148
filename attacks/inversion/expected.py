"""What records send by the recipe, on average over the population."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attacks.attack import clip_factors
from audit.core.model import Weights
from audit.core.views import Background


def population_gradients(
    background: Background, weights: Weights, most: int, groups: NDArray[np.bool_] | None = None
) -> Sequence[Weights]:
    """Return the mean clipped gradient of groups of the population's first records.

    Args:
        background: Population and recipe.
        weights: Of the model at which gradients are taken.
        most: Records of the population that are used at most.
        groups: Which records are in a group, shape (population, groups); None: all in one.
    """
    people, priors = background.population, background.recipe.class_priors
    inputs, labels = people.inputs[:most], people.labels[:most]
    member = np.ones((len(labels), 1), dtype=np.bool_) if groups is None else groups[:most]
    built = background.architecture
    norms = built.gradient_products(weights, inputs, labels, [], class_priors=priors).norms
    each = clip_factors(background.recipe, norms)[:, None] * member / member.sum(axis=0)
    return built.gradient_sums(weights, inputs, labels, each, class_priors=priors)
