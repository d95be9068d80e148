"""The page: complete, escaped, self-contained, the same again."""

import base64
import re
from html.parser import HTMLParser

import pytest
from evidence_records import cell, record

from reports.page.render import page_sections, render_html
from reports.renderings.registry_entry import render_registry_entry

VOID = {"meta", "img", "link", "br", "hr", "input", "wbr"}


class Outline(HTMLParser):
    """What a page is made of; it fails where tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def outline(page: bytes) -> Outline:
    parser = Outline()
    parser.feed(page.decode())
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def page() -> bytes:
    return render_html(record())


def test_the_page_has_every_section_that_an_assessor_looks_for():
    titles = [section.title for section in page_sections(record())]
    for wanted in (
        "Verdict",
        "Scope and dates",
        "What this proves, and what it does not",
        "The federation",
        "The differential-privacy guarantee",
        "Secure aggregation as executed",
        "Adversaries, and what each saw",
        "Coverage: what was run, what was not, and why",
        "Can this audit be believed?",
        "Membership inference",
        "Audits of the DP claim",
        "Gradient inversion",
        "What privacy costs in accuracy",
        "Regression gate",
        "Residual risk, of 10,000 patients",
        "Crosswalk to requirements",
        "Reproduction",
        "What stays outside the guarantee",
        "Glossary",
        "Sign-off",
    ):
        assert wanted in titles


def test_the_same_record_gives_the_same_bytes(page):
    assert render_html(record()) == page


def test_nothing_is_fetched_and_nothing_runs(page):
    found = outline(page)
    assert not found.all("script")
    assert not found.all("link")
    assert not [a for _, a in found.tags if "style" in a or any(k.startswith("on") for k in a)]
    for image in found.all("img"):
        assert str(image["src"]).startswith("data:image/")
        assert image["alt"]
    for link in found.all("a"):
        assert str(link["href"]).startswith("#")
    policy = next(
        str(meta["content"])
        for meta in found.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_every_link_of_the_contents_leads_to_a_heading(page):
    found = outline(page)
    ids = {attributes["id"] for _, attributes in found.tags if "id" in attributes}
    assert {str(link["href"])[1:] for link in found.all("a")} <= ids


def test_markup_in_names_is_shown_and_not_obeyed():
    wild = "<script>alert('x')</script>&\"'"
    page = render_html(record(name="ok", hospitals=[wild, "b", "c"], dataset=wild))
    found = outline(page)
    assert not found.all("script")
    assert wild in found.text
    assert b"<script>" not in page


def test_names_in_other_scripts_are_kept():
    names = ["Ärztehaus Süd", "東京病院", "مستشفى", "больница", "नमस्ते"]
    text = outline(render_html(record(hospitals=names))).text
    assert all(name in text for name in names)


@pytest.mark.parametrize("count", [1, 20])
def test_one_cell_and_twenty_cells_render(count):
    made = record(tuple(float(i + 1) for i in range(count)))
    page = render_html(made)
    text = outline(page).text
    assert all(f"epsilon {i + 1}" in text for i in range(count))
    assert len(page) < 2_000_000


@pytest.mark.parametrize("records", [1, 3])
def test_what_a_claim_is_worth_to_a_patient_with_several_records_is_said(records):
    made = record((2.0,))
    group = {"records": records, "told_by": "identical records", "epsilon": 7.1234}
    private = made.cells[0].model_copy(update={"privacy": made.cells[0].privacy | {"group": group}})
    made = made.model_copy(update={"cells": [private]})
    told = (outline(render_html(made)).text, render_registry_entry(made).decode())
    assert all(("7.123" in text) == (records > 1) for text in told)


def test_a_run_without_dp_alone_says_that_nothing_is_guaranteed():
    text = outline(render_html(record((None,)))).text
    assert "No model of this run has a DP guarantee" in text
    assert "no guarantee" in text


def test_what_was_not_measured_is_said_and_nowhere_empty():
    bare = cell(
        2.0, ["a", "b", "c"], leakage=[], audits=[], leakage_by_group=[], roc=[], residual=[]
    )
    page = render_html(record(cells=[bare.model_copy(update={"verdict": None})]))
    text = outline(page).text
    for said in ("no membership attack was executed", "no audit was executed", "not audited"):
        assert said in text
    assert not re.search(rb"<t[dh][^>]*></t[dh]>", page)
    assert b"nan" not in page.lower().replace(b"nanum", b"")


def test_every_outcome_stands_in_the_coverage_with_its_reason(page):
    text = outline(page).text
    for word in ("FAILED", "never tried", "not run", "underpowered", "not resolvable"):
        assert word in text
    for i in range(1, 6):
        assert f"reason {i}" in text


def test_groups_below_ten_are_not_shown():
    sections = {section.id: section for section in page_sections(record())}
    grids = [
        b for b in sections["membership"].blocks if getattr(b, "caption", "").startswith("By ")
    ]
    (by_class,) = grids
    assert [row[0] for row in by_class.rows] == ["0"]


def test_every_chart_has_a_title_a_description_and_data_or_a_table_that_holds_it():
    for section in page_sections(record()):
        for block in section.blocks:
            if block.kind == "chart":
                assert block.title
                assert block.description
                assert block.data is not None or "table above" in block.description
                svg = base64.b64decode(block.source.rpartition(",")[2])
                assert svg.lstrip().startswith(b"<?xml")


def test_the_page_never_says_compliant(page):
    assert "complian" not in outline(page).text.lower().replace("compliance evidence", "")


def test_the_pdf_is_one_and_the_same_again(page):
    pytest.importorskip("weasyprint", reason="the extra `pdf` is not installed")
    from reports.page.render import render_pdf

    made = render_pdf(page)
    assert made.startswith(b"%PDF")
    assert render_pdf(page) == made
