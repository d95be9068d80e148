"""The accuracy / epsilon / leakage table for a terminal."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from reports.columns import (
    SHOWN,
    STRONGEST,
    TITLES,
    Row,
    Series,
    audits_of,
    main_series,
)
from reports.inversion import inversion_table

NOT_MEASURED = "–"


def render_table(table: Mapping[str, Any], *, title: str) -> RenderableType:
    """Return the table of a run, with what was not measured named below it.

    Args:
        table: The content of ``table.json``.
        title: Above the table.
    """
    rows: list[Row] = table["rows"]
    series = main_series(rows)
    shown = Table(title=title, title_justify="left", caption_justify="left")
    shown.add_column("epsilon", justify="right")
    shown.add_column("claimed", justify="right")
    shown.add_column("noise", justify="right")
    columns = utility_columns(rows)
    for heading in columns:
        shown.add_column(heading, justify="right")
    for one in series:
        shown.add_column(_heading(one), justify="right")
    audited = any(audits_of(row) for row in rows)
    if audited:
        shown.add_column("DP audit:\nbound (ceiling)\nverdict", justify="right")
    for row in rows:
        cells = [
            _number(row["target_epsilon"], "g", missing="no DP"),
            _number(row["claimed_epsilon"], ".3g", missing="none"),
            _number(row["noise_multiplier"], ".3g", missing="0"),
            *(_measure(row, name) for name in columns.values()),
        ]
        cells += [_value(one.find(row)) for one in series]
        shown.add_row(*cells, *([_audit(row)] if audited else []))
    inverted = inversion_table(rows)
    return Group(shown, *([inverted] if inverted else []), *_notes(rows))


def render_seeds(pooled: Mapping[str, Any], *, title: str) -> RenderableType:
    """Return the utility over several seeds.

    Args:
        pooled: What ``pool_seeds`` returned.
        title: Above the table.
    """
    rows: list[Row] = pooled["rows"]
    columns = utility_columns(rows)
    shown = Table(title=title, title_justify="left", caption_justify="left")
    for heading in ("epsilon", "claimed", "noise", *columns, "worst, best", "seconds"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            _number(row["target_epsilon"], "g", missing="no DP"),
            _number(row["claimed_epsilon"], ".3g", missing="none"),
            _number(row["noise_multiplier"], ".3g", missing="0"),
            *(_measure(row, name, digits=2) for name in columns.values()),
            f"{row['accuracy_worst']:.2%}, {row['accuracy_best']:.2%}",
            f"{row['seconds']:.0f}",
        )
    said = (
        f"Mean over {len(pooled['seeds'])} seeds with Student's 95 % interval; the interval is "
        "about the mean over seeds, on the same test records."
    )
    return Group(shown, Text(said, style="dim"), *_utility_notes(rows))


def utility_columns(rows: Sequence[Row]) -> dict[str, str]:
    """Heading to the field that it shows; two-class tasks also show what uneven classes need."""
    columns = {"accuracy [95 %]": "accuracy"}
    if any(row.get("reference_accuracy") is not None for row in rows):
        columns["published"] = "reference_accuracy"
    if any(row.get("auroc") is not None for row in rows):
        columns |= {"balanced accuracy": "balanced_accuracy", "AUROC": "auroc"}
    return columns


def _measure(row: Row, name: str, *, digits: int = 1) -> str:
    if name == "reference_accuracy":
        return _number(row[name], ".0%")
    if row[name] is None:
        return NOT_MEASURED
    value, low, high = (row[name + end] for end in ("", "_low", "_high"))
    return f"{value:.{digits}%}\n[{low:.{digits}%}, {high:.{digits}%}]"


def _heading(series: Series) -> str:
    if series.attack == STRONGEST:
        return _narrow(f"membership\n{TITLES[series.metric]}\n{series.adversary}")
    attack, rest = series.title.split(", ", 1)
    who, metric = rest.rsplit(": ", 1)
    return _narrow(f"{metric}\n{attack}\n{who}")


def _narrow(heading: str) -> str:
    """Break the longest names where a line may end."""
    return heading.replace("-server", "-\nserver")


def _value(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return NOT_MEASURED
    if score["value"] is None:
        return str(score["outcome"])
    form = ".2g" if score["metric"] == "mse" else ".2f"
    low, value, high = (format(score[k], form) for k in ("low", "value", "high"))
    return f"{value}\n[{low}, {high}]"


def _audit(row: Row) -> str:
    """The largest bound of a row's audits and the verdict over all of them."""
    if not audits_of(row):
        return NOT_MEASURED
    most = max(audits_of(row), key=lambda audit: (audit["lower_bound"], audit["ceiling"]))
    bound = f"{most['lower_bound']:.2f} ({most['ceiling']:.1f})"
    return f"{bound}\n{row['verdict'] or 'no claim'}"


def _number(value: float | None, form: str, *, missing: str = NOT_MEASURED) -> str:
    return missing if value is None else format(value, form)


def _notes(rows: list[Row]) -> list[Text]:
    """What a reader must know beside the numbers."""
    notes = []
    scored = [score for row in rows for score in row["leakage"]]
    if not scored:
        notes.append("No attack has run yet: accuracy and epsilon only.")
    probes = [
        f"{row['probe_epsilon']:.3g} at {row['cell']}"
        for row in rows
        if row.get("probe_epsilon") is not None
    ]
    if probes:
        notes.append(
            "A probe (laboratory only) is a release of its own, beyond the claim: epsilon "
            + ", ".join(probes)
            + "."
        )
    chance = sorted(
        {(s["metric"], round(s["chance"], 2)) for s in scored if s["chance"] is not None}
    )
    levels = {m: sorted({c for name, c in chance if name == m}) for m, _ in chance}
    wanted = [(m, levels[m]) for m in SHOWN if m in levels]
    if wanted:
        said = "; ".join(f"{m} {', '.join(map(str, c))}" for m, c in wanted)
        notes.append(f"Without information (chance, or the prior-only baseline): {said}.")
    notes += _missing(scored)
    if any(score["attack"] == STRONGEST for score in scored):
        notes.append(
            "Membership: the strongest attack of each adversary, its interval joint over all; "
            "--details shows each."
        )
    if any(audits_of(row) for row in rows):
        notes.append(
            "DP audit: the largest 95 % lower bound on epsilon, and the most that so few canaries "
            "could have shown; verdicts hold false alarms at 5 % over all audits of the run. From "
            "audit cells of the same recipe and code: not about the released weights."
        )
    if scored:
        notes.append("A value at chance says that this attack failed, not that nothing leaks.")
    return [*_utility_notes(rows), *(Text(note, style="dim") for note in notes)]


def _missing(scored: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what was not measured; reasons that differ only in numbers share a line."""
    alike: dict[str, list[str]] = {}
    for score in scored:
        if score["value"] is None:
            reason = f"{score['outcome']}: {score['reason']}"
            alike.setdefault(re.sub(r"\d[\d.]*", "N", reason), []).append(reason)
    lines = []
    for reasons in alike.values():
        most = max(set(reasons), key=lambda r: (reasons.count(r), r))
        others = len(set(reasons)) - 1
        lines.append(f"{len(reasons)} values {most}{' (and the like)' if others else ''}")
    return sorted(lines)


def _utility_notes(rows: Sequence[Row]) -> list[Text]:
    notes = []
    if any(row.get("tuning") for row in rows):
        notes.append(
            "A tuning run: tested on held-out training records, the test records were not touched."
        )
    if any(row.get("reproduction") for row in rows):
        notes.append("Fixed noise key: a reproduction, its claims are void as a guarantee.")
    chosen = [
        f"{row['selection_epsilon']:.3g} at {row['cell']}"
        for row in rows
        if row.get("selection_epsilon") is not None
    ]
    if chosen:
        notes.append(
            "Settings were chosen on these records, which the claims leave out. An honest choice "
            f"would have cost epsilon {', '.join(chosen)} (Papernot and Steinke 2022)."
        )
    return [Text(note, style="dim") for note in notes]
