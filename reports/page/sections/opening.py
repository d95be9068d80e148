"""Verdict, scope, and what the report proves and what it does not."""

from audit.formats.evidence import EvidenceRecord
from reports.page.blocks import (
    Banner,
    Bullets,
    Facts,
    Grid,
    Paragraph,
    Section,
    decimal,
    number,
    percent_interval,
)
from reports.page.blocks import interval as spread
from reports.page.words import STATES, cell_title, kind_word, verdict_word


def verdict(record: EvidenceRecord) -> Section:
    """Return the verdict and the table that it rests on."""
    found = record.verdict
    mark, label = STATES[found.state]
    return Section(
        id="verdict",
        title="Verdict",
        blocks=(
            Banner(state=found.state, mark=mark, label=label, text=found.headline),
            Bullets(items=[(kind_word(s.kind), s.text) for s in found.statements]),
            verdict_table(record),
            Paragraph(
                text="This report says what evidence there is. It is no legal opinion, and an "
                "attack that failed is no proof of privacy."
            ),
        ),
    )


def verdict_table(record: EvidenceRecord) -> Grid:
    """Return a row for every released model."""
    rows = []
    for cell in record.cells:
        aucs = [s for s in cell.leakage if (s.attack, s.metric) == ("strongest", "auc")]
        worst = max(
            (s for s in aucs if s.value is not None), key=lambda s: s.value or 0, default=None
        )
        bounds = [a for a in cell.audits if a.about == "recipe"]
        best = max(bounds, key=lambda a: a.lower_bound, default=None)
        rows.append(
            (
                cell_title(cell),
                "nothing" if cell.claimed_epsilon is None else number(cell.claimed_epsilon, 4),
                percent_interval(cell.accuracy, cell.accuracy_low, cell.accuracy_high),
                "not measured"
                if worst is None
                else f"{spread(worst.value, worst.low, worst.high)} ({worst.adversary})",
                "not audited"
                if best is None
                else f"{decimal(best.lower_bound)} (could show {decimal(best.ceiling, 1)})",
                verdict_word(cell.verdict, claimed=cell.claimed_epsilon is not None),
            )
        )
    return Grid(
        caption="Every released model: claim, accuracy, and what was measured",
        headers=(
            "Model",
            "Claimed epsilon",
            "Accuracy [95 %]",
            "Membership AUC, strongest attack [95 %, joint]",
            "Epsilon found by audits, at least",
            "Verdict on the claim",
        ),
        rows=rows,
        note="AUC 0.5 is guessing. Audits concern the recipe and its code, by canaries in audit "
        "cells, and not the released weights.",
    )


def scope(record: EvidenceRecord) -> Section:
    """Return what was audited, when, and who has to sign."""
    run, data = record.run, record.federation
    return Section(
        id="scope",
        title="Scope and dates",
        blocks=(
            Facts(
                items=(
                    ("Configuration", f"{run.config}, public seed {run.seed}"),
                    ("Run", run.id),
                    ("Dataset", f"{data.dataset} ({'public' if data.public else 'not public'})"),
                    ("Released models", ", ".join(cell_title(c) for c in record.cells)),
                    ("Training began", run.created),
                    ("Attacks ended", run.finished),
                    ("Attack budgets", ", ".join(run.budgets)),
                    ("Recording attacked", f"SHA-256 {run.recording_sha256}"),
                    (
                        "Signed by",
                        "the holder of the key that audit verify names, where the bundle carries "
                        "an attestation; people sign at the end of this document",
                    ),
                )
            ),
        ),
    )


def proves(record: EvidenceRecord) -> Section:
    """Return what can be concluded, and what cannot."""
    void = record.run.reproduction
    return Section(
        id="proves",
        title="What this proves, and what it does not",
        blocks=(
            Paragraph(text="It shows:"),
            Bullets(
                items=(
                    ("", "what each party could have seen of this very training, as recorded"),
                    (
                        "",
                        "lower bounds on leakage: these attacks got at least so far, with so many "
                        "samples",
                    ),
                    (
                        "",
                        "whether audits contradict the claimed epsilon, and how large a violation "
                        "each could have seen",
                    ),
                )
            ),
            Paragraph(text="It does not show:"),
            Bullets(
                items=(
                    ("", "that nothing leaks: better attacks may exist"),
                    ("", "that a claim holds; only that these audits did not contradict it"),
                    ("", "anything about other models, other data or a later training"),
                    ("", "that any law is met: evidence supports a requirement, people decide"),
                )
            ),
            *(
                [
                    Paragraph(
                        strong=True,
                        text="The DP noise of this run came from a fixed key. Whoever has the key "
                        "can take the noise away: the claims are void, and the figures show only "
                        "what such a configuration would do.",
                    )
                ]
                if void
                else []
            ),
        ),
    )
