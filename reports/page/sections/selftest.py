"""Whether the auditor itself can be believed: planted faults, and positive controls."""

from audit.formats.evidence import EvidenceRecord
from reports.page.blocks import MISSING, Grid, Paragraph, Section, interval, number
from reports.page.words import control_word


def strength(record: EvidenceRecord) -> Section:
    """Return the self-test of this version, and the positive controls of this run's attacks."""
    return Section(
        id="strength",
        title="Can this audit be believed?",
        blocks=(*_selftest(record), *_controls(record)),
    )


def _selftest(record: EvidenceRecord) -> list[Paragraph | Grid]:
    found = record.selftest
    if found is None:
        return [Paragraph(text="No self-test of this version is at hand: run `audit selftest`.")]
    planted = [f for f in found["findings"] if f["fault"] != "none"]
    caught = sum(f["found"] > 0 for f in planted)
    same = found.get("code_sha256") == record.tool["code_sha256"]
    said = (
        "It was made by the very code that made this report."
        if same
        else "It was made by an earlier state of the code than this report: run `audit selftest` "
        "to have it of this one."
    )
    return [
        Paragraph(
            text="Faults were planted in the hospitals' code, and the audits were run on it as "
            f"on any other: {caught} of {len(planted)} were found at the {found['budget']} "
            f"budget. {said}"
        ),
        Grid(
            caption="Self-test of the auditor",
            headers=("Planted", "Alarms", "Raised by"),
            rows=[
                (
                    f["title"],
                    f"{f['found']} of {f['repeats']}",
                    ", ".join(sorted(f["by"])) or "none",
                )
                for f in found["findings"]
            ],
        ),
    ]


def _controls(record: EvidenceRecord) -> list[Paragraph | Grid]:
    if not record.controls:
        return [
            Paragraph(
                strong=True,
                text="This run keeps no positive controls of its attacks: whether an attack that "
                "found nothing works at all was not checked.",
            )
        ]
    return [
        Grid(
            caption="Positive controls: each attack where a leak is certainly there",
            headers=(
                "Attack",
                "Adversary",
                "Control",
                "Measure",
                "Value [95 %]",
                "Chance",
                "Found",
            ),
            rows=[
                (
                    line.attack,
                    line.adversary,
                    line.control.value,
                    line.metric or MISSING,
                    interval(line.value, line.low, line.high),
                    number(line.chance),
                    control_word(line.detected) + (f": {line.reason}" if line.reason else ""),
                )
                for line in record.controls
            ],
        )
    ]
