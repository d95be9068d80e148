"""The last check before evidence leaves a run: nothing in it names a patient or shows a record."""

import base64
import binascii
import html
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote_to_bytes

from audit.core.errors import PatientDataError
from audit.core.problems import Problem
from reports.guard_numbers import CURVES, numbers_by_record, parsed

SHORTEST_ID = 6
"""Shorter ids stand in any text by chance, so a search for them says nothing."""

_PSEUDONYMS = re.compile(
    r"(?:candidate|patient|pool)-\d{6}(?!\d)"
    r"|(?:canary|record|hospital)-[0-9a-f]{12}-(?:outlier-)?\d{5}"
)
"""What this project calls records; ``hospital-1`` is a hospital and may be named."""

_WORD = re.compile(r"[\w-]+")
_DATA_URI = re.compile(
    r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w=.+-]+)*)"
    r",((?<=;base64,)[\w+/=\s-]*|[^\"'\s)>]*)",
    re.IGNORECASE,
)
"""A data: address; base64 goes on over line ends, as Matplotlib writes it."""

_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{400,}={0,2}")
_MARKUP = {".html", ".svg", ".xml", ".md", ".css", ".tex"}

_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"RIFF": "a WebP image",
    b"BM": "a BMP image",
    b"II*\x00": "a TIFF image",
    b"MM\x00*": "a TIFF image",
}
_DATA = {
    b"PK\x03\x04": "a zip archive (npz, torch)",
    b"\x93NUMPY": "a NumPy array",
    b"PAR1": "a Parquet table",
    b"\x1f\x8b": "gzip data",
    b"%PDF": "a PDF file, whose text nobody can search here",
}


def check_free_of_patients(
    files: Mapping[str, bytes],
    forbidden_ids: Collection[str],
    *,
    allow_images: bool = False,
    curves: frozenset[str] = CURVES,
) -> None:
    """Refuse files that name a record, hold values by record, or show an image.

    Args:
        files: Name to content, before they are written.
        forbidden_ids: Pseudonyms and other ids of records and patients, each of at least 6
            characters. The project's own pseudonyms are found without being listed.
        allow_images: Raster images may stand in the files: the data are public, or the user
            asked for reconstructions.
        curves: Names under which a long list of numbers is a curve and not a value by record.

    Raises:
        PatientDataError: Something was found; says in which file, where and of what kind, and
            never repeats it.
        ValueError: An id is too short to be searched for.
    """
    short = sum(len(name) < SHORTEST_ID for name in forbidden_ids)
    if short:
        raise ValueError(f"{short} ids are shorter than {SHORTEST_ID} characters")
    found = find_patients(files, forbidden_ids, allow_images=allow_images, curves=curves)
    first = next(found, None)
    if first is not None:
        more = sum(1 for _ in found)
        rest = f" (and {more} more findings)" if more else ""
        raise PatientDataError(f"refused to write {first}{rest}")


def find_patients(
    files: Mapping[str, bytes],
    forbidden_ids: Collection[str],
    *,
    allow_images: bool = False,
    curves: frozenset[str] = CURVES,
) -> Iterator[Problem]:
    """Yield all that ``check_free_of_patients`` refuses, file by file."""
    ids = _Ids(forbidden_ids)
    for name, content in sorted(files.items()):
        if ids.within(name):
            yield Problem("a file", "its name holds the id of a record")
            continue
        for reason in dict.fromkeys(_in_file(name, content, ids, allow_images, curves)):
            yield Problem(name, reason)


def _in_file(
    name: str, content: bytes, ids: "_Ids", allow_images: bool, curves: frozenset[str]
) -> Iterator[str]:
    kind = _binary(content)
    if kind is not None:
        if not (allow_images and kind in _IMAGES.values()):
            yield f"holds {kind}"
        return
    text = content.decode("utf-8")
    yield from _images_in(text, allow_images)
    try:
        if any(ids.within(one) for one in _readings(name, text)):
            yield "holds the id of a record"
        for where, what in numbers_by_record(name, text, curves=curves):
            place = "" if not where or ids.within(where) else f" at {where!r}"
            yield f"holds {what}{place}; expected nothing by record, or a curve's name (CURVES)"
    except (ValueError, RecursionError):
        yield f"cannot be read as {PurePosixPath(name).suffix}, so it cannot be checked"


def _binary(content: bytes) -> str | None:
    """Say what a file is that is not text; None: it is text."""
    for table in (_IMAGES, _DATA):
        for magic, what in table.items():
            if content.startswith(magic) and (len(magic) > 2 or b"\x00" in content[:64]):
                return what
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content):
        return "safetensors"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes that are no text, which nobody can check"
    return "a NUL byte, which no text has" if b"\x00" in content else None


def _images_in(text: str, allow_images: bool) -> Iterator[str]:
    """Find images and other encoded data inside of text, also in SVG that is itself embedded."""

    def checked(match: re.Match[str]) -> str:
        found.extend(_embedded(match, allow_images))
        return ""

    found: list[str] = []
    rest = _DATA_URI.sub(checked, html.unescape(text))
    yield from found
    for match in _ENCODED.finditer(rest):
        if len(set(match.group())) > 16:  # a row of dashes is no data
            yield "holds a long run of encoded data, which nobody can check"
            return


def _embedded(match: re.Match[str], allow_images: bool) -> Iterator[str]:
    media = (match.group(1) or "text/plain").lower()
    content = _decoded(match)
    if content is None:
        yield "holds a data: address that cannot be decoded"
        return
    if media.startswith("font/"):
        return
    raster = _binary(content)
    if raster is None and (media == "image/svg+xml" or media.startswith("text/")):
        yield from _images_in(content.decode("utf-8"), allow_images)
    elif not (allow_images and media.startswith("image/")):
        yield f"holds an embedded image or data ({raster or media})"


def _decoded(match: re.Match[str]) -> bytes | None:
    """Return what a data: address holds; None: it cannot be decoded."""
    content = unquote_to_bytes(match.group(3))
    if ";base64" not in match.group(2).lower():
        return content
    try:
        return base64.b64decode(content)
    except binascii.Error:
        return None


def _readings(name: str, text: str) -> Iterator[str]:
    """Yield a text as it stands, as a reader of its format would see it, and what it embeds."""
    yield text
    for match in _DATA_URI.finditer(html.unescape(text)):
        embedded = (_decoded(match) or b"").decode("utf-8", "replace")
        yield from (embedded, html.unescape(embedded))
    suffix = PurePosixPath(name).suffix
    if suffix in _MARKUP:
        yield html.unescape(text)
    else:
        for value in parsed(suffix, text):
            yield _plain(value)


def _plain(value: Any) -> str:
    """Write data without the escapes that could hide an id."""
    return json.dumps(value, ensure_ascii=False, default=str)


class _Ids:
    """A search for ids: by words where an id is one, else anywhere in the text.

    Args:
        ids: What is looked for.
    """

    def __init__(self, ids: Collection[str]) -> None:
        self._words = {name for name in ids if _WORD.fullmatch(name)}
        self._others = sorted(set(ids) - self._words)

    def within(self, text: str) -> bool:
        """Whether one of the ids, or a pseudonym of this project, stands in the text."""
        if _PSEUDONYMS.search(text):
            return True
        if self._words and not self._words.isdisjoint(_WORD.findall(text)):
            return True
        return any(name in text for name in self._others)
