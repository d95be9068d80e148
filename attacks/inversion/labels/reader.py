"""Which labels the records behind a gradient have: what pixel attacks start from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attacks.attack import gradient_of
from attacks.inversion.expected import population_gradients
from attacks.inversion.labels.counts import Models, probe_counts
from audit.core.model import Weights
from audit.core.views import Background, Observation

MOST_RECORDS = 500
"""Records of the population whose gradients are taken."""


class LabelReader:
    """Reads labels off a gradient by what records of each class would send on average.

    The population's clipped gradients, averaged by class, stand for the classes. Labels are added
    one at a time, each time the one that brings their sum nearest to what was observed. A single
    record without noise needs no population: its label is the only negative entry of the last
    bias' gradient (Zhao et al. 2020, arXiv:2001.02610, section 3). After several local steps the
    averages at the first model are tried, and those halfway to where the update ends: whichever
    come nearer to it are believed. Without noise there is another reading before that one, off the
    last parameter alone, as ``counts`` does it: records' own gradients drift least there.

    Args:
        background: Population and recipe.
        weights: Of the model at which gradients are taken.
    """

    def __init__(self, background: Background, weights: Weights) -> None:
        self._background = background
        labels = background.population.labels[:MOST_RECORDS]
        member = labels[:, None] == np.arange(background.architecture.classes)
        self._known = np.flatnonzero(member.any(axis=0))
        self._member, self._weights = member[:, self._known], weights
        self._means = population_gradients(background, weights, MOST_RECORDS, self._member)
        self._models = Models(background)

    def _averages(self, observation: Observation) -> list[Sequence[Weights]]:
        """Return each class' average, in the ways in which it may have entered an update."""
        if observation.steps == 1:
            return [self._means]
        end = {n: (w + observation.update[n]).astype(np.float32) for n, w in self._weights.items()}
        after = population_gradients(self._background, end, MOST_RECORDS, self._member)
        halfway = [
            {n: ((part + b[n]) / 2).astype(np.float32) for n, part in a.items()}
            for a, b in zip(self._means, after, strict=True)
        ]
        return [self._means, halfway]

    def labels(self, observation: Observation, count: int) -> NDArray[np.int64]:
        """Return the likeliest labels, sorted, shape (count,).

        Args:
            observation: An update of few steps.
            count: Records in it.
        """
        found: NDArray[np.int64] = self.readings(observation, count)[0]
        return found

    def readings(self, observation: Observation, count: int) -> NDArray[np.int64]:
        """Return one or two readings, the better one first, shape (readings, count).

        Sorted, but where hospitals' weights differ: then in the order of their records.

        Args:
            observation: An update of few steps.
            count: Records in it.
        """
        gradient = gradient_of(observation)
        last = list(gradient.values())[-1]
        noisy = self._background.recipe.noise_multiplier is not None
        if count == 1 and not noisy and last.ndim == 1 and (last < 0).sum() == 1:
            return np.array([[int(last.argmin())]])
        parts = np.repeat(observation.shares, count // len(observation.shares))
        parts = parts * len(observation.shares) / count
        fits = [
            _fitted(gradient, means, parts, observation.steps)
            for means in self._averages(observation)
        ]
        labels, _ = min(fits, key=lambda fit: fit[1])
        found = [self._known[labels]]
        classes = self._background.architecture.classes
        if observation.steps > 1 and not noisy and len(last) == classes:
            population = np.bincount(self._background.population.labels, minlength=classes)
            prior = population / population.sum()
            of_last = probe_counts(observation, self._models, prior).astype(np.int64)
            found.insert(0, np.repeat(np.arange(classes), of_last))
        return np.stack(found).astype(np.int64)


def _fitted(
    gradient: Weights, means: Sequence[Weights], parts: NDArray[np.float64], steps: int
) -> tuple[NDArray[np.int64], float]:
    """Return each record's class, and their squared distance less the observed one's square.

    Args:
        gradient: Observed.
        means: What a record of each class sends on average.
        parts: Of each record in the observed mean; the largest gets its class first.
        steps: In the observed sum.
    """
    gram = np.array([[_dot(a, b) for b in means] for a in means])
    seen = np.array([_dot(gradient, mean) for mean in means]) / steps
    shares, labels = np.zeros(len(means)), np.zeros(len(parts), dtype=np.int64)
    for place in np.argsort(-parts, kind="stable"):
        worse = gram @ shares + parts[place] * np.diag(gram) / 2
        labels[place] = int((seen - worse).argmax())
        shares[labels[place]] += parts[place]
    if parts.min() == parts.max():
        labels.sort()
    return labels, float(shares @ gram @ shares - 2 * seen @ shares)


def _dot(a: Weights, b: Weights) -> float:
    return float(sum(np.vdot(a[name], b[name]) for name in b))
