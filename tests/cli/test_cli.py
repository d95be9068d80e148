"""The command line through its own entry point: output, errors and exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import audit
from jsonschema import Draft202012Validator

from audit.core.scores import Outcome

TINY = (
    "-o", "privacy.epsilons=[4]", "-o", "schedule.rounds=2", "-o", "schedule.local_steps=1",
    "-o", "probes.repeats=1",
)  # fmt: skip

# The loss attack on both cells, by both adversaries that it runs on.
LOSS_EVERYWHERE = {
    f"eps-{cell}/{by}/loss" for cell in ("2", "inf") for by in ("query", "recipient")
}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("train", "nothing-here"), 2, "nothing-here"),
        (("train", "smoke", "-o", "privacy.epsilons=[0]"), 2, "privacy.epsilons"),
        (("train", "smoke", "-o", "privacy.epsilons=[.nan]"), 2, "privacy.epsilons"),
        (("train", "smoke", "-o", "unheard.of=1"), 2, "unheard"),
        (("train", "smoke", "-o", "model.name=resnet9000"), 2, "resnet9000"),
        (("train", "smoke", "-o", "partition.clients=5000"), 2, "5000"),
        (("train", "smoke", "-o", "data.name=imagenet"), 2, "imagenet"),
        (("train", "mnist"), 2, "--download"),
        (("train", "chest_xray"), 2, "pneumoniamnist"),
        (("train", "smoke", "--backend", "spark"), 2, "spark"),
        (("train", "--resume", "--out", "nowhere"), 2, "nowhere"),
        (("attack", "nowhere"), 2, "nowhere"),
        (("attack", "."), 4, "run.json"),
        (("attack",), 4, "audit train"),
        (("table", "."), 4, "run.json"),
        (("selftest", "--fault", "gremlins"), 2, "gremlins"),
        (("frobnicate",), 2, "frobnicate"),
    ],
)
def test_bad_input_is_one_clear_line_and_the_documented_code(
    arguments: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    done = audit(*arguments, cwd=tmp_path, AUDIT_DATA=str(tmp_path / "no-data"))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "nothing-here"),
        ("train", "smoke", "-o", "privacy.epsilons=[0]"),
        ("train", "smoke", "--print-config"),
        ("attack", "nowhere"),
        ("table", "nowhere"),
    ],
)
def test_what_is_wrong_at_a_glance_needs_no_heavy_import(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    script = (
        "import sys, audit.cli\n"
        "try: audit.cli.main()\n"
        "finally: print(*sorted({'torch', 'flwr', 'opacus'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if "--print-config" in arguments else 2), done.stderr
    assert done.stderr.splitlines()[-1] == ""


def test_an_unknown_attack_or_adversary_is_refused(trained: Path, tmp_path: Path) -> None:
    for option, name in (("--only", "witchcraft"), ("--adversary", "ghost")):
        done = audit("attack", str(trained), option, name, cwd=tmp_path)
        assert done.returncode == 2
        assert name in done.stderr


def test_a_damaged_run_is_exit_5(run_copy: Path, tmp_path: Path) -> None:
    model = run_copy / "cells" / "eps-2" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    done = audit("attack", str(run_copy), cwd=tmp_path)
    assert done.returncode == 5
    assert "model.safetensors" in done.stderr


def test_missing_secrets_keep_the_guesses_and_say_so(run_copy: Path, tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(run_copy / "secrets")
    shutil.rmtree(run_copy / "attacks")
    done = audit("attack", str(run_copy), "--only", "loss", cwd=tmp_path)
    assert done.returncode == 4
    assert "secrets" in done.stderr
    assert (run_copy / "attacks/eps-2/recipient/loss/guess.safetensors").exists()


def test_print_config_is_a_configuration_that_trains_the_same(tmp_path: Path) -> None:
    done = audit("train", "smoke", *TINY, "--print-config", cwd=tmp_path)
    assert done.returncode == 0
    (tmp_path / "mine.yaml").write_text(done.stdout)
    again = audit("train", "mine.yaml", "--print-config", cwd=tmp_path)
    assert again.stdout == done.stdout
    assert not (tmp_path / "runs").exists()


def test_train_attack_and_table_name_the_next_command(tmp_path: Path) -> None:
    done = audit("train", "smoke", *TINY, "--out", "r", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"runs": ["r"]}
    assert "per-record gradients" in done.stderr
    again = audit("train", "smoke", *TINY, "--out", "r", cwd=tmp_path)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    done = audit("attack", "r", "--only", "loss", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "audit table r" in done.stderr
    assert "positive controls" in done.stderr
    lines = (tmp_path / "r" / "controls.jsonl").read_text().splitlines()
    assert {json.loads(line)["detected"] for line in lines} == {True}
    done = audit("attack", "r", "--only", "loss", "--no-controls", cwd=tmp_path)
    assert "positive controls" not in done.stderr
    done = audit("table", "r", "--json", cwd=tmp_path)
    table = json.loads(done.stdout)
    (row,) = table["rows"]
    assert table["schema"] == "audit-table/v1"
    assert row["cell"] == "eps-4"
    assert row["claimed_epsilon"] <= row["target_epsilon"] == 4
    assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    assert row["baseline_accuracy"] is None
    assert {claim["adversary"] for claim in row["claims"]} >= {"server", "secagg-server"}
    assert {score["metric"] for score in row["leakage"]} >= {"auc", "tpr_at_fpr_0.01"}
    assert all(s["value"] is not None or s["reason"] for s in row["leakage"])
    shown = audit("table", "r", cwd=tmp_path)
    assert "AUC" in shown.stdout
    assert (tmp_path / "r" / "report" / "accuracy.svg").exists()


def test_an_attack_that_raises_is_recorded_and_the_others_go_on(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attacks.attack import Budget
    from attacks.membership.loss import LossThreshold
    from audit.pipeline.attack import AttackOptions, attack
    from audit.store.run import RunDirectory

    def broken(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(LossThreshold, "guess", broken)
    import shutil

    shutil.rmtree(run_copy / "attacks")
    report = attack(
        RunDirectory.open(run_copy),
        AttackOptions(only=("loss", "art-rule"), budget=Budget.QUICK),
    )
    assert set(report.failed) == LOSS_EVERYWHERE
    scores = [json.loads(line) for line in (run_copy / "scores.jsonl").read_text().splitlines()]
    loss = [s for s in scores if s["attack"] == "loss"]
    assert {s["outcome"] for s in loss} == {Outcome.FAILED.value}
    assert all("planted" in s["reason"] and s["value"] is None for s in loss)
    rule = [s for s in scores if s["attack"] == "art-rule" and s["metric"] == "auc"]
    assert all(s["outcome"] == "executed" for s in rule)
    assert any(s["attack"] == "dlg" for s in scores), "scores of other attacks are kept"


def test_a_guess_that_is_no_number_is_a_recorded_failure(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    from attacks.attack import Budget
    from attacks.membership.loss import LossThreshold
    from audit.core.guesses import MembershipGuess
    from audit.pipeline.attack import AttackOptions, attack
    from audit.store.run import RunDirectory

    def blank(_: object, view: object, __: object) -> MembershipGuess:
        ids = view.background.candidates.ids  # type: ignore[attr-defined]
        return MembershipGuess(candidates=ids, scores=np.full(len(ids), np.nan))

    monkeypatch.setattr(LossThreshold, "guess", blank)
    options = AttackOptions(only=("loss",), budget=Budget.THOROUGH)
    report = attack(RunDirectory.open(run_copy), options)
    assert set(report.failed) == LOSS_EVERYWHERE


def test_an_interrupt_exits_130_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "audit", "train", "smoke", "--out", "r"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "r" / "cells" / "eps-2" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "--resume" in said
    done = audit("train", "--resume", "--out", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r" / "cells" / "eps-inf" / "model.safetensors").exists()


def test_several_seeds_make_several_complete_runs(tmp_path: Path) -> None:
    done = audit("train", "smoke", *TINY, "--out", "r", "--seeds", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    seeds = [json.loads((tmp_path / f"r-s{i}" / "run.json").read_text())["seed"] for i in (0, 1)]
    assert seeds == [1, 2]


def test_the_fixed_noise_key_is_nowhere_but_in_the_secrets(trained: Path) -> None:
    from audit.core.loading import load_config

    key = load_config("smoke").privacy.noise_key
    assert key is not None
    holders = [
        p.relative_to(trained).parts[0]
        for p in trained.rglob("*")
        if p.is_file() and (key.encode() in p.read_bytes() or bytes.fromhex(key) in p.read_bytes())
    ]
    assert holders == ["secrets"]


def test_purge_asks_first(run_copy: Path, tmp_path: Path) -> None:
    assert audit("purge", str(run_copy), cwd=tmp_path).returncode == 2
    assert run_copy.exists()
    assert audit("purge", str(run_copy), "--yes", cwd=tmp_path).returncode == 0
    assert not run_copy.exists()


def test_attacks_and_doctor_print_json(tmp_path: Path) -> None:
    listed = json.loads(audit("attacks", "--json", cwd=tmp_path).stdout)
    assert {"loss", "dlg"} <= {entry["id"] for entry in listed}
    assert json.loads(audit("doctor", "--json", cwd=tmp_path).stdout)["packages"]["flwr"]


def test_bad_data_leaves_no_run_behind(tmp_path: Path) -> None:
    assert (
        audit("train", "smoke", "-o", "data.name=npz", "--out", "r", cwd=tmp_path).returncode == 2
    )
    assert not (tmp_path / "r").exists()


def test_every_schema_is_one_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    from audit.cli.schemas import MODELS

    for name in MODELS:
        done = audit("schema", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        Draft202012Validator.check_schema(json.loads(done.stdout))
    done = audit("schema", "no-such", cwd=tmp_path)
    assert done.returncode == 2
    assert "config" in done.stderr
