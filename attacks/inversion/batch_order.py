"""Local training in mini-batches: which dummies stand for the records of each step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from audit.core.views import Observation

OTHER_CLASS = 1e9
"""Distance between records of different labels: never matched."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the dummies of each set are used, step by step.

    Where the order is known, a record is one dummy, used once an epoch. Where it is not, a record
    has a dummy for every epoch, and the epochs' dummies are drawn together (``disagreement``).
    Where every step is on all records, the order does not matter.

    Args:
        hospitals: In each set.
        epochs: Dummies of each record: 1 where the order is known or does not matter.
        records: Of each hospital.
        in_batches: Whether steps are on batches of the records, so that places matter.
        places: The dummy at each place of the hospitals' training, shape (sets, places); None:
            dummies are in their places.

    Source:
        Dimitrov et al. 2022, arXiv:2206.12395, section 4: every epoch's records as variables of
        their own, tied by a prior that does not depend on their order. Differs: the prior compares
        the means of each label's records, not of all, since labels are read off beforehand; at the
        end records are matched within their label and averaged.
    """

    hospitals: int
    epochs: int
    records: int
    in_batches: bool = False
    places: Tensor | None = None

    @property
    def dummies(self) -> int:
        """Of each set."""
        return self.hospitals * self.epochs * self.records

    def used(self, records: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return records and labels in the order in which hospitals use them."""
        if self.places is None:
            return records, labels
        rows = torch.arange(len(records))[:, None]
        return records[rows, self.places], labels[rows, self.places]

    def disagreement(self, records: Tensor, labels: Tensor) -> Tensor:
        """Return how far the epochs' mean records of each label are apart, shape (sets,).

        Args:
            records: Shape (sets, dummies, *record shape).
            labels: One-hot, shape (sets, dummies, classes).

        Returns:
            The mean squared deviation from the mean over epochs, squared input units.
        """
        if self.epochs == 1:
            return records.new_zeros(len(records))
        sets = len(records)
        x = records.reshape(sets, self.hospitals, self.epochs, self.records, -1)
        y = labels.reshape(sets, self.hospitals, self.epochs, self.records, -1)
        sums = torch.einsum("sherc,sherp->shecp", y, x)
        counts = y.sum(dim=3).clamp(min=1)[..., None]
        apart = sums / counts - (sums / counts).mean(dim=2, keepdim=True)
        weighed = apart.square().mean(dim=4) * y.sum(dim=3) / self.records
        return weighed.sum(dim=3).mean(dim=(1, 2))

    @property
    def among(self) -> int:
        """Dummies, one after the other, that may change places with each other.

        A hospital has the same records in every epoch: where a record has a dummy for each of
        several epochs, only those of one hospital and epoch. 0: all take part in every step.
        """
        if not self.in_batches:
            return 0
        return self.records if self.epochs > 1 else self.dummies

    def merged(
        self, records: Tensor, labels: NDArray[np.int64]
    ) -> tuple[Tensor, NDArray[np.int64]]:
        """Return one record for the dummies of all epochs, of one set.

        Args:
            records: Shape (dummies, *record shape).
            labels: Shape (dummies,).
        """
        if self.epochs == 1:
            return records, labels
        shape = (self.hospitals, self.epochs, self.records)
        x, y = records.reshape(*shape, *records.shape[1:]), labels.reshape(shape)
        kept, kinds = [], []
        for own, of_own in zip(x, y, strict=True):
            first, total = own[0].flatten(1), own[0].clone()
            for epoch, kind in zip(own[1:], of_own[1:], strict=True):
                far = torch.cdist(first, epoch.flatten(1)).numpy()
                cost = far + OTHER_CLASS * (of_own[0][:, None] != kind[None])
                total += epoch[torch.from_numpy(linear_sum_assignment(cost)[1])]
            kept.append(total / self.epochs)
            kinds.append(of_own[0])
        return torch.cat(kept), np.concatenate(kinds)


def layout_of(part: Sequence[Observation], *, restarts: int, in_steps: bool) -> Layout:
    """Return the layout of observations of the same hospitals, records, steps and batches.

    Args:
        part: The observations.
        restarts: Sets for each of them.
        in_steps: Whether steps are imitated; else the update is taken for one gradient.
    """
    one, hospitals, records = part[0], len(part[0].clients), part[0].records or 1
    if one.batch is None or not in_steps:
        return Layout(hospitals=hospitals, epochs=1, records=records)
    if one.order is None:
        epochs = one.steps * one.batch // records
        return Layout(hospitals=hospitals, epochs=epochs, records=records, in_batches=True)
    orders = np.stack([np.asarray(other.order) for other in part])
    first = np.arange(hospitals)[:, None, None] * records
    places = (orders.argsort(axis=3, kind="stable") + first).reshape(len(part), -1)
    return Layout(
        hospitals=hospitals,
        epochs=1,
        records=records,
        in_batches=True,
        places=torch.from_numpy(places.repeat(restarts, axis=0)),
    )


def dealt(
    labels: NDArray[np.int64], layout: Layout, *, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Deal labels to batches at random: a gradient tells which there are, not where.

    Args:
        labels: Of each set, in no order, shape (sets, records).
        layout: For which they are dealt.
        rng: Deals.

    Returns:
        Shape (sets, dummies); a hospital has the same labels in every epoch.
    """
    each = rng.permuted(labels, axis=1)
    first = each.reshape(len(each), layout.hospitals, 1, layout.records)
    anew = [rng.permuted(first, axis=3) for _ in range(layout.epochs - 1)]
    return np.concatenate([first, *anew], axis=2).reshape(len(each), -1)
