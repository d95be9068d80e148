"""Gradient inversion beside its baselines, and attribute inference."""

from collections.abc import Iterator, Sequence

from audit.core.metrics import METRICS
from audit.formats.evidence import EvidenceRecord
from reports.page.blocks import (
    MISSING,
    Chart,
    Grid,
    Paragraph,
    Section,
    decimal,
    interval,
    number,
)
from reports.page.words import cell_title

STRONGEST = "strongest"
PROBES = (
    "identification_rate_100",
    "identification_rate_10",
    "ssim_over_baseline",
    "label_accuracy",
    "field_accuracy",
)


def inversion(record: EvidenceRecord, pictures: Sequence[Chart] = ()) -> Section:
    """Return gradient inversion beside its baselines.

    Args:
        record: The record.
        pictures: Grids of reconstructions, where they may be shown.
    """
    rows = [
        (
            f"{cell_title(cell)}, {score.slice.replace('/', ', ')}",
            score.adversary,
            METRICS[score.metric].title,
            interval(score.value, score.low, score.high),
            decimal(score.chance, 3),
            number(score.bound),
            score.by or MISSING,
            str(score.n),
        )
        for cell in record.cells
        for score in cell.leakage
        if score.attack == STRONGEST and score.metric in PROBES and score.value is not None
    ]
    blocks: list[Paragraph | Grid | Chart] = [
        Paragraph(
            text="What of a record can be rebuilt, or which record can be named, from updates of "
            "single steps on a few records (probes): the worst case, made in the laboratory. A "
            "reconstruction counts only as far as it beats the best guess that never saw the "
            "update. No value at the baseline proves privacy: it was not recovered by this attack."
        )
    ]
    blocks.append(
        Grid(
            caption="The best attack of each adversary on probes",
            headers=(
                "Model and probe",
                "Adversary",
                "Measure",
                "Value [95 %]",
                "Without the update",
                "At most",
                "Attack",
                "Updates",
            ),
            rows=rows,
            note="Intervals are joint over the attacks. At most: what the probe's own mechanism "
            "allows any attack. SSIM is counted above the best guess without the update.",
            numeric=frozenset({4, 5, 7}),
        )
        if rows
        else Paragraph(text="Not measured: no attack on probes was executed.")
    )
    shown = (
        "Reconstructions are shown below."
        if pictures
        else "Reconstructions are not shown: the records are not public, or there are none. They "
        "lie with the run's secrets."
    )
    return Section(
        id="inversion",
        title="Gradient inversion",
        blocks=(*blocks, *_attributes(record), Paragraph(text=shown), *pictures),
    )


def _attributes(record: EvidenceRecord) -> Iterator[Grid]:
    rows = [
        (
            cell_title(cell),
            score.adversary,
            score.attack,
            METRICS[score.metric].title,
            interval(score.value, score.low, score.high),
            score.slice,
        )
        for cell in record.cells
        for score in cell.leakage
        if score.metric.startswith("attribute_advantage") and score.value is not None
    ]
    if rows:
        yield Grid(
            caption="Attribute inference: a hidden field guessed, above imputation from the others",
            headers=("Model", "Adversary", "Attack", "Measure", "Value [95 %]", "Records"),
            rows=rows,
        )
