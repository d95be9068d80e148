"""Which evidence a record holds, and where in the bundle it lies."""

from collections.abc import Iterable

from audit.core.audits import Verdict
from audit.core.controls import ControlKind
from audit.formats.evidence import EvidenceRecord
from audit.pipeline.evidence.adversaries import RAN
from reports.evidence_keys import EvidenceKey, EvidenceState, EvidenceStatus

RECORD = "audit.json"
PRESENT, PARTIAL, ABSENT = EvidenceStatus.PRESENT, EvidenceStatus.PARTIAL, EvidenceStatus.ABSENT


def available(record: EvidenceRecord, *, signed: bool) -> dict[EvidenceKey, EvidenceState]:
    """Return what a record says of each kind of evidence.

    Args:
        record: The record.
        signed: Whether the bundle will carry a signature.
    """
    key = EvidenceKey
    return {
        **_privacy(record),
        **_attacks(record),
        key.SECURE_AGGREGATION: _present(RECORD)
        if record.federation.threshold is not None
        else _absent("updates travelled in the clear"),
        key.ADVERSARIES: _present(RECORD),
        key.UTILITY: _present(RECORD),
        key.UTILITY_BY_GROUP: _all(
            (group.accuracy is not None for cell in record.cells for group in cell.groups),
            "groups below ten records are left out",
        ),
        key.COVERAGE_MATRIX: _all(
            (line.outcome not in ("failed", "missing") for line in record.coverage),
            "some attacks failed or were never tried",
        ),
        key.POSITIVE_CONTROLS: _all(
            (
                line.detected is True
                for line in record.controls
                if line.control is not ControlKind.NONE
            ),
            "some attacks missed their control",
        ),
        key.SELFTEST: _selftest(record),
        key.GATE: _present(RECORD) if record.gate else _absent("the gate has not run"),
        key.RESIDUAL_RISK: _all(
            (risk.at_least is not None for cell in record.cells for risk in cell.residual),
            "not every false-positive rate can be resolved with so few non-members",
        ),
        key.DATA_DESCRIPTION: _partial(
            RECORD, "name, hash and public sizes; purpose and collection are not in a run"
        ),
        key.MODEL_DESCRIPTION: _present("mlbom.cdx.json"),
        key.REPRODUCTION: _present("config.resolved.yaml"),
        key.ENVIRONMENT: _present("env.json"),
        key.EVENT_LOG: _present("events.jsonl"),
        key.SIGNATURE: _present("attestation.dsse.json")
        if signed
        else _absent("the bundle is not signed"),
        key.LIMITS_STATED: _present("report.html"),
        key.HOSPITAL_LEDGER: _partial(
            "dp.json", "each hospital's report of this run; its ledger over all runs stays with it"
        ),
    }


def _privacy(record: EvidenceRecord) -> dict[EvidenceKey, EvidenceState]:
    key = EvidenceKey
    kinds = (key.DP_CLAIM, key.DP_PARAMETERS, key.PRIVACY_CURVE, key.BUDGET_BY_HOSPITAL)
    private = [cell for cell in record.cells if cell.claimed_epsilon is not None]
    if not private:
        absent = _absent("no model of this run was trained with differential privacy")
        return dict.fromkeys((*kinds, key.NOISE_SOURCE), absent)
    if record.run.reproduction:
        void = _partial("dp.json", "the noise came from a fixed key: void as a guarantee")
        return {
            **dict.fromkeys(kinds, _present("dp.json")),
            key.DP_CLAIM: void,
            key.NOISE_SOURCE: void,
        }
    return dict.fromkeys((*kinds, key.NOISE_SOURCE), _present("dp.json"))


def _attacks(record: EvidenceRecord) -> dict[EvidenceKey, EvidenceState]:
    """Return what was measured, family by family, on every model."""
    key = EvidenceKey
    families = {
        key.MEMBERSHIP: ("membership",),
        key.INVERSION: ("inversion", "identification"),
        key.ATTRIBUTE_INFERENCE: ("attribute",),
    }
    found = {
        one: _ran(record, names, "no such attack was executed") for one, names in families.items()
    }
    found[key.MEMBERSHIP_BY_GROUP] = _all(
        (bool(cell.leakage_by_group) for cell in record.cells),
        "no group of some model has ten members and ten others",
    )
    claimed = [cell for cell in record.cells if cell.claimed_epsilon is not None]
    found[key.DP_AUDIT] = _all(
        (cell.verdict in (Verdict.CONSISTENT, Verdict.VIOLATED) for cell in claimed),
        "some claims were not audited, or by audits that could not have seen a violation",
    )
    return found


def _ran(record: EvidenceRecord, families: tuple[str, ...], reason: str) -> EvidenceState:
    cells = [cell.cell for cell in record.cells]
    ran = {line.cell for line in record.coverage if line.family in families and line.outcome in RAN}
    return _all((cell in ran for cell in cells), reason)


def _selftest(record: EvidenceRecord) -> EvidenceState:
    if record.selftest is None:
        return _absent("no self-test of this version is at hand")
    if record.selftest.get("code_sha256") != record.tool["code_sha256"]:
        return _partial(RECORD, "the self-test is of an earlier state of the code")
    return _present(RECORD)


def _all(held: Iterable[bool], reason: str) -> EvidenceState:
    """Return present where all hold, absent where none does, or there is nothing to hold."""
    known = list(held)
    if not any(known):
        return _absent(reason)
    return _present(RECORD) if all(known) else _partial(RECORD, reason)


def _present(file: str) -> EvidenceState:
    return EvidenceState(PRESENT, file)


def _partial(file: str, reason: str) -> EvidenceState:
    return EvidenceState(PARTIAL, file, reason)


def _absent(reason: str) -> EvidenceState:
    return EvidenceState(ABSENT, None, reason)
