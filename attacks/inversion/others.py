"""What the other records of an update add to it: their mean, and how they spread about it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.attack import clip_factors
from audit.core.model import Weights
from audit.core.views import Background

MOST_RECORDS = 400
"""Records of the population that stand for the others."""

MOST_NUMBERS = 2**25
"""Gradient entries that are held at once."""

SPAN = 2 / 3
"""Part of these records that spans the directions; the others measure the spread along them."""

FLOOR = 1e-9
"""Least variance, as a part of the largest: updates are recorded in single precision."""


@dataclass(frozen=True, kw_only=True)
class Others:
    """The clipped gradient of a record of the population: a Gaussian of few wide directions.

    Args:
        mean: Its mean.
        directions: Orthonormal.
        variances: Along each direction, shape (directions,).
        rest: Along what is left of a record's gradient beside the directions.
    """

    mean: Weights
    directions: tuple[Weights, ...]
    variances: NDArray[np.float64]
    rest: float

    def spread(self, *, part: float, noise: float) -> tuple[NDArray[np.float64], float]:
        """Return the variance of an update along each direction, and elsewhere.

        Args:
            part: Sum of the squared shares of the other records.
            noise: Deviation of the DP noise in a coordinate.
        """
        along = part * self.variances + noise**2
        elsewhere = part * self.rest + noise**2
        least = FLOOR * max(along.max(initial=0.0), elsewhere) or 1.0
        return np.maximum(along, least), max(elsewhere, least)


def others(background: Background, weights: Weights) -> Others:
    """Measure the population's clipped gradients.

    The directions are the principal ones of a part of the records; how far records spread along
    them, and beside them, is measured on the rest: on the same ones the first would look too wide
    and what is beside them like nothing.

    Args:
        background: Population and recipe.
        weights: Of the model at which gradients are taken.
    """
    built = background.architecture
    priors = background.recipe.class_priors
    size = sum(int(np.prod(part.shape)) for part in weights.values())
    inputs, labels = _known(background, min(MOST_RECORDS, max(2, MOST_NUMBERS // max(size, 1))))
    count = len(labels)
    norms = built.gradient_products(weights, inputs, labels, [], class_priors=priors).norms
    factors = clip_factors(background.recipe, norms)
    rows, shapes = [], {}
    for i in range(count):
        (one,) = built.gradient_sums(
            weights, inputs[i : i + 1], labels[i : i + 1], factors[i : i + 1, None],
            class_priors=priors,
        )  # fmt: skip
        shapes = {name: part.shape for name, part in one.items()}
        rows.append(np.concatenate([part.ravel() for part in one.values()]))
    gradients = np.stack(rows).astype(np.float64)
    mean = gradients.mean(axis=0)
    spanning, measuring = np.split(gradients - mean, [max(1, int(SPAN * count))])
    basis = _principal(spanning)
    if not len(measuring):
        measuring = spanning
    along = measuring @ basis.T
    beside = measuring - along @ basis
    return Others(
        mean=_named(mean, shapes),
        directions=tuple(_named(row, shapes) for row in basis),
        variances=np.square(along).mean(axis=0),
        rest=_rest(beside),
    )


def _known(background: Background, most: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return records of the population and, where these are few, of the pool."""
    people, pool = background.population, background.pool
    inputs, labels = people.inputs[:most], people.labels[:most]
    if pool is None or len(labels) == most:
        return inputs, labels
    more = most - len(labels)
    return (
        np.concatenate([inputs, pool.inputs[:more]]),
        np.concatenate([labels, pool.labels[:more]]),
    )


def _principal(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an orthonormal basis of what rows span, shape (directions, numbers)."""
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = values > 1e-10 * max(values.max(), 1e-300)
    basis: NDArray[np.float64] = (vectors[:, kept] / np.sqrt(values[kept])).T @ rows
    return basis


def _rest(beside: NDArray[np.float64]) -> float:
    """Return the variance of one record's remainder along another's."""
    gram = beside @ beside.T
    lengths = np.diag(gram)
    if len(gram) < 2 or not lengths.max() > 0:
        return 0.0
    apart = ~np.eye(len(gram), dtype=np.bool_)
    along = np.square(gram) / np.maximum(lengths, 1e-300)[:, None]
    return float(along[apart].mean())


def _named(row: NDArray[np.float64], shapes: dict[str, tuple[int, ...]]) -> Weights:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1]
    parts = np.split(row.astype(np.float32), ends)
    return {
        name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
