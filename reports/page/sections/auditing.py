"""Audits of the DP claim: claimed against found, with ceilings."""

from audit.formats.evidence import EvidenceRecord
from reports.page import charts
from reports.page.blocks import (
    Chart,
    Grid,
    Paragraph,
    Section,
    decimal,
    number,
)
from reports.page.words import cell_title, verdict_word


def auditing(record: EvidenceRecord) -> Section:
    """Return the DP audits, claimed against found, and the self-test of the auditor."""
    rows, drawn = [], []
    for cell in record.cells:
        for audit in cell.audits:
            where = f"{cell_title(cell)}, {'a probe' if audit.about == 'probe' else 'recipe'}"
            rows.append(
                (
                    where,
                    audit.adversary,
                    audit.attack,
                    number(audit.claimed_epsilon, 4),
                    decimal(audit.lower_bound),
                    decimal(audit.ceiling, 1),
                    str(audit.n),
                    number(audit.adjusted_p_value, 2),
                    verdict_word(audit.verdict, claimed=audit.claimed_epsilon is not None),
                    audit.method.split(",")[0],
                )
            )
            if audit.claimed_epsilon is not None:
                drawn.append(
                    (
                        f"{where}, {audit.attack}, {audit.adversary}",
                        audit.claimed_epsilon,
                        audit.lower_bound,
                        audit.ceiling,
                    )
                )
    blocks: list[Paragraph | Grid | Chart] = [
        Paragraph(
            text="Made-up records (canaries) go through the same recipe and code in audit cells; "
            "how well an adversary tells which were in bounds epsilon from below. A bound above "
            "the claim would contradict it. The ceiling is the bound if every guess had been "
            "right: a violation above it could not have been seen. False alarms are held at 5 % "
            "over all audits of the run (Holm)."
        )
    ]
    if rows:
        blocks.append(
            Grid(
                caption="DP audits: claimed against found",
                headers=(
                    "About",
                    "Adversary",
                    "Audit",
                    "Claimed",
                    "At least",
                    "Ceiling",
                    "n",
                    "p, adjusted",
                    "Verdict",
                    "Method",
                ),
                rows=rows,
                note="Bounds are one-sided at 95 %. Bounds by a Gaussian method hold for that "
                "family of mechanisms; verdicts rest on exact error rates against the claimed "
                "curve.",
                numeric=frozenset(range(3, 8)),
            )
        )
    else:
        blocks.append(Paragraph(text="Not audited: no audit was executed."))
    if drawn:
        blocks.append(
            Chart(
                title="Claimed against found",
                description="For each audit: the claim, the lower bound found, and how far the "
                "audit could have seen. The numbers are those of the table above.",
                source=charts.claimed_and_found(drawn),
            )
        )
    return Section(id="audits", title="Audits of the DP claim", blocks=blocks)
