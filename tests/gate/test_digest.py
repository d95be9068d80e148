"""What people read of a gate: failures in full, dozens of undecided checks in a few lines."""

from io import StringIO

import pytest
from gate_facts import cell, control_cell, facts, gate, measured, policy
from rich.console import Console

from audit.formats.gate import Check, Decision, GateRecord, Side
from audit.gate.digest import digest, headline, passed
from audit.gate.github import annotations, summary
from audit.gate.terminal import render

ADVERSARIES = ("query", "recipient", "participant", "server", "secagg-server")


def shown(record: GateRecord, *, width: int = 80, all_checks: bool = False) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(render(record, all_checks=all_checks))
    return console.file.getvalue()


def undecided(n: int = 1000) -> GateRecord:
    """Fifty undecided checks: five adversaries, five slices, two cells; and one failure."""
    metrics = [
        measured(0.55, half=0.05, adversary=a, slice=f"round-{r}/batch-1", n=n)
        for a in ADVERSARIES
        for r in range(5)
    ]
    now = facts(
        cell(metrics=[*metrics, measured(0.9, attack="rmia", half=0.01)]),
        control_cell(metrics=metrics),
    )
    before = facts(
        cell(metrics=[*metrics, measured(0.55, attack="rmia", half=0.01)]),
        control_cell(metrics=metrics),
    )
    return gate(
        now,
        before,
        policy(
            {"metric": "auc", "attack": "loss", "slice": "*", "margin": 0.05},
            {"metric": "auc", "attack": "rmia", "margin": 0.05},
        ),
    )


@pytest.mark.parametrize("width", [80, 120])
def test_fifty_undecided_checks_take_a_few_lines(width):
    text = shown(undecided(), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert len(text.splitlines()) < 25
    assert text.count("fail ") == 2  # the check, and the outcome
    assert "run 0.900 [0.890, 0.910], n 1,000; approved 0.550" in text
    assert "50 inconclusive" in text
    assert "5 slices" in text
    assert text.rstrip().endswith("exit code 1")


def test_all_checks_are_shown_by_themselves_when_asked_for():
    record = undecided()
    text = shown(record, width=200, all_checks=True)
    assert text.count("inconclusive  margin") == 50
    assert text.count("pass          ") == sum(c.decision is Decision.PASS for c in record.checks)


def check(**changes) -> Check:
    facts = {
        "rule": "margin", "cell": "eps-2", "adversary": "query", "attack": "loss", "metric": "auc",
        "slice": "all", "decision": Decision.INCONCLUSIVE, "reason": "+0: undecided",
        "threshold": 0.05, "rise": Side(value=0.0, low=-0.1, high=0.1), "run": Side(value=0.5, n=9),
    }  # fmt: skip
    return Check.model_validate({**facts, **changes})


def test_the_largest_n_of_a_group_is_told():
    checks = [
        check(needed_n=100, reason="+0.01: undecided"),
        check(needed_n=2000, run=Side(value=0.5, n=700)),
        check(attack="rmia"),
    ]
    (group,) = digest(checks)
    assert "n of about 2,000 a side would decide 2 of them (now 700)" in group.why
    assert "upper bound +0.1, margin 0.05" in group.why
    (group,) = digest([check(needed_seeds=4), check(needed_seeds=7)])
    assert "about 7 seeds a side would decide all" in group.why


def test_gates_say_in_numbers_what_would_decide():
    record = undecided()
    needs = [c.needed_n for c in record.checks if c.decision is Decision.INCONCLUSIVE]
    assert all(n is not None and n > 1000 for n in needs)


def test_other_reasons_are_not_mixed_with_wide_intervals():
    doubtful = {"rise": Side(value=0.0, low=-0.01, high=0.01), "advice": "mend the attack"}
    checks = [check(), check(adversary="server"), *(
        check(reason=f"{a} did not detect its positive control", adversary=a, **doubtful)
        for a in ADVERSARIES
    )]  # fmt: skip
    wide, broken = digest(checks)
    assert (len(wide.checks), len(broken.checks)) == (2, 5)
    assert "query did not detect" in broken.why
    assert "and 3 more" in broken.why
    assert broken.why.endswith("mend the attack")


def test_rules_and_what_does_not_count_are_never_joined():
    checks = [
        check(), check(metric="tpr_at_fpr_0.01"), check(attack="strongest"), check(threshold=0.2),
        check(level="warn"), check(waived_by="A. Person"), check(rule="limit"),
    ]  # fmt: skip
    groups = digest(checks)
    assert [len(group.checks) for group in groups] == [1] * 7
    assert [g.standing for g in groups[-2:]] == [
        "inconclusive, warn only",
        "inconclusive, waived by A. Person",
    ]


def test_failures_are_joined_only_where_adversaries_say_the_same():
    failed = {"decision": Decision.FAIL, "rule": "claim-against"}
    same = [check(reason="8, approved 2", adversary=a, **failed) for a in ADVERSARIES]
    other = check(reason="9, approved 2", adversary="query", **failed)
    cells = check(reason="8, approved 2", cell="eps-5", **failed)
    groups = digest([*same, other, cells])
    assert sorted(len(group.checks) for group in groups) == [1, 1, 5]
    assert "by query, recipient, participant, server, secagg-server" in groups[0].where


def test_failures_that_say_the_same_keep_their_reason_and_values():
    failed = {"decision": Decision.FAIL, "reason": "+0.4: it rose, by more than margin 0.05"}
    risen = Side(value=0.4, low=0.3, high=0.5)
    same = [check(adversary=a, rise=risen, **failed) for a in ADVERSARIES]
    (group,) = digest(same)
    assert (group.standing, group.hard) == ("5 fail", True)
    assert group.values == "run 0.500, n 9"
    assert group.why == failed["reason"]


def test_what_the_policy_fails_because_it_is_undecided_is_gathered_too():
    metrics = [measured(0.55, half=0.05 + i / 100, adversary=a) for i, a in enumerate(ADVERSARIES)]
    now = facts(cell(metrics=metrics), control_cell(metrics=metrics))
    record = gate(now, now, policy({"metric": "auc", "margin": 0.01, "on_inconclusive": "fail"}))
    assert record.exit_code == 1
    groups = digest(record.checks)
    assert [g.standing for g in groups if g.hard] == ["10 fail"]
    assert "undecided, which the policy fails" in groups[0].why


def test_the_headline_tells_what_was_waived_and_what_only_warns():
    checks = (check(waived_by="A"), check(level="warn"), check(decision=Decision.PASS))
    record = undecided().model_copy(update={"checks": checks, "decision": Decision.PASS})
    assert headline(record) == "pass (1 pass, 1 waived, 1 warn only)"
    assert passed(checks) == "1 passed: margin 1"
    assert passed([]) == ""


def test_github_gets_the_same_groups():
    record = undecided()
    groups = digest(record.checks)
    lines = list(annotations(record))
    assert len(lines) == len(groups) + 1
    rows = [line for line in summary(record).splitlines() if line.startswith("| ")]
    assert len(rows) == len(groups) + 1  # and the heading
    assert any("50 inconclusive" in row for row in rows)


def test_markup_in_a_reason_is_text():
    record = undecided()
    text = "[red]x[/] [/bold]"
    changed = record.checks[0].model_copy(update={"decision": Decision.FAIL, "reason": text})
    assert text in shown(record.model_copy(update={"checks": (changed,)}), width=120)
