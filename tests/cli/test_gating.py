"""`audit baseline` and `audit gate` through their own entry point, on a run that was trained."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

from audit.formats.files import read_json, read_json_lines, write_json, write_json_lines
from audit.formats.gate import Decision, GateRecord
from audit.store.run import RunDirectory

ROOT = Path(__file__).resolve().parent.parent.parent
APPROVAL = ("--by", "A. Person", "--reason", "first release")
APPROVE = ("baseline", "approve", "run", "--out", "b.json")
LOOSE = "schema: audit-policy/v1\nrules:\n  - {metric: auc, attack: loss, margin: 0.9}\n"


def audit(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
    return subprocess.run(
        [sys.executable, "-m", "audit", *arguments],
        cwd=cwd,
        env={**inherited, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def control_everything(run: Path, *, detected: bool | None = True, code: str | None = None) -> None:
    """Stand-ins for the controls: the gate asks what they say, and not how they were made."""
    code = code or read_json(next((run / "attacks").glob("*/*/*/result.json")))["code"]
    ran = {(s["adversary"], s["attack"]) for s in read_json_lines(run / "scores.jsonl")}
    write_json_lines(
        run / "controls.jsonl",
        [
            {
                "schema": "audit-control/v1", "adversary": adversary, "attack": attack,
                "control": "overfit", "metric": "auc", "value": 0.9, "low": 0.8, "high": 0.95,
                "confidence": 0.95, "n": 100, "chance": 0.5, "detected": detected,
                "reason": None, "code": code, "budget": "quick",
            }
            for adversary, attack in sorted(ran)
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def kept(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the trained run, its controls, its baseline and a loose policy."""
    folder = tmp_path_factory.mktemp("gate")
    shutil.copytree(trained, folder / "run")
    control_everything(folder / "run")
    done = audit("baseline", "approve", "run", "--out", "baseline.json", *APPROVAL, cwd=folder)
    assert (done.returncode, done.stdout) == (0, "baseline.json\n"), done.stderr
    (folder / "loose.yaml").write_text(LOOSE)
    return folder


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(kept, tmp_path / "copy")
    return tmp_path / "copy"


def gate(folder: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return audit("gate", "run", "--baseline", "baseline.json", *more, cwd=folder, **environment)


def change(path: Path, *keys: str | int, value: Any) -> None:
    tree = json.loads(path.read_text())
    node = tree
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    path.write_text(json.dumps(tree))


def set_score(run: Path, value: Any, **wanted: str) -> None:
    """Change a score in both files that hold it."""
    scores = read_json_lines(run / "scores.jsonl")
    table = read_json(run / "table.json")
    rows = [{"cell": r["cell"]} | s for r in table["rows"] for s in r["leakage"]]
    hits = 0
    for score in (*scores, *rows):
        if all(score[k] == v for k, v in wanted.items()):
            score.update(value)
            hits += 1
    assert hits
    for row in table["rows"]:
        row["leakage"] = [
            {k: v for k, v in s.items() if k != "cell"} for s in rows if s["cell"] == row["cell"]
        ]
    (run / "scores.jsonl").write_text("".join(json.dumps(s) + "\n" for s in scores))
    (run / "table.json").write_text(json.dumps(table))


def test_a_run_against_its_own_baseline_passes_or_is_inconclusive(kept):
    done = gate(kept)
    assert done.returncode in {0, 3}, done.stderr
    record = GateRecord.model_validate(read_json(kept / "run" / "gate.json"))
    assert record.exit_code == done.returncode
    assert Decision.FAIL not in {c.decision for c in record.checks}
    assert {"claim", "curve", "coverage", "aggregation", "margin", "bound"} <= {
        c.rule for c in record.checks
    }
    assert gate(kept, "--policy", "loose.yaml").returncode == 0


def test_the_gate_starts_light_and_within_a_second(kept):
    script = """
import sys
from audit.cli.app import app
code = app(["gate", "run", "--baseline", "baseline.json", "--json"], standalone_mode=False)
heavy = ("torch", "flwr", "opacus", "scipy", "pandas", "matplotlib", "sklearn", "dp_accounting",
         "numpy", "audit.vault", "attacks", "training")
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=kept, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stderr.strip().splitlines()[-1] == "[]", done.stderr
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 1.0


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("claimed_epsilon", 0.5, 1),
        ("delta", 1e-6, 4),
        ("cell", "eps-77", 0),  # the only private cell is the release, whatever its name
    ],
)
def test_a_changed_guarantee_is_seen(folder, name, value, code):
    cells = read_json(folder / "baseline.json")["cells"]
    private = next(i for i, c in enumerate(cells) if c["claimed_epsilon"] is not None)
    change(folder / "baseline.json", "cells", private, name, value=value)
    assert gate(folder, "--policy", "loose.yaml").returncode == code


def test_a_larger_leak_fails_with_every_output(folder):
    wanted = {"cell": "eps-2", "adversary": "query", "attack": "loss", "metric": "auc"}
    risen = {"value": 0.99, "low": 0.98, "high": 1.0}
    set_score(folder / "run", risen, **wanted, slice="all")
    tight = "schema: audit-policy/v1\nrules:\n  - {metric: auc, attack: loss, margin: 0.05}\n"
    (folder / "tight.yaml").write_text(tight)
    arguments = ("--policy", "tight.yaml", "--junit", "out/gate.xml")
    summary = folder / "summary.md"
    done = gate(folder, *arguments, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 1, done.stderr
    assert "::error title=audit gate" in done.stdout
    assert "0.990" in done.stdout
    assert "| fail | margin: auc of loss | eps-2; by query |" in summary.read_text()
    (suite,) = JUnitXml.fromfile(str(folder / "out" / "gate.xml"))
    assert suite.failures == 1
    assert gate(folder, *arguments, "--exit-zero").returncode == 0
    blocked = gate(folder, "--policy", "tight.yaml", "--junit", "tight.yaml/gate.xml")
    assert (blocked.returncode, "exit code 1" in blocked.stdout) == (5, True)
    quiet = gate(folder, *arguments, "--json")
    assert quiet.returncode == 1
    assert json.loads(quiet.stdout)["decision"] == "fail"
    assert "::error" not in quiet.stdout


def test_a_broken_attack_never_passes_a_model(folder):
    control_everything(folder / "run", detected=False)
    assert gate(folder, "--policy", "loose.yaml").returncode == 3
    control_everything(folder / "run", code="of another day")
    assert gate(folder, "--policy", "loose.yaml").returncode == 3
    (folder / "run" / "controls.jsonl").unlink()
    done = gate(folder, "--policy", "loose.yaml")
    assert (done.returncode, "no positive controls" in done.stdout) == (3, True)
    assert "attack code changed" not in done.stdout


def test_a_run_in_use_is_not_gated(folder):
    with RunDirectory(folder / "run").locked():
        done = gate(folder)
    assert (done.returncode, "in use" in done.stderr) == (5, True)


def test_planted_faults_are_no_evidence(folder):
    change(folder / "run" / "run.json", "faults", value=["noise-scale"])
    approve = audit("baseline", "approve", "run", "--out", "b.json", *APPROVAL, cwd=folder)
    for done in (approve, gate(folder)):
        assert done.returncode == 4
        assert "noise-scale" in done.stderr
    assert not (folder / "b.json").exists()


def test_a_run_that_was_not_attacked_is_missing_evidence(folder):
    table = read_json(folder / "run" / "table.json")
    for row in table["rows"]:
        row["leakage"] = []
    write_json(folder / "run" / "table.json", table)
    (folder / "run" / "scores.jsonl").unlink()
    done = gate(folder)
    assert (done.returncode, "audit attack" in done.stderr) == (4, True)


def test_nan_in_a_run_is_named(folder):
    wanted = {"cell": "eps-2", "adversary": "query", "attack": "loss", "metric": "auc"}
    set_score(folder / "run", {"value": float("nan")}, **wanted)
    done = gate(folder)
    assert done.returncode == 4
    assert "nan" in done.stderr


def test_files_of_a_run_that_contradict_each_other_are_damage(folder):
    path = folder / "run" / "scores.jsonl"
    scores = read_json_lines(path)
    scores[0]["reason"] = "another"
    write_json_lines(path, scores)
    done = gate(folder)
    assert (done.returncode, "contradict" in done.stderr) == (5, True)
    shutil.rmtree(folder / "run")


def test_a_changed_privacy_record_is_damage_and_a_lost_transcript_is_not(folder):
    shutil.rmtree(folder / "run" / "cells" / "eps-2" / "transcript")
    assert gate(folder, "--policy", "loose.yaml").returncode == 0
    change(folder / "run" / "cells" / "eps-2" / "privacy.json", "claimed_epsilon", value=0.1)
    done = gate(folder)
    assert (done.returncode, "privacy.json" in done.stderr) == (5, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("gate", "run", "--baseline", "nothing.json"), 2, "nothing.json"),
        (("gate", "nowhere", "--baseline", "baseline.json"), 2, "nowhere"),
        (("gate", ".", "--baseline", "baseline.json"), 4, "run.json"),
        (("gate", "run"), 2, "baseline"),
        (("gate", "run", "--baseline", "baseline.json", "--policy", "gone.yaml"), 2, "gone.yaml"),
        (("gate", "run", "--baseline", "baseline.json", "--policy", "bad.yaml"), 2, "gossip"),
        (("gate", "run", "--baseline", "text.json"), 5, "text.json"),
        (("gate", "run", "--baseline", "baseline.json", "--key", "no.pub"), 2, "no.pub"),
        (("gate", "run", "run", "--baseline", "baseline.json"), 4, "seeds"),
        (("baseline", "show", "nothing.json"), 2, "nothing.json"),
        ((*APPROVE, "--by", " ", "--reason", "r"), 2, "--by"),
        ((*APPROVE, *APPROVAL, "--expires", "soon"), 2, "soon"),
        ((*APPROVE, *APPROVAL, "--expires", "2001-01-01"), 2, "2001-01-01"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line_and_the_documented_code(kept, arguments, code, said):
    (kept / "bad.yaml").write_text("schema: audit-policy/v1\nrules: [{metric: gossip, margin: 1}]")
    (kept / "text.json").write_text("no json")
    done = audit(*arguments, cwd=kept)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_signing_showing_and_comparing(folder):
    from audit.signing.keys import generate_key_pair

    generate_key_pair(folder / "keys")
    approve = ("baseline", "approve", "run", "--out", "signed.json", *APPROVAL)
    done = audit(*approve, "--key", "keys/audit.key", "--expires", "2999-01-01", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "signed.json.dsse.json").is_file()
    shown = audit("baseline", "show", "signed.json", "--key", "keys/audit.pub", cwd=folder)
    assert "A. Person" in shown.stdout
    assert "signature: valid" in shown.stdout
    same = audit("baseline", "diff", "baseline.json", "signed.json", cwd=folder)
    assert (same.returncode, "no difference" in same.stdout) == (0, True)
    change(folder / "baseline.json", "cells", 0, "claimed_epsilon", value=0.25)
    told = audit("baseline", "diff", "baseline.json", "signed.json", "--json", cwd=folder)
    assert [(d["what"], d["first"]) for d in json.loads(told.stdout)] == [
        ("claimed epsilon", "0.25")
    ]
    change(folder / "signed.json", "approved", "reason", value="another")
    for command in (
        ("gate", "run", "--baseline", "signed.json"),
        ("baseline", "show", "signed.json"),
        ("baseline", "diff", "baseline.json", "signed.json"),
    ):
        done = audit(*command, cwd=folder)
        assert (done.returncode, "changed" in done.stderr) == (5, True)


def test_a_baseline_and_a_gate_hold_no_path_of_this_machine(kept):
    gate(kept)
    for name in ("baseline.json", "run/gate.json"):
        assert str(kept) not in (kept / name).read_text()


def test_calibration_counts_false_alarms(kept):
    options = ("--calibrate", "--pairs", "20", "--json")
    done = audit("gate", "--baseline", "baseline.json", *options, cwd=kept)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    of_run = audit("gate", "run", *options, cwd=kept)
    assert json.loads(of_run.stdout) == result
    assert result["pairs"] == 20
    assert result["false_alarms"] <= 20
    assert {"smallest", "n_to_pass", "passed"} <= set(result["rules"][0])


def test_the_fixture_gates_in_a_projects_own_tests(folder):
    (folder / "test_own.py").write_text(
        "def test_passes(audit_gate):\n"
        "    audit_gate('run', baseline='baseline.json', policy='loose.yaml')\n"
        "def test_fails(audit_gate):\n"
        "    audit_gate('run', baseline='weaker.json', policy='loose.yaml')\n"
    )
    shutil.copy(folder / "baseline.json", folder / "weaker.json")
    change(folder / "weaker.json", "cells", 0, "claimed_epsilon", value=0.1)
    change(folder / "weaker.json", "cells", 0, "claims", value=[])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "audit.pytest_plugin", "test_own.py"],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "claimed epsilon" in done.stdout


def test_the_plugin_loads_nothing_until_a_test_asks():
    script = (
        "import sys, audit.pytest_plugin; print([m for m in sys.modules if m.startswith('audit.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['audit.pytest_plugin']"
