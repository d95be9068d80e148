"""Records that some neuron of the first layer sees alone, taken off a gradient one by one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.inversion.exact.fully_connected import FirstLayer, Matrix, labelled, noise_level
from audit.core.views import Background

DEVIATIONS = 8.0
"""A neuron whose bias' gradient is below this many deviations of the noise saw no record."""

ALONE = 1e-6
"""Squared part of its predicted gradient that may lie outside of the observed one's columns where a
ratio is called a record. Mixtures of records come to 1e-5 behind a smooth activation."""

PARALLEL = 1e-6
"""Neurons' gradients with a cosine this near to 1 or -1 hold the same mixture of records."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Records' part of a gradient and the noise.

    Args:
        basis: Of the columns that stand out of the noise, shape (neurons, some).
        noise: Standard deviation of an entry; 0 where too few neurons or inputs tell it.
        edge: Largest singular value that noise alone would have.
    """

    basis: Matrix
    noise: float
    edge: float

    @classmethod
    def of(cls, gradient: Matrix, count: int) -> "Split":
        """Take what exceeds the rank that so many records have for noise."""
        basis, values, _ = np.linalg.svd(gradient, full_matrices=False)
        neurons, columns = gradient.shape
        rank = min(count, len(values))
        noise = noise_level(values, rank, (neurons, columns)) if rank < len(values) else 0.0
        edge = noise * (neurons**0.5 + columns**0.5)
        stands_out = max(1, int((values[:rank] > edge).sum()))
        return Split(basis=basis[:, :stands_out], noise=noise, edge=edge)


@dataclass(frozen=True, kw_only=True)
class Peeled:
    """The records that were found.

    Args:
        rows: A record and a 1, shape (found, inputs + 1).
        labels: Shape (found,).
        rest: The gradient without them, shape (neurons, inputs + 1).
    """

    rows: Matrix
    labels: NDArray[np.int64]
    rest: Matrix


def peeled(
    first: FirstLayer, gradient: Matrix, count: int, background: Background, *, most: int
) -> Peeled:
    """Take records off one after the other, until no neuron is left with one alone.

    A neuron's ratio is a record, and no mixture, if the gradient that the model has for it under
    some label lies in the span of the observed one's columns. Of several the one that most neurons
    agree on is taken: a mixture that one record rules drives the same neurons as that record. Its
    part is D's column times X's row over what the gradient's inverse has between them, the only
    multiple without which the rank is one less (Wedderburn's reduction).

    Args:
        first: The layer.
        gradient: Shape (neurons, inputs + 1).
        count: Records in it.
        background: Shape and labels of records.
        most: Distinct ratios that are looked at in one go.
    """
    shape, classes = background.architecture.input_shape, background.architecture.classes
    split = Split.of(gradient, count)
    largest = float(np.linalg.norm(gradient, 2))
    inverse = np.linalg.pinv(gradient, rcond=split.edge / largest if largest else 0.0)
    rest, rows, labels = gradient, list[Matrix](), list[int]()
    while len(rows) < count and split.basis.shape[1] < len(gradient):
        heard = np.flatnonzero(np.abs(rest[:, -1]) > DEVIATIONS * split.noise)
        if not len(heard):
            break
        mixtures, columns = _mixtures(rest, heard, most)
        told = labelled(first, mixtures.reshape(-1, *shape), split.basis, columns, classes)
        best = int((told.misfits <= ALONE).argmax())
        row = np.append(mixtures[best], 1.0)
        between = float(row @ inverse @ told.columns[best])
        if told.misfits[best] > ALONE or not between:
            break
        rest = rest - np.outer(told.columns[best], row) / between
        rows.append(row)
        labels.append(int(told.labels[best]))
    return Peeled(
        rows=np.array(rows).reshape(-1, gradient.shape[1]),
        labels=np.array(labels, dtype=np.int64),
        rest=rest,
    )


def ratio(gradient: Matrix) -> Matrix:
    """Return the record that fits neurons' gradients best, by least squares over the neurons.

    Args:
        gradient: Of weights, with the bias' as last column, not all zero: (neurons, inputs + 1).

    Returns:
        Shape (inputs,), in the record's units.
    """
    bias = gradient[:, -1]
    found: Matrix = bias @ gradient[:, :-1] / (bias @ bias)
    return found


def _mixtures(gradient: Matrix, heard: NDArray[np.int64], most: int) -> tuple[Matrix, Matrix]:
    """Return distinct ratios, those of most neurons first, and what is known of columns.

    That is for each ratio the bias' gradient of its neurons, and zero elsewhere.
    """
    rows = gradient[heard]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    alike = np.abs(unit @ unit.T) > 1.0 - PARALLEL
    leaders = np.flatnonzero(~np.triu(alike, 1).any(axis=0))
    sizes, weight = alike[leaders].sum(axis=1), np.abs(rows[leaders, -1])
    leaders = leaders[np.lexsort((-weight, -sizes))][:most]
    columns = np.zeros((len(leaders), len(gradient)))
    columns[:, heard] = alike[leaders] * rows[:, -1]
    return np.stack([ratio(rows[alike[leader]]) for leader in leaders]), columns
