"""Which cell of a run is held against which cell of a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

from audit.formats.baseline import CellFacts
from audit.formats.gate import Check, Decision


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A cell and its counterpart."""

    now: CellFacts
    before: CellFacts


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """All pairs, a check for every cell without a counterpart, and what is left out."""

    pairs: tuple[Pair, ...]
    alone: tuple[Check, ...]
    notes: tuple[str, ...]


def pair_cells(now: Sequence[CellFacts], before: Sequence[CellFacts]) -> Pairing:
    """Match cells by role, then by id.

    A single private cell on each side has the role of the release where none is named, so that
    another epsilon is compared with it and does not just go missing.

    Args:
        now: Of the run.
        before: Of the baseline.

    Returns:
        A private cell that was not approved, or is gone, is incomparable: the gate cannot pass it.
        Where both sides name the release, other cells are not to be released and only noted.
    """
    left, right = list(now), list(before)
    pairs: list[Pair] = []
    for find in (_release, _control):
        one, other = find(left), find(right)
        if one is not None and other is not None:
            pairs.append(Pair(now=one, before=other))
            left.remove(one)
            right.remove(other)
    for cell in list(left):
        same = next((c for c in right if c.cell == cell.cell), None)
        if same is not None:
            pairs.append(Pair(now=cell, before=same))
            left.remove(cell)
            right.remove(same)
    named = any(c.role == "release" for c in now) and any(c.role == "release" for c in before)
    alone, notes = [], []
    for cell, side in [*((c, "run") for c in left), *((c, "baseline") for c in right)]:
        other_side = "baseline" if side == "run" else "run"
        if named:
            notes.append(f"{cell.cell} is in the {side} only, and not to be released: left out")
            continue
        alone.append(
            Check(
                rule="counterpart",
                cell=cell.cell if side == "run" else None,
                baseline_cell=cell.cell if side == "baseline" else None,
                decision=Decision.INCOMPARABLE,
                reason=f"the {side} has {cell.cell}, the {other_side} has no such cell",
                advice="approve a run of the same cells, or name roles.release_cell in the config",
            )
        )
    return Pairing(pairs=tuple(pairs), alone=tuple(alone), notes=tuple(notes))


def _release(cells: Sequence[CellFacts]) -> CellFacts | None:
    named = next((c for c in cells if c.role == "release"), None)
    private = [c for c in cells if c.claimed_epsilon is not None]
    return named or (private[0] if len(private) == 1 else None)


def _control(cells: Sequence[CellFacts]) -> CellFacts | None:
    return next((c for c in cells if c.role == "control"), None)
