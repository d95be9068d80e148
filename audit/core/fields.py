"""The fields of a table's record: which columns hold a number, and which together a category."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from audit.core.parcel import Scalar


class FieldKind(StrEnum):
    """What a field holds."""

    CONTINUOUS = "continuous"
    CATEGORICAL = "categorical"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a record, public like the columns' names.

    Args:
        name: As the user calls it.
        columns: Its columns in a record, in order: one of a continuous field; of a categorical
            one a column for each category, at the top of its range where that is the record's
            category and at the bottom elsewhere (one-hot).
        kind: What it holds.

    Raises:
        ValueError: The number of columns does not fit the kind.
    """

    name: str
    columns: tuple[int, ...]
    kind: FieldKind

    def __post_init__(self) -> None:
        count = len(self.columns)
        if (count != 1) if self.kind is FieldKind.CONTINUOUS else (count < 2):
            wanted = "1 column" if self.kind is FieldKind.CONTINUOUS else "at least 2 columns"
            raise ValueError(f"{self.kind} field {self.name!r} has {count} columns: {wanted}")


def continuous_fields(names: Sequence[str]) -> tuple[Field, ...]:
    """Return the fields of a table whose every column holds a number."""
    return tuple(
        Field(name=name, columns=(i,), kind=FieldKind.CONTINUOUS) for i, name in enumerate(names)
    )


def check_fields(fields: Sequence[Field], width: int) -> None:
    """Refuse fields that do not hold every column of a record exactly once.

    Args:
        fields: The fields.
        width: Columns of a record.

    Raises:
        ValueError: A column is in no field, in several, or beyond the record.
    """
    columns = sorted(column for field in fields for column in field.columns)
    if columns != list(range(width)):
        raise ValueError(f"fields hold columns {columns}, expected each of {width} columns once")


def to_parcel_fields(fields: Sequence[Field]) -> dict[str, Scalar]:
    """Return a description as fields of a parcel; an empty one, of images, as nothing."""
    if not fields:
        return {}
    owner = {column: i for i, field in enumerate(fields) for column in field.columns}
    return {
        "field_names": [field.name for field in fields],
        "field_kinds": [field.kind.value for field in fields],
        "field_of_column": [owner[column] for column in sorted(owner)],
    }


def of_parcel_fields(found: Mapping[str, Any]) -> tuple[Field, ...]:
    """Return what ``to_parcel_fields`` wrote, or nothing where nothing was."""
    if "field_names" not in found:
        return ()
    owner = [int(i) for i in found["field_of_column"]]
    return tuple(
        Field(
            name=str(name),
            columns=tuple(column for column, of in enumerate(owner) if of == i),
            kind=FieldKind(kind),
        )
        for i, (name, kind) in enumerate(
            zip(found["field_names"], found["field_kinds"], strict=True)
        )
    )
