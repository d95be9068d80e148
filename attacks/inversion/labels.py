"""Which labels the records behind a gradient have: what pixel attacks start from."""

import numpy as np
from numpy.typing import NDArray

from attacks.attack import gradient_of
from attacks.inversion.expected import population_gradients
from audit.core.model import Weights
from audit.core.views import Background, Observation

MOST_RECORDS = 500
"""Records of the population whose gradients are taken."""


class LabelReader:
    """Reads labels off a gradient by what records of each class would send on average.

    The population's clipped gradients, averaged by class, stand for the classes. Labels are added
    one at a time, each time the one that brings their sum nearest to what was observed. A single
    record without noise needs no population: its label is the only negative entry of the last
    bias' gradient (Zhao et al. 2020, arXiv:2001.02610, section 3).

    Args:
        background: Population and recipe.
        weights: Of the model at which gradients are taken.
    """

    def __init__(self, background: Background, weights: Weights) -> None:
        self._background = background
        labels = background.population.labels[:MOST_RECORDS]
        member = labels[:, None] == np.arange(background.architecture.classes)
        self._known = np.flatnonzero(member.any(axis=0))
        self._means = population_gradients(
            background, weights, MOST_RECORDS, member[:, self._known]
        )
        self._gram = np.array([[_dot(a, b) for b in self._means] for a in self._means])

    def labels(self, observation: Observation, count: int) -> NDArray[np.int64]:
        """Return the likeliest labels, sorted, shape (count,).

        Args:
            observation: An update of few steps.
            count: Records in it.
        """
        gradient = gradient_of(observation)
        last = list(gradient.values())[-1]
        noisy = self._background.recipe.noise_multiplier is not None
        if count == 1 and not noisy and last.ndim == 1 and (last < 0).sum() == 1:
            return np.array([int(last.argmin())])
        seen = np.array([_dot(gradient, mean) for mean in self._means]) / observation.steps
        counts, part = np.zeros(len(self._known), dtype=np.int64), 1 / count
        for _ in range(count):
            worse = part * (self._gram @ counts) + part * np.diag(self._gram) / 2
            counts[int((seen - worse).argmax())] += 1
        return np.repeat(self._known, counts).astype(np.int64)


def _dot(a: Weights, b: Weights) -> float:
    return float(sum(np.vdot(a[name], b[name]) for name in b))
