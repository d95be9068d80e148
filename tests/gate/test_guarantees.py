"""Guarantees are held without any tolerance."""

import pytest
from gate_facts import cell, checks_of, control_cell, facts, gate, privacy
from hypothesis import given
from hypothesis import strategies as st

from audit.core.audits import AuditRecord
from audit.formats.gate import Decision
from audit.gate.guarantees import TOLERANCE

AGGREGATION = {"protocol": "masked", "clients": 3, "colluders": 1, "threshold": 3}


def with_privacy(**changes):
    return facts(cell(privacy=privacy(2.0, **changes)), control_cell())


def approved_run():
    return facts(cell(), control_cell())


@given(which=st.sampled_from(["claim", "claim-against", "curve"]), factor=st.floats(1e-6, 10))
def test_a_larger_epsilon_anywhere_fails(which, factor):
    larger = 2.0 * (1 + factor)
    now = cell()
    if which == "claim":
        now = now.model_copy(update={"claimed_epsilon": larger})
    elif which == "claim-against":
        weak = now.claims[1].model_copy(update={"claimed_epsilon": larger})
        now = now.model_copy(update={"claims": (now.claims[0], weak)})
    else:
        curve = now.privacy.curve
        last = curve[-1].model_copy(update={"epsilon": curve[-1].epsilon * (1 + factor)})
        facts_ = now.privacy.model_copy(update={"curve": (*curve[:-1], last)})
        now = now.model_copy(update={"privacy": facts_})
    record = gate(facts(now, control_cell()), approved_run())
    assert record.exit_code == 1
    assert {c.rule for c in record.checks if c.decision is Decision.FAIL} == {which}


def test_only_floating_point_noise_is_no_weakening():
    noise = cell().model_copy(update={"claimed_epsilon": 2.0 * (1 + TOLERANCE / 2)})
    assert gate(facts(noise, control_cell()), approved_run()).exit_code == 0
    assert TOLERANCE <= 1e-9


def test_a_stronger_claim_passes_and_noise_only_explains():
    mechanism = {"noise_multiplier": 0.5, "steps": 20}
    now = cell(epsilon=1.5, privacy=privacy(1.5, mechanism=mechanism))
    record = gate(facts(now, control_cell()), approved_run())
    assert record.exit_code == 0
    assert any("noise_multiplier 1.0 -> 0.5" in note for note in record.notes)


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("accountant", {"accountant": "GDP"}),
        ("adjacency", {"adjacency": "replace-one"}),
        ("recomputed-by", {"recomputed_by": None}),
        ("noise-source", {"noise_source": "fixed key"}),
        ("aggregation", {"aggregation": {**AGGREGATION, "protocol": "plain", "threshold": 3}}),
        ("threshold", {"aggregation": {**AGGREGATION, "threshold": 2}}),
        ("threshold", {"aggregation": {**AGGREGATION, "threshold": None}}),
        ("colluders", {"aggregation": {**AGGREGATION, "colluders": 0}}),
        ("curve", {"curve": None}),
    ],
)
def test_each_weakening_fails_and_is_named(rule, changes):
    record = gate(with_privacy(**changes), approved_run())
    assert record.exit_code == 1
    assert {c.rule for c in record.checks if c.decision is Decision.FAIL} == {rule}


GROUP = {"records": 1, "told_by": "identical records", "epsilon": 2.0}


@pytest.mark.parametrize(
    ("approved", "now"),
    [
        (GROUP, GROUP | {"records": 2, "epsilon": 4.4}),
        (GROUP | {"records": 3, "epsilon": 7.0}, GROUP | {"records": 3, "epsilon": 7.1}),
        (GROUP, GROUP | {"told_by": "patient identifiers"}),
        (GROUP, None),
    ],
)
def test_a_patient_with_more_records_or_less_protection_fails(approved, now):
    before = with_privacy(group=approved)
    assert gate(before, before).exit_code == 0
    record = gate(with_privacy(group=now), before)
    assert record.exit_code == 1
    assert {c.rule for c in record.checks if c.decision is Decision.FAIL} == {"group"}


def test_fewer_records_of_a_patient_pass_and_an_older_baseline_is_not_held_against():
    larger = GROUP | {"records": 3, "epsilon": 7.0}
    assert gate(with_privacy(group=GROUP), with_privacy(group=larger)).exit_code == 0
    record = gate(with_privacy(group=larger), with_privacy(group=None))
    assert record.exit_code == 0 and checks_of(record, "group") == []


def test_a_stronger_noise_source_and_aggregation_pass():
    weak = {"protocol": "plain", "clients": 3, "colluders": 1, "threshold": None}
    before = with_privacy(noise_source="fixed key", aggregation=weak)
    assert gate(approved_run(), before).exit_code == 0


@pytest.mark.parametrize(
    "changes", [{"unit": "patient"}, {"curve": [{"delta": 1e-3, "epsilon": 0.1}]}]
)
def test_another_unit_or_a_missing_delta_is_incomparable(changes):
    assert gate(with_privacy(**changes), approved_run()).exit_code == 4


def test_another_delta_is_incomparable_and_its_epsilon_not_compared():
    now = facts(cell(epsilon=9.0, delta=1e-4), control_cell())
    record = gate(now, approved_run())
    assert [c.decision for c in checks_of(record, "delta")] == [Decision.INCOMPARABLE]
    assert checks_of(record, "claim") == checks_of(record, "curve") == []


def test_an_added_assumption_and_a_dropped_adversary_fail():
    now = cell()
    doubtful = now.claims[0].model_copy(
        update={"assumptions": (*now.claims[0].assumptions, "nobody looks")}
    )
    for claims, said in (((doubtful, now.claims[1]), "nobody looks"), (now.claims[:1], "no claim")):
        record = gate(
            facts(now.model_copy(update={"claims": claims}), control_cell()), approved_run()
        )
        failed = [c for c in record.checks if c.decision is Decision.FAIL]
        assert [c.rule for c in failed] == ["claim-against"]
        assert said in failed[0].reason


def test_dp_switched_off_fails():
    """The only private cell of the baseline against a release cell without DP."""
    now = facts(cell("eps-inf", None, role="release"))
    record = gate(now, facts(cell(role="release")))
    assert record.exit_code == 1
    assert checks_of(record, "claim", "eps-inf")[0].decision is Decision.FAIL


def test_an_attack_that_ran_before_has_to_run_again_with_no_smaller_budget():
    fewer = facts(cell(covered=[("query", "loss")]), control_cell())
    record = gate(fewer, approved_run())
    assert record.exit_code == 1
    assert "rmia is missing" in checks_of(record, "coverage")[1].reason
    lesser = cell().model_copy(
        update={
            "coverage": tuple(c.model_copy(update={"budget": "quick"}) for c in cell().coverage)
        }
    )
    record = gate(facts(lesser, control_cell()), approved_run())
    assert record.exit_code == 1
    assert "budget quick, approved standard" in checks_of(record, "coverage")[0].reason


def test_cells_match_by_role_before_id():
    before = facts(cell("eps-2", 2.0, role="release"), cell("eps-8", 8.0), control_cell())
    now = facts(cell("eps-2", 2.0), cell("eps-8", 8.0, role="release"), control_cell())
    record = gate(now, before)
    assert checks_of(record, "claim", "eps-8")[0].decision is Decision.FAIL


def test_a_single_private_cell_is_the_release_whatever_its_epsilon():
    record = gate(facts(cell("eps-8", 8.0), control_cell()), approved_run())
    assert record.exit_code == 1
    assert checks_of(record, "claim", "eps-8")[0].decision is Decision.FAIL


def test_a_private_cell_without_a_counterpart_has_no_answer():
    now = facts(cell("eps-4", 4.0), cell("eps-8", 8.0), control_cell())
    record = gate(now, facts(cell("eps-2"), cell("eps-4", 4.0), control_cell()))
    assert record.exit_code == 4
    alone = [c for c in record.checks if c.rule == "counterpart"]
    assert {(c.cell, c.baseline_cell) for c in alone} == {("eps-8", None), (None, "eps-2")}


def audited(**changes):
    record = {
        "cell": "eps-2", "adversary": "query", "attack": "loss", "claimed_epsilon": 2.0,
        "delta": 1e-5, "lower_bound": 0.5, "method": "clopper-pearson", "confidence": 0.95,
        "n": 1000, "ceiling": 6.0, "guessed_in": 1, "inside": 2, "guessed_in_wrongly": 1,
        "outside": 2, "p_value": 0.9, "best_p_value": 1e-9, "reversal_p_value": 0.5,
        "adjusted_p_value": 1.0, "verdict": "consistent", **changes,
    }  # fmt: skip
    return AuditRecord.model_validate(record)


def bound(value):
    from gate_facts import measured

    return measured(value, metric="empirical_epsilon_lower_bound", low=value, high=None, chance=0.0)


@pytest.mark.parametrize(
    ("value", "audits", "decision"),
    [
        (0.5, [audited()], Decision.PASS),
        (2.5, [], Decision.FAIL),  # nothing behind it that would speak against it
        (2.5, [audited()], Decision.FAIL),  # the audit says another number
        (
            2.5,
            [audited(lower_bound=2.5, p_value=0.03, adjusted_p_value=0.6)],
            Decision.FAIL,
        ),  # by chance or not: the reason says that it may be
        (2.5, [audited(lower_bound=2.5, verdict="violated")], Decision.FAIL),
        (0.5, [audited(verdict="violated", lower_bound=2.2)], Decision.FAIL),
        (
            2.5,
            [audited(claimed_epsilon=3.0, lower_bound=2.5)],
            Decision.PASS,
        ),  # a probe's own claim
    ],
)
def test_a_lower_bound_above_its_claim_fails_whatever_the_policy_says(value, audits, decision):
    from gate_facts import policy

    rules = policy({"metric": "all", "slice": "*", "level": "off"})
    now = facts(cell(metrics=[bound(value)], audits=audits), control_cell())
    record = gate(now, now, rules)
    (check,) = checks_of(record, "bound")
    assert check.decision is decision


@pytest.mark.parametrize(
    ("audits", "detected", "decision"),
    [
        ([audited()], True, Decision.PASS),
        ([audited()], False, Decision.INCONCLUSIVE),
        ([audited(verdict="underpowered")], True, Decision.INCONCLUSIVE),
        ([], True, Decision.INCONCLUSIVE),
    ],
)
def test_the_policy_can_ask_for_audits_that_could_have_spoken(audits, detected, decision):
    from gate_facts import policy

    rules = policy({"metric": "empirical_epsilon_lower_bound", "slice": "*"})
    now = facts(cell(metrics=[bound(0.5)], audits=audits), control_cell(), detected=detected)
    (check,) = checks_of(gate(now, now, rules), "audit")
    assert check.decision is decision
