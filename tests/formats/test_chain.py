"""The chained log: every change is found at the first line that no longer fits."""

import hashlib
import json
import stat
import subprocess
import sys

import pytest

from audit.core.errors import AuditError
from audit.formats.chain import append_event, check_chain
from audit.store.run import RunDirectory


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "events.jsonl"
    for number in range(4):
        append_event(path, {"event": "tick", "number": number})
    return path


def _reason(content):
    problem = check_chain(content)
    return None if problem is None else problem.reason


def test_a_log_holds_and_each_line_names_the_bytes_of_the_one_before(log):
    lines = log.read_bytes().splitlines(keepends=True)
    events = [json.loads(line) for line in lines]
    assert check_chain(log.read_bytes()) is None
    assert [event["sequence"] for event in events] == [0, 1, 2, 3]
    assert events[0]["previous"] == "0" * 64
    assert events[3]["previous"] == hashlib.sha256(lines[2]).hexdigest()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_changed_line_is_found_at_the_next_one(log):
    changed = log.read_bytes().replace(b'"number": 1', b'"number": 7')
    assert _reason(changed).startswith("line 3 does not follow")


def test_a_space_in_a_line_is_found(log):
    lines = log.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b": ", b":  ", 1)
    assert _reason(b"".join(lines)).startswith("line 3 does not follow")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda x: x[1:], "line 1 has sequence 1; expected 0"),
        (lambda x: [x[0], *x[2:]], "line 2 has sequence 2; expected 1"),
        (lambda x: [x[0], x[2], x[1], x[3]], "line 2 has sequence 2"),
        (lambda x: [*x[:2], x[1], *x[2:]], "line 3 has sequence 1; expected 2"),
        (lambda x: [x[0], b"{}\n", *x[2:]], "line 2 is not chained"),
        (lambda x: [x[0], b"[]\n", *x[2:]], "line 2 is not a JSON object"),
        (lambda x: [x[0], b"\n", *x[1:]], "line 2 is not JSON"),
        (lambda x: [x[0].replace(b'"sequence": 0', b'"sequence": false'), *x[1:]], "line 1 has"),
        (lambda x: [*x[:3], x[3][:-5]], "line 4 is not finished"),
        (lambda x: [*x[:3], x[3][:-1]], "line 4 is not finished"),
        (lambda x: [], "is empty"),
    ],
)
def test_lines_that_are_missing_moved_or_put_between_are_found(log, change, found):
    lines = log.read_bytes().splitlines(keepends=True)
    assert _reason(b"".join(change(lines))).startswith(found)


def test_a_rewritten_line_with_a_matching_number_is_found(log):
    lines = log.read_bytes().splitlines(keepends=True)
    event = json.loads(lines[2]) | {"previous": "1" * 64}
    lines[2] = (json.dumps(event) + "\n").encode()
    assert _reason(b"".join(lines)).startswith("line 3 does not follow")


def test_a_half_written_last_line_is_cut_off_and_the_next_event_says_so(log):
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"sequence": 4, "previ')
    append_event(log, {"event": "after"})
    assert check_chain(log.read_bytes()) is None
    assert log.read_bytes().startswith(whole)
    assert json.loads(log.read_bytes().splitlines()[-1])["cut_bytes"] == 22


def test_a_log_with_nothing_but_a_half_written_line_starts_anew(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"seq')
    append_event(path, {"event": "after"})
    assert check_chain(path.read_bytes()) is None


def test_a_log_without_a_chain_is_told_apart_and_can_go_on(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"time": "x", "event": "begun"}\n')
    append_event(path, {"event": "after"})
    assert "older versions wrote no chain" in _reason(path.read_bytes())
    first, second = path.read_bytes().splitlines(keepends=True)
    assert json.loads(second)["previous"] == hashlib.sha256(first).hexdigest()


@pytest.mark.parametrize("name", ["sequence", "previous", "cut_bytes"])
def test_a_fact_cannot_stand_in_for_the_chain(log, name):
    with pytest.raises(ValueError, match=name):
        append_event(log, {"event": "x", name: 0})


def test_a_value_that_is_no_json_leaves_the_log_as_it_was(log):
    before = log.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        append_event(log, {"event": "x", "value": float("nan")})
    assert log.read_bytes() == before


def test_a_folder_in_the_way_is_a_clear_error(tmp_path):
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(AuditError, match="cannot write"):
        append_event(tmp_path / "events.jsonl", {"event": "x"})


def test_processes_that_write_at_once_do_not_fork_the_chain(tmp_path):
    script = (
        "import sys; from pathlib import Path; from audit.formats.chain import append_event\n"
        "for i in range(20): append_event(Path(sys.argv[1]), {'event': 'x', 'i': i})"
    )
    path = tmp_path / "events.jsonl"
    running = [subprocess.Popen([sys.executable, "-c", script, str(path)]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert check_chain(path.read_bytes()) is None
    assert path.read_bytes().count(b"\n") == 60


def test_the_events_of_a_run_are_chained(tmp_path):
    run = RunDirectory(tmp_path)
    run.event("begun", clients=["hospital-1"])
    run.event("trained")
    content = (tmp_path / "events.jsonl").read_bytes()
    assert check_chain(content) is None
    assert [json.loads(line)["event"] for line in content.splitlines()] == ["begun", "trained"]
