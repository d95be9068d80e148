"""Every attack and audit at every epsilon, and the worst case beside the average."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from audit.core.adversaries import Adversary
from audit.core.controls import ControlKind, ControlRecord
from reports.columns import STRONGEST, Row, adversary_rank, audits_of, cell_title, slice_rank

NOT_MEASURED = "–"
WHOLES = ("patients", "hospitals")
"""Slices in which a unit is more than a record."""

Score = Mapping[str, Any]


def render_details(
    table: Mapping[str, Any], controls: Sequence[ControlRecord] = ()
) -> RenderableType:
    """Return membership by attack, its worst cases, labels, DP audits and controls.

    Args:
        table: The content of ``table.json``.
        controls: What each attack found in its positive control.
    """
    rows: list[Row] = table["rows"]
    labels = [_labels(rows)] if _with_chance(rows, "label_accuracy") else []
    return Group(
        _by_attack(rows),
        _worst(rows),
        *labels,
        *([_audits(rows)] if _audited(rows) else []),
        Text(unchecked(rows, controls)),
    )


def unchecked(rows: Sequence[Row], controls: Sequence[ControlRecord]) -> str:
    """Say in one line which attacks that measured something did not find their control.

    Args:
        rows: Of the table.
        controls: What each attack found in its positive control.
    """
    found = {control.name: control for control in controls}
    ran = sorted(
        {
            f"{score['adversary']}/{score['attack']}"
            for row in rows
            for score in row["leakage"]
            if score["value"] is not None and score["attack"] != STRONGEST
        }
    )
    missed = [name for name in ran if name in found and found[name].detected is False]
    without = [
        name
        for name in ran
        if name not in found
        or (found[name].detected is None and found[name].control is not ControlKind.NONE)
    ]
    if ran and len(without) == len(ran):
        return "Positive controls: none has run, so a broken attack would not be noticed."
    said = [f"not found by {', '.join(missed)}"] if missed else []
    said += [f"none for {', '.join(without)}"] if without else []
    return f"Positive controls: {'; '.join(said) or 'each attack found its own'}."


def _audited(rows: Sequence[Row]) -> bool:
    return any(audits_of(row) for row in rows)


def _audits(rows: Sequence[Row]) -> Table:
    shown = Table(
        title="DP audits of the recipe and code, by audit cells: not about the released weights",
        title_justify="left",
        caption="Bounds by gaussian-dp and poisson-gaussian hold for that family of mechanisms; "
        "verdicts rest on exact error rates against the claimed curve, whatever the family.",
        caption_justify="left",
    )
    for heading in ("cell", "adversary", "audit"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("claimed", "bound [95 %]", "ceiling", "n", "p, adjusted"):
        shown.add_column(heading, justify="right")
    for heading in ("verdict", "method"):
        shown.add_column(heading, no_wrap=heading == "verdict")
    for row in rows:
        for audit in audits_of(row):
            claimed, p_value = audit["claimed_epsilon"], audit["adjusted_p_value"]
            shown.add_row(
                cell_title(row),
                audit["adversary"],
                audit["attack"],
                NOT_MEASURED if claimed is None else f"{claimed:.3g}",
                f"{audit['lower_bound']:.2f}",
                f"{audit['ceiling']:.1f}",
                str(audit["n"]),
                NOT_MEASURED if p_value is None else f"{p_value:.2g}",
                audit["verdict"] or NOT_MEASURED,
                "; ".join(
                    filter(None, (audit["method"].split(",")[0], audit["note"], audit["reason"]))
                ),
            )
    return shown


def _by_attack(rows: Sequence[Row]) -> Table:
    shown = Table(
        title="Membership inference: AUC [95 %], TPR at 1 % FPR, members' hospital named",
        title_justify="left",
    )
    shown.add_column("adversary", no_wrap=True)
    shown.add_column("attack", no_wrap=True)
    for row in rows:
        shown.add_column(cell_title(row), justify="right")
    attacks = {
        (s["adversary"], s["attack"])
        for row in rows
        for s in row["leakage"]
        if s["metric"] == "auc" and s["attack"] != STRONGEST
    }
    for adversary, attack in sorted(attacks, key=lambda a: (adversary_rank(a[0]), a[1])):
        shown.add_row(adversary, attack, *(_three(row, adversary, attack) for row in rows))
    return shown


def _labels(rows: Sequence[Row]) -> Table:
    shown = Table(
        title="Labels recovered from updates [95 %], and by the prior alone",
        title_justify="left",
        caption="Of probes, the part of the labels; of rounds, 1 less the total variation "
        "distance from the hospital's class shares; of a rebuilt record, whether its label is so.",
        caption_justify="left",
    )
    for heading in ("adversary", "attack", "of"):
        shown.add_column(heading, no_wrap=True)
    for row in rows:
        shown.add_column(cell_title(row), justify="right")
    attacks = _with_chance(rows, "label_accuracy")
    parts = {
        (s["adversary"], s["attack"], s["slice"])
        for row in rows
        for s in row["leakage"]
        if s["metric"] == "label_accuracy" and (s["adversary"], s["attack"]) in attacks
    }
    for adversary, attack, part in sorted(
        parts, key=lambda p: (adversary_rank(p[0]), p[1], slice_rank(p[2]))
    ):
        found = (_find(row, adversary, attack, "label_accuracy", part) for row in rows)
        shown.add_row(adversary, attack, part, *(_beside_chance(score) for score in found))
    return shown


def _with_chance(rows: Sequence[Row], metric: str) -> set[tuple[str, str]]:
    """Return adversary and attack of what was measured beside a baseline, which baselines lack."""
    return {
        (s["adversary"], s["attack"])
        for row in rows
        for s in row["leakage"]
        if s["metric"] == metric and s["value"] is not None and s["chance"] is not None
    }


def _beside_chance(score: Score | None) -> str:
    if score is None:
        return NOT_MEASURED
    if score["value"] is None:
        return str(score["outcome"])
    prior = "" if score["chance"] is None else f" (prior {score['chance']:.2f})"
    return f"{score['value']:.2f}{prior}\n[{score['low']:.2f}, {score['high']:.2f}]"


def _three(row: Row, adversary: str, attack: str) -> str:
    area = _find(row, adversary, attack, "auc")
    if area is None:
        return NOT_MEASURED
    if area["value"] is None:
        return str(area["outcome"])
    lines = [f"{area['value']:.3f} [{area['low']:.2f}, {area['high']:.2f}]"]
    rate = _find(row, adversary, attack, "tpr_at_fpr_0.01")
    if rate is not None and rate["value"] is not None:
        lines.append(f"{rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]")
    named = _find(row, adversary, attack, "hospital_accuracy")
    if named is not None and named["value"] is not None:
        lines.append(f"hospital {named['value']:.0%} (chance {named['chance']:.0%})")
    return "\n".join(lines)


def _worst(rows: Sequence[Row]) -> Table:
    columns = sorted(
        {
            s["slice"]
            for row in rows
            for s in row["leakage"]
            if s["value"] is not None and (s["slice"].startswith("worst-") or s["slice"] in WHOLES)
        },
        key=lambda name: (not name.startswith("worst-"), name),
    )
    shown = Table(
        title="The strongest attack: AUC on average, in the worst group (95 %, joint; p-values "
        "adjusted by Holm), and over whole patients or hospitals",
        title_justify="left",
    )
    for heading in ("cell", "adversary", "attack", "all", *(c.replace("-", " ") for c in columns)):
        shown.add_column(heading)
    for row in rows:
        for score in row["leakage"]:
            if (score["attack"], score["metric"]) != (STRONGEST, "auc") or not score.get("by"):
                continue
            worst = (_inherited(row, score["adversary"], score["by"], c) for c in columns)
            shown.add_row(
                cell_title(row),
                score["adversary"],
                score["by"],
                _interval(score),
                *(_with_group(s) for s in worst),
            )
    return shown


def _with_group(score: Score | None) -> str:
    if score is None or score["value"] is None:
        return NOT_MEASURED
    if score["slice"] in WHOLES:
        return f"{_interval(score)}\nn = {score['n']}"
    return f"{_interval(score)}\n{score['reason']}"


def _interval(score: Score) -> str:
    return f"{score['value']:.3f} [{score['low']:.2f}, {score['high']:.2f}]"


def _inherited(row: Row, adversary: str, attack: str, part: str) -> Score | None:
    """Find a score of an adversary, or of one who sees less."""
    for one in (Adversary(adversary), *Adversary(adversary).includes):
        found = _find(row, one.value, attack, "auc", part)
        if found is not None:
            return found
    return None


def _find(row: Row, adversary: str, attack: str, metric: str, part: str = "all") -> Score | None:
    wanted = (adversary, attack, metric, part)
    for score in row["leakage"]:
        if (score["adversary"], score["attack"], score["metric"], score["slice"]) == wanted:
            found: Score = score
            return found
    return None
