"""Parcels and models as safetensors files."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from audit.core.errors import IntegrityError
from audit.core.parcel import Parcel, Scalar
from audit.formats.files import write_bytes

SCHEMA = "audit-parcel/v1"


def encode_parcel(parcel: Parcel) -> bytes:
    """Return the bytes of a parcel: a safetensors file, its fields as JSON in the header."""
    arrays = {name: _storable(array) for name, array in parcel.arrays.items()}
    header = json.dumps({"schema": SCHEMA, "fields": json.loads(_encode_fields(parcel.fields))})
    return save(arrays, metadata={"parcel": header})  # one key: the order of several is random


def write_parcel(path: Path, parcel: Parcel) -> None:
    """Write a parcel atomically."""
    write_bytes(path, encode_parcel(parcel))


def read_parcel(path: Path) -> Parcel:
    """Read a parcel.

    Raises:
        IntegrityError: The file is missing, damaged, or of another schema.
    """
    try:
        with safe_open(str(path), framework="numpy") as handle:
            metadata = handle.metadata() or {}
            header = json.loads(metadata["parcel"])
            if header["schema"] != SCHEMA:
                raise IntegrityError(f"{path}: schema {header['schema']!r}, expected {SCHEMA!r}")
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        fields = {k: _decode(v) for k, v in header["fields"].items()}
    except FileNotFoundError:
        raise IntegrityError(f"{path} is missing from the run") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise IntegrityError(f"{path} is damaged: {error}") from None
    return Parcel(arrays=arrays, fields=fields)


def parcel_digest(parcel: Parcel) -> str:
    """Return a SHA-256 over all of a parcel, independent of the order of its names."""
    digest = hashlib.sha256(_encode_fields(parcel.fields).encode())
    for name in sorted(parcel.arrays):
        array = _storable(parcel.arrays[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_weights(path: Path, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a model's weights as a plain safetensors file."""
    write_bytes(path, save({name: _storable(array) for name, array in weights.items()}))


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read a model's weights.

    Raises:
        IntegrityError: The file is missing or damaged.
    """
    try:
        with safe_open(str(path), framework="numpy") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise IntegrityError(f"{path} is missing from the run") from None
    except (SafetensorError, OSError) as error:
        raise IntegrityError(f"{path} is damaged: {error}") from None


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(array, order="C")  # ascontiguousarray would make a 0-d array 1-d


def _encode_fields(fields: Mapping[str, Scalar]) -> str:
    return json.dumps({k: _encode(v) for k, v in sorted(fields.items())}, allow_nan=False)


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["bytes"])
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return value
