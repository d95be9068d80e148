"""What loaders share: finding a file, naming it in errors, labels and public ranges."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import DataError
from training.data.dataset import Scaling
from training.data.spec import DataSpec


def find_file(spec: DataSpec, candidates: Sequence[Path]) -> Path:
    """The first candidate that is a file; a DataError lists all that were looked at."""
    for path in candidates:
        if path.is_file():
            return path
    looked = ", ".join(str(path.absolute()) for path in candidates)
    raise DataError(
        f"dataset {spec.name}: file not found, looked at {looked}; "
        "put it there, or set the dataset's path or $AUDIT_DATA"
    )


def required_path(spec: DataSpec) -> str:
    """The path of a dataset that cannot do without one."""
    if not spec.path:
        raise DataError(f"dataset {spec.name}: path is {spec.path!r}, expected a file to read")
    return spec.path


@contextmanager
def naming(where: object) -> Iterator[None]:
    """Put the file's name in front of what a check inside the block has to say."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def integer_labels(values: NDArray[Any], field: str) -> NDArray[np.int64]:
    """Labels as int64; whole numbers in a float array are taken, all else is refused."""
    if values.dtype.kind not in "biuf":
        raise DataError(f"{field} has dtype {values.dtype}, expected integers as class labels")
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & (values == np.round(values))
        if not whole.all():
            row = int(np.flatnonzero(~whole)[0])
            raise DataError(f"{field} of record {row} is {values[row]}, expected an integer class")
    return values.astype(np.int64)


def class_list(spec: DataSpec, y: NDArray[np.int64]) -> tuple[int, tuple[str, ...]]:
    """Number and names of the classes, from the specification where it says them."""
    highest = int(y.max()) + 1 if len(y) else 0
    names = spec.class_names
    classes = spec.classes
    if classes is None:
        classes = highest if names is None else len(names)
    return classes, names if names is not None else tuple(str(i) for i in range(classes))


def table_scaling(
    spec: DataSpec,
    features: Sequence[str],
    known: Mapping[str, tuple[float, float]] | None = None,
) -> Scaling:
    """Scaling of a table to -1..1 from the public ranges that the specification gives.

    ``known`` are ranges that need no specification, such as one-hot columns'.
    """
    ranges = {**(spec.ranges or {}), **(known or {})}
    unknown = sorted(set(ranges) - set(features))
    if unknown:
        raise DataError(
            f"ranges names {', '.join(map(repr, unknown))}, expected features of the file: "
            f"{', '.join(map(repr, features))}"
        )
    missing = [name for name in features if name not in ranges]
    if missing and spec.value_range is None:
        raise DataError(
            f"no public range for feature {', '.join(map(repr, missing))}: expected "
            "ranges: {feature: [low, high]} or value_range: [low, high]. Ranges must be known "
            "beforehand: minimum, maximum, mean or deviation fitted on hospitals' records are "
            "releases of their own, and are not free under differential privacy"
        )
    chosen = [ranges.get(name, spec.value_range or (0.0, 0.0)) for name in features]
    for name, (low, high) in zip(features, chosen, strict=True):
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise DataError(
                f"range of feature {name!r} is [{low}, {high}], expected finite low < high"
            )
    return Scaling.to_unit_range(
        tuple(float(low) for low, _ in chosen), tuple(float(high) for _, high in chosen)
    )
