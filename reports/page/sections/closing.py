"""The gate, the crosswalk, reproduction, what stays outside, glossary and sign-off."""

from collections import Counter, defaultdict
from typing import Any

from audit.formats.evidence import EvidenceRecord
from reports.page.blocks import Bullets, Facts, Grid, Paragraph, Section, SignOff
from reports.page.sections.gate import gate_blocks

GLOSSARY = (
    ("AUC", "chance that an attack ranks a member above another record; 0.5 is guessing"),
    ("Audit cell", "a training of the same recipe with made-up records, thrown away afterwards"),
    ("Canary", "a made-up record whose effect an audit looks for"),
    ("Ceiling", "the largest bound that an audit of this size could have found"),
    ("Claim", "the epsilon that the recipe promises, at its delta"),
    ("Delta", "probability for which the promise of epsilon may fail"),
    ("DP-SGD", "training on clipped gradients of single records with Gaussian noise added"),
    ("Epsilon", "how much likelier an outcome may become by one record; smaller is more private"),
    ("FPR, TPR", "part of non-members, and of members, that an attack points at"),
    ("Interval", "95 % unless said otherwise"),
    ("Noise multiplier", "standard deviation of the noise over the clipping norm"),
    ("Probe", "a single step on a few records, made to see the worst case"),
    ("Secure aggregation", "a protocol that shows the server the sum of updates only"),
    ("SSIM", "likeness of two images; 1 is the same"),
)


def gate(record: EvidenceRecord) -> Section:
    """Return the gate's result, if it has run."""
    if record.gate is None:
        return Section(
            id="gate",
            title="Regression gate",
            blocks=(
                Paragraph(
                    text="The gate has not run on this model: it was not compared with an "
                    "approved one."
                ),
            ),
        )
    return Section(id="gate", title="Regression gate", blocks=gate_blocks(record.gate))


def crosswalk(record: EvidenceRecord) -> Section:
    """Return requirements beside the evidence for them."""
    sources: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in record.crosswalk:
        sources[row["source_title"]].append(row)
    counted = Counter(row["state"] for row in record.crosswalk)
    told = ", ".join(f"{state}: {counted[state]}" for state in ("present", "partial", "absent"))
    return Section(
        id="crosswalk",
        title="Crosswalk to requirements",
        blocks=(
            Paragraph(
                text="Which artefact of this audit is evidence for which requirement, and whether "
                "it is there. Evidence supports a requirement; whether it is met, people decide. "
                f"Of {len(record.crosswalk)} requirements, evidence is {told}."
            ),
            *(_source(title, rows) for title, rows in sources.items()),
        ),
    )


def _source(title: str, rows: list[dict[str, Any]]) -> Grid:
    return Grid(
        caption=title,
        headers=("Requirement", "In one line", "Evidence here", "State", "Why, and its limits"),
        rows=[
            (
                row["id"],
                row["requirement"] + ("" if row["text_check"].startswith("checked") else " *"),
                _evidence(row["evidence"]),
                row["state"],
                f"{row['reason']}. {row['limits']}",
            )
            for row in rows
        ],
        note=f"{rows[0]['edition']}. "
        + "; ".join(dict.fromkeys(r["check_note"] for r in rows if r["check_note"]))
        + (
            " * Text not checked against the source."
            if any(not r["text_check"].startswith("checked") for r in rows)
            else ""
        ),
    )


def _evidence(found: list[dict[str, Any]]) -> str:
    """Name the files that hold what is there."""
    held = [f"{each['key'].replace('_', ' ')} ({each['file']})" for each in found if each["file"]]
    return ", ".join(held) or "none"


def reproduction(record: EvidenceRecord) -> Section:
    """Return how to make this again, and with what it was made."""
    return Section(
        id="reproduction",
        title="Reproduction",
        blocks=(
            Bullets(items=[("", line) for line in record.reproduction]),
            Facts(
                items=(
                    ("Tool", f"{record.tool['name']} {record.tool['version']}"),
                    ("Its code", f"SHA-256 {record.tool['code_sha256']}"),
                    ("Python", record.run.python),
                    *((name, version) for name, version in record.run.packages.items()),
                    (
                        "Telemetry",
                        "none: Flower's is turned off, and nothing here opens a connection "
                        "outside of the federation",
                    ),
                )
            ),
        ),
    )


def outside(record: EvidenceRecord) -> Section:
    """Return what stays outside of the guarantee."""
    return Section(
        id="outside",
        title="What stays outside the guarantee",
        blocks=(Bullets(items=[("", line) for line in record.outside]),),
    )


def glossary(record: EvidenceRecord) -> Section:
    """Return the words of this report."""
    del record
    return Section(id="glossary", title="Glossary", blocks=(Facts(items=GLOSSARY),))


def sign_off(record: EvidenceRecord) -> Section:
    """Return lines for those who decide."""
    return Section(
        id="signoff",
        title="Sign-off",
        blocks=(
            Paragraph(
                text="By signing, each person says that they have read the verdict "
                f"(“{record.verdict.headline}”), what this proves and what it does not, and the "
                "residual risk."
            ),
            SignOff(
                roles=(
                    "Privacy officer",
                    "Responsible engineer",
                    "Clinical lead",
                    "External assessor",
                )
            ),
        ),
    )
