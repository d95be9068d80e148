"""A gate for GitHub Actions: annotations on the log, and a summary of the step."""

from collections.abc import Iterator
from pathlib import Path

from audit.formats.gate import GateRecord
from audit.gate.digest import Group, digest, headline, passed

MOST = 10
"""GitHub shows so many annotations of a kind in one step."""


def annotations(record: GateRecord) -> Iterator[str]:
    """Yield workflow commands: an error for what fails or has no answer, a warning for the rest.

    Source:
        GitHub documentation, "Workflow commands for GitHub Actions": the escapes of data and of
        properties.
    """
    shown = {"error": 0, "warning": 0}
    for group in digest(record.checks):
        kind = "error" if group.hard else "warning"
        shown[kind] += 1
        if shown[kind] <= MOST:
            title = _property(f"audit gate: {group.what}")
            said = f"{group.standing}: {group.where}: {group.why}"
            yield f"::{kind} title={title}::{_data(said)}"
    yield f"::notice title=audit gate::{_data(headline(record))}"


def append_summary(record: GateRecord, path: Path) -> None:
    """Append the gate to the step's summary, a Markdown file that several tools share."""
    with path.open("a", encoding="utf-8") as handle:
        handle.write(summary(record))


def summary(record: GateRecord) -> str:
    """Return the gate as Markdown: the outcome, and all that did not pass."""
    lines = [f"### audit gate: {headline(record)}", ""]
    groups = digest(record.checks)
    if groups:
        lines += ["| decision | rule | where | reason |", "|---|---|---|---|"]
        lines += [_row(group) for group in groups]
        lines.append("")
    lines += [f"- {_cell(note)}" for note in (passed(record.checks), *record.notes) if note]
    lines.append(
        f"- approved by {_cell(record.approved_by)} on {record.approved_at[:10]}; "
        f"signature: {record.signature}; exit code {record.exit_code}"
    )
    return "\n".join(lines) + "\n"


def _row(group: Group) -> str:
    said = "; ".join(part for part in (group.values, group.why) if part)
    return "| " + " | ".join(map(_cell, (group.standing, group.what, group.where, said))) + " |"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
