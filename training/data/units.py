"""The unit that a partition or split may not tear apart: a patient, or else a record."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Units:
    """Records grouped by patient.

    Args:
        of_record: Unit of each record, shape (records,), in [0, units).
        classes: Most frequent class of each unit, the lowest at a tie, shape (units,).
        noun: What a unit is called in errors.
    """

    of_record: NDArray[np.int64]
    classes: NDArray[np.int64]
    noun: str

    def __len__(self) -> int:
        return len(self.classes)

    def records(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Indices of the records of the chosen units (a mask over units), ascending."""
        return np.flatnonzero(chosen[self.of_record]).astype(np.int64)


def group_units(y: NDArray[np.int64], groups: NDArray[Any] | None) -> Units:
    """Group records, labels y of shape (records,), by patient; None: each record by itself.

    Raises:
        ConfigError: There are no records, or groups has another length.
    """
    if y.ndim != 1 or len(y) == 0:
        raise ConfigError(f"labels have shape {y.shape}, expected (records,) with records")
    if groups is None:
        return Units(of_record=np.arange(len(y)), classes=y.astype(np.int64), noun="records")
    if groups.shape != y.shape:
        raise ConfigError(f"groups have shape {groups.shape}, expected {y.shape}: one per record")
    names, of_record = np.unique(groups, return_inverse=True)
    labels, codes = np.unique(y, return_inverse=True)
    order = np.lexsort((codes, of_record))
    # Count each (unit, class) pair; the stable sort below keeps the lowest class at a tie.
    pairs, counts = np.unique(
        np.stack([of_record[order], codes[order]], axis=1), axis=0, return_counts=True
    )
    best = pairs[np.lexsort((pairs[:, 1], -counts, pairs[:, 0]))]
    _, first = np.unique(best[:, 0], return_index=True)
    majority = labels[best[first, 1]].astype(np.int64)
    if len(majority) != len(names):
        raise AssertionError("every patient has a class")
    return Units(of_record=of_record.astype(np.int64), classes=majority, noun="patients")
