"""What was measured: membership, DP audits, gradient inversion, attributes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from audit.core.metrics import METRICS
from audit.core.scores import GroupScore, Score
from audit.formats.evidence import Cell, EvidenceRecord
from reports.page import charts
from reports.page.blocks import (
    MISSING,
    Chart,
    Grid,
    Paragraph,
    Section,
    decimal,
    interval,
    number,
    percent_interval,
)
from reports.page.words import cell_title, verdict_word

STRONGEST = "strongest"
SMALLEST = 10
NOTABLE = 0.05
RATES = ("tpr_at_fpr_0.1", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001")
PROBES = (
    "identification_rate_100",
    "identification_rate_10",
    "ssim_over_baseline",
    "label_accuracy",
    "field_accuracy",
)


def membership(record: EvidenceRecord) -> Section:
    """Return membership inference: the strongest attack of each adversary, curves and groups."""
    rows = [
        (
            cell_title(cell),
            area.adversary,
            area.by or MISSING,
            interval(area.value, area.low, area.high),
            *(_rate(cell, area.adversary, rate) for rate in RATES),
            str(area.n),
        )
        for cell in record.cells
        for area in _strongest(cell, "auc")
        if area.value is not None
    ]
    if not rows:
        return Section(
            id="membership",
            title="Membership inference",
            blocks=(Paragraph(text="Not measured: no membership attack was executed."),),
        )
    return Section(
        id="membership",
        title="Membership inference",
        blocks=(
            Paragraph(
                text="Can an adversary tell whether a given patient's record was trained on? Half "
                "of the candidates were. AUC 0.5 is guessing; the true-positive rate at a small "
                "false-positive rate says how many patients are recognised when the adversary is "
                "seldom wrong."
            ),
            Grid(
                caption="The strongest attack of each adversary (intervals joint over attacks)",
                headers=(
                    "Model",
                    "Adversary",
                    "Attack",
                    "AUC [95 %]",
                    "TPR at 10 % FPR",
                    "TPR at 1 % FPR",
                    "TPR at 0.1 % FPR",
                    "Candidates",
                ),
                rows=rows,
                note="Not resolvable: too few non-members to tell such a rate.",
                numeric=frozenset({7}),
            ),
            _auc_chart(record),
            *_roc_charts(record),
            *_groups(record),
        ),
    )


def _strongest(cell: Cell, metric: str) -> list[Score]:
    return [s for s in cell.leakage if (s.attack, s.metric, s.slice) == (STRONGEST, metric, "all")]


def _rate(cell: Cell, adversary: str, metric: str) -> str:
    for score in _strongest(cell, metric):
        if score.adversary == adversary:
            if score.value is None:
                return score.outcome.value.replace("_", " ")
            return percent_interval(score.value, score.low, score.high)
    return MISSING


def _auc_chart(record: EvidenceRecord) -> Chart:
    series: dict[str, list[tuple[float | None, float, float | None, float | None]]] = defaultdict(
        list
    )
    for cell in record.cells:
        for score in _strongest(cell, "auc"):
            if score.value is not None:
                series[score.adversary].append(
                    (cell.target_epsilon, score.value, score.low, score.high)
                )
    return Chart(
        title="Membership AUC against epsilon",
        description="One line an adversary, bars are joint 95 % intervals, the dotted line is "
        "guessing. The numbers are those of the table above.",
        source=charts.against_epsilon(
            series, label="AUC of the strongest attack", level=0.5, level_title="guessing"
        ),
    )


def _roc_charts(record: EvidenceRecord) -> Iterator[Chart]:
    curves: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(dict)
    for cell in record.cells:
        for roc in cell.roc:
            curves[roc.adversary][cell_title(cell)] = list(roc.points)
    for adversary, found in curves.items():
        wanted = (0.001, 0.01, 0.1, 0.5)
        yield Chart(
            title=f"ROC of the strongest attack: {adversary}",
            description="Logarithmic axes: the left part shows the confident guesses. One line a "
            "model; on the dotted line lies guessing.",
            source=charts.roc_curves(found),
            data=Grid(
                caption=f"True-positive rate of {adversary} at given false-positive rates",
                headers=("Model", *(f"FPR {rate:g}" for rate in wanted)),
                rows=[
                    (title, *(decimal(_at(points, rate), 3) for rate in wanted))
                    for title, points in found.items()
                ],
                note="Read off the drawn curve, without interpolation. –: so few non-members do "
                "not resolve that rate.",
                numeric=frozenset(range(1, 5)),
            ),
        )


def _at(points: Sequence[tuple[float, float]], rate: float) -> float | None:
    return max((t for f, t in points if f <= rate), default=None)


def _groups(record: EvidenceRecord) -> Iterator[Grid]:
    """Yield, for each column of groups, what each model's strongest attack does in each."""
    best = {}
    for cell in record.cells:
        known = [s for s in _strongest(cell, "auc") if s.value is not None]
        if known:
            best[cell.cell] = max(known, key=lambda score: score.value or 0.0).by
    columns = sorted({g.column for cell in record.cells for g in cell.leakage_by_group})
    for column in columns:
        found = {
            (cell.cell, group.group): group
            for cell in record.cells
            for group in cell.leakage_by_group
            if group.column == column
            and group.attack == best.get(cell.cell)
            and min(group.members, group.nonmembers) >= SMALLEST
        }
        names = sorted({name for _, name in found})
        if names:
            yield Grid(
                caption=f"By {column}: AUC [95 %] of each model's strongest attack",
                headers=(column.capitalize(), *(cell_title(cell) for cell in record.cells)),
                rows=[
                    (name, *(_of_group(found.get((cell.cell, name))) for cell in record.cells))
                    for name in names
                ],
                note="Attack: "
                + "; ".join(
                    f"{cell_title(cell)}: {best[cell.cell]}"
                    for cell in record.cells
                    if cell.cell in best
                )
                + ". p against guessing where it is below 0.05, after Holm over all groups, "
                "attacks and adversaries of the model. Groups below ten members or ten others are "
                "left out; every attack's groups are in audit.json.",
            )


def _of_group(group: GroupScore | None) -> str:
    if group is None:
        return MISSING
    seen = f", p {group.adjusted_p_value:.2g}" if group.adjusted_p_value < NOTABLE else ""
    return interval(group.value, group.low, group.high) + seen


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
