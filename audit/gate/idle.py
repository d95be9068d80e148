"""Rules of a policy that find nothing to decide: a typing error must not pass a model."""

from collections.abc import Sequence

from audit.core.scores import Outcome
from audit.formats.baseline import CellFacts, Measurement
from audit.formats.gate import Check, Decision
from audit.formats.policy import ALL, BOUND, Policy, Rule
from audit.gate.facts import SUMMARIES


def names_attack(rule: Rule) -> bool:
    """Return whether a rule names an attack by its id, or attacks by a pattern."""
    return rule.attack != ALL and rule.attack not in SUMMARIES


def names_score(rule: Rule) -> bool:
    """Return whether a rule names one attack and one slice: then each cell has to have it."""
    return names_attack(rule) and _literal(rule.attack) and _literal(rule.slice)


def idle_rules(
    cells: Sequence[CellFacts], policy: Policy
) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Find the rules that no measured score matches.

    Args:
        cells: Of the run and of the baseline.
        policy: Its rules.

    Returns:
        An inconclusive check for each that has a limit, or names attacks, a slice, or an adversary
        (of several each by itself), or whose scores were tried and not measured: what it asks for
        is never a pass. A note for each of the others, which ask only about what there is, and for
        each that earlier rules leave nothing to.
    """
    scores = [m for cell in cells for m in cell.metrics]
    decided = {rule for m in scores if _measured(m) and (rule := _rule_for(policy, m)) is not None}
    checks: list[Check] = []
    notes: list[str] = []
    for number, rule in enumerate(policy.rules, start=1):
        if rule.level == "off":
            continue
        name = f"rule {number} of the policy, {rule.name},"
        for one in _by_adversary(rule):
            matching = [m for m in scores if _matches(one, m)]
            if any(_measured(m) for m in matching):
                continue
            if _asks(one, matching):
                checks.append(_check(one, f"{name} found nothing: {_why(matching)}"))
            else:
                notes.append(f"{name} decides nothing: {_why(matching)}")
        if rule not in decided and any(_matches(rule, m) and _measured(m) for m in scores):
            notes.append(f"{name} decides nothing: earlier rules match all that it matches")
    return tuple(checks), tuple(notes)


def _by_adversary(rule: Rule) -> list[Rule]:
    """A rule for each adversary that it names: none of them may be missing."""
    if ALL in rule.adversary:
        return [rule]
    return [rule.model_copy(update={"adversary": (name,)}) for name in rule.adversary]


def _asks(rule: Rule, matching: Sequence[Measurement]) -> bool:
    named = (
        names_attack(rule)
        or ALL not in rule.adversary
        or (rule.slice != ALL and _literal(rule.slice))
    )
    tried = rule.metric != BOUND and any(m.outcome is not Outcome.NOT_RUN for m in matching)
    return named or tried or rule.limit is not None


def _check(rule: Rule, reason: str) -> Check:
    return Check(
        rule="named",
        adversary=", ".join(rule.adversary),
        attack=rule.attack,
        metric=rule.metric,
        slice=rule.slice,
        level="warn" if rule.level == "warn" else "error",
        decision=Decision.INCONCLUSIVE,
        reason=reason,
        advice=f"audit attack --only {rule.attack}"
        if names_attack(rule) and _literal(rule.attack)
        else None,
    )


def _why(matching: Sequence[Measurement]) -> str:
    if not matching:
        return "neither run nor baseline has such a score"
    outcomes = dict.fromkeys((m.outcome, m.reason) for m in matching)
    outcome, reason = next(iter(outcomes))
    told = outcome.value.replace("_", " ") + (f", {reason}" if reason else "")
    return told if len(outcomes) == 1 else f"{told}; and {len(outcomes) - 1} more"


def _literal(name: str) -> bool:
    return not any(sign in name for sign in "*?[")


def _measured(score: Measurement) -> bool:
    return score.outcome is Outcome.EXECUTED


def _rule_for(policy: Policy, m: Measurement) -> Rule | None:
    return policy.rule_for(
        adversary=m.adversary.value, attack=m.attack, metric=m.metric, slice=m.slice
    )


def _matches(rule: Rule, m: Measurement) -> bool:
    return rule.matches(
        adversary=m.adversary.value, attack=m.attack, metric=m.metric, slice=m.slice
    )
