"""Baselines and policies on disk, and what CI reads of a gate."""

import json
import os
from datetime import date
from pathlib import Path

import pytest
from gate_facts import approved, cell, control_cell, facts, gate, measured, policy
from junitparser import Error, Failure, JUnitXml, Skipped

from audit.core.errors import ConfigError, IntegrityError, MissingEvidenceError
from audit.formats.baseline import read_baseline
from audit.formats.files import write_json
from audit.formats.gate import Decision
from audit.formats.policy import default_policy_path, read_policy
from audit.gate.approval import open_baseline
from audit.gate.digest import digest
from audit.gate.github import annotations, summary
from audit.gate.junit import write_junit
from audit.signing.keys import generate_key_pair, load_private_key
from audit.signing.signed_file import sign_file


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.json"
    write_json(path, approved(facts()).model_dump(mode="json", by_alias=True))
    return path


def change(path: Path, *keys: str | int, value: object) -> None:
    tree = json.loads(path.read_text())
    node = tree
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    path.write_text(json.dumps(tree))


def test_a_baseline_reads_back_as_it_was_written(stored):
    assert read_baseline(stored)[0] == approved(facts())
    tree = json.loads(stored.read_text())
    assert tree["schema"] == "audit-baseline/v1"
    assert [c["claimed_epsilon"] for c in tree["cells"]] == [2.0, None]


@pytest.mark.parametrize(
    ("keys", "value", "error", "said"),
    [
        (("schema",), "audit-baseline/v2", MissingEvidenceError, "audit-baseline/v2"),
        (("schema",), None, MissingEvidenceError, "schema"),
        (
            ("cells", 0, "metrics", 0, "value"),
            float("nan"),
            MissingEvidenceError,
            "metrics.0.value",
        ),
        (("cells", 0, "claimed_epsilon"), float("inf"), MissingEvidenceError, "claimed_epsilon"),
        (("cells", 0, "metrics", 0, "metric"), "gossip", IntegrityError, "unknown metric"),
        (("cells", 0, "metrics", 0, "value"), None, IntegrityError, "executed"),
        (("cells", 0, "metrics", 0, "high"), 0.1, IntegrityError, "below value"),
        (("cells", 0, "delta"), "small", IntegrityError, "delta"),
        (("approved", "by"), "", IntegrityError, "by"),
        (("approved", "expires"), "2029-12-31", MissingEvidenceError, "expired on 2029-12-31"),
    ],
)
def test_a_bad_baseline_is_refused_by_name(stored, keys, value, error, said):
    change(stored, *keys, value=value)
    with pytest.raises(error, match=said):
        open_baseline(stored, today=date(2030, 1, 1))


def test_a_missing_file_and_no_json(stored):
    with pytest.raises(ConfigError, match="no such file"):
        open_baseline(stored.with_name("nothing.json"))
    stored.write_text("{")
    with pytest.raises(IntegrityError, match="damaged"):
        open_baseline(stored)


@pytest.fixture
def signed(stored: Path, tmp_path: Path) -> Path:
    public = generate_key_pair(tmp_path / "keys")
    change(stored, "approved", "public_key", value=public.keyval["public"])
    sign_file(stored, load_private_key(tmp_path / "keys" / "audit.key"))
    return stored


def test_a_signed_baseline_is_checked_with_and_without_the_key(signed, tmp_path):
    assert open_baseline(signed, key=tmp_path / "keys" / "audit.pub")[2] == "valid"
    assert "by the key that it names" in open_baseline(signed)[2]


def test_a_changed_baseline_or_signature_is_refused_even_without_the_key(signed):
    text = signed.read_text()
    change(signed, "cells", 0, "claimed_epsilon", value=9.0)
    with pytest.raises(IntegrityError):
        open_baseline(signed)
    signed.write_text(text)
    open_baseline(signed)
    beside = signed.with_name("baseline.json.dsse.json")
    whole = beside.read_text()
    envelope = json.loads(whole)
    signature = envelope["signatures"][0]
    signature["sig"] = ("B" if signature["sig"][0] == "A" else "A") + signature["sig"][1:]
    beside.write_text(json.dumps(envelope))
    with pytest.raises(IntegrityError):
        open_baseline(signed)
    beside.unlink()
    with pytest.raises(IntegrityError, match="not signed"):
        open_baseline(signed)


def test_another_key_and_a_signature_nobody_named_are_refused(signed, tmp_path):
    generate_key_pair(tmp_path / "other")
    with pytest.raises(IntegrityError):
        open_baseline(signed, key=tmp_path / "other" / "audit.pub")
    change(signed, "approved", "public_key", value=None)
    with pytest.raises(IntegrityError, match="names no key"):
        open_baseline(signed)


def test_the_shipped_policy_is_the_only_one_and_holds_no_limit():
    rules, _ = read_policy(default_policy_path())
    assert all(rule.limit is None for rule in rules.rules)
    assert [p.name for p in default_policy_path().parent.glob("policy*.yaml")] == ["policy.yaml"]
    assert rules.alpha == 0.05


def test_a_bare_off_is_a_level_although_yaml_reads_false(tmp_path):
    path = tmp_path / "policy.yaml"
    rules = "rules: [{metric: auc, level: off}, {metric: ssim, level: 'off'}]"
    path.write_text(f"schema: audit-policy/v1\n{rules}\n")
    assert [rule.level for rule in read_policy(path)[0].rules] == ["off", "off"]


def test_a_bad_rule_is_told_once(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("schema: audit-policy/v1\nrules: [{metric: auc, margin: 1, colour: red}]\n")
    with pytest.raises(ConfigError) as caught:
        read_policy(path)
    assert str(caught.value) == f"policy {path}: unknown key 'rules.0.colour'"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metric: gossip\n    margin: 1", "gossip"),
        ("metric: auc\n    margin: 1\n    adversary: ghost", "ghost"),
        ("metric: auc\n    margin: 1\n    adversary: [query, ghost]", "ghost"),
        ("metric: auc\n    margin: 1\n    colour: red", "colour"),
        ("metric: auc\n    margin: -1", "margin"),
        ("metric: auc\n    margin: .nan", "margin"),
        ("metric: auc\n    margin: 1\n    level: loud", "level"),
        ("metric: auc\n    margin: 1\n    alpha: 0.9", "alpha"),
        ("metric: auc", "margin"),
        ("metric: all\n    margin: 1", "units"),
        ("metric: empirical_epsilon_lower_bound\n    limit: 1", "lower bound"),
    ],
)
def test_a_bad_policy_names_what_is_wrong(tmp_path, text, said):
    path = tmp_path / "policy.yaml"
    path.write_text(f"schema: audit-policy/v1\nrules:\n  - {text}\n")
    with pytest.raises(ConfigError, match=said):
        read_policy(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema: audit-policy/v9\nrules: [{metric: auc, margin: 1}]", "schema"),
        ("schema: audit-policy/v1\nrules: []", "rules"),
        ("- 1", "mapping"),
        ("a: [", "YAML"),
        (
            "schema: audit-policy/v1\nrules: [{metric: auc, margin: 1}]\n"
            "waivers: [{metric: auc, owner: o, reason: r}]",
            "expires",
        ),
    ],
)
def test_a_malformed_policy_is_refused(tmp_path, text, said):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_policy(path)


def everything():
    """A gate with every decision, one that only warns, and one that is waived."""
    before = facts(cell(), control_cell(), cell("eps-8", 8.0))
    now = facts(
        cell(metrics=[measured(0.9), measured(0.55, attack="rmia", half=0.3)]),
        control_cell(),
        cell("eps-4", 4.0),
    )
    rules = policy(
        {"metric": "auc", "attack": "loss", "margin": 0.05},
        {"metric": "auc", "attack": "rmia", "limit": 0.6},
    )
    return gate(now, before, rules)


def test_junit_has_a_case_for_each_check(tmp_path):
    record = everything()
    write_junit(record, tmp_path / "gate.xml")
    (suite,) = JUnitXml.fromfile(str(tmp_path / "gate.xml"))
    cases = list(suite)
    assert len(cases) == len(record.checks) == suite.tests
    assert len({(case.classname, case.name) for case in cases}) == len(cases)
    kinds = {Failure: Decision.FAIL, Error: Decision.INCOMPARABLE, Skipped: Decision.INCONCLUSIVE}
    for kind, decision in kinds.items():
        told = [c for c in cases if c.result and isinstance(c.result[0], kind)]
        expected = [c for c in record.checks if c.counts and c.decision is decision]
        assert len(told) == len(expected) > 0
        assert [c.result[0].message.split(";")[0] for c in told] == [
            c.reason.split(";")[0] for c in expected
        ]
    assert (suite.failures, suite.errors, suite.skipped) == tuple(
        sum(c.counts and c.decision is d for c in record.checks) for d in kinds.values()
    )


def test_junit_holds_any_text(tmp_path):
    record = gate(facts(cell(metrics=[measured(attack='a<b>&"\x00\u2028')])), facts())
    write_junit(record, tmp_path / "gate.xml")
    assert len(list(next(iter(JUnitXml.fromfile(str(tmp_path / "gate.xml")))))) == len(
        record.checks
    )


def test_a_waived_check_has_passed_in_junit(tmp_path):
    waiver = {"metric": "auc", "owner": "A. Person", "reason": "r", "expires": "2030-06-01"}
    record = gate(
        facts(cell(metrics=[measured(0.9)]), control_cell()), facts(), policy(waivers=[waiver])
    )
    write_junit(record, tmp_path / "gate.xml")
    (suite,) = JUnitXml.fromfile(str(tmp_path / "gate.xml"))
    assert suite.failures == 0
    assert any("waived by A. Person" in (case.system_out or "") for case in suite)


def test_annotations_are_workflow_commands_on_one_line_each():
    record = everything()
    lines = list(annotations(record))
    assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in lines)
    assert all(os.linesep not in line for line in lines)
    hard = [group for group in digest(record.checks) if group.hard]
    assert sum(line.startswith("::error ") for line in lines) == len(hard) > 0


def test_annotations_escape_what_a_name_could_smuggle_in():
    changed = {"reason": "50 %\n::error::x", "attack": "a,b:c", "decision": Decision.FAIL}
    check = everything().checks[0].model_copy(update=changed)
    record = everything().model_copy(update={"checks": (check,)})
    first = next(annotations(record))
    assert "50 %25%0A::error" in first
    assert "a%2Cb%3Ac" in first.split("::")[1]


def test_the_summary_is_a_table_of_what_did_not_pass():
    record = everything()
    rows = [line for line in summary(record).splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(digest(record.checks))
    assert any("| fail |" in row and "0.900" in row for row in rows)
    assert "- approved by A. Person" in summary(record)
