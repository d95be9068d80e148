"""The sensitive attribute that a configuration names, and where its categories part."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.attributes import SensitiveAttribute
from audit.core.errors import ConfigError
from training.data.dataset import Dataset


def sensitive_attribute(
    named: int | str | None, dataset: Dataset, population: NDArray[np.int64]
) -> SensitiveAttribute | None:
    """Find a feature and split it at the median of the adversary's population.

    Args:
        named: ``data.sensitive``: a feature's name, or its index from 0; None: none.
        dataset: Where it is a feature.
        population: Indices of the records that the adversary knows; only they set the threshold,
            so it tells nothing about others.

    Returns:
        The attribute. Category 1 lies above the median; where no value does, as in a 0/1 column
        with mostly ones, category 1 is the largest value.

    Raises:
        ConfigError: The records are images, there is no such feature, it is a part of a one-hot
            category, or the population does not show two values of it.
    """
    if named is None:
        return None
    if len(dataset.shape) != 1:
        raise ConfigError(
            f"data.sensitive {named!r}: the records of {dataset.name} are images, expected a table"
        )
    column = _column(named, dataset)
    name = dataset.features[column] if dataset.features is not None else str(column)
    whole = next((field for field in dataset.fields if column in field.columns), None)
    if whole is not None and len(whole.columns) > 1:
        raise ConfigError(
            f"data.sensitive {named!r}: the other columns of the category {whole.name!r} tell it; "
            "expected a column of numbers (a yes or no as 0 and 1, with a range)"
        )
    values = dataset.inputs(population)[:, column].astype(np.float64)
    distinct = np.unique(values)
    if len(distinct) < 2:
        raise ConfigError(
            f"data.sensitive {named!r}: the {len(population)} records of the population show "
            f"{len(distinct)} values of it, expected at least 2 "
            "(see data.auxiliary_fraction)"
        )
    threshold = min(float(np.median(values)), float(distinct[-2]))
    return SensitiveAttribute(name=name, column=column, threshold=threshold)


def _column(named: int | str, dataset: Dataset) -> int:
    features, width = dataset.features, dataset.shape[0]
    if isinstance(named, str):
        if features is not None and named in features:
            return features.index(named)
        expected: Any = f"an index below {width}" if features is None else ", ".join(features)
        raise ConfigError(
            f"data.sensitive {named!r}: expected a feature of {dataset.name}: {expected}"
        )
    if not 0 <= named < width:
        raise ConfigError(
            f"data.sensitive {named}: expected an index from 0 to {width - 1} in {dataset.name}"
        )
    return named
