"""The cryptographic stream behind DP noise and Poisson sampling.

torch's CPU generator keeps 32 bits of its seed, which an adversary tries out in hours. Here every
client and round has its own 256-bit key from the operating system, stretched by ChaCha20.
"""

import json
import secrets
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

KEY_BYTES = 32


class NoiseStream:
    """Uniform and Gaussian numbers from ChaCha20 under one 256-bit key.

    Args:
        key: 32 bytes. Whoever knows it can subtract the noise.

    Raises:
        ValueError: The key is not 32 bytes long.

    Source:
        Key stream: ChaCha20 (RFC 8439). Gaussians: Box and Muller 1958, in float64 on uniforms of
        52 bits, so none lies further out than 8.6 deviations. Floating-point Gaussians leave the
        residual risk of Mironov 2012 (doi 10.1145/2382196.2382264), which the report names.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"key of {len(key)} bytes: expected {KEY_BYTES}")
        cipher = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None)
        self._keystream = cipher.encryptor()

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Return ``count`` uniforms in (0, 1): ``open_uniforms`` of the key stream."""
        return open_uniforms(np.frombuffer(self._keystream.update(bytes(8 * count)), dtype="<u8"))

    def gaussian(self, count: int) -> NDArray[np.float64]:
        """Return ``count`` independent standard Gaussians."""
        pairs = (count + 1) // 2
        uniforms = self.uniform(2 * pairs)
        radius = np.sqrt(-2.0 * np.log(uniforms[:pairs]))
        angle = 2.0 * np.pi * uniforms[pairs:]
        both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
        return both[:count]

    def poisson_sample(self, records: int, rate: float) -> NDArray[np.intp]:
        """Return the indices of a Poisson sample: each record with probability ``rate``."""
        if rate >= 1.0:
            return np.arange(records)
        return np.flatnonzero(self.uniform(records) < rate)


def open_uniforms(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Map random 64-bit words to uniforms in (0, 1): odd multiples of 2**-53, all exact.

    With one bit more, the half would be rounded away and the largest word would give 1.

    Example:
        >>> open_uniforms(np.array([0, 2**64 - 1], dtype=np.uint64)).tolist() == [
        ...     2**-53, 1 - 2**-53]
        True
    """
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def derived_key(master: bytes, *names: str) -> bytes:
    """Derive the key of one purpose from a master key, by HKDF-SHA256.

    Args:
        master: 32 secret bytes.
        names: Cell, client, session and purpose.
    """
    info = json.dumps(["fl-privacy-audit/noise/v1", *names]).encode()
    kdf = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info)
    derived: Any = kdf.derive(master)
    return bytes(derived)


def fresh_key() -> bytes:
    """Return 32 bytes from the operating system."""
    return secrets.token_bytes(KEY_BYTES)
