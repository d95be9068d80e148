"""Categorical columns of a table as one-hot columns, from public lists of categories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import DataError
from audit.core.fields import Field, FieldKind
from training.data.spec import DataSpec

ONE_HOT_RANGE = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """A table's columns as the model takes them.

    Args:
        x: Raw values, shape (records, columns).
        names: Of the columns; a category's is ``column=category``.
        fields: Which columns belong together.
        ranges: Public range of the one-hot columns, which the user need not give.
    """

    x: NDArray[np.float32]
    names: tuple[str, ...]
    fields: tuple[Field, ...]
    ranges: Mapping[str, tuple[float, float]]


def check_categories(spec: DataSpec, features: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the public list of categories of each categorical feature.

    Raises:
        DataError: A column is no feature, has a range too, or its list is not of distinct values.
    """
    lists = {name: tuple(values) for name, values in (spec.categories or {}).items()}
    for name, values in lists.items():
        if name not in features:
            raise DataError(
                f"categories names {name!r}, expected features of the file: "
                f"{', '.join(map(repr, features))}"
            )
        if name in (spec.ranges or {}):
            raise DataError(f"{name!r} is in categories and in ranges, expected one of both")
        if len(values) < 2 or len(set(values)) != len(values):
            raise DataError(
                f"categories of {name!r} are {', '.join(map(repr, values)) or 'none'}: "
                "expected at least 2, each once"
            )
    return lists


def joined(
    features: Sequence[str],
    numbers: Mapping[str, NDArray[np.float32]],
    texts: Mapping[str, Sequence[str]],
    lists: Mapping[str, tuple[str, ...]],
    *,
    first_line: int = 0,
    row_word: str = "record",
) -> Columns:
    """Put numbers and one-hot columns side by side, in the order of the features.

    Args:
        features: Of the file, in order.
        numbers: Continuous feature to its values.
        texts: Categorical feature to its values.
        lists: Categorical feature to its public list of categories.
        first_line: Number of the first record in messages.
        row_word: What a record is called in messages.

    Raises:
        DataError: A value is in no public list; names column, line and value.
    """
    blocks: list[NDArray[np.float32]] = []
    names: list[str] = []
    fields: list[Field] = []
    for feature in features:
        start = len(names)
        if feature not in lists:
            blocks.append(numbers[feature][:, None])
            names.append(feature)
            fields.append(Field(name=feature, columns=(start,), kind=FieldKind.CONTINUOUS))
            continue
        codes = {value: code for code, value in enumerate(lists[feature])}
        values = list(texts[feature])
        unknown = [row for row, value in enumerate(values) if value not in codes]
        if unknown:
            raise DataError(
                f"column {feature!r} has {values[unknown[0]]!r} on {row_word} "
                f"{unknown[0] + first_line} ({len(unknown)} such values), expected one of its "
                f"categories: {', '.join(map(repr, codes))}"
            )
        blocks.append(np.eye(len(codes), dtype=np.float32)[[codes[value] for value in values]])
        names += [f"{feature}={value}" for value in codes]
        columns = tuple(range(start, len(names)))
        fields.append(Field(name=feature, columns=columns, kind=FieldKind.CATEGORICAL))
    one_hot = [c for f in fields if f.kind is FieldKind.CATEGORICAL for c in f.columns]
    return Columns(
        x=np.concatenate(blocks, axis=1),
        names=tuple(names),
        fields=tuple(fields),
        ranges={names[column]: ONE_HOT_RANGE for column in one_hot},
    )
