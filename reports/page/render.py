"""The page: sections of a record, laid out by one template; same record, same bytes."""

import base64
import hashlib
import logging
import re
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from audit.formats.evidence import EvidenceRecord
from reports.page.blocks import Chart, Section, narrowed
from reports.page.sections import (
    auditing,
    closing,
    cost,
    federation,
    guarantee,
    inversion,
    membership,
    opening,
    selftest,
)

LONG_WORD, PIECE = 26, 16
"""Letters of a word that may be broken in a table, and of its pieces."""


def page_sections(record: EvidenceRecord, pictures: Sequence[Chart] = ()) -> list[Section]:
    """Return all sections in reading order.

    Args:
        record: The record.
        pictures: Grids of reconstructions, where they may be shown.
    """
    return [
        opening.verdict(record),
        opening.scope(record),
        opening.proves(record),
        federation.federation(record),
        guarantee.guarantee(record),
        federation.aggregation(record),
        federation.adversaries(record),
        federation.coverage(record),
        selftest.strength(record),
        membership.membership(record),
        auditing.auditing(record),
        inversion.inversion(record, pictures),
        cost.utility(record),
        closing.gate(record),
        cost.residual(record),
        closing.crosswalk(record),
        closing.reproduction(record),
        closing.outside(record),
        closing.glossary(record),
        closing.sign_off(record),
    ]


def render_html(record: EvidenceRecord, pictures: Sequence[Chart] = ()) -> bytes:
    """Return the page: self-contained, without scripts, under a strict content-security policy.

    Args:
        record: The record.
        pictures: Grids of reconstructions, where they may be shown.
    """
    folder = files("reports.page")
    style = (folder / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=f"Privacy audit of {record.run.config}",
        subtitle=f"Compliance evidence for run {record.run.id}, attacked until "
        f"{record.run.finished}",
        footer=f"Made by {record.tool['name']} {record.tool['version']} from audit.json, which "
        "holds every number on this page.",
        sections=page_sections(record, pictures),
        narrowed=narrowed,
        breakable=_breakable,
        style=Markup(style),  # noqa: S704 (a file of this package)
        style_hash=f"sha256-{digest}",
    ).encode()


def render_pdf(html: bytes) -> bytes:
    """Return the page as a PDF, the same bytes for the same page.

    Raises:
        ModuleNotFoundError: The extra ``pdf`` (WeasyPrint) is not installed.
    """
    from weasyprint import HTML

    # It warns of each style that is for screens only.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    identifier = hashlib.sha256(html).hexdigest()[:32].encode()
    written: bytes = HTML(string=html.decode()).write_pdf(
        pdf_identifier=identifier, pdf_variant="pdf/ua-1"
    )
    return written


def _breakable(text: str) -> Markup:
    """Return text, escaped, with places to break words that no column of a table holds."""
    return Markup(" ").join(_broken(word) for word in text.split(" "))


def _broken(word: str) -> Markup:
    """Break a long word behind what parts its pieces, and a piece that is long itself anywhere."""
    if len(word) <= LONG_WORD:
        return escape(word)
    pieces = (
        piece[i : i + PIECE]
        for piece in re.split(r"(?<=[/_.,;:-])", word)
        for i in range(0, len(piece), PIECE)
    )
    return Markup("<wbr>").join(pieces)
