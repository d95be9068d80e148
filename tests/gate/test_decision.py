"""The decision about measured leakage, by interval bounds only."""

import pytest
from gate_facts import (
    cell,
    checks_of,
    control_cell,
    controls,
    facts,
    gate,
    measured,
    policy,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.formats.gate import Decision
from audit.gate.answer import decide
from audit.stats.change import Estimate, independent_rise

VALUES = st.floats(0.05, 0.95)
WIDTHS = st.floats(0.001, 0.04)
ALPHAS = st.floats(0.001, 0.2)


def one(value: float, half: float = 0.02, **changes):
    return facts(cell(metrics=[measured(value, half=half, **changes)]), control_cell())


def test_a_run_against_itself_passes_where_the_margin_is_wider_than_the_noise():
    record = gate(one(0.55, half=0.01), one(0.55, half=0.01))
    assert (record.decision, record.exit_code) == (Decision.PASS, 0)


@pytest.mark.parametrize(
    ("value", "half", "decision"),
    [
        (0.70, 0.02, Decision.FAIL),  # far above, and above the margin
        (0.58, 0.005, Decision.PASS),  # it rose for sure, and within the margin for sure
        (0.58, 0.05, Decision.INCONCLUSIVE),  # too wide to say
        (0.62, 0.10, Decision.INCONCLUSIVE),  # above the margin, and perhaps by chance
        (0.40, 0.02, Decision.PASS),  # it fell
    ],
)
def test_against_the_baseline_by_bounds(value, half, decision):
    record = gate(one(value, half), one(0.55, half))
    (check,) = checks_of(record, "margin")
    assert check.decision is decision
    assert record.exit_code == {"pass": 0, "fail": 1, "inconclusive": 3}[decision.value]
    assert (check.advice is not None) == (decision is Decision.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("value", "decision"),
    [(0.55, Decision.PASS), (0.65, Decision.FAIL), (0.61, Decision.INCONCLUSIVE)],
)
def test_against_a_limit_by_bounds(value, decision):
    rules = policy({"metric": "auc", "limit": 0.6})
    (check,) = checks_of(gate(one(value), one(value), rules), "limit")
    assert check.decision is decision


def test_a_limit_skips_the_control():
    rules = policy({"metric": "auc", "limit": 0.6})
    now = facts(cell(), control_cell(metrics=[measured(0.99, half=0.001)]))
    record = gate(now, now, rules)
    assert checks_of(record, "limit", "eps-inf") == []
    assert record.exit_code == 0


def test_a_metric_that_leaks_downwards_fails_when_it_falls():
    rules = policy({"metric": "mse", "margin": 0.01})
    before = one(0.10, half=0.005, metric="mse")
    fell, rose = one(0.02, half=0.005, metric="mse"), one(0.30, half=0.005, metric="mse")
    assert gate(fell, before, rules).exit_code == 1
    assert gate(rose, before, rules).exit_code == 0


def test_a_lower_limit_for_a_metric_that_leaks_downwards():
    rules = policy({"metric": "mse", "limit": 0.05})
    for value, code in ((0.02, 1), (0.10, 0)):
        now = one(value, half=0.005, metric="mse")
        assert gate(now, now, rules).exit_code == code


@given(now=VALUES, before=VALUES, width=WIDTHS, extra=WIDTHS, alpha=ALPHAS, margin=st.floats(0, 1))
def test_a_wider_interval_never_turns_a_failure_into_a_pass(  # noqa: PLR0917
    now, before, width, extra, alpha, margin
):
    def decided(half: float) -> Decision:
        ours, theirs = (
            Estimate.of_interval(v, v - half, v + half, confidence=0.95) for v in (now, before)
        )
        rise = independent_rise([ours], [theirs])
        return decide(rise, allowed=margin, alpha=alpha, p_value=rise.p_value)

    narrow, wide = decided(width), decided(width + extra)
    assert wide in {narrow, Decision.INCONCLUSIVE}


@given(value=VALUES, half=WIDTHS, margin=st.floats(0, 0.2), limit=st.floats(0.96, 1))
@settings(max_examples=60)
def test_a_run_against_its_own_baseline_passes_or_is_inconclusive(value, half, margin, limit):
    now = one(value, half)
    record = gate(now, now, policy({"metric": "auc", "margin": margin, "limit": limit + 0.1}))
    assert record.exit_code in {0, 3}


@given(values=st.lists(VALUES, min_size=4, max_size=4), half=WIDTHS)
@settings(max_examples=40)
def test_seeds_against_their_own_baseline_pass_or_are_inconclusive(values, half):
    seeds = range(len(values))
    metrics = [measured(v, half=half, seed=s) for s, v in zip(seeds, values, strict=True)]
    now = facts(cell(metrics=metrics), control_cell(), seeds=seeds)
    assert gate(now, now).exit_code in {0, 3}


def test_holm_goes_over_all_scores_of_a_gate():
    """Twenty scores, one of which is alone at 3 %: not enough among twenty."""
    attacks = [f"attack-{i}" for i in range(20)]
    known = controls(attacks=[("query", a) for a in attacks])
    before = [measured(0.5, half=0.02, attack=a) for a in attacks]
    risen = [measured(0.5272, half=0.02, attack="attack-0"), *before[1:]]
    rules = policy({"metric": "auc", "margin": 0.02})
    alone = gate(
        facts(cell(metrics=risen[:1]), known=known), facts(cell(metrics=before[:1])), rules
    )
    among = gate(facts(cell(metrics=risen), known=known), facts(cell(metrics=before)), rules)
    assert checks_of(alone, "margin")[0].decision is Decision.FAIL
    assert checks_of(among, "margin")[0].decision is Decision.INCONCLUSIVE
    assert checks_of(among, "margin")[0].adjusted_p_value > 0.05


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ((), "no positive control"),
        (controls(False), "broken"),
        (controls(None), "could not be controlled"),
    ],
)
def test_an_attack_that_does_not_detect_its_control_never_passes_a_model(known, said):
    now = facts(cell(metrics=[measured(half=0.01)]), control_cell(metrics=[]), known=known)
    record = gate(now, now)
    (check,) = checks_of(record, "margin")
    assert (check.decision, record.exit_code) == (Decision.INCONCLUSIVE, 3)
    assert said in check.reason


def test_an_attack_that_does_not_detect_its_control_still_fails_a_model():
    now = facts(cell(metrics=[measured(0.8)]), control_cell(), detected=False)
    assert gate(now, one(0.55)).exit_code == 1


def test_the_strongest_is_in_doubt_if_an_attack_behind_it_is_broken():
    metrics = [
        measured(0.55, half=0.01),
        measured(0.52, half=0.01, attack="rmia"),
        measured(0.55, half=0.01, attack="strongest", by="loss"),
    ]
    rules = policy({"metric": "auc", "attack": "strongest", "margin": 0.05})
    good, bad = controls(True, [("query", "loss")]), controls(False, [("query", "rmia")])
    none = controls(None, [("query", "rmia")])
    before = facts(cell(metrics=metrics), control_cell(metrics=[]))
    for known, decision in (
        ((*good, *bad), Decision.INCONCLUSIVE),
        ((*good, *none), Decision.PASS),  # it adds nothing, and what is shown is proven
        (good, Decision.INCONCLUSIVE),
        ((*controls(None, [("query", "loss")]), *none), Decision.INCONCLUSIVE),  # nothing is proven
    ):
        now = facts(cell(metrics=metrics), control_cell(metrics=[]), known=known)
        (check,) = checks_of(gate(now, before, rules), "margin")
        assert check.decision is decision


@pytest.mark.parametrize("outcome", ["failed", "underpowered", "not_run"])
def test_what_was_not_measured_is_never_a_pass(outcome):
    gone = measured(None, outcome=outcome, reason="because")
    now = facts(cell(metrics=[gone]), control_cell())
    record = gate(now, one(0.55))
    (check,) = checks_of(record, "margin")
    assert check.decision is Decision.INCONCLUSIVE
    assert "because" in check.reason
    warned = gate(now, one(0.55), policy({"metric": "auc", "margin": 1, "on_inconclusive": "warn"}))
    assert checks_of(warned, "margin")[0].level == "error"


@pytest.mark.parametrize(("asked", "said"), [({"min_n": 5000}, "5000"), ({"seeds": 3}, "3")])
def test_the_policy_can_ask_for_more_observations_and_seeds(asked, said):
    rules = policy({"metric": "auc", "margin": 0.5, **asked})
    (check,) = checks_of(gate(one(0.55), one(0.55), rules), "margin")
    assert check.decision is Decision.INCONCLUSIVE
    assert said in check.reason


@pytest.mark.parametrize(("counts_as", "code"), [("inconclusive", 3), ("fail", 1), ("warn", 0)])
def test_what_an_undecided_interval_counts_as(counts_as, code):
    rules = policy({"metric": "auc", "margin": 0.001, "on_inconclusive": counts_as})
    assert gate(one(0.55), one(0.55), rules).exit_code == code


def test_levels_warn_and_off():
    for level, checks in (("warn", 1), ("off", 0)):
        rules = policy(
            {"metric": "auc", "margin": 0.05, "level": level}, {"metric": "ssim", "margin": 1}
        )
        record = gate(one(0.9), one(0.55), rules)
        assert record.exit_code == 0
        assert len(checks_of(record, "margin")) == checks


def test_an_attack_that_the_policy_names_and_that_ran_nowhere_is_no_pass():
    rules = policy({"metric": "auc", "attack": "lira-online", "margin": 0.1})
    record = gate(one(0.55), one(0.55), rules)
    assert record.exit_code == 3
    assert "lira-online" in next(c.reason for c in record.checks if c.rule == "named")


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"metric": "auc", "attack": "los", "margin": 0.1}, 3),
        ({"metric": "auc", "attack": "lora-*", "margin": 0.1}, 3),
        ({"metric": "auc", "slice": "worst-hospitl", "margin": 0.1}, 3),
        ({"metric": "auc", "adversary": "malicious-server", "margin": 0.1}, 3),
        ({"metric": "auc", "adversary": ["query", "malicious-server"], "margin": 0.1}, 3),
        ({"metric": "ssim", "limit": 0.1}, 3),
        ({"metric": "tpr_at_fpr_0.001", "margin": 0.1}, 3),  # tried, and could not be resolved
        ({"metric": "ssim", "attack": "strongest", "margin": 0.1}, 0),  # only if there is one
        ({"metric": "ssim", "slice": "*", "margin": 0.1}, 0),
        ({"metric": "psnr", "margin": 0.1}, 0),  # not run: there is nothing to invert
        ({"metric": "auc", "attack": "los", "margin": 0.1, "level": "warn"}, 0),
        ({"metric": "auc", "attack": "los", "margin": 0.1, "level": "off"}, 0),
    ],
)
def test_a_rule_that_finds_nothing_never_passes_in_silence(rule, code):
    unresolved = measured(None, metric="tpr_at_fpr_0.001", outcome="not_resolvable")
    metrics = [measured(half=0.01), unresolved, measured(None, metric="psnr")]
    now = facts(cell(metrics=metrics), control_cell())
    record = gate(now, now, policy(rule, {"metric": "auc", "attack": "loss", "margin": 0.1}))
    assert record.exit_code == code
    asked = [c for c in record.checks if c.rule == "named"]
    told = [note for note in record.notes if note.startswith("rule 1 of the policy")]
    assert bool(asked) != bool(told) or rule.get("level") == "off"


def test_a_rule_to_which_earlier_ones_leave_nothing_is_named():
    rules = policy(
        {"metric": "auc", "margin": 0.1}, {"metric": "auc", "attack": "loss", "limit": 1}
    )
    record = gate(one(0.55), one(0.55), rules)
    assert any("rule 2 of the policy" in note and "earlier rules" in note for note in record.notes)


def test_a_score_that_the_policy_names_is_asked_of_every_cell():
    """It was measured on the control only: on the private cell it failed, then as now."""
    failed = measured(None, outcome="failed", reason="out of memory")
    now = facts(cell(metrics=[failed]), control_cell(metrics=[measured(half=0.01)]))
    rules = policy({"metric": "auc", "attack": "loss", "limit": 0.9, "margin": 0.1})
    record = gate(now, now, rules)
    assert record.exit_code == 3
    checks = [*checks_of(record, "limit"), *checks_of(record, "margin")]
    assert [c.decision for c in checks] == [Decision.INCONCLUSIVE] * 2
    assert all("out of memory" in c.reason for c in checks)
    anything = policy({"metric": "auc", "margin": 0.1})
    assert gate(now, now, anything).exit_code == 0


def test_seeds_decide_by_their_spread_and_not_by_one_runs_interval():
    """Records alone would call 0.62 against 0.55 a rise; seeds that spread so widely do not."""
    rules = policy({"metric": "auc", "margin": 0.05})
    spread = [0.48, 0.62, 0.55, 0.50, 0.60]
    before = facts(
        cell(metrics=[measured(v, half=0.01, seed=s) for s, v in enumerate(spread)]),
        control_cell(metrics=[]),
        seeds=range(5),
    )
    now = facts(cell(metrics=[measured(0.62, half=0.01, seed=9)]), control_cell(), seeds=[9])
    (check,) = checks_of(gate(now, before, rules), "margin")
    assert check.decision is Decision.INCONCLUSIVE
    assert "seeds" in check.method


def test_a_policy_can_assume_what_retraining_adds_to_single_seeds_and_only_to_them():
    for spread, decision in ((0.0, Decision.FAIL), (0.03, Decision.INCONCLUSIVE)):
        rules = policy({"metric": "auc", "margin": 0.05, "spread": spread})
        (check,) = checks_of(gate(one(0.61, 0.005), one(0.55, 0.005), rules), "margin")
        assert check.decision is decision
        assert ("retraining" in check.method) == (spread > 0)
    assert "several seeds" in check.advice
    seeds = [measured(0.55 + 0.001 * s, half=0.005, seed=s) for s in range(5)]
    before = facts(cell(metrics=seeds), control_cell(metrics=[]), seeds=range(5))
    (check,) = checks_of(gate(one(0.62, 0.005, seed=9), before, rules), "margin")
    assert check.decision is Decision.FAIL


def test_seeds_on_the_same_records_are_taken_in_pairs():
    hard = [0.40, 0.50, 0.60, 0.70]
    metrics = [measured(v, half=0.05, seed=s) for s, v in enumerate(hard)]
    risen = [
        measured(v + r, half=0.05, seed=s)
        for s, (v, r) in enumerate(zip(hard, (0.08, 0.081, 0.079, 0.08), strict=True))
    ]
    before = facts(cell(metrics=metrics), control_cell(metrics=[]), seeds=range(4))
    now = facts(cell(metrics=risen), control_cell(metrics=[]), seeds=range(4))
    (check,) = checks_of(gate(now, before), "margin")
    assert check.decision is Decision.FAIL
    assert "pairs" in check.method


def test_controls_that_were_not_detected_are_named():
    now = facts(detected=False)
    assert any("loss by query" in note for note in gate(now, facts()).notes)
    assert any("no positive controls" in note for note in gate(facts(known=()), facts()).notes)


def test_a_waiver_holds_until_its_day_and_is_named_after():
    waiver = {"metric": "auc", "owner": "A. Person", "reason": "known"}
    for expires, code, said in (("2030-01-01", 0, "known"), ("2029-12-31", 1, "expired")):
        rules = policy(waivers=[{**waiver, "expires": expires}])
        record = gate(one(0.9), one(0.55), rules)
        assert record.exit_code == code
        assert any(said in note and "A. Person" in note for note in record.notes)


def test_no_waiver_covers_a_guarantee():
    waiver = {"metric": "all", "slice": "*", "owner": "o", "reason": "r", "expires": "2031-01-01"}
    now = facts(cell(epsilon=3.0), control_cell())
    assert gate(now, facts(cell(), control_cell()), policy(waivers=[waiver])).exit_code == 1
