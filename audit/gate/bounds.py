"""Empirical lower bounds against claims: one above its claim fails whatever the policy says."""

from collections.abc import Iterator
from dataclasses import dataclass

from audit.core.adversaries import Adversary
from audit.core.audits import AuditRecord, Verdict
from audit.core.scores import Outcome
from audit.formats.baseline import CellFacts, Measurement
from audit.formats.gate import Check, Decision
from audit.formats.policy import BOUND, Policy, Rule
from audit.gate.cells import Pair
from audit.gate.strength import Strength

RAISE = "more canaries, or a larger budget: `audit attack --budget thorough`"


def check_bounds(cell: CellFacts) -> Iterator[Check]:
    """Hold every lower bound of a private cell against the claim that it is about.

    Each bound is at 95 % by itself, so among many one may lie above a true claim by chance; where
    the audits' own test, Holm over all of a run, does not confirm it, the reason says so. It fails
    all the same: a claim that is contradicted by chance is mended by more canaries, and one that
    is contradicted for good is not to pass.
    """
    if cell.claimed_epsilon is None:
        return
    decision, reason, chance = Decision.PASS, "no empirical lower bound above its claim", False
    violated = [r for r in cell.audits if r.verdict is Verdict.VIOLATED]
    if cell.verdict is Verdict.VIOLATED or violated:
        worst = max(violated, key=lambda r: r.lower_bound, default=None)
        decision = Decision.FAIL
        reason = "the audits found the claim violated" + (
            f": {worst.attack} by {worst.adversary}: epsilon is at least "
            f"{worst.lower_bound:.4g}, claimed {worst.claimed_epsilon:g}"
            if worst is not None and worst.claimed_epsilon is not None
            else ""
        )
    else:
        for score in cell.metrics:
            found = _above(cell, score)
            if found is not None and decision is not Decision.FAIL:
                decision, reason, chance = Decision.FAIL, found.reason, found.chance
    yield Check(
        rule="bound",
        cell=cell.cell,
        metric=BOUND,
        decision=decision,
        reason=reason,
        advice=RAISE if chance else None,
    )


@dataclass(frozen=True, kw_only=True)
class _Above:
    """A bound above its claim.

    Args:
        reason: In words.
        chance: Whether the audits' own test over the whole run does not confirm it.
    """

    reason: str
    chance: bool


def _above(cell: CellFacts, score: Measurement) -> _Above | None:
    if score.metric != BOUND or score.value is None or score.outcome is not Outcome.EXECUTED:
        return None
    records = [r for r in cell.audits if (r.adversary, r.attack) == (score.adversary, score.attack)]
    claim = _claim(cell, score, records)
    if score.value <= claim:
        return None
    said = (
        f"{score.attack} by {score.adversary.value} ({score.slice}): epsilon is at least "
        f"{score.value:.4g}, claimed {claim:g}"
    )
    tested = [r.adjusted_p_value for r in records if r.adjusted_p_value is not None]
    if not tested:
        return _Above(reason=said, chance=False)
    return _Above(
        reason=f"{said}, alone at 95 %; among all tests of the run it may be chance (adjusted p "
        f"{min(tested):.2g})",
        chance=True,
    )


def _claim(cell: CellFacts, score: Measurement, records: list[AuditRecord]) -> float:
    """The claim that a bound is about: a probe's own, the adversary's, or the cell's."""
    own = [r.claimed_epsilon for r in records if r.claimed_epsilon is not None]
    against = [c.claimed_epsilon for c in cell.claims if c.adversary is score.adversary]
    found = next(iter((*own, *against)), cell.claimed_epsilon)
    if found is None:
        raise ValueError(f"{cell.cell} claims nothing")
    return found


def check_audits(pair: Pair, policy: Policy, strength: Strength) -> Iterator[Check]:
    """Ask that the audits could have contradicted the claim, where the policy names them."""
    if pair.now.claimed_epsilon is None:
        return
    rules = dict.fromkeys(
        rule
        for cell in (pair.now, pair.before)
        for m in cell.metrics
        if m.metric == BOUND
        and m.outcome is not Outcome.NOT_RUN
        and (
            rule := policy.rule_for(
                adversary=m.adversary.value, attack=m.attack, metric=m.metric, slice=m.slice
            )
        )
    )
    for rule in rules:
        yield _audited(pair.now, rule, strength)


def _audited(cell: CellFacts, rule: Rule, strength: Strength) -> Check:
    able = [
        r
        for r in cell.audits
        if r.verdict in {Verdict.CONSISTENT, Verdict.VIOLATED}
        and r.n >= rule.min_n
        and rule.matches(adversary=r.adversary, attack=r.attack, metric=BOUND, slice=rule.slice)
    ]
    proven = [r for r in able if strength.detects(_adversary(r), r.attack)]
    if proven:
        best = max(proven, key=lambda r: r.ceiling)
        decision, reason = (
            Decision.PASS,
            (
                f"{len(proven)} audits could have contradicted the claim of "
                f"{cell.claimed_epsilon:.4g}; {best.attack} up to {best.ceiling:.4g}"
            ),
        )
    elif able:
        decision, reason = (
            Decision.INCONCLUSIVE,
            ("no audit that could have contradicted the claim detected its positive control"),
        )
    else:
        decision, reason = (
            Decision.INCONCLUSIVE,
            ("underpowered or missing: no audit could have contradicted the claim"),
        )
    return Check(
        rule="audit",
        cell=cell.cell,
        adversary=", ".join(rule.adversary),
        attack=rule.attack,
        metric=BOUND,
        level="warn" if rule.level == "warn" else "error",
        decision=decision,
        reason=reason,
        advice=RAISE if decision is Decision.INCONCLUSIVE else None,
    )


def _adversary(record: AuditRecord) -> Adversary:
    return Adversary(record.adversary)
