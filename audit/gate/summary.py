"""Baselines for people: what was approved, and how two of them differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from audit.core.audits import Verdict
from audit.core.scores import Outcome
from audit.formats.baseline import Baseline, CellFacts, Measurement
from audit.formats.policy import ALL, BOUND
from audit.gate.facts import SUMMARIES


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One fact that two baselines tell differently.

    Args:
        where: Cell, or ``run``.
        what: Which fact.
        first, second: As each tells it; empty: it does not.
        detail: A score of a single attack, of which there are hundreds.
    """

    where: str
    what: str
    first: str
    second: str
    detail: bool = False


def warnings(baseline: Baseline) -> Iterator[str]:
    """Yield what whoever approves ought to know."""
    for cell in baseline.cells:
        if cell.verdict is Verdict.VIOLATED:
            yield f"{cell.cell}: the audits found its claim violated; every gate of it will fail"
    if any(run.reproduction for run in baseline.runs):
        yield "a fixed noise key makes this a reproduction: its claims are void as guarantees"
    if not baseline.controls:
        yield "no positive controls are kept with it: run `audit attack` with its controls"
    if len(baseline.runs) == 1:
        yield "one seed: how far a retrained model may differ is not known"


def render_baseline(baseline: Baseline, *, signature: str) -> RenderableType:
    """Return what `audit baseline show` prints."""
    table = Table(title=f"baseline: {escape(baseline.runs[0].config)}")
    for column in ("cell", "role", "claim", "delta", "aggregation", "verdict", "attacks"):
        table.add_column(column, overflow="fold")
    for cell in baseline.cells:
        joined = cell.privacy.aggregation
        table.add_row(
            cell.cell,
            cell.role or "",
            "none" if cell.claimed_epsilon is None else f"{cell.claimed_epsilon:.4g}",
            f"{cell.delta:g}",
            joined.protocol + (f", threshold {joined.threshold}" if joined.threshold else ""),
            cell.verdict.value if cell.verdict else "",
            str(len(cell.coverage)),
        )
    best = Table(title="strongest attacks")
    for column in ("cell", "adversary", "metric", "value", "n", "seed", "by"):
        best.add_column(column, overflow="fold")
    for cell in baseline.cells:
        for m in cell.metrics:
            if m.attack in SUMMARIES and m.value is not None:
                best.add_row(*map(escape, _row(cell, m)))
    detected = sum(c.detected is True for c in baseline.controls)
    return Group(
        table,
        best,
        escape(approval_line("baseline", baseline, signature)),
        f"seeds: {', '.join(str(r.seed) for r in baseline.runs)}; positive controls detected: "
        f"{detected} of {len(baseline.controls)}",
        *_controls_line(baseline),
        *(f"note: {warning}" for warning in warnings(baseline)),
    )


def _row(cell: CellFacts, m: Measurement) -> Iterator[str]:
    ends = (f"{end:.3f}" if end is not None else "none" for end in (m.low, m.high))
    yield cell.cell
    yield m.adversary.value
    yield m.metric if m.slice == ALL else f"{m.metric} ({m.slice})"
    yield f"{m.value:.3f} [{', '.join(ends)}]"
    yield f"{m.n:,}" if m.n is not None else ""
    yield str(m.seed)
    yield m.by or ""


def _controls_line(baseline: Baseline) -> Iterator[str]:
    for detected, what in ((False, "not detected"), (None, "no control possible")):
        attacks = dict.fromkeys(
            f"{c.attack} by {c.adversary.value}"
            for c in baseline.controls
            if c.detected is detected
        )
        if attacks:
            yield f"{what}: {', '.join(attacks)}"


def differences(first: Baseline, second: Baseline) -> list[Difference]:
    """Return every fact in which two baselines differ, run first, then cell by cell."""
    found = _differing("run", _of_run(first), _of_run(second))
    cells = [{cell.cell: cell for cell in baseline.cells} for baseline in (first, second)]
    for name in dict.fromkeys((*cells[0], *cells[1])):
        there = [side[name] for side in cells if name in side]
        ours, theirs = (_of_cell(side[name]) if name in side else {} for side in cells)
        details = {_name(m) for cell in there for m in cell.metrics if not _headline(m)}
        found += _differing(name, ours, theirs, details)
    return found


def render_differences(
    found: list[Difference], *, approvals: Sequence[str] = (), everything: bool = False
) -> RenderableType:
    """Return what `audit baseline diff` prints.

    Args:
        found: All differences.
        approvals: Who approved the two, and when.
        everything: Also the scores of single attacks; else only how many of them differ.
    """
    shown = [one for one in found if everything or not one.detail]
    table = Table(title="baseline diff")
    for column in ("where", "what", "first", "second"):
        table.add_column(column, overflow="fold")
    for one in shown:
        table.add_row(one.where, escape(one.what), escape(one.first), escape(one.second))
    hidden = len(found) - len(shown)
    same = "no difference in guarantees, coverage, measurements or versions"
    return Group(
        *map(escape, approvals),
        *([table] if shown else []),
        *([f"{hidden} scores of single attacks and slices differ, too: --all"] if hidden else []),
        *([] if found else [same]),
    )


def approval_line(name: str, baseline: Baseline, signature: str) -> str:
    """Return who approved a baseline, when and until when."""
    told = baseline.approved
    return (
        f"{name}: approved by {told.by} on {told.at[:10]}, expires {told.expires or 'never'}: "
        f"{told.reason}; signature: {signature}"
    )


def _differing(
    where: str, ours: dict[str, str], theirs: dict[str, str], details: set[str] | None = None
) -> list[Difference]:
    details = details or set()
    return [
        Difference(
            where=where,
            what=what,
            first=ours.get(what, ""),
            second=theirs.get(what, ""),
            detail=what in details,
        )
        for what in dict.fromkeys((*ours, *theirs))
        if ours.get(what) != theirs.get(what)
    ]


def _of_run(baseline: Baseline) -> dict[str, str]:
    run = baseline.runs[0]
    return {
        "seeds": ", ".join(str(r.seed) for r in baseline.runs),
        "dataset": run.dataset,
        "partition": run.partition,
        "attack code": ", ".join(run.attack_code),
        "python": run.python,
        **{f"package {name}": version for name, version in run.packages.items()},
        **{f"model {cell}": digest for cell, digest in run.models.items()},
        **{
            f"control {c.attack} by {c.adversary.value}": f"detected {c.detected}"
            for c in baseline.controls
        },
    }


def _of_cell(cell: CellFacts) -> dict[str, str]:
    privacy: dict[str, Any] = cell.privacy.model_dump(exclude={"curve", "mechanism"})
    facts: dict[str, Any] = {
        "claimed epsilon": cell.claimed_epsilon,
        "delta": cell.delta,
        "role": cell.role,
        "verdict": cell.verdict,
        **{f"privacy {name}": value for name, value in privacy.items()},
        **{f"mechanism {k}": v for k, v in (cell.privacy.mechanism or {}).items()},
        **{f"epsilon at delta {p.delta:g}": p.epsilon for p in cell.privacy.curve or ()},
        **{
            f"claim against {c.adversary.value}": (
                c.claimed_epsilon, c.delta, c.unit, c.colluders, c.assumptions
            )
            for c in cell.claims
        },
        **{f"coverage {c.attack} by {c.adversary.value}": c.budget for c in cell.coverage},
        **_scores(cell),
    }  # fmt: skip
    return {name: str(value) for name, value in facts.items()}


def _scores(cell: CellFacts) -> dict[str, str]:
    """Every score, of several seeds one after the other."""
    found: dict[str, list[str]] = {}
    for m in cell.metrics:
        found.setdefault(_name(m), []).append(_value(m))
    return {name: "\n".join(dict.fromkeys(values)) for name, values in found.items()}


def _headline(m: Measurement) -> bool:
    return m.attack in SUMMARIES or m.metric == BOUND


def _name(m: Measurement) -> str:
    return f"{m.metric} of {m.attack} by {m.adversary.value} ({m.slice})"


def _value(m: Measurement) -> str:
    if m.value is None or m.outcome is not Outcome.EXECUTED:
        return m.outcome.value.replace("_", " ")
    ends = [f"{end:.4g}" if end is not None else "none" for end in (m.low, m.high)]
    return f"{m.value:.4g} [{ends[0]}, {ends[1]}], n {m.n}, seed {m.seed}"
