"""Keys, masks and sealed shares: every derivation of the masked protocol in one place.

All keys have 256 bits, come out of HKDF-SHA256 and are bound to a purpose and to the context of
one session (protocol version, label, dimension, public terms).
"""

import hashlib
import os

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from audit.core.errors import ProtocolError
from training.secagg.identity import KEY_BYTES, Part, encode

SEED_BYTES = 32
COMMITMENT_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


def new_private_key() -> bytes:
    """A fresh X25519 private key, 32 raw bytes."""
    return X25519PrivateKey.generate().private_bytes_raw()


def new_seed() -> bytes:
    """A fresh seed of a self-mask, 256 bits of the operating system's randomness."""
    return os.urandom(SEED_BYTES)


def public_key(private_key: bytes) -> bytes:
    """The X25519 public key of a private key, 32 raw bytes."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def expand(key: bytes, dimension: int, dtype: np.dtype[np.unsignedinteger]) -> NDArray[np.generic]:
    """A mask: the ChaCha20 keystream of a 256-bit key as little-endian words.

    Args:
        key: 32 bytes, used for this one mask and nothing else (the nonce is zero).
        dimension: Number of words.
        dtype: uint32 or uint64.

    Returns:
        Shape (dimension,), uniform modulo 2^32 or 2^64.

    Raises:
        ValueError: The key is not 32 bytes.

    Source:
        RFC 8439, section 2.4; the PRG of Bonawitz et al. 2017, section 3.
    """
    if len(key) != SEED_BYTES:
        raise ValueError(f"key: {len(key)} bytes, expected {SEED_BYTES}")
    encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    stream = encryptor.update(bytes(dimension * dtype.itemsize))
    return np.frombuffer(stream, dtype=dtype.newbyteorder("<")).astype(dtype)


def self_mask_key(seed: bytes, *, context: bytes, client: str) -> bytes:
    """The key of a client's own mask, from its 256-bit seed."""
    return _derive(seed, "self-mask", context, client)


def seed_commitment(seed: bytes, *, context: bytes, client: str) -> bytes:
    """A hash by which the server knows that it reconstructed the right seed; it hides 256 bits."""
    return hashlib.sha256(encode("seed-commitment", context, client, seed)).digest()


def pair_mask_key(
    private_key: bytes, *, context: bytes, own: str, peer: str, peer_public: bytes
) -> bytes:
    """The key of the mask that two clients share; the same from either side.

    Source:
        Bonawitz et al. 2017, Figure 4, round 2: PRG(s_uv). Differs: HKDF binds it to the session,
        the pair and both public keys.
    """
    secret = _agree(private_key, peer, peer_public)
    (first, first_key), (second, second_key) = sorted(
        [(own, public_key(private_key)), (peer, peer_public)]
    )
    return _derive(secret, "pair-mask", context, first, second, first_key, second_key)


def add_pair_mask(
    total: NDArray[np.generic], mask: NDArray[np.generic], *, own: str, peer: str
) -> NDArray[np.generic]:
    """Add `own`'s mask with `peer`: plus for the first of the sorted pair, minus for the other."""
    result: NDArray[np.generic] = (np.add if own < peer else np.subtract)(total, mask)
    return result


def remove_pair_mask(
    total: NDArray[np.generic], mask: NDArray[np.generic], *, own: str, peer: str
) -> NDArray[np.generic]:
    """Undo `add_pair_mask`."""
    result: NDArray[np.generic] = (np.subtract if own < peer else np.add)(total, mask)
    return result


def seal(
    plaintext: bytes,
    private_key: bytes,
    *,
    context: bytes,
    sender: str,
    receiver: str,
    receiver_public: bytes,
) -> bytes:
    """Encrypt shares to one peer: nonce, ChaCha20-Poly1305 ciphertext, tag.

    The key is derived for this direction; sender, receiver and session are associated data.
    """
    key = _derive(
        _agree(private_key, receiver, receiver_public),
        *("seal", context, sender, receiver, public_key(private_key), receiver_public),
    )
    nonce = os.urandom(NONCE_BYTES)
    associated = encode("seal", context, sender, receiver)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, plaintext, associated)


def unseal(
    ciphertext: bytes,
    private_key: bytes,
    *,
    context: bytes,
    sender: str,
    receiver: str,
    sender_public: bytes,
) -> bytes:
    """Decrypt what `seal` wrote; ProtocolError when it was changed or meant for somebody else."""
    key = _derive(
        _agree(private_key, sender, sender_public),
        *("seal", context, sender, receiver, sender_public, public_key(private_key)),
    )
    nonce, body = ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:]
    associated = encode("seal", context, sender, receiver)
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, body, associated)
    except InvalidTag:
        raise ProtocolError(
            f"ciphertexts: the shares from {sender} to {receiver} do not authenticate"
        ) from None


def _agree(private_key: bytes, peer: str, peer_public: bytes) -> bytes:
    """X25519; a low-order or malformed point is refused."""
    try:
        public = X25519PublicKey.from_public_bytes(peer_public)
        return X25519PrivateKey.from_private_bytes(private_key).exchange(public)
    except ValueError as error:
        raise ProtocolError(f"{peer}: the X25519 public key is unusable ({error})") from error


def _derive(secret: bytes, purpose: str, *info: Part) -> bytes:
    """A 256-bit key for one purpose."""
    return HKDF(
        algorithm=SHA256(), length=KEY_BYTES, salt=None, info=encode(purpose, *info)
    ).derive(secret)
