"""From all audits of a run to verdicts, the chance of one false alarm among them held at 5 %."""

from collections.abc import Sequence

from audit import stats
from audit.core.audits import AuditRecord, Verdict
from audit.scoring.origin import CONFIDENCE

LEVEL = 1 - CONFIDENCE

SWAPPED = (
    "scores and truth contradict each other: canaries that were in are called in less often than "
    "others; members and non-members may be swapped, and nothing is shown"
)
WEAK = "even if every guess had been right, so few canaries could not have contradicted the claim"


def judge(records: Sequence[AuditRecord]) -> list[AuditRecord]:
    """Return the records with adjusted p-values and verdicts.

    An audit has up to two tests, of its claim and of its own truth; Holm goes over all of them.

    Args:
        records: All audits of a run.
    """
    p_values = {f"claim {r.name}": r.p_value for r in records if r.p_value is not None}
    p_values |= {
        f"truth {r.name}": r.reversal_p_value for r in records if r.reversal_p_value is not None
    }
    adjusted = stats.holm(p_values)
    return [
        _judged(
            record,
            adjusted.get(f"claim {record.name}"),
            adjusted.get(f"truth {record.name}"),
            len(adjusted),
        )
        for record in records
    ]


def cell_verdict(records: Sequence[AuditRecord]) -> Verdict | None:
    """Return what a cell's audits say together; None: nothing is claimed, or nothing was audited.

    One violation is enough. The claim is consistent with what was seen where at least one audit
    could have contradicted it.
    """
    verdicts = {record.verdict for record in records if record.verdict is not None}
    for verdict in (Verdict.VIOLATED, Verdict.CONSISTENT, Verdict.UNDERPOWERED):
        if verdict in verdicts:
            return verdict
    return None


def _judged(
    record: AuditRecord, claim: float | None, truth: float | None, tests: int
) -> AuditRecord:
    verdict: Verdict | None = None
    reason: str | None = None
    if truth is not None and truth <= LEVEL:
        verdict, reason = Verdict.UNDERPOWERED, SWAPPED
    elif claim is not None and claim <= LEVEL:
        verdict = Verdict.VIOLATED
    elif record.best_p_value is not None and record.best_p_value > LEVEL / tests:
        verdict, reason = Verdict.UNDERPOWERED, WEAK
    elif claim is not None:
        verdict = Verdict.CONSISTENT
    return record.model_copy(
        update={
            "adjusted_p_value": claim,
            "adjusted_reversal_p_value": truth,
            "tests": tests,
            "verdict": verdict,
            "reason": reason,
        }
    )
