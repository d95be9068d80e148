"""What `audit gate` does and shows."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from audit.cli.options import print_json, stderr, stdout
from audit.core.errors import ConfigError
from audit.formats.gate import GateRecord
from audit.formats.policy import default_policy_path, read_policy
from audit.gate.approval import open_baseline
from audit.gate.facts import read_facts
from audit.gate.github import annotations, append_summary
from audit.gate.junit import write_junit
from audit.gate.terminal import render
from audit.store.run import RunDirectory


def show_gate(
    record: GateRecord, *, junit: Path | None, as_json: bool, all_checks: bool = False
) -> None:
    """Print a gate, then write what CI reads of it: what cannot be written hides no decision."""
    if as_json:
        print_json(record.model_dump(mode="json", by_alias=True))
    else:
        stdout.print(render(record, all_checks=all_checks))
    if os.environ.get("GITHUB_ACTIONS"):
        for line in annotations(record):
            (stderr if as_json else stdout).print(
                line, markup=False, highlight=False, soft_wrap=True
            )
    if junit is not None:
        write_junit(record, junit)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        try:
            append_summary(record, Path(summary))
        except OSError as error:
            raise ConfigError(f"GITHUB_STEP_SUMMARY {summary}: {error.strerror}") from None


def calibrate(
    runs: Sequence[RunDirectory],
    *,
    baseline: Path | None,
    policy: Path | None,
    key: Path | None,
    pairs: int,
    as_json: bool,
) -> None:
    """Print how often the policy would fail an unchanged recipe, and what it would find.

    Args:
        runs: Taken for the truth where there is no baseline.
        baseline: Taken for the truth.
        policy: Else the shipped one.
        key: Public key that must have signed the baseline.
        pairs: Gates to simulate.
        as_json: Print JSON.
    """
    from audit.gate.calibrate import calibrate_policy
    from audit.gate.calibration_table import render_calibration

    rules, _ = read_policy(policy or default_policy_path())
    cells = (
        open_baseline(baseline, key=key)[0].cells
        if baseline is not None
        else read_facts(runs).cells
    )
    result = calibrate_policy(cells, rules, pairs=pairs, seed=1)
    if as_json:
        print_json(asdict(result))
    else:
        stdout.print(render_calibration(result))
