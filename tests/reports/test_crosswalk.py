"""The crosswalk: valid data, honest states, no verdicts."""

import json
from pathlib import Path

import pytest
import yaml

from audit.core.errors import DataError
from reports.crosswalk import NOT_CHECKED, OUTSIDE, crosswalk, crosswalk_json
from reports.evidence_keys import MEANING, EvidenceKey, EvidenceState, EvidenceStatus
from reports.requirement_files import VERDICT, Ceiling, Source, load_requirements

PRESENT, PARTIAL, ABSENT = EvidenceStatus.PRESENT, EvidenceStatus.PARTIAL, EvidenceStatus.ABSENT
EVERYTHING = {key: EvidenceState(PRESENT, f"{key.value}.json") for key in EvidenceKey}
HALF = {key: EvidenceState(PARTIAL, f"{key.value}.json", "half of it") for key in EvidenceKey}
NOTHING = {key: EvidenceState(ABSENT, None, "not measured") for key in EvidenceKey}

ASKED = {
    "nist_sp_800_226": [
        "2.2 epsilon", "2.2 budget", "2.4 unit of privacy", "2.6 other releases", "3.2 utility",
        "3.3.1 systemic bias", "4.1 query model", "4.2 trust assumptions", "4.2.1 central model",
        "4.2.2 local model", "4.3 floating point", "4.3 timing channels", "4.4 data security",
        "4.4 access control", "4.5 data collection exposure",
    ],
    "gdpr": [
        "5(1)(f)", "25(1)", "25(2)", "32(1)(d)", "35(7)(a)", "35(7)(b)", "35(7)(c)", "35(7)(d)",
    ],
    "edpb_28_2024": ["43 extraction", "43 queries", "55(i) membership", "58 threat model"],
    "eu_ai_act": ["10(2)(f)", "10(3)", "15(1)", "15(5) confidentiality", "Annex IV 2(g)"],
    "hipaa": [
        "164.308(a)(1)(i)", "164.308(a)(1)(ii)(A)", "164.308(a)(8)", "164.312(b)",
        "164.514(b)(1)(i)", "164.514(b)(1)(ii)",
    ],
    "nist_ai_rmf": ["MEASURE 2.7", "MEASURE 2.10"],
    "iso_42001": ["A.2", "A.6.2.4", "A.10"],
    "iso_27559": ["8.2.3 adversarial testing", "9 governance"],
    "uk_ico": ["anonymisation motivated intruder", "PETs federated learning"],
}  # fmt: skip

ROW = {
    "id": "1",
    "requirement": "Something is measured.",
    "evidence": ["membership", "signature"],
    "needs": ["membership"],
    "limits": "One attack.",
    "checked": True,
}
FILE = {
    "id": "one",
    "title": "A law",
    "publisher": "A parliament",
    "url": "https://example.org/law",
    "edition": "First",
    "dated": "2024-06",
    "checked": "2026-11-25",
    "how_checked": "Read.",
}


def written(folder: Path, *rows: dict, name: str = "one.yaml", **changes: object) -> Path:
    # yaml reads an unquoted date as a date, which is what the files hold
    tree = {**FILE, "rows": list(rows) or [ROW], **changes}
    text = yaml.safe_dump(tree, sort_keys=False).replace("'2026-11-25'", "2026-11-25")
    (folder / name).write_text(text)
    return folder


def loaded(folder: Path, *rows: dict, **changes: object) -> tuple[Source, ...]:
    return load_requirements(written(folder, *rows, **changes))


@pytest.fixture(scope="module")
def shipped() -> tuple[Source, ...]:
    return load_requirements()


def test_every_source_and_provision_that_was_asked_for_is_there(shipped):
    found = {source.id: {row.id for row in source.rows} for source in shipped}
    assert set(found) == set(ASKED)
    missing = {name: set(rows) - found[name] for name, rows in ASKED.items()}
    assert {name: rows for name, rows in missing.items() if rows} == {}


def test_every_word_of_the_vocabulary_is_explained_and_used(shipped):
    assert set(MEANING) == set(EvidenceKey)
    used = {key for source in shipped for row in source.rows for key in row.evidence}
    assert set(EvidenceKey) - used == set()


def test_what_is_sold_and_was_not_read_is_not_called_checked(shipped):
    unread = {source.id for source in shipped if source.checked is None}
    assert unread == {"iso_27559", "iso_42001", "nist_sp_800_226"}
    rows = [row for row in crosswalk(EVERYTHING) if row.source in unread]
    assert {row.text_check for row in rows} == {NOT_CHECKED}


def test_every_row_says_whether_and_how_its_text_was_checked(shipped):
    by_row = {(s.id, r.id): (s, r) for s in shipped for r in s.rows}
    for row in crosswalk(EVERYTHING):
        source, requirement = by_row[row.source, row.id]
        told = f"checked on {source.checked}" if requirement.checked else NOT_CHECKED
        assert (row.text_check, bool(row.check_note)) == (told, True)


def test_a_run_with_nothing_has_evidence_for_nothing():
    for available in ({}, NOTHING):
        rows = crosswalk(available)
        assert {row.state for row in rows} == {ABSENT}
        assert all(row.reason for row in rows)


def test_a_run_with_everything_has_what_each_row_declares(shipped):
    declared = [
        ABSENT if row.outside else PARTIAL if row.ceiling is Ceiling.PARTIAL else PRESENT
        for source in shipped
        for row in source.rows
    ]
    assert [row.state for row in crosswalk(EVERYTHING)] == declared
    assert set(declared) == {PRESENT, PARTIAL, ABSENT}


def test_a_run_with_half_of_everything_has_no_requirement_covered():
    rows = crosswalk(HALF)
    assert {row.state for row in rows} == {PARTIAL, ABSENT}
    assert all(row.state is PARTIAL for row in rows if row.evidence)


def test_a_duty_outside_of_the_tool_stays_absent_and_says_whose_it_is(shipped):
    outside = {(s.id, r.id): r.outside for s in shipped for r in s.rows if r.outside}
    rows = {(row.source, row.id): row for row in crosswalk(EVERYTHING)}
    for place, whose in outside.items():
        row = rows[place]
        assert (row.state, row.evidence) == (ABSENT, ())
        assert row.reason == f"{OUTSIDE}: {whose}"


@pytest.mark.parametrize(
    ("membership", "signature", "state"),
    [
        (PRESENT, PRESENT, PRESENT),
        (PRESENT, ABSENT, PRESENT),
        (PARTIAL, PRESENT, PARTIAL),
        (ABSENT, PRESENT, ABSENT),
    ],
)
def test_only_what_is_needed_makes_the_state(tmp_path, membership, signature, state):
    available = {
        EvidenceKey.MEMBERSHIP: _state(membership),
        EvidenceKey.SIGNATURE: _state(signature),
    }
    (row,) = crosswalk(available, sources=loaded(tmp_path))
    assert row.state is state
    assert [(each.key.value, each.needed) for each in row.evidence] == [
        ("membership", True),
        ("signature", False),
    ]


def test_one_of_two_needed_is_partial_and_the_lack_is_named(tmp_path):
    sources = loaded(tmp_path, ROW | {"needs": ["membership", "signature"]})
    (row,) = crosswalk({EvidenceKey.MEMBERSHIP: _state(PRESENT)}, sources=sources)
    assert row.state is PARTIAL
    assert row.reason == "signature is absent: the run says nothing of it"


def test_no_text_pronounces_a_verdict(shipped):
    for available in ({}, HALF, EVERYTHING):
        for row in crosswalk(available):
            texts = [row.requirement, row.reason, row.limits, row.check_note]
            assert [text for text in texts if VERDICT.search(text)] == []


def test_rows_are_json_with_plain_words():
    rows = json.loads(json.dumps(crosswalk_json(crosswalk(HALF)), allow_nan=False))
    assert {row["state"] for row in rows} == {"partial", "absent"}
    first = rows[0]["evidence"][0]
    assert (first["status"], first["file"]) == ("partial", f"{first['key']}.json")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"evidence": ["membership", "magic"]}, r"one\.yaml: row '1': evidence\.1: .*'magic'"),
        ({"needs": ["dp_claim"]}, r"row '1': .*dp_claim is not among its evidence"),
        ({"needs": []}, r"row '1': .*needs: is empty"),
        ({"evidence": [], "needs": []}, r"row '1': .*either evidence or the reason"),
        ({"outside": "somebody's duty"}, r"row '1': .*either evidence or the reason"),
        ({"evidence": ["membership", "membership"]}, r"row '1': .*names membership twice"),
        ({"requirement": "The system is compliant."}, r"row '1': requirement: .*'compliant'"),
        ({"requirement": "It “shall” be so."}, r"row '1': requirement: .*quotation"),
        ({"requirement": "One. Two."}, r"row '1': requirement: .*one sentence"),
        ({"limits": "It complies."}, r"row '1': limits: .*'complies'"),
        ({"checked": "yes"}, r"row '1': checked: .*bool"),
        ({"colour": "red"}, r"row '1': colour: "),
        ({"ceiling": "total"}, r"row '1': ceiling: .*'total'"),
    ],
)
def test_a_wrong_row_is_refused_by_file_row_and_field(tmp_path, change, told):
    with pytest.raises(DataError, match=told):
        loaded(tmp_path, ROW | change)


@pytest.mark.parametrize("field", [name for name in ROW if name != "id"])
def test_a_missing_field_of_a_row_is_refused_by_name(tmp_path, field):
    row = {name: value for name, value in ROW.items() if name != field}
    with pytest.raises(DataError, match=rf"one\.yaml: row '1': {field}: Field required"):
        loaded(tmp_path, row)


@pytest.mark.parametrize("field", [*FILE, "rows"])
def test_a_missing_field_of_a_file_is_refused_by_name(tmp_path, field):
    path = written(tmp_path) / "one.yaml"
    tree = yaml.safe_load(path.read_text())
    del tree[field]
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(DataError, match=rf"one\.yaml: {field}: Field required"):
        load_requirements(tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dated": "2024-13"}, r"dated: .*2024-13"),
        ({"dated": "2024-6"}, r"dated: .*YYYY-MM"),
        ({"checked": "soon"}, r"checked: .*soon"),
        ({"checked": None}, r"checked: got None"),
        ({"id": "two"}, r"id: got 'two'"),
        ({"rows": []}, r"rows: "),
        ({"url": "a book"}, r"url: .*a book"),
    ],
)
def test_a_wrong_header_is_refused_by_file_and_field(tmp_path, changes, told):
    with pytest.raises(DataError, match=rf"one\.yaml: .*{told}"):
        loaded(tmp_path, **changes)


def test_a_row_that_stands_there_twice_is_refused_by_its_id(tmp_path):
    with pytest.raises(DataError, match=r"one\.yaml: .*row '1': stands there twice"):
        loaded(tmp_path, ROW, ROW)


def test_a_field_that_stands_there_twice_is_refused_by_its_line(tmp_path):
    path = written(tmp_path) / "one.yaml"
    path.write_text(path.read_text() + "  limits: Another.\n")
    with pytest.raises(DataError, match=r"one\.yaml: line \d+: limits: stands there twice"):
        load_requirements(tmp_path)


def test_a_date_of_checking_without_a_checked_row_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a date if any row is checked"):
        loaded(tmp_path, ROW | {"checked": False})


@pytest.mark.parametrize("text", ["- a list", "id: [", ""])
def test_what_is_no_requirements_file_is_refused_by_name(tmp_path, text):
    (tmp_path / "one.yaml").write_text(text)
    with pytest.raises(DataError, match=r"one\.yaml: "):
        load_requirements(tmp_path)


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(DataError, match="at least one requirements file"):
        load_requirements(tmp_path)


def test_a_word_that_is_not_of_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="'membership'"):
        crosswalk({"membership": _state(PRESENT)})


@pytest.mark.parametrize(
    ("status", "file", "reason", "told"),
    [
        (PRESENT, None, "", "file: got None"),
        (PARTIAL, None, "half", "file: got None"),
        (ABSENT, "a.json", "none", "file: got 'a.json'"),
        (PRESENT, "/elsewhere/a.json", "", "relative path"),
        (PRESENT, "../a.json", "", "relative path"),
        (PARTIAL, "a.json", " ", "reason: is empty"),
        (ABSENT, None, "", "reason: is empty"),
        ("present", "a.json", "", "status: got 'present'"),
    ],
)
def test_a_state_without_its_file_or_reason_is_refused(status, file, reason, told):
    with pytest.raises(ValueError, match=told):
        EvidenceState(status, file, reason)


def _state(status: EvidenceStatus) -> EvidenceState:
    return EvidenceState(status, None if status is ABSENT else "a.json", "so")
