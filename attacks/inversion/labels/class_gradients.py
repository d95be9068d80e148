"""What a record of each class adds to the last layer's gradient, seen along a few directions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.attack import clip_factors
from audit.core.errors import ViewError
from audit.core.model import GradientProducts, Weights
from audit.core.views import Background

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Directions:
    """Directions in the space of a model's last parameter.

    Args:
        name: Of that parameter.
        vectors: One array of its shape for each direction, shape (directions, *shape).
        is_bias: Whether they are the coordinates of a bias, one for each class.
    """

    name: str
    vectors: Array
    is_bias: bool

    @property
    def products(self) -> Array:
        """Inner products of the directions with each other, shape (directions, directions)."""
        flat = self.vectors.reshape(len(self.vectors), -1)
        return flat @ flat.T

    def along(self, gradient: Mapping[str, NDArray[Any]]) -> Array:
        """Return the inner products of a gradient with the directions, shape (directions,)."""
        flat = self.vectors.reshape(len(self.vectors), -1)
        return flat @ np.asarray(gradient[self.name], dtype=np.float64).ravel()

    def whole(self, weights: Weights) -> list[Weights]:
        """Return the directions as vectors over all parameters of a model."""
        zero = {n: np.zeros_like(a) for n, a in weights.items() if n != self.name}
        return [{**zero, self.name: v.astype(np.float32)} for v in self.vectors]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Records' clipped gradients by class, along directions.

    Args:
        means: Shape (directions, classes); a class that the population lacks has zeros.
        spread: Covariance of single records around their class' mean, over all classes alike,
            shape (directions, directions).
    """

    means: Array
    spread: Array


def last_parameter(background: Background, attack: str) -> tuple[str, bool]:
    """Return the name of the last parameter, and whether it is a bias.

    Raises:
        ViewError: It has no row for each class.
    """
    built = background.architecture
    shape = built.shapes[-1]
    if shape[0] != built.classes:
        raise ViewError(f"{attack} needs a model whose last parameter has a row for each class")
    named = built.unflatten(np.zeros(sum(int(np.prod(s)) for s in built.shapes)))
    return list(named)[-1], len(shape) == 1


def directions_at(background: Background, weights: Weights, attack: str) -> Directions:
    """Return the coordinates of the last bias; without one, the classes' mean gradients.

    Raises:
        ViewError: The last parameter has no row for each class.
    """
    name, is_bias = last_parameter(background, attack)
    if is_bias:
        return Directions(name=name, vectors=np.eye(background.architecture.classes), is_bias=True)
    population = background.population
    some = Directions(name=name, vectors=np.ones((1, *weights[name].shape)), is_bias=False)
    factor = clip_factors(background.recipe, _products(background, weights, some).norms)
    members = population.labels[:, None] == np.arange(background.architecture.classes)
    sums: Sequence[Weights] = background.architecture.gradient_sums(
        weights,
        population.inputs,
        population.labels,
        members * factor[:, None] / np.maximum(members.sum(axis=0), 1),
        class_priors=background.recipe.class_priors,
    )
    vectors = np.stack([np.asarray(one[name], dtype=np.float64) for one in sums])
    return Directions(name=name, vectors=vectors, is_bias=False)


def expected_gradients(
    background: Background, weights: Weights, directions: Directions
) -> Expected:
    """Measure the population's gradients at a model, each clipped as the recipe clips.

    Args:
        background: Population and recipe.
        weights: Where the gradients are taken.
        directions: Along which they are seen.
    """
    labels, classes = background.population.labels, background.architecture.classes
    found = _products(background, weights, directions)
    values = clip_factors(background.recipe, found.norms)[:, None] * found.products
    members = (labels[:, None] == np.arange(classes)).astype(np.float64)
    counts = members.sum(axis=0)
    means = values.T @ members / np.maximum(counts, 1)
    apart = values - means.T[labels]
    freedom = max(1, len(labels) - int((counts > 0).sum()))
    return Expected(means=means, spread=apart.T @ apart / freedom)


def _products(background: Background, weights: Weights, along: Directions) -> GradientProducts:
    return background.architecture.gradient_products(
        weights,
        background.population.inputs,
        background.population.labels,
        along.whole(weights),
        class_priors=background.recipe.class_priors,
        norms=background.recipe.max_grad_norm is not None,
    )
