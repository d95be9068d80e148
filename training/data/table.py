"""The user's own table in a CSV file: features, a label, and optional identifiers."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import DataError
from training.data.categories import check_categories, joined
from training.data.dataset import Dataset
from training.data.sources import (
    class_list,
    find_file,
    integer_labels,
    naming,
    required_path,
    table_scaling,
)
from training.data.spec import DataSpec


def load_csv(spec: DataSpec, root: Path) -> Dataset:
    """A CSV with a header line; every column that is no label and no identifier is a feature.

    Args:
        spec: Names of the label, patient and site columns, the public `ranges` (or one
            `value_range`) of the features, their public `categories`, and `class_names` where
            labels are text.
        root: Data root, for a path that is not found as given.

    Raises:
        DataError: The file is missing or damaged, a column is missing, has gaps or no numbers, a
            label is no class, a feature has no public range, or a category is in no list.
    """
    # Imported here: pandas takes half a second, and only this loader needs it.
    import pandas as pd

    given = required_path(spec)
    path = find_file(spec, [Path(given), root / given])
    with naming(path):
        columns = _header(path)
        given_as_features = {*(spec.ranges or {}), *(spec.categories or {})}
        groups = [name for name in spec.subgroups if name not in given_as_features]
        identifiers = [*(n for n in (spec.patient, spec.site) if n is not None), *groups]
        named = (("label", spec.label), ("patient", spec.patient), ("site", spec.site))
        for field, name in (*named, *(("subgroups", name) for name in spec.subgroups)):
            if name is not None and name not in columns:
                raise DataError(
                    f"{field} column {name!r} is missing, found {', '.join(map(repr, columns))}"
                )
        features = tuple(c for c in columns if c not in {spec.label, *identifiers})
        if not features:
            raise DataError(f"has no feature columns beside {', '.join(map(repr, columns))}")
        lists = check_categories(spec, features)
        try:
            # Identifiers stay text: 007 and 7 are two patients.
            frame = pd.read_csv(
                path,
                dtype=dict.fromkeys(identifiers, str),
                encoding="utf-8-sig",
                low_memory=False,
            )
            if lists:  # text too, and one that is called None or NA is not missing
                texts = pd.read_csv(
                    path,
                    usecols=list(lists),
                    dtype=str,
                    keep_default_na=False,
                    encoding="utf-8-sig",
                )
                frame = frame.drop(columns=list(lists)).join(texts)
        except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
            raise DataError(f"cannot be read as CSV: {error}") from error
        if not isinstance(frame.index, pd.RangeIndex):
            raise DataError(f"rows have more fields than the header, which has {len(columns)}")
        if frame.empty:
            raise DataError("has no rows, expected at least one record below the header")
        table = joined(
            features,
            {n: _feature(frame[n].to_numpy(), n) for n in features if n not in lists},
            {n: frame[n].tolist() for n in lists},
            lists,
            first_line=2,
            row_word="line",
        )
        y = _labels(frame[spec.label].to_numpy(), spec)
        classes, class_names = class_list(spec, y)
        return Dataset(
            name=path.stem,
            x=table.x,
            y=y,
            classes=classes,
            class_names=class_names,
            scale=table_scaling(spec, table.names, table.ranges),
            patients=_identifiers(frame[spec.patient].to_numpy(), spec.patient)
            if spec.patient
            else None,
            sites=_identifiers(frame[spec.site].to_numpy(), spec.site) if spec.site else None,
            subgroups={n: _identifiers(frame[n].to_numpy(), n) for n in spec.subgroups},
            public=bool(spec.public),
            features=table.names,
            fields=table.fields,
        )


def _header(path: Path) -> list[str]:
    """Column names, refusing duplicates, which pandas would rename in silence."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            columns = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot be read as CSV: {error}") from error
    if not any(columns):
        raise DataError("is empty, expected a header line with column names")
    twice = sorted({name for name in columns if columns.count(name) > 1 or not name})
    if twice:
        raise DataError(
            f"column names {', '.join(map(repr, twice))} are empty or occur twice, "
            "expected distinct names"
        )
    return columns


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(
        [v is None or (isinstance(v, float) and math.isnan(v)) for v in values.tolist()],
        dtype=np.bool_,
    )


def _feature(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    """One numeric column; the error names column, line and value."""
    if values.dtype.kind not in "biuf":
        lines = [
            (line, value) for line, value in enumerate(values.tolist(), 2) if not _is_number(value)
        ]
        line, value = lines[0] if lines else (2, values[0])
        raise DataError(
            f"column {name!r} has {value!r} on line {line} ({len(lines)} such values), expected "
            "numbers, or the public list of its values in categories: {column: [value, ...]}"
        )
    with np.errstate(over="ignore"):
        column = values.astype(np.float32)
    bad = ~np.isfinite(column)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"column {name!r} has {values[row]} on line {row + 2} ({int(bad.sum())} such values), "
            "expected finite numbers without gaps"
        )
    return column


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _labels(values: NDArray[Any], spec: DataSpec) -> NDArray[np.int64]:
    field = f"label column {spec.label!r}"
    gaps = _missing(values)
    if gaps.any():
        row = int(np.flatnonzero(gaps)[0])
        raise DataError(f"{field} is empty on line {row + 2}, expected a class for every record")
    if values.dtype.kind in "biuf":
        values = integer_labels(values, field)
        # Names that are numbers themselves, such as 1 and 2, are what the column holds.
        named = spec.class_names or ()
        if not named or not all(_is_number(name) for name in named):
            return values
    if spec.class_names is None:
        raise DataError(
            f"{field} has {values[0]!r} on line 2, expected integers from 0, or class_names "
            "with the public list of classes"
        )
    codes = {name: code for code, name in enumerate(spec.class_names)}
    for row, value in enumerate(values.tolist()):
        if str(value) not in codes:
            raise DataError(
                f"{field} has {value!r} on line {row + 2}, expected one of class_names: "
                f"{', '.join(map(repr, spec.class_names))}"
            )
    return np.asarray([codes[str(value)] for value in values.tolist()], dtype=np.int64)


def _identifiers(values: NDArray[Any], name: str) -> NDArray[np.str_]:
    gaps = _missing(values)
    if gaps.any():
        row = int(np.flatnonzero(gaps)[0])
        raise DataError(f"column {name!r} is empty on line {row + 2}, expected an identifier")
    return np.asarray([str(value) for value in values.tolist()], dtype=np.str_)
