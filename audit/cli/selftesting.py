"""What `audit selftest` does and prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from audit.cli.options import print_json, stderr, stdout
from audit.cli.progress import selftest_progress
from audit.core.errors import ConfigError
from audit.pipeline.code import JUDGING, code_digest
from audit.selftest import Finding, SelfTestOptions, selftest
from training.faults import FAULTS


def run_selftest(
    *,
    budget: str,
    repeats: int,
    faults: Sequence[str],
    seed: int,
    out: Path | None,
    as_json: bool,
) -> list[Finding]:
    """Plant faults, and print which were found; the arguments are the command line's.

    Raises:
        ConfigError: A fault is unknown.
    """
    known = [fault.name for fault in FAULTS]
    for name in faults:
        if name not in (*known, "none"):
            raise ConfigError(f"--fault {name!r}: unknown; expected none, {', '.join(known)}")
    with selftest_progress() as progress:
        findings = selftest(
            SelfTestOptions(
                budget=budget,
                repeats=repeats,
                faults=tuple(faults),
                seed=seed,
                planned=progress.planned,
                done=progress.done,
            ),
            out,
        )
    if as_json:
        print_json(
            {
                "schema": "audit-selftest/v1",
                "code_sha256": code_digest(*JUDGING),
                "budget": budget,
                "seed": seed,
                "findings": [_facts(f) for f in findings],
            }
        )
    else:
        stdout.print(_table(findings, budget))
    if out is not None:
        stderr.print(f"kept in {out}", soft_wrap=True, highlight=False)
    return findings


def _facts(finding: Finding) -> dict[str, Any]:
    return {
        "fault": finding.name,
        "title": finding.title,
        "repeats": finding.repeats,
        "found": finding.found,
        "by": finding.by,
        "audits": [record.model_dump(mode="json") for record in finding.records],
    }


def _table(findings: Sequence[Finding], budget: str) -> Table:
    planted = [f for f in findings if f.name != "none"]
    caught = sum(f.found > 0 for f in planted)
    shown = Table(
        title=f"Self-test, {budget} budget: {caught} of {len(planted)} faults found",
        title_justify="left",
        caption="An alarm: a verdict `violated`, or scores that contradict the truth, the chance "
        "of a false one held at 5 % over all audits.",
        caption_justify="left",
    )
    for heading in ("planted", "alarms", "raised by"):
        shown.add_column(heading)
    for finding in findings:
        by = ", ".join(
            name if finding.repeats == 1 else f"{name} ({count})"
            for name, count in sorted(finding.by.items())
        )
        shown.add_row(
            finding.title,
            f"{finding.found} of {finding.repeats}",
            by or "–",
        )
    return shown
