"""A binary secret of a record: one feature of a table, above a public threshold or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class SensitiveAttribute:
    """Which feature is sensitive, and where its two categories part.

    Args:
        name: The feature's name.
        column: Its index in a record.
        threshold: In the model's input space; known to every adversary.
    """

    name: str
    column: int
    threshold: float

    def categories(self, inputs: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Return 1 where the feature lies above the threshold, else 0; inputs are complete.

        Raises:
            ValueError: A value is missing.
        """
        values = inputs[:, self.column].astype(np.float64)
        if np.isnan(values).any():
            raise ValueError(f"{self.name!r} is missing in {int(np.isnan(values).sum())} records")
        return (values > self.threshold).astype(np.int64)

    def fields(self) -> dict[str, str | int | float]:
        """Return it as fields of a parcel."""
        return {
            "sensitive": self.name,
            "sensitive_column": self.column,
            "sensitive_threshold": self.threshold,
        }

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> "SensitiveAttribute | None":
        """Return what ``fields`` wrote, or None where nothing was."""
        if "sensitive" not in fields:
            return None
        return cls(
            name=str(fields["sensitive"]),
            column=int(fields["sensitive_column"]),
            threshold=float(fields["sensitive_threshold"]),
        )


@dataclass(frozen=True, kw_only=True)
class HiddenAttribute:
    """What an adversary knows that guesses a sensitive attribute of the candidates.

    It knows every other field of a candidate and its label, and holds the released model's answer
    to the complete record, as ART assumes: a strong assumption, true for instance of one who saw a
    patient's result. The records themselves stand in the view's background, where the candidates'
    column is NaN and the population is complete.

    Args:
        attribute: The attribute.
        answers: The released model's probabilities for the candidates' complete records, shape
            (candidates, classes).
        population: The population's categories, shape (population,).
    """

    attribute: SensitiveAttribute
    answers: NDArray[np.float64]
    population: NDArray[np.int64]
