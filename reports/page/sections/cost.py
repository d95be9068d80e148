"""What privacy costs in accuracy, and what risk remains."""

from collections.abc import Iterator

from audit.formats.evidence import EvidenceRecord
from reports.page import charts
from reports.page.blocks import (
    MISSING,
    Chart,
    Grid,
    Paragraph,
    Section,
    interval,
    percent_interval,
)
from reports.page.words import cell_title


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
        (cell.target_epsilon, cell.accuracy * 100, cell.accuracy_low * 100, cell.accuracy_high * 100)
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
            dict.fromkeys(g.group for cell in record.cells for g in cell.groups if g.column == column)
        )
        rows = []
        for name in names:
            found = [
                next((g for g in cell.groups if (g.column, g.group) == (column, name)), None)
                for cell in record.cells
            ]
            rows.append((name, *(_with_change(g.accuracy, g.change) if g else MISSING for g in found)))
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
    rows = []
    for cell in record.cells:
        for risk in cell.residual:
            rows.append(
                (
                    cell_title(cell),
                    risk.adversary,
                    f"1 in {round(1 / risk.false_positive_rate):,}",
                    str(risk.by_chance),
                    "not measured" if risk.at_least is None else f"at least {risk.at_least:,}",
                    "no guarantee"
                    if risk.at_most is None
                    else f"at most {risk.at_most:,}{' (void)' if risk.void else ''}",
                )
            )
    return Section(
        id="residual",
        title="Residual risk, of 10,000 patients",
        blocks=(
            Paragraph(
                text="Suppose 10,000 patients' records were trained on, and an adversary points at "
                "records that it believes were. How many of the 10,000 does it point at, if of "
                "records that were not trained on it points at one in a hundred, or one in a "
                "thousand?"
            ),
            Grid(
                caption="Patients recognised as having been trained on, out of 10,000",
                headers=(
                    "Model",
                    "Adversary",
                    "Wrongly pointed at",
                    "By guessing",
                    "By these attacks",
                    "By any attack",
                ),
                rows=rows,
                note="By these attacks: the lower end of the joint 95 % interval; below the "
                "number by guessing it shows no leak. By any attack: what the claimed privacy "
                "curve allows at that rate, under the claim's assumptions; without DP there is no "
                "guarantee.",
                numeric=frozenset({3, 4, 5}),
            )
            if rows
            else Paragraph(text="Not measured: no membership attack was executed."),
        ),
    )
