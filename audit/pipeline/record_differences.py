"""Where two JSON values differ, in words: the stored one, and the one that came out again."""

from collections.abc import Iterator, Sequence
from typing import Any


def different_lists(stored: Any, again: Sequence[Any], key: Sequence[str]) -> Iterator[str]:
    """Compare two lists of records whatever their order.

    Args:
        stored: As it was read.
        again: As it came out.
        key: Fields that name a record.

    Yields:
        One sentence for each record that was changed, is missing, was added, or stands twice.
    """
    if not isinstance(stored, list) or not all(isinstance(one, dict) for one in stored):
        yield "has no list of records where one is expected"
        return
    ours, theirs = _by_name(again, key), _by_name(stored, key)
    for name in [*theirs, *(name for name in ours if name not in theirs)]:
        label = " ".join(str(part) for part in name if part is not None)
        there, made = theirs.get(name, []), ours.get(name, [])
        if len(there) != len(made):
            yield f"{label}: stands {_times(len(there))}; expected {_times(len(made))}"
            continue
        for old, new in zip(there, made, strict=True):
            for reason in different_values(old, new):
                yield f"{label}: {reason}"


def different_values(stored: Any, again: Any, where: str = "") -> Iterator[str]:
    """Compare two JSON values; numbers must be equal and of one type, 1 is not 1.0 or true.

    Yields:
        One sentence for each difference.
    """
    if isinstance(stored, dict) and isinstance(again, dict):
        for name in [*stored, *(name for name in again if name not in stored)]:
            place = f"{where}.{name}" if where else str(name)
            if name not in again:
                yield f"{place} was added"
            elif name not in stored:
                yield f"{place} is missing"
            else:
                yield from different_values(stored[name], again[name], place)
    elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        for number, (old, new) in enumerate(zip(stored, again, strict=True)):
            yield from different_values(old, new, f"{where}[{number}]")
    elif type(stored) is not type(again) or stored != again:
        yield f"{where or 'it'} is {_shown(stored)}; {_shown(again)} comes out"


def _by_name(records: Sequence[Any], key: Sequence[str]) -> dict[tuple[Any, ...], list[Any]]:
    named: dict[tuple[Any, ...], list[Any]] = {}
    for one in records:
        named.setdefault(tuple(_hashable(one.get(field)) for field in key), []).append(one)
    return named


def _hashable(value: Any) -> Any:
    return repr(value) if isinstance(value, list | dict) else value


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'record'} of {len(value)}"
    return repr(value)


def _times(count: int) -> str:
    return {0: "nowhere", 1: "once"}.get(count, f"{count} times")
