"""A signed payload in a DSSE envelope, of which only one spelling is accepted.

A verifier that parses and then checks the signature accepts many byte strings for one signed
payload: spaces, key order, other base64. Here the bytes of the envelope are compared with the
canonical ones, so that nothing at all in the file can be changed unseen.
"""

import base64
import binascii
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Signature

from audit.core.errors import IntegrityError
from audit.signing.canonical import canonical_json, parse_strictly
from audit.signing.keys import PrivateKey, PublicKey


def seal(payload: bytes, *, payload_type: str, private_key: PrivateKey) -> bytes:
    """Sign a payload.

    Args:
        payload: What is signed, together with its type.
        payload_type: Says how to read the payload.
        private_key: An Ed25519 key. Its signatures are deterministic: the same input gives the
            same bytes.

    Returns:
        The envelope, as canonical JSON.

    Source:
        DSSE v1.0 (secure-systems-lab/dsse, protocol.md and envelope.md), by securesystemslib.
        Differs: RFC 8785 bytes, where DSSE leaves the JSON free.
    """
    envelope = Envelope(payload=payload, payload_type=payload_type, signatures={})
    envelope.sign(private_key)
    return canonical_json(envelope.to_dict())


def unseal(content: bytes, *, payload_type: str, public_key: PublicKey, where: str) -> bytes:
    """Check an envelope and return its payload.

    Args:
        content: The envelope's bytes.
        payload_type: The type that is expected.
        public_key: The key that must have signed.
        where: Named in the error.

    Returns:
        The payload, which the key signed under that type.

    Raises:
        IntegrityError: The bytes are not exactly those that ``seal`` returns for some payload
            of this type with this key; says why.
    """
    given = parse_strictly(content, where=where)
    fields = _fields(given, {"payload", "payloadType", "signatures"}, where=where)
    if fields["payloadType"] != payload_type:
        raise IntegrityError(f"{where} has another payload type; expected {payload_type!r}")
    signatures = fields["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        count = len(signatures) if isinstance(signatures, list) else "no list of"
        raise IntegrityError(f"{where} has {count} signatures; expected exactly one")
    signature = _fields(signatures[0], {"keyid", "sig"}, where=f"{where}, its signature,")
    if signature["keyid"] != public_key.keyid:
        raise IntegrityError(
            f"{where} names another key id than that of the given key ({public_key.keyid})"
        )
    envelope = Envelope(
        payload=_strict_base64(fields["payload"], where=f"{where}, its payload,"),
        payload_type=payload_type,
        signatures={
            public_key.keyid: Signature(
                public_key.keyid,
                _strict_base64(signature["sig"], where=f"{where}, its signature,").hex(),
            )
        },
    )
    if canonical_json(envelope.to_dict()) != content:
        raise IntegrityError(f"{where} is not in its canonical form: its bytes were changed")
    try:
        envelope.verify([public_key], threshold=1)
    except VerificationError:
        raise IntegrityError(f"{where} has a signature that is not of the given key") from None
    return envelope.payload


def _fields(value: Any, names: set[str], *, where: str) -> dict[str, Any]:
    """Return an object that has these fields and no other."""
    if not isinstance(value, dict) or set(value) != names:
        raise IntegrityError(f"{where} must be an object with {', '.join(sorted(names))} only")
    return value


def _strict_base64(value: Any, *, where: str) -> bytes:
    """Decode base64 of which no other spelling decodes to the same bytes."""
    try:
        decoded = base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        decoded = None
    if decoded is None or base64.b64encode(decoded).decode() != value:
        raise IntegrityError(f"{where} is not in strict base64 (RFC 4648, section 4)")
    return decoded
