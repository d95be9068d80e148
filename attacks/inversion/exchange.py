"""Dummies that change places: in which mini-batch a record was is searched for, too."""

from collections.abc import Callable
from dataclasses import replace
from math import comb, isqrt

import numpy as np
import torch
from torch import Tensor

from attacks.inversion.batch_order import Layout
from attacks.inversion.problem import Problem

EVERY = 10
"""Iterations between two exchanges."""

UNTIL = 7 / 8
"""Part of the iterations after which nothing changes places any more."""

AT_ONCE = 16
"""Pairs that are tried for an exchange at most; each costs a gradient that nobody differentiates
again, half of an iteration."""


class Exchange:
    """Exchanges the places of two dummies, label and all, where that lowers the loss.

    An update shows which labels there were, and to first order not in which batch. A descent does
    not move a record from one batch to another either: it would have to become the other record on
    the way. The second order shows it, so two dummies that are already like their records fit
    better in their true places.

    Args:
        layout: Of the dummies; where all take part in every step nothing is exchanged.
        iterations: Of the search.
    """

    def __init__(self, layout: Layout, iterations: int) -> None:
        self._among, self._groups = layout.among, layout.dummies // max(1, layout.among)
        self._until = UNTIL * iterations
        self._rng = np.random.default_rng(0)

    def due(self, done: int) -> bool:
        """Say whether to exchange after so many iterations."""
        return self._among > 1 and 0 < done < self._until and done % EVERY == 0

    def best(
        self, problem: Problem, records: Tensor, loss: Callable[[Problem, Tensor], Tensor]
    ) -> Tensor:
        """Return the dummies in the order that fits best: as they are, or one pair exchanged.

        Args:
            problem: With the labels of now.
            records: Shape (sets, dummies, *record shape).
            loss: Of each set, shape (sets,).

        Returns:
            Indices of dummies, shape (sets, dummies).
        """
        sets, dummies = records.shape[:2]
        kept = torch.arange(dummies).repeat(sets, 1)
        with torch.no_grad():
            least = loss(problem, records)
            for pair in self._pairs():
                order = torch.arange(dummies)
                order[list(pair)] = order[list(reversed(pair))]
                moved = replace(problem, labels=problem.labels[:, order])
                found = loss(moved, records[:, order])
                better = found < least
                kept[better] = order
                least = torch.where(better, found, least)
        return kept

    def _pairs(self) -> list[tuple[int, int]]:
        """Return all pairs that may change places, or as many at random as are tried at once."""
        each = comb(self._among, 2)
        count = self._groups * each
        drawn = self._rng.choice(count, size=min(AT_ONCE, count), replace=False)
        pairs = []
        for group, number in (divmod(int(one), each) for one in drawn):
            second = (1 + isqrt(1 + 8 * number)) // 2  # pairs by their second: 01, 02, 12, 03, ...
            first = number - comb(second, 2)
            pairs.append((group * self._among + first, group * self._among + second))
        return pairs


def tries(iterations: int, dummies: int) -> int:
    """Return how many gradients a search takes at most to compare places.

    Args:
        iterations: Of the search.
        dummies: Of a set; those of all epochs count.
    """
    exchanges = max(0, int(np.ceil(UNTIL * iterations / EVERY)) - 1)
    return exchanges * (1 + min(AT_ONCE, comb(dummies, 2)))


def reordered(values: Tensor, order: Tensor) -> Tensor:
    """Return what belongs to dummies in another order.

    Args:
        values: Shape (sets, dummies, ...).
        order: Indices of dummies, shape (sets, dummies).
    """
    return values[torch.arange(len(values))[:, None], order]
