"""Attack coverage: what was attacked for the approval is attacked again, with no smaller budget."""

from collections.abc import Iterator

from audit.core.scores import Outcome
from audit.formats.baseline import CellFacts, Covered
from audit.formats.gate import Check, Decision
from audit.gate.cells import Pair
from audit.gate.pooling import budget_rank


def check_coverage(pair: Pair) -> Iterator[Check]:
    """Compare which attacks ran to their end, one check an adversary."""
    ours = {(c.adversary, c.attack): c for c in pair.now.coverage}
    adversaries = dict.fromkeys(c.adversary for c in pair.before.coverage)
    for adversary in adversaries:
        approved = [c for c in pair.before.coverage if c.adversary is adversary]
        gone = [
            said
            for theirs in approved
            if (said := _weakened(pair.now, ours.get((adversary, theirs.attack)), theirs))
        ]
        yield Check(
            rule="coverage",
            cell=pair.now.cell,
            baseline_cell=pair.before.cell,
            adversary=adversary.value,
            decision=Decision.FAIL if gone else Decision.PASS,
            reason="; ".join(gone) if gone else f"all {len(approved)} attacks ran again",
            advice="run `audit attack` with them" if gone else None,
        )


def _weakened(cell: CellFacts, ours: Covered | None, theirs: Covered) -> str | None:
    if ours is None:
        return f"{theirs.attack} {_outcome(cell, theirs)}"
    if budget_rank(ours.budget) < budget_rank(theirs.budget):
        return f"{theirs.attack} had budget {ours.budget}, approved {theirs.budget}"
    return None


def _outcome(cell: CellFacts, theirs: Covered) -> str:
    """What became of an attack that did not run to its end in every seed."""
    found = [
        m for m in cell.metrics if (m.adversary, m.attack) == (theirs.adversary, theirs.attack)
    ]
    missed = next((m for m in found if m.outcome is not Outcome.EXECUTED), None)
    if missed is None:
        return "is missing"
    return missed.outcome.value.replace("_", " ") + (f" ({missed.reason})" if missed.reason else "")
