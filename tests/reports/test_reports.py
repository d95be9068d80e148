import copy
import json
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from audit.core.controls import ControlKind, ControlRecord
from reports.audit_figures import draw_audits, draw_power
from reports.details import render_details, unchecked
from reports.figures import draw_plots
from reports.terminal import render_table


@pytest.fixture
def table(trained: Path) -> dict:
    return json.loads((trained / "table.json").read_text())


def printed(what: RenderableType) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(what)
    return console.export_text()


def text_of(table: dict) -> str:
    return printed(render_table(table, title="t"))


def test_the_table_shows_accuracy_epsilon_and_leakage_side_by_side(table: dict) -> None:
    text = text_of(table)
    for word in ("epsilon", "claimed", "accuracy", "AUC", "SSIM", "no DP", "void as a guarantee"):
        assert word in text
    assert f"{table['rows'][0]['accuracy']:.1%}" in text


def test_what_was_not_measured_stays_visible(table: dict) -> None:
    broken = copy.deepcopy(table)
    for score in broken["rows"][0]["leakage"]:
        if score["attack"] == "dlg":
            score.update(value=None, low=None, high=None, outcome="failed", reason="planted")
    text = text_of(broken)
    assert "failed" in text
    assert "planted" in text


def test_a_table_without_attacks_says_so(table: dict, tmp_path: Path) -> None:
    bare = copy.deepcopy(table)
    for row in bare["rows"]:
        row["leakage"] = []
    assert "No attack has run yet" in text_of(bare)
    drawn = draw_plots(bare, tmp_path)
    assert {p.name for p in drawn} == {"accuracy.svg", "accuracy.png"}


def test_the_same_table_gives_the_same_bytes(table: dict, tmp_path: Path) -> None:
    first = {p.name: p.read_bytes() for p in draw_plots(table, tmp_path / "a")}
    second = {p.name: p.read_bytes() for p in draw_plots(table, tmp_path / "b")}
    assert first == second
    assert set(first) == {"accuracy.svg", "accuracy.png", "leakage.svg", "leakage.png"}


def test_published_accuracies_stand_beside_ours(table: dict, tmp_path: Path) -> None:
    beside = copy.deepcopy(table)
    for row in beside["rows"]:
        row["reference_accuracy"] = 0.9
    assert "published" in text_of(beside)
    draw_plots(beside, tmp_path)
    assert "published" in (tmp_path / "accuracy.svg").read_text()


def test_audits_stand_beside_the_claims(table: dict) -> None:
    text = text_of(table)
    assert "DP audit:" in text and "(ceiling)" in text and "no claim" in text
    assert "not about the released weights" in text
    details = printed(render_details(table))
    for name in ("canary-update", "canary-sum", "canary-own-noise", "canary-records"):
        assert name in details
    for row in table["rows"]:
        del row["audits"]  # a table of an older version
    assert "DP audit" not in text_of(table)
    assert "DP audits" not in printed(render_details(table))


def test_figures_of_audits_are_the_same_again(table: dict, tmp_path: Path) -> None:
    first = draw_audits(table["rows"], tmp_path / "a")
    again = draw_audits(table["rows"], tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    sizes = [{"n": 100, "mean": 0.5, "ideal": 0.6}, {"n": 1000, "mean": 0.8, "ideal": 0.8}]
    results = [
        {"claimed": 1.0, "adversary": who, "truth": 1.0, "sizes": sizes}
        for who in ("server", "secagg-server")
    ]
    drawn = draw_power(results, tmp_path / "power")
    assert all(path.stat().st_size > 5_000 for path in drawn)


def control(attack: str, *, detected: bool | None) -> ControlRecord:
    low = {True: 0.6, False: 0.4, None: None}[detected]
    return ControlRecord(
        adversary="query",
        attack=attack,
        control=ControlKind.OVERFIT,
        low=low,
        chance=0.5,
        detected=detected,
        reason="made up",
        code="0",
        budget="quick",
    )


def measured(attack: str) -> dict:
    return {"adversary": "query", "attack": attack, "value": 0.5}


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        ([], "none has run"),
        ([("loss", True), ("rmia", True)], "each attack found its own"),
        ([("loss", True), ("rmia", False)], "not found by query/rmia."),
        ([("loss", True), ("rmia", None)], "none for query/rmia."),
        ([("rmia", False)], "not found by query/rmia; none for query/loss."),
    ],
)
def test_the_details_name_attacks_whose_control_failed_or_is_missing(
    controls: list[tuple[str, bool | None]], said: str
) -> None:
    rows = [{"leakage": [measured("loss"), measured("rmia")]}]
    assert said in unchecked(rows, [control(name, detected=one) for name, one in controls])
