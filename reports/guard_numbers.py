"""Numbers that look as if each belonged to one record: found in JSON, JSON lines, YAML and CSV.

What leaves a run are counts, rates, intervals and curves. A value for each record (a score, a
loss, a pixel, a membership bit) comes as a list with as many entries as there are records, so a
long list of numbers needs a name that says that it is something else. That is a net with a known
mesh: it stops what a programmer puts in by mistake, not somebody who renames a list on purpose.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

MOST_NUMBERS = 16
"""Longest list of numbers without a curve's name: ten classes have their ten values, and the
smallest record of the embedded datasets has 30."""

MOST_OF_A_CURVE = 5_000
"""Longest list of numbers under a curve's name: a curve is drawn, a record set is larger."""

MOST_KEYED = 64
"""Most numbers in one object: a row of the table has about 30, a record set one for each record."""

MOST_CELLS = 64
"""Most lines of a CSV file whose first column names the cell; other CSV: ``MOST_NUMBERS``."""

CURVES = frozenset(
    {
        "accuracy_by_round",
        "bins",
        "budget_by_round",
        "class_priors",
        "curve",
        "delta_grid",
        "edges",
        "epsilons",
        "epsilon_by_round",
        "histogram",
        "privacy_curve",
        "roc",
        "rounds",
    }
)
"""Names under which a long list of numbers is a curve, a histogram, a setting or a log by round."""

RAW = frozenset(
    {
        "bits",
        "confidences",
        "guesses",
        "is_member",
        "logits",
        "losses",
        "member",
        "membership",
        "pixels",
        "scores",
    }
)
"""Names of values by record: no list of numbers and no bit at all."""

VAGUE = frozenset(
    {
        "gradients",
        "labels",
        "objectives",
        "predictions",
        "present",
        "probabilities",
        "records",
        "thresholds",
        "updates",
    }
)
"""Names that may be of values by record: never a long list, not even inside of a curve."""

ONE_RECORDS = frozenset({"log_odds", "logit", "loss", "pseudonym", "score"})
"""Names of the value of one record, in a long list of objects."""

_BITS = re.compile(r"(?<![0-9A-Za-z])(?=[01]*1)[01]{32,}(?![0-9A-Za-z])")
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")


def numbers_by_record(
    name: str, text: str, *, curves: frozenset[str] = CURVES
) -> Iterator[tuple[str, str]]:
    """Find what looks like a value for each record.

    Args:
        name: Of the file; its ending says how it is read. Other endings hold no data.
        text: Its content.
        curves: Names under which a long list is no such thing.

    Yields:
        Where in the file, and what was found; never the values.

    Raises:
        ValueError: The file cannot be read as its ending says.
    """
    path = PurePosixPath(name)
    if _BITS.search(text):
        yield "", "a run of zeros and ones, as membership bits would be"
    if path.suffix == ".csv":
        yield from _csv(text)
        return
    for value in parsed(path.suffix, text):
        yield from _walk(value, (path.name.partition(".")[0],), curves)


def parsed(suffix: str, text: str) -> list[Any]:
    """Return the data of a file: one value, or those of its lines as one list.

    Raises:
        ValueError: The file cannot be read as its ending says.
    """
    if suffix == ".json":
        return [json.loads(text)]
    if suffix == ".jsonl":
        return [[json.loads(line) for line in text.splitlines() if line.strip()]]
    if suffix in {".yaml", ".yml"}:
        import yaml

        try:
            return list(yaml.safe_load_all(text))
        except yaml.YAMLError as error:
            raise ValueError(f"not YAML: {error}") from None
    return []


def _csv(text: str) -> Iterator[tuple[str, str]]:
    header, *lines = [*csv.reader(io.StringIO(text)), []][:-1] or [[]]
    most = MOST_CELLS if header[:1] == ["cell"] else MOST_NUMBERS
    if len(lines) > most:
        yield "", f"{len(lines)} lines; a table has at most {most}"


def _walk(value: Any, path: tuple[str, ...], curves: frozenset[str]) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        plain = [v for v in value.values() if _is_number(v)]
        if len(plain) > MOST_KEYED:
            yield _where(path), f"an object of {len(plain)} numbers"
        for key, below in value.items():
            if str(key) in RAW and isinstance(below, bool):
                yield _where((*path, str(key))), "a membership bit"
            yield from _walk(below, (*path, str(key)), curves)
    elif isinstance(value, list):
        count = max(_anonymous(value), sum(map(_is_number, value)))
        if count > _most(path, curves):
            yield _where(path), f"a list of {count} numbers"
            return
        if len(value) > MOST_NUMBERS and any(
            isinstance(one, dict) and ONE_RECORDS & one.keys() for one in value
        ):
            yield _where(path), f"a list of {len(value)} objects with a value by record each"
            return
        for below in value:
            yield from _walk(below, path, curves)


def _most(path: tuple[str, ...], curves: frozenset[str]) -> int:
    """Return how many numbers a list of this name may hold."""
    if path[-1] in RAW:
        return 0
    return MOST_OF_A_CURVE if path[-1] not in VAGUE and curves & set(path) else MOST_NUMBERS


def _anonymous(value: Any) -> int:
    """Return how many numbers a list holds, nested ones too; 0: some entry has words in it."""
    if _is_number(value):
        return 1
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return 0
    counts = [_anonymous(one) for one in value if one is not None]
    return sum(counts) if counts and all(counts) else 0


def _is_number(value: Any) -> bool:
    """Whether a value is a number, a bit, or text that is nothing but a number."""
    if isinstance(value, str):
        return _NUMBER.fullmatch(value) is not None
    return isinstance(value, int | float)


def _where(path: tuple[str, ...]) -> str:
    return " > ".join(path[1:])
