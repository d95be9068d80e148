"""One dataset in memory, its public scaling, and the checks that every dataset passes.

Raw values are kept as the source has them and scaled on the way to the model. The scaling is made
of public constants only: statistics fitted on hospitals' records would be a release of their own,
outside the privacy accounting.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import DataError
from audit.core.fields import Field, check_fields, continuous_fields

Array: TypeAlias = NDArray[Any]
Constant: TypeAlias = float | tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Public constants that map raw values x to inputs, (clip(x, low, high) - offset) / divisor.

    Args:
        offset: Subtracted from raw values, in their unit; one float, or one for each feature.
        divisor: Divides the difference, same unit, positive.
        low: Smallest plausible raw value; lower ones are clipped to it.
        high: Largest plausible raw value; higher ones are clipped to it.

    Raises:
        DataError: A constant is not finite, a range is empty or a divisor is not positive.
    """

    offset: Constant
    divisor: Constant
    low: Constant
    high: Constant

    def __post_init__(self) -> None:
        for name in ("offset", "divisor", "low", "high"):
            if not np.isfinite(getattr(self, name)).all():
                raise DataError(f"scaling {name} is {getattr(self, name)}, expected finite numbers")
        if not np.all(np.less(self.low, self.high)):
            raise DataError(f"scaling range is {self.low} to {self.high}, expected low < high")
        if not np.all(np.greater(self.divisor, 0)):
            raise DataError(f"scaling divisor is {self.divisor}, expected positive numbers")

    @classmethod
    def to_unit_range(cls, low: Constant, high: Constant) -> "Scaling":
        """The scaling that maps the raw range low..high to -1..1."""
        a, b = np.asarray(low, np.float64), np.asarray(high, np.float64)
        return cls(
            offset=_constant((a + b) / 2), divisor=_constant((b - a) / 2), low=low, high=high
        )

    def apply(self, x: Array) -> NDArray[np.float32]:
        """Scale raw values, shape (records, *shape), to float32 inputs inside `output_range`."""
        # Per-feature constants differ by orders of magnitude: tables need double precision.
        wide = x.astype(np.float64 if isinstance(self.low, tuple) else np.float32)
        offset, divisor = (np.asarray(c, wide.dtype) for c in (self.offset, self.divisor))
        scaled: Array = (np.clip(wide, self.low, self.high) - offset) / divisor
        return scaled.astype(np.float32, copy=False)

    @property
    def output_range(self) -> tuple[float, float]:
        """Smallest and largest value that `apply` can return over all features."""
        low = (np.asarray(self.low) - np.asarray(self.offset)) / np.asarray(self.divisor)
        high = (np.asarray(self.high) - np.asarray(self.offset)) / np.asarray(self.divisor)
        return float(np.min(low)), float(np.max(high))


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled records of one source; arrays are read-only.

    Args:
        name: What reports call it.
        x: Raw records, shape (records, channels, height, width) for images (uint8, or float32
            where the source is no 8-bit image) and (records, features) float32 for tables.
        y: Class of each record, shape (records,), in [0, classes).
        classes: Number of classes, at least 2.
        class_names: One name a class.
        scale: Public constants that turn x into model inputs.
        holdout: True for records that the source itself sets aside for testing; None: none.
        patients: Patient of each record, integers or strings; None: every record its own patient.
        sites: Hospital of each record, integers or strings; None: unknown.
        subgroups: Column to each record's group in it, integers or strings.
        public: Whether showing a record to anyone is harmless.
        features: Column names of a table; None for images.
        fields: Which columns of a table belong together; none given: every column is a number.

    Raises:
        DataError: A field is not as described; the message names field, value and expectation.
    """

    name: str
    x: Array
    y: NDArray[np.int64]
    classes: int
    class_names: tuple[str, ...]
    scale: Scaling
    holdout: NDArray[np.bool_] | None = None
    patients: Array | None = None
    sites: Array | None = None
    subgroups: Mapping[str, Array] = field(default_factory=dict)
    public: bool = False
    features: tuple[str, ...] | None = None
    fields: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        _check_records(self.x, self.features)
        self._describe_fields()
        _check_labels(self.y, self.classes)
        if len(self.class_names) != self.classes:
            raise DataError(
                f"class_names has {len(self.class_names)} names, expected {self.classes}"
            )
        if isinstance(self.scale.low, tuple) and len(self.scale.low) != self.x.shape[-1]:
            raise DataError(
                f"scale has constants for {len(self.scale.low)} features, "
                f"expected {self.x.shape[-1]}"
            )
        if self.holdout is not None and self.holdout.dtype != np.bool_:
            raise DataError(f"holdout has dtype {self.holdout.dtype}, expected bool")
        for name in ("y", "holdout", "patients", "sites"):
            values: Array | None = getattr(self, name)
            if values is not None and values.shape != (len(self.x),):
                raise DataError(
                    f"{name} has shape {values.shape}, expected ({len(self.x)},): one per record"
                )
        for name, values in self.subgroups.items():
            if values.shape != (len(self.x),) or values.dtype.kind not in "biuU":
                raise DataError(
                    f"subgroups {name!r} has shape {values.shape} and dtype {values.dtype}, "
                    f"expected ({len(self.x)},) integers or strings: one group a record"
                )
        for name in ("patients", "sites"):
            values = getattr(self, name)
            if values is not None and values.dtype.kind not in "iuU":
                raise DataError(
                    f"{name} has dtype {values.dtype}, expected integers or strings as identifiers"
                )
        for name in ("x", "y", "holdout", "patients", "sites"):
            values = getattr(self, name)
            if values is not None:
                frozen = values.view()
                frozen.flags.writeable = False
                object.__setattr__(self, name, frozen)

    def _describe_fields(self) -> None:
        """Check the fields that were given, or describe every column of a table as a number."""
        if self.fields or self.x.ndim == 2:
            names = self.features or tuple(str(i) for i in range(self.x.shape[1]))
            object.__setattr__(self, "fields", self.fields or continuous_fields(names))
            try:
                check_fields(self.fields, self.x.shape[1] if self.x.ndim == 2 else 0)
            except ValueError as error:
                raise DataError(str(error)) from None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one record as the model sees it: (channels, height, width) or (features,)."""
        return tuple(int(size) for size in self.x.shape[1:])

    def inputs(self, indices: Sequence[int] | NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Scaled records for the model, shape (len(indices), *shape), float32."""
        chosen = indices if isinstance(indices, slice) else np.asarray(indices, dtype=np.int64)
        return self.scale.apply(self.x[chosen])

    @cached_property
    def sha256(self) -> str:
        """Hex digest over bytes, shape and dtype of x, y, patients and sites; computed once."""
        digest = hashlib.sha256()
        for name in ("x", "y", "patients", "sites"):
            values: Array | None = getattr(self, name)
            if values is not None:
                little = values.astype(values.dtype.newbyteorder("<"), copy=False)
                digest.update(f"{name} {little.dtype.str} {values.shape}\n".encode())
                digest.update(np.ascontiguousarray(little).tobytes())
        return digest.hexdigest()


def _check_records(x: Array, features: tuple[str, ...] | None) -> None:
    if x.dtype not in (np.uint8, np.float32):
        raise DataError(f"x has dtype {x.dtype}, expected uint8 or float32")
    if x.ndim not in (2, 4):
        raise DataError(
            f"x has shape {x.shape}, expected (records, features) "
            "or (records, channels, height, width)"
        )
    if x.size == 0:
        raise DataError(f"x has shape {x.shape}, expected at least one record and one value")
    if features is not None and (x.ndim != 2 or x.shape[1] != len(features)):
        raise DataError(f"features names {len(features)} columns, but x has shape {x.shape}")
    if x.dtype == np.float32:
        bad = ~np.isfinite(x.reshape(len(x), -1))
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            named = repr(features[column]) if features is not None else str(column)
            raise DataError(
                f"x has {x.reshape(len(x), -1)[row, column]} in record {row}, feature {named} "
                f"({int(bad.sum())} such values), expected finite numbers"
            )


def _check_labels(y: NDArray[np.int64], classes: int) -> None:
    if y.dtype != np.int64:
        raise DataError(f"y has dtype {y.dtype}, expected int64")
    if classes < 2:
        raise DataError(f"classes is {classes}, expected at least 2")
    outside = (y < 0) | (y >= classes)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DataError(
            f"label of record {row} is {int(y[row])} ({int(outside.sum())} such labels), "
            f"expected 0 to {classes - 1} for {classes} classes"
        )


def _constant(value: NDArray[np.float64]) -> Constant:
    return float(value) if value.ndim == 0 else tuple(float(v) for v in value)
