"""The one shape in which data travels between parties and lies in a recording.

A parcel is what a Flower message carries, what the transcript stores of it, and what a client
keeps of its own rounds: named arrays, and named scalars or byte strings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Scalar: TypeAlias = str | int | float | bytes | list[str] | list[int] | list[float] | list[bytes]


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """Named arrays and named fields.

    Args:
        arrays: Name to numpy array, any dtype that safetensors stores.
        fields: Name to scalar, bytes or a flat list of one scalar type.
    """

    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    fields: Mapping[str, Scalar] = field(default_factory=dict)
