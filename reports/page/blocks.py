"""What a page is made of; each block says the same to a reader of the screen, a printer and a
screen reader.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

MISSING = "–"
"""Stands for what was not measured; it is never an empty cell."""


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """A paragraph of plain text.

    Args:
        text: It.
        strong: Whether it must not be overlooked.
    """

    kind: ClassVar[str] = "paragraph"
    text: str
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Bullets:
    """A list of sentences.

    Args:
        items: Pairs of a mark in words (may be empty) and the sentence.
    """

    kind: ClassVar[str] = "bullets"
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Terms and what they are.

    Args:
        items: Pairs of term and description.
    """

    kind: ClassVar[str] = "facts"
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of texts.

    Args:
        caption: What it shows.
        headers: Of the columns; the first column heads its row.
        rows: As long as ``headers``, each.
        note: A line below; empty: none.
        numeric: Indices of columns set to the right.
    """

    kind: ClassVar[str] = "grid"
    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    numeric: frozenset[int] = frozenset()


MOST_COLUMNS = 10
"""Columns of a table that a printed page holds."""


def narrowed(grid: Grid) -> list[Grid]:
    """Return a table as several that a printed page holds, the first column in each of them."""
    width = len(grid.headers)
    if width <= MOST_COLUMNS:
        return [grid]
    step = MOST_COLUMNS - 1
    parts = [range(i, min(i + step, width)) for i in range(1, width, step)]
    return [
        replace(
            grid,
            caption=f"{grid.caption} ({k} of {len(parts)})",
            headers=[grid.headers[0], *(grid.headers[i] for i in part)],
            rows=[[row[0], *(row[i] for i in part)] for row in grid.rows],
            note=grid.note if k == len(parts) else "",
            numeric=frozenset(j for j, i in enumerate((0, *part)) if i in grid.numeric),
        )
        for k, part in enumerate(parts, start=1)
    ]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure with its data beside it.

    Args:
        title: Its heading.
        description: What can be seen in it, for who cannot see it.
        source: A ``data:`` address.
        data: The same as a table; None for a picture.
    """

    kind: ClassVar[str] = "chart"
    title: str
    description: str
    source: str
    data: Grid | None = None


@dataclass(frozen=True, kw_only=True)
class Banner:
    """The verdict.

    Args:
        state: Which, for the style; the words say it too.
        mark: One character that differs by state.
        label: The state in words.
        text: The sentence.
    """

    kind: ClassVar[str] = "banner"
    state: str
    mark: str
    label: str
    text: str


@dataclass(frozen=True, kw_only=True)
class SignOff:
    """Lines for people to sign.

    Args:
        roles: Who signs.
    """

    kind: ClassVar[str] = "signoff"
    roles: Sequence[str]


Block = Paragraph | Bullets | Facts | Grid | Chart | Banner | SignOff


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page.

    Args:
        id: Of its heading, in the page's address.
        title: The heading.
        blocks: Its content.
    """

    id: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits, or what stands for a missing one."""
    return MISSING if value is None else f"{value:.{digits}g}"


def decimal(value: float | None, digits: int = 2) -> str:
    """Return a number with so many decimals."""
    return MISSING if value is None else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction in percent."""
    return MISSING if value is None else f"{value * 100:.{digits}f} %"


def interval(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """Return a value with its interval."""
    if value is None:
        return MISSING
    return f"{value:.{digits}f} [{decimal(low, digits)}, {decimal(high, digits)}]"


def percent_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Return a fraction with its interval, in percent."""
    if value is None or low is None or high is None:
        return MISSING
    return f"{value * 100:.1f} % [{low * 100:.1f}, {high * 100:.1f}]"
