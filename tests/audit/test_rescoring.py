"""Every score again from the stored guesses and secrets: equal to the bit, or said where not."""

import json
import shutil

import pytest

from audit.core.errors import IntegrityError, MissingEvidenceError
from audit.formats.files import sha256_of
from audit.pipeline.forbidden import forbidden_words
from audit.pipeline.record_differences import different_lists, different_values
from audit.pipeline.rescoring import rescore
from audit.store.run import RunDirectory


def _hashes(folder):
    return {p: sha256_of(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def _edit(path, change):
    """Change the parsed content of a JSON or JSON lines file."""
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        change(lines)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))


def _measured(lines):
    return next(line for line in lines if line["value"] is not None and line["metric"] == "auc")


def test_an_untouched_run_passes_and_is_not_written_to(trained):
    before = _hashes(trained)
    found = rescore(RunDirectory.open(trained))
    assert found.problems == ()
    assert found.scores == len((trained / "scores.jsonl").read_text().splitlines()) > 100
    assert _hashes(trained) == before


def test_every_edited_number_is_found_where_it_stands(run_copy):
    result = next((run_copy / "attacks").glob("*/recipient/loss/result.json"))
    roc = next((run_copy / "attacks").glob("*/query/loss/roc.json"))
    _edit(run_copy / "scores.jsonl", lambda x: _measured(x).update(value=0.123456))
    _edit(result, lambda x: _measured(x["scores"]).update(low=0.0))
    _edit(roc, lambda x: x[1].__setitem__(1, 0.987654))
    _edit(run_copy / "groups.jsonl", lambda x: x[0].update(members=0))
    _edit(run_copy / "audits.jsonl", lambda x: x[0].update(verdict="consistent!"))
    _edit(run_copy / "table.json", lambda x: x["rows"][0].update(accuracy=0.99))
    table = run_copy / "table.csv"
    table.write_text(table.read_text().replace("eps-", "eps_", 1))
    found = rescore(RunDirectory.open(run_copy)).problems
    reasons = {}
    for problem in found:
        reasons.setdefault(problem.file, []).append(problem.reason)
    names = {p.relative_to(run_copy).as_posix() for p in (result, roc)}
    files = {"scores.jsonl", "groups.jsonl", "audits.jsonl", "table.json", "table.csv"}
    assert set(reasons) == files | names
    assert all(len(of) == 1 for of in reasons.values())
    assert "value is 0.123456; 0." in reasons["scores.jsonl"][0]
    assert "rows[0].accuracy is 0.99" in reasons["table.json"][0]
    assert "0.987654" in reasons[roc.relative_to(run_copy).as_posix()][0]


def test_lines_that_are_missing_added_or_doubled_are_found(run_copy):
    def change(lines):
        del lines[0]
        lines[0]["metric"] = "tpr_at_fpr_0.5"
        lines.append(lines[5])

    _edit(run_copy / "scores.jsonl", change)
    said = [p.reason for p in rescore(RunDirectory.open(run_copy)).problems]
    assert sum("stands nowhere; expected once" in reason for reason in said) == 2
    assert sum("stands once; expected nowhere" in reason for reason in said) == 1
    assert sum("stands 2 times; expected once" in reason for reason in said) == 1
    assert len(said) == 4


def test_a_guess_or_a_truth_that_was_changed_afterwards_is_found(run_copy):
    one, other = (
        next((run_copy / "attacks").glob(f"*/recipient/{name}/guess.safetensors"))
        for name in ("loss", "modified-entropy")
    )
    shutil.copyfile(other, one)
    found = {p.file for p in rescore(RunDirectory.open(run_copy)).problems}
    assert one.with_name("result.json").relative_to(run_copy).as_posix() in found
    assert "scores.jsonl" in found


def test_an_attack_that_did_not_run_cannot_become_one_that_did(run_copy):
    result = next((run_copy / "attacks").glob("*/recipient/loss/result.json"))
    name = result.relative_to(run_copy).as_posix()
    _edit(result, lambda x: x.update(outcome="not_run", reason="no time"))
    said = [p.reason for p in rescore(RunDirectory.open(run_copy)).problems if p.file == name]
    assert said == ["says not_run, but its guess can be scored"]


def test_without_secrets_or_results_there_is_nothing_to_compare(run_copy):
    shutil.move(run_copy / "attacks", run_copy / "elsewhere")
    with pytest.raises(MissingEvidenceError, match="no results"):
        rescore(RunDirectory.open(run_copy))
    shutil.move(run_copy / "elsewhere", run_copy / "attacks")
    shutil.rmtree(run_copy / "secrets")
    with pytest.raises(MissingEvidenceError, match="secrets"):
        rescore(RunDirectory.open(run_copy))


def test_some_secrets_missing_is_no_pass(run_copy):
    shutil.rmtree(run_copy / "secrets" / "canaries")
    with pytest.raises(MissingEvidenceError, match="expected one"):
        rescore(RunDirectory.open(run_copy))


def test_the_names_of_records_are_known_with_and_without_the_secrets(run_copy):
    run = RunDirectory.open(run_copy)
    names = forbidden_words(run)
    member = json.loads((run_copy / "secrets" / "membership.json").read_text())["member"]
    assert set(member) <= names
    key = json.loads((run_copy / "secrets" / "noise_key.json").read_text())["key"]
    assert key in names
    shutil.rmtree(run_copy / "secrets")
    assert set(member) <= forbidden_words(run)


def test_a_damaged_recording_is_damage(run_copy):
    model = next((run_copy / "cells").glob("*/model.safetensors"))
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="was changed"):
        rescore(RunDirectory.open(run_copy))


def test_numbers_must_be_equal_and_of_one_type():
    assert list(different_values({"a": [1.0, None]}, {"a": [1.0, None]})) == []
    assert list(different_values(1, 1.0)) == ["it is 1; 1.0 comes out"]
    assert list(different_values(True, 1)) == ["it is True; 1 comes out"]
    assert list(different_values(0.1 + 0.2, 0.3)) == ["it is 0.30000000000000004; 0.3 comes out"]
    assert list(different_values({"a": [1]}, {"a": [1, 2], "b": 0})) == [
        "a is a list of 1; a list of 2 comes out",
        "b is missing",
    ]


def test_lists_are_compared_whatever_their_order():
    one, two = {"n": "a", "v": 1}, {"n": "b", "v": 2}
    assert list(different_lists([two, one], [one, two], ("n",))) == []
    assert next(different_lists({"n": 1}, [one], ("n",))).startswith("has no list")
    assert list(different_lists([one, {"n": "b", "v": 3}], [one, two], ("n",))) == [
        "b: v is 3; 2 comes out"
    ]
