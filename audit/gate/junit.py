"""A gate as JUnit XML, which CI systems show: a case for each rule and cell."""

import re
from pathlib import Path
from xml.etree import ElementTree

from audit.formats.files import write_bytes
from audit.formats.gate import Check, Decision, GateRecord

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


def junit_xml(record: GateRecord) -> bytes:
    """Return the document.

    A check that fails is a failure, an incomparable one an error, an inconclusive one skipped with
    its reason. One that does not count (level warn, or waived) has passed, and says so in its
    output.
    """
    kinds = [_kind(check) for check in record.checks]
    counts = {kind: str(kinds.count(kind)) for kind in ("failure", "error", "skipped")}
    totals = {
        "tests": str(len(kinds)),
        "failures": counts["failure"],
        "errors": counts["error"],
        "skipped": counts["skipped"],
        "time": "0",
    }
    suites = ElementTree.Element("testsuites", {"name": "audit gate", **totals})
    suite = ElementTree.SubElement(
        suites, "testsuite", {"name": "audit gate", "timestamp": record.created[:19], **totals}
    )
    for check, kind in zip(record.checks, kinds, strict=True):
        where = check.cell or check.baseline_cell or "run"
        case = ElementTree.SubElement(
            suite,
            "testcase",
            {"classname": _clean(f"gate.{where}"), "name": _clean(check.name), "time": "0"},
        )
        said = check.reason + (f"; {check.advice}" if check.advice else "")
        if kind is not None:
            ElementTree.SubElement(
                case, kind, {"message": _clean(said), "type": check.decision.value}
            )
        else:
            output = ElementTree.SubElement(case, "system-out")
            output.text = _clean(f"{_standing(check)}: {said}")
    document: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document


def write_junit(record: GateRecord, path: Path) -> None:
    """Write the document atomically."""
    write_bytes(path, junit_xml(record))


def _kind(check: Check) -> str | None:
    if not check.counts:
        return None
    return {
        Decision.FAIL: "failure",
        Decision.INCOMPARABLE: "error",
        Decision.INCONCLUSIVE: "skipped",
    }.get(check.decision)


def _standing(check: Check) -> str:
    if check.waived_by is not None:
        return f"{check.decision.value}, waived by {check.waived_by}"
    if check.level == "warn":
        return f"{check.decision.value}, level warn"
    return check.decision.value


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
