"""What privacy costs in accuracy, and what risk remains."""

from collections.abc import Iterator

from audit.formats.evidence import Cell, EvidenceRecord, ResidualRisk
from reports.page import charts
from reports.page.blocks import (
    MISSING,
    Bullets,
    Chart,
    Grid,
    Paragraph,
    Section,
    interval,
    percent_interval,
)
from reports.page.words import cell_title

RESIDUAL = "Residual risk, of 10,000 patients"


def utility(record: EvidenceRecord) -> Section:
    """Return accuracy against epsilon, and by class, site and hospital."""
    rows = [
        (
            cell_title(cell),
            percent_interval(cell.accuracy, cell.accuracy_low, cell.accuracy_high),
            *(
                interval(
                    cell.utility.get(name),
                    cell.utility.get(f"{name}_low"),
                    cell.utility.get(f"{name}_high"),
                    3,
                )
                for name in ("balanced_accuracy", "auroc")
            ),
            str(cell.test_records),
        )
        for cell in record.cells
    ]
    points = [
        (
            cell.target_epsilon,
            cell.accuracy * 100,
            cell.accuracy_low * 100,
            cell.accuracy_high * 100,
        )
        for cell in record.cells
    ]
    return Section(
        id="utility",
        title="What privacy costs in accuracy",
        blocks=(
            Grid(
                caption="Utility on held-out records",
                headers=("Model", "Accuracy [95 %]", "Balanced accuracy", "AUROC", "Records"),
                rows=rows,
                note="AUROC for two classes only.",
                numeric=frozenset({4}),
            ),
            Chart(
                title="Accuracy against epsilon",
                description="Test accuracy in percent with 95 % intervals over records. The "
                "numbers are those of the table above.",
                source=charts.against_epsilon({"accuracy": points}, label="test accuracy, %"),
            ),
            *_groups(record),
        ),
    )


def _groups(record: EvidenceRecord) -> Iterator[Grid]:
    columns = list(dict.fromkeys(g.column for cell in record.cells for g in cell.groups))
    titles = [cell_title(cell) for cell in record.cells]
    for column in columns:
        names = list(
            dict.fromkeys(
                g.group for cell in record.cells for g in cell.groups if g.column == column
            )
        )
        rows = []
        for name in names:
            found = [
                next((g for g in cell.groups if (g.column, g.group) == (column, name)), None)
                for cell in record.cells
            ]
            rows.append(
                (name, *(_with_change(g.accuracy, g.change) if g else MISSING for g in found))
            )
        own = column == "hospital"
        yield Grid(
            caption=f"Accuracy by {column}, and its change against the model without DP",
            headers=(column.capitalize(), *titles),
            rows=rows,
            note="On each hospital's own training records: there are no others of it. "
            if own
            else "On held-out records; a group below ten records is left empty.",
            numeric=frozenset(range(1, len(titles) + 1)),
        )


def _with_change(accuracy: float | None, change: float | None) -> str:
    if accuracy is None:
        return MISSING
    beside = "" if change is None or change == 0 else f" ({change * 100:+.1f})"
    return f"{accuracy * 100:.1f} %{beside}"


def residual(record: EvidenceRecord) -> Section:
    """Return the residual risk in plain words."""
    rates = sorted({r.false_positive_rate for c in record.cells for r in c.residual}, reverse=True)
    if not rates:
        return Section(
            id="residual",
            title=RESIDUAL,
            blocks=(Paragraph(text="Not measured: no membership attack was executed."),),
        )
    odds = {rate: f"1 in {round(1 / rate):,}" for rate in rates}
    rows = []
    for cell in record.cells:
        found = {(r.adversary, r.false_positive_rate): r for r in cell.residual}
        for adversary in dict.fromkeys(r.adversary for r in cell.residual):
            own = [found[adversary, rate] for rate in rates]
            rows.append(
                (
                    cell_title(cell),
                    adversary,
                    *(text for risk in own for text in (_at_least(risk), _at_most(risk))),
                )
            )
    headers = [h for rate in rates for h in (f"{odds[rate]}: shown", f"{odds[rate]}: any attack")]
    return Section(
        id="residual",
        title=RESIDUAL,
        blocks=(
            Paragraph(
                text="Suppose 10,000 patients' records were trained on, and an adversary points at "
                "records that it believes were. How many of the 10,000 does it point at, if of "
                "records that were not trained on it points at one in a hundred, or one in a "
                "thousand? By guessing: 100, or 10."
            ),
            Bullets(items=[("", _sentence(cell)) for cell in record.cells if cell.residual]),
            Grid(
                caption="Patients recognised as having been trained on, out of 10,000, while one "
                "in so many others is pointed at wrongly",
                headers=("Model", "Adversary", *headers),
                rows=rows,
                note="Shown: the lower end of the joint 95 % interval of these attacks; below "
                "guessing it shows no leak. Any attack: what the claimed privacy curve allows at "
                "that rate, under the claim's assumptions; without DP there is no guarantee.",
                numeric=frozenset(range(2, 2 + 2 * len(rates))),
            ),
        ),
    )


def _sentence(cell: Cell) -> str:
    worst = max(
        (r for r in cell.residual if r.at_least is not None),
        key=lambda r: (r.at_least or 0) - r.by_chance,
        default=cell.residual[0],
    )
    where = f"{cell_title(cell)}, one in {round(1 / worst.false_positive_rate):,} wrongly named: "
    shown = (
        "how many these attacks name was not measured"
        if worst.at_least is None
        else f"at least {worst.at_least:,} of 10,000 patients by these attacks "
        f"({worst.adversary}), where guessing names {worst.by_chance:,}"
    )
    allowed = (
        "no guarantee of any upper limit"
        if worst.at_most is None
        else f"at most {worst.at_most:,} by any attack, if the claim holds"
        + (", and here it is void" if worst.void else "")
    )
    return f"{where}{shown}; {allowed}."


def _at_least(risk: ResidualRisk) -> str:
    return "not measured" if risk.at_least is None else f"at least {risk.at_least:,}"


def _at_most(risk: ResidualRisk) -> str:
    if risk.at_most is None:
        return "no guarantee"
    return f"at most {risk.at_most:,}{' (void)' if risk.void else ''}"
