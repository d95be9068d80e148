"""Named streams of public randomness: partitions, initialisation, attacks. Never DP noise."""

import hashlib

import numpy as np


def named_seed(seed: int, *names: str) -> int:
    """Derive a 63-bit seed from a public seed and the purpose that it serves.

    Args:
        seed: The public seed of a configuration.
        names: The purpose, from general to special.

    Returns:
        An integer in [0, 2**63).

    Example:
        >>> named_seed(1, "partition") != named_seed(1, "model")
        True
    """
    text = "\x1f".join((str(seed), *names)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def named_generator(seed: int, *names: str) -> np.random.Generator:
    """Return a numpy generator for one purpose: ``named_seed`` as a Philox stream."""
    return np.random.Generator(np.random.Philox(named_seed(seed, *names)))
