"""Made-up records of a table as free parameters, and how several versions of them are pooled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from audit.core.fields import Field, FieldKind

LEAST_SPREAD = 0.01
"""Least standard deviation of a column's parameter, as a part of the public range."""

OUTSIDE = 0.1
"""Weight of squared excursions beyond the public range, against a relative matching loss."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Records with labels: of one version shape (records, columns) and (records,).

    Args:
        records: In the model's input space.
        labels: Classes.
    """

    records: NDArray[np.float64]
    labels: NDArray[np.int64]


class TableDummies:
    """Free parameters of made-up records: numbers in deviations, categories as logits.

    A continuous column is the population's mean plus its standard deviation times the parameter;
    a categorical field's columns are the softmax of theirs, mapped onto the input's range.

    Args:
        fields: Of the records.
        population: Public records, shape (population, columns).
        low: Smallest input.
        high: Largest input.

    Source:
        Vero et al. 2023, arXiv:2210.01785, section 4.1 (softmax relaxation). Differs: numbers in
        the population's deviations with a penalty beyond the range, where the authors' code has a
        sigmoid over it.
    """

    def __init__(
        self, fields: Sequence[Field], population: NDArray[np.float32], *, low: float, high: float
    ) -> None:
        self._low, self._high = low, high
        known = population.astype(np.float64)
        self._numbers = [f.columns[0] for f in fields if f.kind is FieldKind.CONTINUOUS]
        self._groups = [list(f.columns) for f in fields if f.kind is FieldKind.CATEGORICAL]
        self._mean = torch.from_numpy(known.mean(axis=0))
        spread = np.maximum(known.std(axis=0), LEAST_SPREAD * (high - low))
        self._spread = torch.from_numpy(spread)
        self._first_logits = np.zeros(known.shape[1])
        for group in self._groups:
            counts = (known[:, group] > (low + high) / 2).sum(axis=0) + 1.0
            self._first_logits[group] = np.log(counts / counts.sum())

    @property
    def columns(self) -> int:
        """Columns of a record."""
        return len(self._first_logits)

    def starts(self, restarts: int, count: int, rng: np.random.Generator) -> Tensor:
        """Return random first parameters, shape (restarts, count * columns)."""
        noise = rng.standard_normal((restarts, count, self.columns))
        return torch.from_numpy((noise + self._first_logits).reshape(restarts, -1))

    def records(self, parameters: Tensor, count: int) -> Tensor:
        """Return the records of parameters, shape (restarts, count, columns); not yet clamped."""
        free = parameters.reshape(len(parameters), count, self.columns)
        columns = list((self._mean + self._spread * free).unbind(dim=-1))
        for group in self._groups:
            shares = free[..., group].softmax(dim=-1)
            for place, column in enumerate(group):
                columns[column] = self._low + (self._high - self._low) * shares[..., place]
        return torch.stack(columns, dim=-1)

    def outside(self, records: Tensor) -> Tensor:
        """Return how far records leave the range, weighted for the loss, shape (restarts,)."""
        beyond = (records - self._high).clamp_min(0) + (self._low - records).clamp_min(0)
        return OUTSIDE * ((beyond / self._spread) ** 2).mean(dim=(1, 2))

    def surprise(self, parameters: Tensor) -> Tensor:
        """Return how unlikely the parameters are in the population, shape (restarts,).

        Their squared distance from the population's means and log frequencies; columns count as
        independent.
        """
        free = parameters.reshape(len(parameters), -1, self.columns)
        return ((free - torch.from_numpy(self._first_logits)) ** 2).sum(dim=(1, 2))

    def pooled(self, versions: Labelled) -> Labelled:
        """Pool versions of the same records, the best first, into one with hard categories.

        Every version is put in the order of the first by optimal assignment. Numbers are the
        median of the versions, categories and labels the largest mean share.

        Args:
            versions: Shape (versions, records, columns) and (versions, records).

        Source:
            Vero et al. 2023, arXiv:2210.01785, section 4.2 (pooled ensembling).
        """
        first = versions.records[0]
        wide = (self._high - self._low) * np.eye(int(versions.labels.max()) + 1)
        ordered, labels = [], []
        for records, classes in zip(versions.records, versions.labels, strict=True):
            apart = ((first[:, None] - records[None]) ** 2).sum(axis=-1)
            apart += ((wide[versions.labels[0]][:, None] - wide[classes][None]) ** 2).sum(axis=-1)
            order = linear_sum_assignment(apart)[1]
            ordered.append(records[order])
            labels.append(classes[order])
        stacked = np.stack(ordered)
        result = np.clip(np.median(stacked, axis=0), self._low, self._high)
        for group in self._groups:
            chosen = stacked[..., group].mean(axis=0).argmax(axis=-1)
            result[:, group] = np.where(np.eye(len(group))[chosen] > 0, self._high, self._low)
        votes = np.stack([wide[one] for one in labels]).sum(axis=0)
        return Labelled(records=result, labels=votes.argmax(axis=1))
