"""One call from run directories, a baseline's file and a policy's file to a kept decision."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from audit.formats.files import write_json
from audit.formats.gate import GateRecord
from audit.formats.policy import default_policy_path, read_policy
from audit.gate.approval import open_baseline
from audit.gate.decide import Documents, decide_gate
from audit.gate.facts import held, read_facts
from audit.store.run import RunDirectory


def gate_runs(
    runs: Sequence[RunDirectory],
    *,
    baseline: Path,
    policy: Path | None = None,
    key: Path | None = None,
) -> GateRecord:
    """Gate one run, or several seeds of one configuration, and keep ``gate.json`` in each.

    Args:
        runs: At least one.
        baseline: What was approved.
        policy: Else the shipped one.
        key: Public key that must have signed the baseline.

    Raises:
        LockedRunError: A run is still being trained or attacked.
        AuditError: Something is missing, malformed or damaged; it carries the exit code.
    """
    rules, policy_digest = read_policy(policy or default_policy_path())
    today = datetime.now(UTC).date()
    approved, digest, signature = open_baseline(baseline, key=key, today=today)
    with held(runs):
        record = decide_gate(
            read_facts(runs),
            approved,
            rules,
            documents=Documents(baseline=digest, policy=policy_digest, signature=signature),
            today=today,
        )
        for run in runs:
            write_json(run.path / "gate.json", record.model_dump(mode="json", by_alias=True))
    return record
