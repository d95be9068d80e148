"""Code and initial weights as part of what shapes a result: others make other references."""

import hashlib
import importlib
from functools import cache
from pathlib import Path

import numpy as np

from audit.core.model import Weights

JUDGING = ("attacks", "audit.disclosure", "audit.scoring", "audit.stats", "training")
"""Packages whose code makes the numbers of an audit."""


@cache
def code_digest(*packages: str) -> str:
    """Return a SHA-256 over the sources of packages.

    Args:
        packages: Import names, such as ``training``.
    """
    digest = hashlib.sha256()
    for name in packages:
        for folder in importlib.import_module(name).__path__:
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def weights_digest(weights: Weights | None) -> str:
    """Return a SHA-256 of weights by name; of none an empty text."""
    if weights is None:
        return ""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        digest.update(f"{name}|{array.shape}|".encode() + array.tobytes())
    return digest.hexdigest()
