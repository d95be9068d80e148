"""What can be said of a record without its gradient: what a reconstruction has to beat."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.scoring.probes import MEAN, MEDIAN, Known, ProbeTruth, size_of
from audit.scoring.typical import typical_record

CLASS_MEAN, OTHER = "the class mean", "another record of the class"
RANDOM, ANOTHER = "the attack on a random gradient", "the attack on another update"
TOLD_THE_CLASS = (CLASS_MEAN, OTHER)
"""Baselines that know the true class: they compete for pixels, and not for labels."""


class Baselines:
    """Guesses at each observation's records that never saw its update.

    Args:
        guess: The attack's, for its controls and for its reconstructions of other updates.
        known: Public records; None: the run kept none.
    """

    def __init__(self, guess: ReconstructionGuess, known: Known | None) -> None:
        self._known = known
        self._controls = {one.observation: one for one in guess.controls}
        self._others: dict[str, Reconstruction] = {}
        groups: dict[str, list[Reconstruction]] = {}
        for one in guess.reconstructions:
            groups.setdefault(size_of(one.observation), []).append(one)
        for group in groups.values():
            for one, other in zip(group, [*group[1:], group[0]], strict=True):
                if other is not one:
                    self._others[one.observation] = other

    def of(
        self, observation: str, truth: ProbeTruth
    ) -> Mapping[str, tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Return records and labels of every baseline of an observation.

        Those of the attack itself are in input units, all others on a scale from 0 to 1; which is
        which, ``scaled_already`` says.
        """
        found: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
        count = len(truth.labels)
        if self._known is not None:
            known = self._known
            frequent = np.full(count, np.bincount(known.labels).argmax(), dtype=np.int64)
            overall = known.population.mean(axis=0)
            found[MEAN] = np.repeat(overall[None], count, axis=0), frequent
            if known.fields:
                median = typical_record(known.fields, known.population).astype(np.float32)
                found[MEDIAN] = np.repeat(median[None], count, axis=0), frequent
            of_class = [
                known.population[known.labels == label].mean(axis=0)
                if (known.labels == label).any()
                else overall
                for label in truth.labels
            ]
            found[CLASS_MEAN] = np.stack(of_class), truth.labels
            if truth.decoys is not None and (truth.decoys[:, 0] >= 0).all():
                # The last decoy: the first ones are candidates of every identification.
                last = [row[row >= 0][-1] for row in truth.decoys]
                found[OTHER] = known.pool[last], truth.labels
        for name, kept in ((RANDOM, self._controls), (ANOTHER, self._others)):
            if observation in kept and len(kept[observation].records) == count:
                found[name] = kept[observation].records, kept[observation].labels
        return found


def told(means: Mapping[str, float], best: str) -> str:
    """Say which baseline is the best, and what each reaches."""
    ranked = sorted(means, key=lambda name: name != best)
    return f"best baseline: {best}; " + ", ".join(f"{name} {means[name]:.3g}" for name in ranked)


def scaled_already(baseline: str) -> bool:
    """Say whether a baseline's records are on a scale from 0 to 1."""
    return baseline in {MEAN, MEDIAN, CLASS_MEAN, OTHER}
