"""How many records one patient has: a claim about a record protects a patient of several less."""

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np

from training.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class LargestGroup:
    """The most records that are one patient's.

    Args:
        records: So many, at least 1.
        told_by: ``patient identifiers``, or ``identical records`` where a dataset has none: the
            same inputs again are taken for the same patient, whatever the label.
    """

    records: int
    told_by: str


def largest_group(dataset: Dataset) -> LargestGroup:
    """Count over a whole dataset, held-out records too: no split can give a patient more."""
    if dataset.patients is not None:
        _, counts = np.unique(dataset.patients, return_counts=True)
        return LargestGroup(records=int(counts.max()), told_by="patient identifiers")
    copies = Counter(
        hashlib.blake2b(np.ascontiguousarray(record).tobytes(), digest_size=16).digest()
        for record in dataset.x
    )
    return LargestGroup(records=max(copies.values()), told_by="identical records")
