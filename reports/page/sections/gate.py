"""The gate's result as blocks."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from reports.page.blocks import MISSING, Bullets, Facts, Grid, Paragraph, interval

WORDS = {
    "pass": "passed",
    "fail": "FAILED",
    "inconclusive": "inconclusive",
    "incomparable": "incomparable",
}
MOST_ROWS = 60
"""Undecided checks that are listed; all are in audit.json."""


def gate_blocks(gate: Mapping[str, Any]) -> list[Paragraph | Facts | Grid | Bullets]:
    """Return what ``gate.json`` says.

    Args:
        gate: Its content.
    """
    counted = Counter(check["decision"] for check in gate["checks"])
    open_checks = [check for check in gate["checks"] if check["decision"] != "pass"]
    blocks: list[Paragraph | Facts | Grid | Bullets] = [
        Paragraph(strong=True, text=f"Against the approved baseline: {WORDS[gate['decision']]}."),
        Facts(
            items=(
                ("Gated", gate["created"]),
                ("Baseline", f"SHA-256 {gate['baseline']}, signature: {gate['signature']}"),
                ("Approved", f"by {gate['approved_by']} at {gate['approved_at']}"),
                ("Policy", f"SHA-256 {gate['policy']}"),
                (
                    "Checks",
                    ", ".join(f"{counted[name]} {word}" for name, word in WORDS.items()),
                ),
            )
        ),
    ]
    if open_checks:
        blocks.append(
            Grid(
                caption="Checks that did not pass",
                headers=("Check", "Model", "Run", "Baseline", "Rise", "Decision", "Why"),
                rows=[_row(check) for check in open_checks[:MOST_ROWS]],
                note="A rise is turned so that up is more leakage."
                + (
                    f" {len(open_checks) - MOST_ROWS} more are in audit.json."
                    if len(open_checks) > MOST_ROWS
                    else ""
                ),
            )
        )
    if gate["notes"]:
        blocks.append(Bullets(items=[("", note) for note in gate["notes"]]))
    return blocks


def _row(check: Mapping[str, Any]) -> tuple[str, ...]:
    parts = (check[key] for key in ("rule", "adversary", "attack", "metric", "slice"))
    waived = f" (waived by {check['waived_by']})" if check["waived_by"] else ""
    level = " (warning only)" if check["level"] == "warn" else ""
    return (
        " ".join(part for part in parts if part),
        check["cell"] or "all",
        *(_side(check[key]) for key in ("run", "baseline", "rise")),
        WORDS[check["decision"]] + waived + level,
        check["reason"] + (f"; {check['advice']}" if check["advice"] else ""),
    )


def _side(side: Mapping[str, Any] | None) -> str:
    if side is None or side["value"] is None:
        return MISSING
    if side["low"] is None:
        return f"{side['value']:.3g}"
    return interval(side["value"], side["low"], side["high"], 3)
