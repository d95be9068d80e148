"""The page in a real browser: it fits, runs nothing, prints, and passes an accessibility check."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from evidence_records import cell, record
from playwright.sync_api import Browser, Page, sync_playwright

from reports.page.render import render_html

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTHS = {"phone": 390, "laptop": 1280, "print": 794}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium: install it (Debian: apt install chromium)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Pages of an ordinary run, of many cells, of none but failures, and of wild names."""
    folder: Path = tmp_path_factory.mktemp("pages")
    wild = "Krankenhaus-" + "sehr" * 30 + "<b>&東京病院"
    bare = cell(2.0, ["a", "b", "c"], leakage=[], audits=[], roc=[], residual=[])
    pages = {
        "ordinary": record(),
        "many": record(tuple(float(i + 1) for i in range(20))),
        "wild": record(hospitals=[wild, "b", "c"], dataset=wild),
        "bare": record(cells=[bare.model_copy(update={"verdict": None})]),
    }
    for name, made in pages.items():
        (folder / f"{name}.html").write_bytes(render_html(made))
    return {name: (folder / f"{name}.html").as_uri() for name in pages}


def opened(browser: Browser, address: str, width: int) -> tuple[Page, list[str]]:
    page = browser.new_page(viewport={"width": width, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("requestfailed", lambda request: said.append(f"failed: {request.url[:80]}"))
    page.goto(address)
    return page, said


@pytest.mark.parametrize("name", ["ordinary", "many", "wild", "bare"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_shows_its_figures_and_breaks_no_policy(browser, addresses, name, width):
    page, said = opened(browser, addresses[name], WIDTHS[width])
    if width == "print":
        page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width]
    unseen = "[...document.images].filter(i => !(i.complete && i.naturalWidth)).length"
    assert page.evaluate(unseen) == 0
    assert said == []
    page.close()


@pytest.mark.parametrize("name", ["ordinary", "wild", "bare"])
@pytest.mark.parametrize("width", ["phone", "laptop"])
def test_an_accessibility_check_finds_nothing(browser, addresses, name, width):
    page, _ = opened(browser, addresses[name], WIDTHS[width])
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    told = [(one["id"], one["impact"], one["nodes"][0]["html"][:160]) for one in found]
    assert told == []
    page.close()


def test_the_accessibility_check_would_find_something(browser):
    page = browser.new_page()
    page.set_content("<html><body><img src='x'><p style='color:#aaa'>pale</p></body></html>")
    found = {one["id"] for one in Axe().run(page).response["violations"]}
    assert {"image-alt", "color-contrast", "html-has-lang"} <= found
    page.close()


def test_the_data_behind_figures_is_printed_though_it_is_folded_on_screen(browser, addresses):
    page, _ = opened(browser, addresses["ordinary"], WIDTHS["print"])
    inside = "document.querySelector('details table').getBoundingClientRect().height"
    shown = f"{inside} > 0 && document.querySelector('details table').checkVisibility()"
    screen = (
        "document.querySelector('details table').checkVisibility({contentVisibilityAuto: true})"
    )
    assert not page.evaluate(screen)
    page.emulate_media(media="print")
    assert page.evaluate(shown)
    page.close()
