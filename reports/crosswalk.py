"""Requirements beside the evidence that a run has for them.

A state says what evidence there is. None says that a requirement is met: that judgement is the
controller's and its assessor's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reports.evidence_keys import MEANING, EvidenceKey, EvidenceState, EvidenceStatus
from reports.requirement_files import Ceiling, Requirement, Source, load_requirements

CAVEAT = (
    "A state says how much of the listed evidence this bundle holds. It never says that the "
    "requirement is met: that is for the controller and its assessor to judge."
)
NOT_CHECKED = "not checked against the source"
OUTSIDE = "outside this tool"
UNNAMED = EvidenceState(EvidenceStatus.ABSENT, None, "the run says nothing of it")


@dataclass(frozen=True)
class EvidenceFound:
    """One artefact of a row.

    Args:
        key: Its word.
        meaning: What that stands for.
        needed: Whether the row's state hangs on it.
        status: Of the artefact in this run.
        file: Its path in the bundle; None where absent.
        reason: Why it is not whole.
    """

    key: EvidenceKey
    meaning: str
    needed: bool
    status: EvidenceStatus
    file: str | None
    reason: str


@dataclass(frozen=True)
class CrosswalkRow:
    """One requirement and the evidence for it.

    Args:
        source, source_title, edition: Where it stands.
        id: Its place in the source.
        requirement: In our words.
        state: Of the evidence.
        reason: Why that state.
        evidence: The artefacts that bear on it.
        limits: What this evidence cannot show.
        text_check: ``checked on`` a date, or ``not checked against the source``.
        check_note: What was read for that.
    """

    source: str
    source_title: str
    edition: str
    id: str
    requirement: str
    state: EvidenceStatus
    reason: str
    evidence: tuple[EvidenceFound, ...]
    limits: str
    text_check: str
    check_note: str


def crosswalk(
    available: Mapping[EvidenceKey, EvidenceState], *, sources: Sequence[Source] | None = None
) -> list[CrosswalkRow]:
    """Put every requirement beside what a run has for it.

    Args:
        available: What the run says of each key; a key that is not there is absent.
        sources: The requirements; None: those that ship in this package.

    Returns:
        Rows by source, then in its order.

    Raises:
        DataError: A requirements file is not valid.
        ValueError: A key of ``available`` is not of the vocabulary.

    Example:
        >>> crosswalk({})[0].state.value
        'absent'
    """
    for key in available:
        if not isinstance(key, EvidenceKey):
            raise ValueError(f"available: got {key!r}, expected a key of EvidenceKey")
    found = load_requirements() if sources is None else sources
    return [_row(source, row, available) for source in found for row in source.rows]


def crosswalk_json(rows: Sequence[CrosswalkRow]) -> list[dict[str, Any]]:
    """Return the rows as JSON objects."""
    return [asdict(row) | {"evidence": [asdict(each) for each in row.evidence]} for row in rows]


def _row(
    source: Source, row: Requirement, available: Mapping[EvidenceKey, EvidenceState]
) -> CrosswalkRow:
    evidence = tuple(
        EvidenceFound(
            key=key,
            meaning=MEANING[key],
            needed=key in row.needs,
            status=state.status,
            file=state.file,
            reason=state.reason,
        )
        for key in row.evidence
        for state in (available.get(key, UNNAMED),)
    )
    state, reason = _judged(row, [each for each in evidence if each.needed])
    return CrosswalkRow(
        source=source.id,
        source_title=source.title,
        edition=source.edition,
        id=row.id,
        requirement=row.requirement,
        state=state,
        reason=reason,
        evidence=evidence,
        limits=row.limits,
        text_check=f"checked on {source.checked}" if row.checked else NOT_CHECKED,
        check_note=row.check_note or source.how_checked,
    )


def _judged(row: Requirement, needed: Sequence[EvidenceFound]) -> tuple[EvidenceStatus, str]:
    """Return state and reason; only what is needed counts, so that trimmings make nothing partial.

    Args:
        row: The requirement.
        needed: Its needed artefacts; empty where it is outside of the tool.
    """
    if row.outside is not None:
        return EvidenceStatus.ABSENT, f"{OUTSIDE}: {row.outside}"
    lacking = [each for each in needed if each.status is not EvidenceStatus.PRESENT]
    told = "; ".join(f"{each.key.value} is {each.status.value}: {each.reason}" for each in lacking)
    if all(each.status is EvidenceStatus.ABSENT for each in needed):
        return EvidenceStatus.ABSENT, told
    if lacking:
        return EvidenceStatus.PARTIAL, told
    if row.ceiling is Ceiling.PARTIAL:
        return (
            EvidenceStatus.PARTIAL,
            "all that this tool can give is in the bundle; the limits say what it leaves out",
        )
    return EvidenceStatus.PRESENT, "everything needed is in the bundle"
