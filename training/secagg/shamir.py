"""Shamir secret sharing of 256-bit secrets over the prime field of 2^521 - 1.

A Mersenne prime, so a reader can check it; every 32-byte secret is one field element. Arithmetic
is that of Python integers and is not constant-time.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence

from audit.core.errors import ProtocolError

PRIME = 2**521 - 1
SECRET_BYTES = 32
SHARE_BYTES = 66


def split(
    secret: bytes,
    *,
    threshold: int,
    points: Sequence[int],
    randbelow: Callable[[int], int] = secrets.randbelow,
) -> dict[int, bytes]:
    """Split a secret so that any `threshold` shares give it back and fewer say nothing.

    Args:
        secret: 32 bytes.
        threshold: Shares needed, at least 1 and at most the number of points.
        points: Distinct non-zero evaluation points, one for each holder.
        randbelow: Uniform integers below its argument; replaced in known-answer tests only.

    Returns:
        Point to share, 66 bytes big-endian.

    Raises:
        ValueError: A length, the threshold or a point is out of range.

    Source:
        Shamir 1979, "How to share a secret"; Bonawitz et al. 2017, section 3.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"secret: {len(secret)} bytes, expected {SECRET_BYTES}")
    if not 1 <= threshold <= len(points):
        raise ValueError(f"threshold: {threshold}, expected 1 to {len(points)}")
    if len(set(points)) != len(points) or not all(0 < point < PRIME for point in points):
        raise ValueError("points: expected distinct positive integers below the prime")
    coefficients = [int.from_bytes(secret, "big")]
    coefficients += [randbelow(PRIME) for _ in range(threshold - 1)]
    return {point: _evaluate(coefficients, point).to_bytes(SHARE_BYTES, "big") for point in points}


def combine(shares: Mapping[int, bytes], *, threshold: int) -> bytes:
    """Give back the secret from at least `threshold` shares.

    The first `threshold` points are used. A wrong share of the right form gives another secret:
    check the result against something public.

    Args:
        shares: Point to share, 66 bytes big-endian.
        threshold: The one of the split.

    Returns:
        The secret, 32 bytes.

    Raises:
        ProtocolError: Too few shares, a malformed one, or they do not meet in a 256-bit secret.

    Source:
        Shamir 1979; Lagrange interpolation at zero.
    """
    if len(shares) < threshold:
        raise ProtocolError(f"shares: {len(shares)} given, {threshold} needed")
    points = sorted(shares)[:threshold]
    secret = 0
    for point in points:
        numerator = denominator = 1
        for other in points:
            if other != point:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - point) % PRIME
        value = parse_share(shares[point])
        secret = (secret + value * numerator * pow(denominator, -1, PRIME)) % PRIME
    if secret >= 1 << (8 * SECRET_BYTES):
        raise ProtocolError("shares: they do not belong together (no 256-bit secret)")
    return secret.to_bytes(SECRET_BYTES, "big")


def parse_share(share: bytes) -> int:
    """The field element of a share; ProtocolError when it is none."""
    value = int.from_bytes(share, "big")
    if len(share) != SHARE_BYTES or value >= PRIME:
        raise ProtocolError(f"share: expected a field element of {SHARE_BYTES} bytes")
    return value


def _evaluate(coefficients: Sequence[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % PRIME
    return value
