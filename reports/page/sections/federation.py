"""The federation, secure aggregation as executed, adversaries, and the coverage matrix."""

from collections import Counter, defaultdict

from audit.formats.evidence import Coverage, EvidenceRecord
from reports.page.blocks import Bullets, Facts, Grid, Paragraph, Section
from reports.page.words import OUTCOMES, cell_title, control_word

MOST_CELLS = 5
"""Columns of one coverage table; more cells go into further tables."""


def federation(record: EvidenceRecord) -> Section:
    """Return sites, data, roles and trust."""
    fed = record.federation
    return Section(
        id="federation",
        title="The federation",
        blocks=(
            Facts(
                items=(
                    ("Hospitals", ", ".join(fed.hospitals)),
                    ("Records", f"{fed.dataset}, SHA-256 {fed.dataset_sha256}"),
                    ("Spread over hospitals", fed.partition),
                    (
                        "Size of a hospital",
                        f"{fed.nominal_records} records, a public nominal size; the exact number "
                        "is itself data and not stated",
                    ),
                    (
                        "Hospital",
                        "holds its patients' records, clips and adds noise itself, refuses a "
                        "server that asks for less, and keeps its own ledger of epsilon",
                    ),
                    (
                        "Server",
                        "is trusted to run the protocol, not to see single updates; what it could "
                        "do with them is measured below",
                    ),
                    (
                        "Recipients",
                        "get the released model and are trusted with nothing",
                    ),
                    (
                        "Assumed",
                        "patients of different hospitals are different people"
                        + (
                            "; the model was pretrained on records that every adversary knows"
                            if fed.pretrained
                            else ""
                        ),
                    ),
                )
            ),
            Grid(
                caption="Models",
                headers=("Model", "Architecture", "Parameters", "Rounds", "Local steps", "Batch"),
                rows=[
                    (
                        cell_title(cell),
                        str(cell.model["name"]),
                        f"{cell.model['parameters']:,}",
                        str(cell.schedule["rounds"]),
                        str(cell.schedule["local_steps"]),
                        str(cell.schedule["batch_size"]),
                    )
                    for cell in record.cells
                ],
                note="Local steps are of one hospital in one round; a batch is the expected size "
                "of a Poisson sample.",
                numeric=frozenset({2, 3, 4, 5}),
            ),
        ),
    )


def aggregation(record: EvidenceRecord) -> Section:
    """Return secure aggregation as it was executed."""
    fed = record.federation
    masked = fed.threshold is not None
    said = (
        f"Protocol “{fed.protocol}”: each hospital masks its update; the sum is opened when at "
        f"least {fed.threshold} of {len(fed.hospitals)} hospitals answer, and {fed.colluders} "
        "hospitals may side with the server without opening more."
        if masked
        else "Updates travelled in the clear: the server sees each hospital's. Only DP protects."
    )
    rows = []
    for cell in record.cells:
        lost = Counter(
            name for line in cell.rounds for name in fed.hospitals if name not in line.survivors
        )
        refused = sum(len(line.refusals) for line in cell.rounds)
        failed = [str(line.round) for line in cell.rounds if line.failure]
        rows.append(
            (
                cell_title(cell),
                str(len(cell.rounds)),
                ", ".join(failed) or "none",
                ", ".join(f"{name}: {count}" for name, count in lost.items()) or "none",
                str(refused),
            )
        )
    return Section(
        id="aggregation",
        title="Secure aggregation as executed",
        blocks=(
            Paragraph(text=said),
            Grid(
                caption="Rounds",
                headers=(
                    "Model",
                    "Rounds",
                    "Rounds that failed",
                    "Rounds without a hospital",
                    "Refusals",
                ),
                rows=rows,
                numeric=frozenset({1, 4}),
            ),
            Paragraph(
                text="Each hospital's own noise is in its update before it is masked. So the claim "
                "is the same with and without aggregation; what aggregation adds is measured by "
                "the difference between server and secagg-server."
            ),
        ),
    )


def adversaries(record: EvidenceRecord) -> Section:
    """Return who attacked, what they saw and what they knew."""
    return Section(
        id="adversaries",
        title="Adversaries, and what each saw",
        blocks=(
            Grid(
                caption="One training was recorded; each adversary gets its slice of it",
                headers=("Adversary", "Sees", "Knows besides", "Attacks"),
                rows=[
                    (one.adversary, one.sees, "; ".join(one.knows) or "nothing", str(one.attacks))
                    for one in record.adversaries
                ],
                numeric=frozenset({3}),
            ),
        ),
    )


def coverage(record: EvidenceRecord) -> Section:
    """Return the matrix of every attack against every adversary, with what was not run and why."""
    lines: dict[tuple[str, str], dict[str, Coverage]] = defaultdict(dict)
    for line in record.coverage:
        lines[line.attack, line.adversary][line.cell] = line
    titles = {cell.cell: cell_title(cell) for cell in record.cells}
    names = list(titles)
    groups = [names[i : i + MOST_CELLS] for i in range(0, len(names), MOST_CELLS)]
    grids = [
        Grid(
            caption="Every attack of every adversary"
            + (f", models {i * MOST_CELLS + 1} to {i * MOST_CELLS + len(group)}" if i else ""),
            headers=("Attack", "Adversary", "Positive control", *(titles[n] for n in group)),
            rows=[
                (
                    attack,
                    adversary,
                    control_word(next(iter(found.values())).control),
                    *(
                        OUTCOMES[found[n].outcome] if n in found else OUTCOMES["missing"]
                        for n in group
                    ),
                )
                for (attack, adversary), found in lines.items()
            ],
            note="Positive control: whether the same code detects a leak that is certainly there.",
        )
        for i, group in enumerate(groups)
    ]
    counted = Counter(line.outcome for line in record.coverage)
    return Section(
        id="coverage",
        title="Coverage: what was run, what was not, and why",
        blocks=(
            Paragraph(
                text="; ".join(
                    f"{counted[outcome]} {word}"
                    for outcome, word in OUTCOMES.items()
                    if counted[outcome]
                )
                + f", of {len(record.coverage)}."
            ),
            *grids,
            Bullets(items=_reasons(record)),
        ),
    )


def _reasons(record: EvidenceRecord) -> list[tuple[str, str]]:
    """Say each reason once, with the attacks that it holds for."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in record.coverage:
        if line.outcome != "executed":
            found[line.outcome, line.reason or "no reason was recorded"].add(line.attack)
    return [
        (OUTCOMES[outcome], f"{', '.join(sorted(attacks))}: {reason}")
        for (outcome, reason), attacks in sorted(found.items())
    ]
