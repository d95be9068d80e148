"""`audit report` on real runs: what it writes, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from audit.core.errors import IntegrityError, MissingEvidenceError
from audit.formats.files import read_json, read_json_lines
from audit.pipeline.evidence.cells import MOST_POINTS, _thinned
from audit.pipeline.report import ReportOptions, report
from audit.store.run import RunDirectory
from audit.vault import Vault


@pytest.fixture(scope="module")
def written(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("written")
    report(RunDirectory.open(trained), ReportOptions(out=out))
    return out


def test_the_report_and_every_file_of_the_bundle_are_there(written: Path) -> None:
    assert (written / "report" / "report.html").is_file()
    for name in (
        "report.html",
        "audit.json",
        "dp.json",
        "crosswalk.json",
        "config.resolved.yaml",
        "env.json",
        "events.jsonl",
        "mlbom.cdx.json",
        "dp-registry.yaml",
        "table.csv",
        "table.tex",
        "summary.md",
        "manifest.json",
        "attacks/loss.json",
        "schemas/audit.schema.json",
    ):
        assert (written / "evidence" / name).is_file(), name
    assert (written / "evidence" / "report.html").stat().st_size < 2_000_000


def test_the_same_run_gives_the_same_bytes(written: Path, trained: Path, tmp_path: Path) -> None:
    report(RunDirectory.open(trained), ReportOptions(out=tmp_path))
    files = sorted(p.relative_to(written) for p in written.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    for name in files:
        assert (written / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_the_record_keeps_to_its_schema(written: Path) -> None:
    schema = read_json(written / "evidence" / "schemas" / "audit.schema.json")
    Draft202012Validator.check_schema(schema)
    record = read_json(written / "evidence" / "audit.json")
    Draft202012Validator(schema).validate(record)
    del record["cells"][0]["claimed_epsilon"]
    assert list(Draft202012Validator(schema).iter_errors(record))


def test_every_score_of_the_run_is_in_the_record_unchanged(written: Path, trained: Path) -> None:
    record = read_json(written / "evidence" / "audit.json")
    told = [score for cell in record["cells"] for score in cell["leakage"]]
    kept = read_json_lines(trained / "scores.jsonl")
    order = lambda s: json.dumps(s, sort_keys=True)  # noqa: E731
    assert sorted(told, key=order) == sorted(kept, key=order)


def test_nothing_in_the_bundle_names_a_record(written: Path, trained: Path) -> None:
    truth = Vault(trained / "secrets").membership()
    for path in written.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not [name for name in truth.member if name in text], path


def test_a_run_that_carries_planted_faults_is_refused(run_copy: Path) -> None:
    run = RunDirectory.open(run_copy)
    run.mark_faults(["no-noise"])
    with pytest.raises(MissingEvidenceError, match="no-noise"):
        report(run, ReportOptions())
    assert not (run_copy / "evidence").exists()


def test_a_run_that_was_not_attacked_is_refused_with_the_command(run_copy: Path) -> None:
    log = run_copy / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if '"attacked"' not in line))
    with pytest.raises(MissingEvidenceError, match="audit attack"):
        report(RunDirectory.open(run_copy), ReportOptions())


def test_an_unfinished_run_is_refused_with_what_is_missing(run_copy: Path) -> None:
    run = RunDirectory.open(run_copy)
    gone = run.config.cells[-1].id
    shutil.rmtree(run.cell(gone).path)
    run.write_manifest()
    with pytest.raises(MissingEvidenceError, match=gone):
        report(run, ReportOptions())


def test_a_damaged_run_is_refused(run_copy: Path) -> None:
    run = RunDirectory.open(run_copy)
    path = run.cell(run.config.cells[0].id).privacy
    path.write_text(path.read_text().replace("record", "recorf"))
    with pytest.raises(IntegrityError, match="changed"):
        report(run, ReportOptions())


def test_failed_and_missing_attacks_stay_visible(run_copy: Path, tmp_path: Path) -> None:
    run = RunDirectory.open(run_copy)
    cell = run.config.cells[0].id
    failed = run.attack_folder(cell, "recipient", "loss") / "result.json"
    failed.write_text(
        json.dumps(read_json(failed) | {"outcome": "failed", "reason": "ValueError: told"})
    )
    shutil.rmtree(run.attack_folder(cell, "query", "loss"))
    record = report(run, ReportOptions(out=tmp_path)).record
    found = {(line.cell, line.adversary, line.attack): line for line in record.coverage}
    assert found[cell, "recipient", "loss"].outcome == "failed"
    assert found[cell, "query", "loss"].outcome == "missing"
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "ValueError: told" in page
    assert "never tried" in page


def test_a_curve_is_thinned_without_rising_above_itself() -> None:
    points = [(i / 1000, min(1.0, (i / 1000) ** 0.5)) for i in range(1, 1001)]
    thin = _thinned(points)
    assert len(thin) <= MOST_POINTS + 2
    assert set(thin) <= set(points)
    assert thin[0] == points[0]
    assert thin[-1] == points[-1]
    assert _thinned(points[:5]) == points[:5]
