"""Requirements as data: what a source asks for, and which artefacts bear on it.

One YAML file a source, in ``reports/requirements/``; its README says how to add one.
"""

import re
from collections.abc import Iterable
from datetime import date, datetime
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from audit.core.errors import DataError
from reports.evidence_keys import EvidenceKey

FOLDER = "requirements"
SUFFIX = ".yaml"
VERDICT = re.compile(r"\b(?:non-?)?compl(?:y|ies|ied|iant|iance)\b", re.IGNORECASE)
"""Words of a legal verdict: the report speaks of evidence."""
QUOTATION = re.compile(r"[\"“”„«»]")
DATED = ("%Y-%m-%d", "%Y-%m", "%Y")


class Ceiling(StrEnum):
    """The most that this tool's evidence can be for a requirement."""

    PRESENT = "present"
    PARTIAL = "partial"


def _no_verdict(text: str) -> str:
    if found := VERDICT.search(text):
        raise ValueError(f"says {found[0]!r}: expected words about evidence, not a verdict")
    return text


def _own_words(text: str) -> str:
    if QUOTATION.search(text):
        raise ValueError("holds a quotation mark: expected our own words")
    if not text.endswith(".") or ". " in text:
        raise ValueError("expected one sentence that ends with a full stop")
    return text


def _calendar(text: str) -> str:
    for form in DATED:
        try:
            if datetime.strptime(text, form).strftime(form) == text:
                return text
        except ValueError:
            continue
    raise ValueError(f"got {text!r}: expected YYYY, YYYY-MM or YYYY-MM-DD")


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=400, pattern=r"^[^\n]+$"),
]
Words = Annotated[Line, AfterValidator(_no_verdict)]


class Part(BaseModel):
    """A part of a requirements file: nothing unknown, nothing converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_max_length=600)


class Requirement(Part):
    """One thing that a source asks for.

    Attributes:
        id: Where it stands in the source, such as ``32(1)(d)``.
        requirement: One plain sentence in our words.
        evidence: Artefacts that bear on it; empty where no technical evidence can.
        needs: Those of them without which the state is not ``present``.
        ceiling: ``partial`` where the requirement asks for more than this tool can ever show.
        limits: What a run's evidence cannot show here.
        checked: Whether the sentence was compared with the words of the edition named.
        check_note: How, where that differs from the file's ``how_checked``.
        outside: Whose duty it is, where ``evidence`` is empty.
    """

    id: Line
    requirement: Annotated[Words, AfterValidator(_own_words)]
    evidence: tuple[EvidenceKey, ...]
    needs: tuple[EvidenceKey, ...]
    ceiling: Ceiling = Ceiling.PRESENT
    limits: Words
    checked: bool = Field(strict=True)
    check_note: Words | None = None
    outside: Words | None = None

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        for field in ("evidence", "needs"):
            if doubled := _doubled(getattr(self, field)):
                raise ValueError(f"{field}: names {doubled} twice")
        if bool(self.evidence) == (self.outside is not None):
            raise ValueError("expected either evidence or the reason why it is outside, not both")
        if unknown := set(self.needs) - set(self.evidence):
            raise ValueError(f"needs: {', '.join(sorted(unknown))} is not among its evidence")
        if self.evidence and not self.needs:
            raise ValueError("needs: is empty; expected at least one key of its evidence")
        return self


class Source(Part):
    """One law, standard or guideline.

    Attributes:
        id: The name of its file.
        title, publisher, url: Of the source.
        edition: The text that the rows are about.
        dated: When that text was adopted or published: YYYY, YYYY-MM or YYYY-MM-DD.
        checked: When rows were last compared with it; null: no row was.
        how_checked: What was read for that, and what was not.
        rows: Its requirements, in its order.
    """

    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    title: Line
    publisher: Line
    url: Annotated[str, StringConstraints(pattern=r"^https://\S+$")]
    edition: Line
    dated: Annotated[str, AfterValidator(_calendar)]
    checked: date | None = Field(strict=True)
    how_checked: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_no_verdict)
    ]
    rows: tuple[Requirement, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if doubled := _doubled(row.id for row in self.rows):
            raise ValueError(f"row {doubled!r}: stands there twice")
        if (self.checked is None) == any(row.checked for row in self.rows):
            raise ValueError(
                f"checked: got {self.checked}; expected a date if any row is checked, else null"
            )
        return self


def load_requirements(folder: Traversable | None = None) -> tuple[Source, ...]:
    """Read and check every requirements file.

    Args:
        folder: Holds the files; None: those that ship in this package.

    Returns:
        The sources by name of their file.

    Raises:
        DataError: A file is not of the shape that ``Source`` says; names file, row and field.
    """
    place = files("reports") / FOLDER if folder is None else folder
    names = [f for f in place.iterdir() if f.name.endswith(SUFFIX)] if place.is_dir() else []
    if not names:
        raise DataError(f"{place}: expected at least one requirements file ({SUFFIX})")
    return tuple(_source(file) for file in sorted(names, key=lambda f: f.name))


def _source(file: Traversable) -> Source:
    try:
        text = file.read_text(encoding="utf-8")
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{file.name}: not valid YAML: {error}") from None
    if twice := _field_twice(yaml.compose(text, Loader=yaml.SafeLoader)):
        raise DataError(f"{file.name}: {twice}: stands there twice")
    if not isinstance(tree, dict):
        raise DataError(f"{file.name}: expected a mapping, got {type(tree).__name__}")
    try:
        source = Source.model_validate(tree)
    except ValidationError as error:
        raise DataError(f"{file.name}: {_told(error, tree)}") from None
    if source.id + SUFFIX != file.name:
        raise DataError(f"{file.name}: id: got {source.id!r}, expected the name of the file")
    return source


def _told(error: ValidationError, tree: dict[str, Any]) -> str:
    """Say each error with the row's own id instead of its position."""
    told = []
    for each in error.errors():
        place = list(each["loc"])
        where = ""
        if len(place) > 1 and place[0] == "rows" and isinstance(place[1], int):
            row = tree["rows"][place[1]]
            name = row.get("id", place[1]) if isinstance(row, dict) else place[1]
            where, place = f"row {name!r}: ", place[2:]
        field = ".".join(str(part) for part in place)
        got = f", got {each['input']!r}" if isinstance(each["input"], str | int) else ""
        told.append(f"{where}{field + ': ' if field else ''}{each['msg']}{got}")
    return "; ".join(told)


def _field_twice(node: yaml.Node | None) -> str | None:
    """Return a field that one mapping holds twice, with its line: YAML would keep the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, _ in node.value:
            if name.value in seen:
                return f"line {name.start_mark.line + 1}: {name.value}"
            seen.add(name.value)
    if isinstance(node, yaml.CollectionNode):
        for child in node.value:
            for each in child if isinstance(child, tuple) else (child,):
                if twice := _field_twice(each):
                    return twice
    return None


def _doubled(names: Iterable[str]) -> str | None:
    """Return the first name that stands there twice, or None."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return str(name)
        seen.add(name)
    return None
