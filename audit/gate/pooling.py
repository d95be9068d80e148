"""Several seeds of one configuration as one set of facts."""

from collections.abc import Sequence

from audit.core.audits import Verdict
from audit.core.errors import MissingEvidenceError
from audit.formats.baseline import CellFacts, ControlFacts, Covered

BUDGETS = ("quick", "standard", "thorough")
"""From little to much; an attack that computes more is the stronger one."""


def pool_cells(runs: Sequence[Sequence[CellFacts]]) -> tuple[CellFacts, ...]:
    """Join the cells of several seeds.

    Args:
        runs: The cells of each seed, at least one seed.

    Returns:
        The largest claim, the worst verdict, only the coverage that every seed has, and the
        measurements of all.

    Raises:
        MissingEvidenceError: A cell is not finished in every seed, or its mechanism differs.
    """
    first, *others = runs
    pooled = []
    for cell in first:
        same = [cell]
        for run in others:
            found = next((c for c in run if c.cell == cell.cell), None)
            if found is None:
                raise MissingEvidenceError(f"{cell.cell} is not finished in every run")
            if (found.privacy.aggregation, found.delta) != (cell.privacy.aggregation, cell.delta):
                raise MissingEvidenceError(f"{cell.cell}: the runs differ in their protection")
            same.append(found)
        pooled.append(_pooled(same))
    if any(len(run) != len(first) for run in others):
        raise MissingEvidenceError("the runs have different cells: not all are finished")
    return tuple(pooled)


def pool_controls(runs: Sequence[Sequence[ControlFacts]]) -> tuple[ControlFacts, ...]:
    """Join the controls of several seeds: of each attack the one that shows least."""
    kept: dict[tuple[str, str], ControlFacts] = {}
    for control in (c for run in runs for c in run):
        key = (control.adversary, control.attack)
        if key not in kept or _proof(control) < _proof(kept[key]):
            kept[key] = control
    in_all = [{(c.adversary.value, c.attack) for c in run} for run in runs]
    return tuple(c for key, c in sorted(kept.items()) if all(key in keys for keys in in_all))


def _proof(control: ControlFacts) -> int:
    return {True: 2, None: 1, False: 0}[control.detected]


def _pooled(cells: Sequence[CellFacts]) -> CellFacts:
    weakest = max(
        cells, key=lambda c: float("inf") if c.claimed_epsilon is None else c.claimed_epsilon
    )
    verdicts = {cell.verdict for cell in cells}
    return weakest.model_copy(
        update={
            "verdict": next(
                (
                    v
                    for v in (Verdict.VIOLATED, None, Verdict.UNDERPOWERED, Verdict.CONSISTENT)
                    if v in verdicts
                ),
                None,
            ),
            "coverage": _covered_by_all(cells),
            "metrics": tuple(m for cell in cells for m in cell.metrics),
            "audits": tuple(a for cell in cells for a in cell.audits),
        }
    )


def _covered_by_all(cells: Sequence[CellFacts]) -> tuple[Covered, ...]:
    """The attacks that ran in every seed, with the smallest budget."""
    first, *others = ({(c.adversary, c.attack): c for c in cell.coverage} for cell in cells)
    return tuple(
        min((covered, *(other[key] for other in others)), key=lambda c: budget_rank(c.budget))
        for key, covered in first.items()
        if all(key in other for other in others)
    )


def budget_rank(budget: str | None) -> int:
    """Return how strong a budget is; an unknown one counts as the weakest."""
    return BUDGETS.index(budget) if budget in BUDGETS else -1
