"""JSON with one spelling: strict reading, and the canonical bytes of RFC 8785."""

import json
from typing import Any

import rfc8785

from audit.core.errors import IntegrityError


def canonical_json(value: Any) -> bytes:
    """Return the one canonical serialisation of a value.

    Args:
        value: Made of dicts with text keys, lists, text, finite numbers, booleans and None.

    Returns:
        UTF-8 bytes without spaces or a final newline.

    Raises:
        ValueError: The value has no canonical form (NaN, infinity, an integer above 2^53 - 1).

    Source:
        RFC 8785, JSON Canonicalization Scheme.
    """
    return rfc8785.dumps(value)


def parse_strictly(content: bytes, *, where: str) -> Any:
    """Read JSON that every reader understands alike.

    Args:
        content: The bytes of one JSON document.
        where: Named in the error.

    Raises:
        IntegrityError: Not JSON in UTF-8, a key stands twice in an object, or NaN or infinity.
    """
    try:
        return json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{where} is not JSON as expected: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: readers differ in which of the two counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} stands twice")
    return found


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
