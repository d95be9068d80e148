"""The self-test finds planted faults, and is quiet where there are none."""

import json
import subprocess
import sys

import pytest
from scipy import special

from audit.core.audits import AuditRecord, Verdict
from audit.core.errors import MissingEvidenceError
from audit.scoring import judge
from audit.selftest import SelfTestOptions, alarms, null_alarms, selftest
from audit.store.run import RunDirectory
from training.faults import FAULTS

BY_CHANCE = {"narrow-seed"}
"""Found only where one of the seeds tried was drawn: three times in four at standard budget."""


def test_it_finds_what_was_planted_and_marks_its_run(tmp_path):
    planned: list[int] = []
    done: list[int] = []
    findings = selftest(
        SelfTestOptions(
            faults=("none", "no-noise", "same-noise"), planned=planned.append, done=done.append
        ),
        tmp_path / "run",
    )
    found = {finding.name: finding for finding in findings}
    assert list(found) == ["none", "no-noise", "same-noise"]
    assert found["none"].found == 0
    assert found["no-noise"].found == 1 and "secagg-server/canary-sum" in found["no-noise"].by
    # Single updates and sums look as they should; differences do not.
    assert set(found["same-noise"].by) == {
        "server/canary-difference",
        "participant/canary-own-noise",
    }
    assert all(r.verdict is not None for f in findings for r in f.records)
    assert sum(done) == planned[0] == 30
    run = RunDirectory.open(tmp_path / "run")
    assert run.record["faults"] == ["no-noise", "same-noise"]
    with pytest.raises(MissingEvidenceError, match="planted faults"):
        run.check_sound()


def test_a_reversal_without_any_doubt_is_an_alarm_too():
    record = AuditRecord(
        cell="eps-2", adversary="server", attack="canary-update", claimed_epsilon=2.0,
        delta=1e-5, lower_bound=0.0, method="", confidence=0.95, n=2000, ceiling=5.0,
        guessed_in=0, inside=1000, guessed_in_wrongly=1000, outside=1000, p_value=1.0,
        best_p_value=1e-12, reversal_p_value=0.0,
    )  # fmt: skip
    (judged,) = judge([record])
    assert judged.adjusted_reversal_p_value == 0.0
    assert alarms([judged]) == ["server/canary-update"]


def test_the_command_prints_facts_and_swapped_truth_is_an_alarm_without_a_violation(tmp_path):
    command = [sys.executable, "-m", "audit", "selftest", "--json"]
    for fault in ("no-clipping", "swapped-truth"):
        command += ["--fault", fault]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "20 audit cells" in done.stderr
    clipping, swapped = json.loads(done.stdout)["findings"]
    assert (clipping["fault"], clipping["found"], clipping["repeats"]) == ("no-clipping", 1, 1)
    assert {a["attack"] for a in clipping["audits"]} >= {"canary-update", "canary-sum"}
    assert (swapped["fault"], swapped["found"]) == ("swapped-truth", 1)
    records = [AuditRecord.model_validate(audit) for audit in swapped["audits"]]
    assert not any(r.verdict is Verdict.VIOLATED for r in records)
    assert any("swapped" in (r.reason or "") for r in records)
    assert alarms(records)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_at_standard_budget_all_but_what_chance_decides_are_found():
    findings = selftest(SelfTestOptions(budget="standard"))
    found = {f.name for f in findings if f.found}
    assert found >= {fault.name for fault in FAULTS} - BY_CHANCE
    assert len(found) >= 9
    assert findings[0].name == "none" and "none" not in found


@pytest.mark.slow
def test_the_correct_pipeline_raises_alarms_as_seldom_as_stated():
    seeds = range(1, 101)
    most = next(k for k in range(101) if special.bdtr(k, 100, 0.05) >= 0.95)
    assert most == 9
    assert len(null_alarms(seeds)) <= most
