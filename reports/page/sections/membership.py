"""Membership inference: the strongest attack of each adversary, curves and groups."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

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
    percent_interval,
)
from reports.page.words import cell_title

STRONGEST = "strongest"
SMALLEST = 10
NOTABLE = 0.05
RATES = ("tpr_at_fpr_0.01", "tpr_at_fpr_0.001")
MOST_NOTABLE = 40
"""Groups told apart that are listed; all are in audit.json."""


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
                    "TPR at 1 % FPR",
                    "TPR at 0.1 % FPR",
                    "Candidates",
                ),
                rows=rows,
                note="Not resolvable: too few non-members to tell such a rate.",
                numeric=frozenset({6}),
            ),
            _auc_chart(record),
            *_roc_charts(record),
            *_told_apart(record),
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


def _told_apart(record: EvidenceRecord) -> Iterator[Grid]:
    """Yield the groups whose members some attack tells from others, by whichever attack."""
    found = sorted(
        (
            (group.adjusted_p_value, cell_title(cell), group)
            for cell in record.cells
            for group in cell.leakage_by_group
            if group.adjusted_p_value < NOTABLE and min(group.members, group.nonmembers) >= SMALLEST
        ),
        key=lambda one: (one[0], one[1], one[2].column, one[2].group, one[2].adversary),
    )
    if found:
        yield Grid(
            caption="Groups whose members are told from others, by any attack",
            headers=("Model", "Group", "Adversary", "Attack", "AUC [95 %]", "p, adjusted"),
            rows=[
                (
                    title,
                    f"{group.column} {group.group}",
                    group.adversary,
                    group.attack,
                    interval(group.value, group.low, group.high),
                    f"{p_value:.2g}",
                )
                for p_value, title, group in found[:MOST_NOTABLE]
            ],
            note="p below 0.05 after Holm over all groups, attacks and adversaries of the model"
            + (
                f"; {len(found) - MOST_NOTABLE} more are in audit.json."
                if len(found) > MOST_NOTABLE
                else "."
            ),
            numeric=frozenset({5}),
        )


def _of_group(group: GroupScore | None) -> str:
    if group is None:
        return MISSING
    seen = f", p {group.adjusted_p_value:.2g}" if group.adjusted_p_value < NOTABLE else ""
    return interval(group.value, group.low, group.high) + seen
