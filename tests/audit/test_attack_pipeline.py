"""`audit attack` as a whole: what it keeps, what it repeats, and what becomes of failures."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attacks.attack import Budget
from audit.core.errors import DataError
from audit.formats.files import read_json, read_json_lines
from audit.pipeline.attack import AttackOptions, AttackReport, attack
from audit.store.run import RunDirectory

FEW = ("loss", "lira-online", "rmia")


def scores(run: Path) -> list[dict[str, Any]]:
    return read_json_lines(run / "scores.jsonl")


def run_attacks(path: Path, *only: str, **options: Any) -> AttackReport:
    return attack(RunDirectory.open(path), AttackOptions(only=only, budget=Budget.QUICK, **options))


def without_attacks(path: Path) -> Path:
    for folder in ("attacks", "references"):
        shutil.rmtree(path / folder)
    (path / "scores.jsonl").unlink()
    return path


def test_a_second_call_trains_and_guesses_nothing_again(run_copy: Path) -> None:
    path = run_copy / "attacks" / "eps-inf" / "recipient" / "lira-online" / "guess.safetensors"
    before = path.stat().st_mtime_ns
    trained: list[tuple[str, str, int, int]] = []
    costs: list[list[str]] = []
    first = scores(run_copy)
    report = run_attacks(
        run_copy,
        trained=lambda *came: trained.append(came),
        planned=lambda _count, cost: costs.append(cost),
    )
    assert (report.failed, trained, costs) == ({}, [], [[]])
    assert path.stat().st_mtime_ns == before
    assert scores(run_copy) == first


def test_the_cost_of_references_is_said_before_any_is_trained(run_copy: Path) -> None:
    told: list[str] = []
    run_attacks(
        without_attacks(run_copy),
        *FEW,
        planned=lambda count, cost: told.append(f"{count}: {cost}"),
        trained=lambda what, cell, *_: told.append(f"{what} {cell}"),
        progress=lambda name: None,
    )
    assert "8 reference federations" in told[0]
    assert told[1:] == ["references eps-2"] * 4 + ["references eps-inf"] * 4


def test_attacks_without_references_train_none(run_copy: Path) -> None:
    run_attacks(without_attacks(run_copy), "loss")
    assert not (run_copy / "references").exists()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(RuntimeError("planted"), "failed"), (DataError("planted"), "not_run")],
    ids=["a fault", "no data"],
)
def test_references_that_cannot_be_trained_stop_only_the_attacks_that_need_them(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, outcome: str
) -> None:
    def broken(*_: object, **__: object) -> Iterator[None]:
        raise error
        yield

    monkeypatch.setattr("audit.pipeline.references.train_references", broken)
    report = run_attacks(without_attacks(run_copy), *FEW)
    found = {
        (s["attack"], s["outcome"], s["reason"])
        for s in scores(run_copy)
        if s["metric"] == "auc" and s["slice"] == "all"
    }
    assert ("loss", "executed", None) in found
    said = "RuntimeError: planted" if outcome == "failed" else "planted"
    assert ("lira-online", outcome, said) in found
    assert ("rmia", outcome, said) in found
    assert bool(report.failed) == (outcome == "failed")
    by = {s["by"] for s in scores(run_copy) if s["attack"] == "strongest" and s["metric"] == "auc"}
    assert by == {"loss"}


def test_attacking_with_one_attack_keeps_the_others_and_joins_them_all(run_copy: Path) -> None:
    def strongest() -> list[dict[str, Any]]:
        return [s for s in scores(run_copy) if s["attack"] == "strongest"]

    before, joined = scores(run_copy), strongest()
    assert any("largest of 8" in s["method"] or "largest of 9" in s["method"] for s in joined)
    run_attacks(run_copy, "loss")
    assert scores(run_copy) == before
    assert strongest() == joined


def test_single_records_are_named_in_the_secrets_only(trained: Path) -> None:
    exposed = read_json(trained / "secrets" / "exposed" / "eps-inf" / "recipient" / "rmia.json")
    assert len(exposed["records"]) == 20
    name = exposed["records"][0]["candidate"]
    shared = [
        p for p in trained.rglob("*.json*") if "secrets" not in p.parts and "clients" not in p.parts
    ]
    assert shared
    assert not [p for p in shared if name in p.read_text()]


def test_shared_groups_have_ten_records_of_each_kind_or_more(trained: Path) -> None:
    groups = read_json_lines(trained / "groups.jsonl")
    assert {g["column"] for g in groups} == {"class", "hospital"}
    assert min(g["members"] for g in groups) >= 10
    assert min(g["nonmembers"] for g in groups) >= 10
    assert all(g["adjusted_p_value"] >= g["p_value"] for g in groups)


def test_every_membership_attack_has_a_score_in_every_cell(trained: Path) -> None:
    from attacks.entry import Family
    from attacks.registry import ATTACKS

    table = json.loads((trained / "table.json").read_text())
    wanted = {
        (adversary.value, entry.id)
        for entry in ATTACKS.values()
        if entry.family is Family.MEMBERSHIP
        for adversary in entry.adversaries
    }
    for row in table["rows"]:
        measured = {
            (s["adversary"], s["attack"])
            for s in row["leakage"]
            if s["metric"] == "auc" and s["outcome"] == "executed"
        }
        assert wanted <= measured


def test_queries_of_the_oracle_are_counted(trained: Path) -> None:
    folder = trained / "attacks" / "eps-inf" / "query"
    asked = {p.name: read_json(p / "result.json")["queries"] for p in folder.iterdir()}
    assert asked["loss"] == asked["lira-online"] > 0
    assert asked["art-decision-boundary"] > asked["loss"]
    recipient = trained / "attacks" / "eps-inf" / "recipient" / "loss" / "result.json"
    assert read_json(recipient)["queries"] is None
