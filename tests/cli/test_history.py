"""`audit history` and what `audit gate` and `audit baseline approve` leave in it."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from audit.core.errors import IntegrityError
from audit.formats.files import read_json, read_json_lines, sha256_of, write_json
from audit.formats.gate import GateRecord
from audit.pipeline.history import Recorder
from audit.store.run import RunDirectory

ROOT = Path(__file__).resolve().parent.parent.parent
APPROVAL = ("--by", "A. Person", "--reason", "first release", "--expires", "2999-01-01")
LOOSE = "schema: audit-policy/v1\nrules:\n  - {metric: auc, attack: loss, margin: 0.9}\n"
EXPORT = ("history", "export-mlflow", "--tracking-uri", "sqlite:///m.db")
GATE = ("gate", "run", "--baseline", "b.json", "--policy", "loose.yaml")


def audit(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "AUDIT_H"))}
    return subprocess.run(
        [sys.executable, "-m", "audit", *arguments],
        cwd=cwd,
        env={**inherited, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def kept(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and a history that knows its approval and its gate."""
    folder = tmp_path_factory.mktemp("history")
    shutil.copytree(trained, folder / "run")
    (folder / "loose.yaml").write_text(LOOSE)
    done = audit(
        "baseline", "approve", "run", "--out", "b.json", *APPROVAL, "--history", "h.sqlite",
        cwd=folder,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "b.json\n"), done.stderr
    gate = audit(*GATE, cwd=folder, AUDIT_HISTORY="h.sqlite")
    assert gate.returncode in {0, 3}, gate.stderr
    return folder


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(kept, tmp_path / "copy")
    return tmp_path / "copy"


def shown(folder: Path, *more: str) -> dict:
    done = audit("history", "--file", "h.sqlite", "--json", *more, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_approval_and_a_gate_are_kept_with_what_they_were_about(kept):
    (run,) = shown(kept)["runs"]
    assert run["run_id"] == read_json(kept / "run" / "run.json")["id"]
    assert run["table_sha256"] == sha256_of(kept / "run" / "table.json")
    gate = GateRecord.model_validate(read_json(kept / "run" / "gate.json"))
    approved, gated = run["events"]
    assert (approved["kind"], approved["by"], approved["reason"], approved["expires"]) == (
        "approved", "A. Person", "first release", "2999-01-01",
    )  # fmt: skip
    assert approved["baseline_sha256"] == gated["baseline_sha256"] == sha256_of(kept / "b.json")
    assert (gated["decision"], gated["exit_code"], gated["policy_sha256"]) == (
        gate.decision, gate.exit_code, gate.policy,
    )  # fmt: skip
    rows = {row["cell"]: row for row in read_json(kept / "run" / "table.json")["rows"]}
    assert [c["cell"] for c in run["cells"]] == list(rows)
    for cell in run["cells"]:
        for name in ("accuracy", "accuracy_low", "accuracy_high", "claimed_epsilon", "verdict"):
            assert cell[name] == rows[cell["cell"]][name]


def test_every_score_of_the_run_is_kept_as_it_was(kept):
    found = shown(kept, "--metric", "all", "--attack", "all", "--slice", "*")["series"]
    names = ("value", "low", "high", "confidence", "n", "chance", "outcome", "by")
    series = ("cell", "adversary", "attack", "metric", "slice")
    ours = {tuple(s[k] for k in series): tuple(s["points"][0][k] for k in names) for s in found}
    theirs = {
        tuple(s[k] for k in series): tuple(s[k] for k in names)
        for s in read_json_lines(kept / "run" / "scores.jsonl")
    }
    assert ours == theirs
    assert len(ours) > 10


def test_people_see_a_table_and_get_plots(folder):
    done = audit("history", "--file", "h.sqlite", "--plot", "plots", cwd=folder, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "approved" in done.stdout
    assert "A. Person" in done.stdout
    assert "AUC" in done.stdout
    assert sorted(p.name for p in (folder / "plots").iterdir()) == [
        "smoke-auc.png",
        "smoke-auc.svg",
    ]
    assert "plots/smoke-auc.png" in done.stderr


def test_nothing_is_written_unless_it_is_asked_for(folder):
    (folder / "h.sqlite").unlink()
    assert audit(*GATE, cwd=folder).returncode in {0, 3}
    assert (
        audit("baseline", "approve", "run", "--out", "c.json", *APPROVAL, cwd=folder).returncode
        == 0
    )
    assert not list(folder.glob("*.sqlite*"))
    assert audit(*GATE, cwd=folder, AUDIT_HISTORY="").returncode in {0, 3}
    assert not list(folder.glob("*.sqlite*"))


def test_a_gate_that_cannot_record_shows_its_result_and_exits_5(folder):
    (folder / "h.sqlite").write_text("no database" * 100)
    done = audit(*GATE, "--json", "--history", "h.sqlite", cwd=folder)
    assert done.returncode == 5
    assert json.loads(done.stdout)["schema"] == "audit-gate/v1"
    assert "h.sqlite is damaged, or no history" in done.stderr


def test_adding_a_run_twice_is_once(folder):
    done = audit("history", "add", "run", "--file", "new/h.sqlite", "--json", cwd=folder)
    assert (done.returncode, json.loads(done.stdout)["new"]) == (0, 1), done.stderr
    again = audit("history", "add", "run", cwd=folder, AUDIT_HISTORY="new/h.sqlite")
    assert again.stdout == "new/h.sqlite: 0 new of 1\n", again.stderr
    given = audit(
        "history", "--file", "mine.sqlite", "add", "run", cwd=folder, AUDIT_HISTORY="new/h.sqlite"
    )
    assert given.stdout == "mine.sqlite: 1 new of 1\n", given.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("history",), 4, "no history at history.sqlite: record runs with `audit history add"),
        (("history", "add", "nowhere"), 2, "no such directory"),
        (("history", "--file", "h.sqlite", "--metric", "gossip"), 2, "--metric 'gossip'"),
        (("history", "--file", "h.sqlite", "--cell", "eps-7"), 2, "--cell 'eps-7' was never"),
        (("history", "--metric", "auc", "add", "run"), 2, "behind `audit history add`"),
        (("history", "--file", "loose.yaml"), 5, "no history"),
        ((*EXPORT, "--file", "no.sqlite"), 4, "no history at no.sqlite"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_has_its_exit_code(kept, arguments, code, said):
    done = audit(*arguments, cwd=kept)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_newer_file_is_refused(folder):
    with closing(sqlite3.connect(folder / "h.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 99")
    done = audit("history", "--file", "h.sqlite", cwd=folder)
    assert (done.returncode, "version 99" in done.stderr) == (4, True)


def test_without_mlflow_its_extra_is_named(kept):
    script = (
        "import sys; sys.modules['mlflow'] = None; sys.modules['mlflow.exceptions'] = None\n"
        "sys.argv = ['audit', 'history', 'export-mlflow', '--file', 'h.sqlite',"
        " '--tracking-uri', 'sqlite:///m.db']\n"
        "from audit.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=kept, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "fl-privacy-audit[mlflow]" in done.stderr
    assert not (kept / "m.db").exists()


def test_a_run_that_changed_since_the_decision_is_not_recorded_under_it(folder):
    run = RunDirectory.open(folder / "run")
    recorder = Recorder(folder / "late.sqlite", [run])
    table = read_json(run.path / "table.json")
    table["rows"][0]["accuracy"] = 0.123
    write_json(run.path / "table.json", table)
    with pytest.raises(IntegrityError, match="changed while it was decided about"):
        recorder.add()
    assert not (folder / "late.sqlite").exists()


def test_a_gate_with_a_history_stays_light(kept, tmp_path):
    script = """
import sys
from audit.cli.app import app
arguments = ["gate", "run", "--baseline", "b.json", "--history", sys.argv[1], "--json"]
app(arguments, standalone_mode=False)
heavy = ("torch", "flwr", "scipy", "matplotlib", "numpy", "mlflow", "attacks", "training")
print([name for name in (*heavy, "audit.vault") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "h.sqlite")], cwd=kept,
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stderr.strip().splitlines()[-1] == "[]", done.stderr
    assert (tmp_path / "h.sqlite").exists()
