"""Reads typed values out of a parcel that somebody else wrote; an error names the field."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import ProtocolError
from audit.core.parcel import Parcel, Scalar


def text(parcel: Parcel, name: str) -> str:
    """A string field."""
    value = _field(parcel, name)
    if not isinstance(value, str):
        raise ProtocolError(f"{name}: expected a string, got {type(value).__name__}")
    return value


def blob(parcel: Parcel, name: str, *, size: int) -> bytes:
    """A bytes field of exactly `size` bytes."""
    value = _field(parcel, name)
    if not isinstance(value, bytes) or len(value) != size:
        raise ProtocolError(f"{name}: expected {size} bytes, got {_describe(value)}")
    return value


def texts(parcel: Parcel, name: str) -> list[str]:
    """A list of strings without duplicates."""
    value = _field(parcel, name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ProtocolError(f"{name}: expected a list of strings")
    if len(set(value)) != len(value):
        raise ProtocolError(f"{name}: an entry is named twice")
    return cast(list[str], list(value))


def blobs(parcel: Parcel, name: str, *, size: int, count: int) -> list[bytes]:
    """A list of `count` byte strings of exactly `size` bytes each."""
    value = _field(parcel, name)
    if not isinstance(value, list) or not all(isinstance(item, bytes) for item in value):
        raise ProtocolError(f"{name}: expected a list of bytes")
    items = cast(list[bytes], list(value))
    if len(items) != count or any(len(item) != size for item in items):
        lengths = [len(item) for item in items]
        raise ProtocolError(f"{name}: expected {count} entries of {size} bytes, got {lengths}")
    return items


def vector(
    parcel: Parcel, name: str, *, dtype: np.dtype[np.generic], dimension: int
) -> NDArray[np.generic]:
    """An array of exactly this type and length."""
    if name not in parcel.arrays:
        raise ProtocolError(f"{name}: the array is missing")
    array = parcel.arrays[name]
    if array.dtype != dtype or array.shape != (dimension,):
        raise ProtocolError(
            f"{name}: expected {dtype} of shape ({dimension},), got {array.dtype} of {array.shape}"
        )
    return array


def require_same_names(name: str, got: Sequence[str], expected: Sequence[str]) -> None:
    """Refuse a list of clients that is not, in any order, the expected one."""
    if sorted(got) != sorted(expected):
        raise ProtocolError(f"{name}: expected {sorted(expected)}, got {sorted(got)}")


def _field(parcel: Parcel, name: str) -> Scalar:
    if name not in parcel.fields:
        raise ProtocolError(f"{name}: the field is missing")
    return parcel.fields[name]


def _describe(value: Scalar) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else type(value).__name__
