"""`audit report` as a user calls it: what it prints, where it writes, and when it refuses."""

import json
import shutil
import subprocess
from pathlib import Path

from forked import audit

from audit.formats.files import read_json, write_json


def test_it_writes_a_page_and_a_signed_bundle_that_verifies(trained: Path, tmp_path: Path) -> None:
    assert audit("keygen", "--out", "keys", cwd=tmp_path).returncode == 0
    step = tmp_path / "step.md"
    done = audit(
        "report",
        str(trained),
        "--out",
        "made",
        "--key",
        "keys/audit.key",
        "--json",
        cwd=tmp_path,
        GITHUB_STEP_SUMMARY=str(step),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["signed"] is True
    assert (tmp_path / told["report"]).is_file()
    assert "Privacy audit of smoke" in step.read_text()
    checked = audit("verify", "made/evidence", "--key", "keys/audit.pub", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    page = tmp_path / "made" / "evidence" / "report.html"
    page.write_bytes(page.read_bytes() + b" ")
    refused = audit("verify", "made/evidence", "--key", "keys/audit.pub", cwd=tmp_path)
    assert refused.returncode == 1
    assert "report.html" in refused.stdout


def test_patients_pictures_are_shown_only_when_asked_for(run_copy: Path, tmp_path: Path) -> None:
    _hide_pictures(run_copy)
    assert audit("keygen", "--out", "keys", cwd=tmp_path).returncode == 0
    for flags, shown in (((), False), (("--include-reconstructions",), True)):
        done = audit("report", str(run_copy), "--out", "made", *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "unsigned" in done.stderr
        page = (tmp_path / "made" / "report" / "report.html").read_text(encoding="utf-8")
        assert ("data:image/png" in page) is shown
        assert ("do not pass on" in page) is shown
    checked = audit("verify", "made/evidence", "--key", "keys/audit.pub", cwd=tmp_path)
    assert checked.returncode == 1  # nobody signed it


def _hide_pictures(run: Path) -> None:
    """Make a run of public data one of patients: pictures lie in the secrets only."""
    record = read_json(run / "run.json")
    record["dataset"]["public"] = False
    write_json(run / "run.json", record)
    moved = 0
    for panels in (run / "attacks").rglob("panels.safetensors"):
        target = run / "secrets" / "panels" / panels.relative_to(run / "attacks")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(panels, target)
        moved += 1
    assert moved


def test_bad_input_is_one_clear_line_and_the_documented_code(
    run_copy: Path, tmp_path: Path
) -> None:
    def refused(*arguments: str) -> tuple[int, str]:
        done: subprocess.CompletedProcess[str] = audit("report", *arguments, cwd=tmp_path)
        return done.returncode, done.stderr

    assert refused("nowhere")[0] == 2
    (tmp_path / "empty").mkdir()
    assert refused("empty")[0] == 4
    assert refused(str(run_copy), "--key", "nowhere.key")[0] == 2
    record = read_json(run_copy / "run.json")
    write_json(run_copy / "run.json", record | {"faults": ["no-noise"]})
    code, said = refused(str(run_copy))
    assert code == 4
    assert "no-noise" in said
    write_json(run_copy / "run.json", record)
    model = next((run_copy / "cells").rglob("model.safetensors"))
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    assert refused(str(run_copy))[0] == 5
    assert not (run_copy / "evidence").exists()
