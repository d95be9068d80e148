"""A gate for GitHub Actions: annotations on the log, and a summary of the step."""

from collections.abc import Iterator
from pathlib import Path

from audit.formats.gate import Check, Decision, GateRecord

MOST = 10
"""GitHub shows so many annotations of a kind in one step."""


def annotations(record: GateRecord) -> Iterator[str]:
    """Yield workflow commands: an error for what fails or has no answer, a warning for the rest.

    Source:
        GitHub documentation, "Workflow commands for GitHub Actions": the escapes of data and of
        properties.
    """
    shown = {"error": 0, "warning": 0}
    for check in record.checks:
        if check.decision is Decision.PASS:
            continue
        hard = check.counts and check.decision in {Decision.FAIL, Decision.INCOMPARABLE}
        kind = "error" if hard else "warning"
        shown[kind] += 1
        if shown[kind] <= MOST:
            title = _property(f"audit gate: {check.cell or 'run'} {check.name}")
            yield f"::{kind} title={title}::{_data(f'{check.decision.value}: {check.reason}')}"
    yield f"::notice title=audit gate::{_data(headline(record))}"


def append_summary(record: GateRecord, path: Path) -> None:
    """Append the gate to the step's summary, a Markdown file that several tools share."""
    with path.open("a", encoding="utf-8") as handle:
        handle.write(summary(record))


def summary(record: GateRecord) -> str:
    """Return the gate as Markdown: the outcome, and all that did not pass."""
    lines = [f"### audit gate: {headline(record)}", ""]
    left = [check for check in record.checks if check.decision is not Decision.PASS]
    if left:
        lines += ["| cell | rule | decision | reason |", "|---|---|---|---|"]
        lines += [_row(check) for check in left]
        lines.append("")
    lines += [f"- {_cell(note)}" for note in record.notes]
    return "\n".join(lines) + "\n"


def headline(record: GateRecord) -> str:
    """Return the outcome in a line."""
    counts = {
        decision: sum(c.decision is decision and c.counts for c in record.checks)
        for decision in Decision
    }
    told = ", ".join(f"{n} {decision.value}" for decision, n in counts.items() if n)
    return f"{record.decision.value} ({told or 'nothing checked'})"


def _row(check: Check) -> str:
    standing = check.decision.value
    if check.waived_by is not None:
        standing += f", waived by {check.waived_by}"
    elif check.level == "warn":
        standing += ", warn only"
    said = check.reason + (f"; {check.advice}" if check.advice else "")
    return f"| {check.cell or ''} | {_cell(check.name)} | {_cell(standing)} | {_cell(said)} |"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
