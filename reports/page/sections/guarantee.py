"""The DP guarantee: in words, in parameters, as a curve, and as it was spent."""

from audit.formats.evidence import Cell, EvidenceRecord
from reports.page import charts
from reports.page.blocks import Chart, Facts, Grid, Paragraph, Section, number
from reports.page.words import cell_title


def guarantee(record: EvidenceRecord) -> Section:
    """Return the guarantee of each model."""
    private = [cell for cell in record.cells if cell.privacy and cell.privacy["mechanism"]]
    open_ones = [cell for cell in record.cells if cell not in private]
    blocks: list[Paragraph | Facts | Grid | Chart] = []
    if not private:
        blocks.append(Paragraph(strong=True, text="No model of this run has a DP guarantee."))
    else:
        blocks += [_words(private, void=record.run.reproduction), _facts(private[0])]
        blocks += [_parameters(private), *_several(private), _curve(private)]
        blocks += _spending(private)
        blocks += _claims(private[0])
    if open_ones and private:
        blocks.append(
            Paragraph(
                text=f"{', '.join(cell_title(c) for c in open_ones)}: no guarantee of any kind; "
                "this model shows what the same federation leaks without DP."
            )
        )
    return Section(id="guarantee", title="The differential-privacy guarantee", blocks=blocks)


def _words(cells: list[Cell], *, void: bool) -> Paragraph:
    low, high = cells[0], cells[-1]
    return Paragraph(
        text="Whatever anybody sees of the whole training, it is about as likely whether or not "
        "one given record was in it: by a factor of e to the epsilon at most, but for a "
        f"probability delta. The models here claim epsilon {number(low.claimed_epsilon, 4)} to "
        f"{number(high.claimed_epsilon, 4)} at delta {low.delta:g}, for all rounds together."
        + (" Since the noise can be reproduced, these claims are void here." if void else "")
    )


def _facts(cell: Cell) -> Facts:
    privacy = cell.privacy or {}
    return Facts(
        items=(
            ("Unit", f"one {privacy['unit']}"),
            ("Adjacency", f"{privacy['adjacency']}: one record more or less"),
            ("Sampling", "Poisson, anew in each step, at each hospital for itself"),
            (
                "Accountant",
                f"{privacy['accountant']}, recomputed by {privacy['recomputed_by']}; both are "
                "upper bounds",
            ),
            (
                "Scope of epsilon",
                "all rounds together" if privacy["epsilon_scope"] == "total" else "each round",
            ),
            ("Source of the noise", str(privacy["noise_source"])),
            ("Clipping norm", number(privacy["mechanism"]["max_grad_norm"])),
            (
                "Amplification",
                "by sampling records; none is claimed for a server's choice of hospitals, and "
                "none for aggregation",
            ),
        )
    )


def _parameters(cells: list[Cell]) -> Grid:
    rows = []
    for cell in cells:
        mechanism = (cell.privacy or {})["mechanism"]
        rows.append(
            (
                cell_title(cell),
                number(cell.claimed_epsilon, 5),
                number((cell.privacy or {})["recomputed_epsilon"], 5),
                f"{cell.delta:g}",
                number(mechanism["noise_multiplier"], 5),
                number(mechanism["sample_rate"], 4),
                str(mechanism["steps"]),
                number(cell.probe_epsilon),
                number(cell.selection_epsilon),
            )
        )
    return Grid(
        caption="Parameters of the mechanism",
        headers=(
            "Model",
            "Claimed epsilon",
            "Recomputed",
            "Delta",
            "Noise multiplier",
            "Sampling rate",
            "Steps",
            "A probe costs",
            "Choice of settings costs",
        ),
        rows=rows,
        note="A probe is a laboratory release of its own, beyond the claim. The choice of settings "
        "is priced where the configuration says how many were tried on these records.",
        numeric=frozenset(range(1, 9)),
    )


def _several(cells: list[Cell]) -> list[Grid]:
    """Return what is kept for a patient with several records, where there is one."""
    groups = {cell_title(cell): (cell.privacy or {}).get("group") for cell in cells}
    known = {title: group for title, group in groups.items() if group}
    if not any(group["records"] > 1 for group in known.values()):
        return []
    return [
        Grid(
            caption="A patient with several records",
            headers=("Model", "Records at most", "Told by", "Epsilon of all of them"),
            rows=[
                (title, str(group["records"]), group["told_by"], number(group["epsilon"], 4))
                for title, group in known.items()
            ],
            note="The claim is about one record. This is what it is worth to the patient with the "
            "most of them, all at one hospital; at the same delta.",
            numeric=frozenset({1, 3}),
        )
    ]


def _curve(cells: list[Cell]) -> Chart:
    points = {
        cell_title(cell): [(p["delta"], p["epsilon"]) for p in (cell.privacy or {})["curve"]]
        for cell in cells
    }
    deltas = [delta for delta, _ in next(iter(points.values()))]
    return Chart(
        title="Privacy curve: epsilon kept at each delta",
        description="Smaller delta, larger epsilon; one line a model. The whole curve is the "
        "guarantee, the claim is one point of it.",
        source=charts.privacy_curves(points),
        data=Grid(
            caption="Epsilon at each delta",
            headers=("Delta", *points),
            rows=[
                (f"{delta:g}", *(number(dict(curve).get(delta), 4) for curve in points.values()))
                for delta in deltas
            ],
            numeric=frozenset(range(1, len(points) + 1)),
        ),
    )


def _spending(cells: list[Cell]) -> list[Chart]:
    worst, rows = {}, []
    names = list(
        dict.fromkeys(n for cell in cells for line in cell.rounds for n in line.spent_epsilon)
    )
    for cell in cells:
        points = []
        for line in cell.rounds:
            spent = [e for e in line.spent_epsilon.values() if e is not None]
            if spent:
                points.append((float(line.round), max(spent)))
                own = (number(line.spent_epsilon.get(name), 4) for name in names)
                rows.append((f"{cell_title(cell)}, round {line.round}", *own))
        if points:
            worst[cell_title(cell)] = points
    if not worst:
        return []
    return [
        Chart(
            title="Budget spent, round by round",
            description="The epsilon that the hospital with the largest expense had spent up to "
            "each round; one line a model.",
            source=charts.spending(worst),
            data=Grid(
                caption="Epsilon spent up to each round, as each hospital reported it",
                headers=("Model and round", *names),
                rows=rows,
                note="A hospital that was not in a round reported nothing for it.",
                numeric=frozenset(range(1, len(names) + 1)),
            ),
        )
    ]


def _claims(cell: Cell) -> list[Grid | Paragraph]:
    """Return against whom a claim holds; assumptions that all claims share are said once."""
    shared = [
        a for a in cell.claims[0]["assumptions"] if all(a in c["assumptions"] for c in cell.claims)
    ]
    return [
        Grid(
            caption="Against whom the claim holds",
            headers=("Adversary", "Colluding hospitals", "Unit", "Assumed besides"),
            rows=[
                (
                    str(claim["adversary"]),
                    str(claim["colluders"]),
                    str(claim["unit"]),
                    "; ".join(a for a in claim["assumptions"] if a not in shared) or "nothing",
                )
                for claim in cell.claims
            ],
            note="With noise at each hospital the claim is the same against all of them.",
            numeric=frozenset({1}),
        ),
        Paragraph(text=f"All of them assume: {'; '.join(shared)}."),
    ]
