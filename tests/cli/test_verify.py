"""`audit keygen` and `audit verify` as a user calls them: exit codes, output, speed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audit.signing.keys import load_private_key
from audit.signing.statement import AuditResult
from reports.bundle import write_bundle

ROOT = Path(__file__).resolve().parent.parent.parent


def audit(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "audit", *map(str, arguments)],
        cwd=ROOT, check=False, capture_output=True, text=True,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in ("mine", "other"):
        assert audit("keygen", "--out", folder / name).returncode == 0
    return folder


@pytest.fixture
def bundle(tmp_path, keys):
    write_bundle(
        tmp_path / "evidence",
        {"audit.json": b"{}\n", "config.resolved.yaml": b"name: demo\n"},
        result=AuditResult(passed=("eps-1: consistent",), warned=("eps-2: underpowered",)),
        private_key=load_private_key(keys / "mine" / "audit.key"),
        forbidden_ids=(),
    )
    return tmp_path / "evidence"


def test_keygen_says_where_the_keys_are_and_never_overwrites(tmp_path):
    first = audit("keygen", "--out", tmp_path / "k", "--json")
    assert first.returncode == 0
    said = json.loads(first.stdout)
    assert Path(said["private"]).read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert Path(said["public"]).read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----")
    before = Path(said["private"]).read_bytes()
    again = audit("keygen", "--out", tmp_path / "k")
    assert again.returncode == 2
    assert "never overwritten" in again.stderr
    assert again.stdout == ""
    assert Path(said["private"]).read_bytes() == before
    assert before.decode() not in first.stdout + first.stderr


def test_an_untouched_bundle_verifies_and_says_what_was_signed(bundle, keys):
    done = audit("verify", bundle, "--key", keys / "mine" / "audit.pub")
    assert done.returncode == 0
    assert "verified: 2 files" in done.stdout
    assert "WARNED (1 passed, 1 warned, 0 failed)" in done.stdout
    said = audit("verify", bundle, "--key", keys / "mine" / "audit.pub", "--json")
    result = json.loads(said.stdout)
    assert (said.returncode, result["verified"], result["problems"]) == (0, True, [])
    assert result["result"]["warned"] == ["eps-2: underpowered"]


def test_a_changed_file_and_a_wrong_key_exit_1_and_are_named(bundle, keys):
    wrong = audit("verify", bundle, "--key", keys / "other" / "audit.pub")
    assert wrong.returncode == 1
    assert "attestation.dsse.json: names another key id" in wrong.stdout
    (bundle / "audit.json").write_bytes(b"{} \n")
    changed = audit("verify", bundle, "--key", keys / "mine" / "audit.pub")
    assert changed.returncode == 1
    assert changed.stdout.startswith("audit.json: was changed")
    assert "not verified: 1 problem" in changed.stderr
    said = audit("verify", bundle, "--key", keys / "mine" / "audit.pub", "--json")
    result = json.loads(said.stdout)
    assert (said.returncode, result["verified"], result["result"]) == (1, False, None)
    assert [problem["file"] for problem in result["problems"]] == ["audit.json"]


def test_an_unsigned_bundle_exits_1(bundle, keys):
    (bundle / "attestation.dsse.json").unlink()
    done = audit("verify", bundle, "--key", keys / "mine" / "audit.pub")
    assert (done.returncode, "not signed" in done.stdout) == (1, True)


def test_wrong_usage_and_what_is_no_bundle_have_their_own_exit_codes(bundle, keys, tmp_path):
    key = keys / "mine" / "audit.pub"
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged.pub").write_text("x")
    codes = {
        ("verify",): 2,
        ("verify", bundle): 2,
        ("verify", bundle, "--key", key, "--rescore", bundle): 2,
        ("verify", tmp_path / "none", "--key", key): 2,
        ("verify", bundle, "--key", tmp_path / "none"): 2,
        ("verify", bundle, "--key", tmp_path / "damaged.pub"): 2,
        ("verify", bundle, "--key", keys / "mine" / "audit.key"): 2,
        ("verify", tmp_path / "empty", "--key", key): 4,
        ("verify", "--rescore", tmp_path / "none"): 2,
        ("verify", "--rescore", tmp_path / "empty"): 4,
        ("keygen",): 2,
    }
    found = {}
    for arguments in codes:
        done = audit(*arguments)
        found[arguments] = done.returncode
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
    assert found == codes


def test_a_bundle_is_verified_in_under_two_seconds_without_torch(bundle, keys):
    script = (
        "import sys\nfrom audit.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    heavy = {'torch', 'flwr', 'opacus', 'pandas', 'scipy', 'matplotlib'}\n"
        "    sys.stderr.write(f'loaded: {sorted(heavy & set(sys.modules))}')\n"
    )
    command = ["verify", str(bundle), "--key", str(keys / "mine" / "audit.pub")]
    seconds = []
    for _ in range(3):  # the fastest: other processes only make it slower
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", script, *command],
            cwd=ROOT, check=False, capture_output=True, text=True,
        )  # fmt: skip
        seconds.append(time.perf_counter() - began)
        assert (done.returncode, done.stderr) == (0, "loaded: []")
    assert min(seconds) < 2


def test_rescoring_in_another_process_gives_the_same_numbers(trained):
    """Under another hash seed: no score may depend on the order of a set."""
    done = audit("verify", "--rescore", trained, PYTHONHASHSEED="77")
    assert (done.returncode, done.stderr) == (0, "")
    assert "come out the same" in done.stdout


def test_an_edited_score_exits_1(run_copy):
    scores = run_copy / "scores.jsonl"
    scores.write_text(scores.read_text().replace('"confidence": 0.95', '"confidence": 0.9', 1))
    done = audit("verify", "--rescore", run_copy, "--json")
    assert done.returncode == 1
    assert {p["file"] for p in json.loads(done.stdout)["problems"]} == {"scores.jsonl"}
