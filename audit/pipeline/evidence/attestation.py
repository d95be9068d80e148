"""What the signature of a bundle attests: each audit of each claim, and the verdict, as tests."""

from audit.core.audits import AuditRecord, Verdict
from audit.formats.evidence import EvidenceRecord
from audit.signing.statement import AuditResult


def audit_result(record: EvidenceRecord) -> AuditResult:
    """Return a test for each claim and audit, and one for the verdict as a whole.

    An audit that could not have seen a violation is a warning, so is leakage that no claim
    excludes; a contradicted claim is a failure.

    Args:
        record: Of the run.
    """
    passed: list[str] = []
    warned: list[str] = []
    failed: list[str] = []
    bins = {Verdict.CONSISTENT: passed, Verdict.UNDERPOWERED: warned, Verdict.VIOLATED: failed}
    for cell in record.cells:
        for audit in cell.audits:
            if audit.verdict is not None:
                bins[audit.verdict].append(_name(audit))
        if cell.claimed_epsilon is not None and cell.verdict is None:
            warned.append(f"{cell.cell}: the claim was not audited")
    state = record.verdict.state
    whole = {"claim_violated": failed, "no_contradiction": passed}.get(state, warned)
    whole.append(f"verdict: {state}")
    return AuditResult(passed=tuple(passed), warned=tuple(warned), failed=tuple(failed))


def _name(audit: AuditRecord) -> str:
    return f"{audit.cell}: claim of the {audit.about}: {audit.attack} of {audit.adversary}"
