"""How often a policy fails a recipe that did not change, and how small a regression it finds.

Pairs of measurements are drawn from what a run stored (value, interval, n, and the spread of its
seeds) and decided by the gate's own code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

import numpy as np

from audit.core.scores import Outcome
from audit.formats.baseline import CellFacts, ControlFacts, Measurement
from audit.formats.gate import Check, Decision
from audit.formats.policy import Policy, Rule
from audit.gate.answer import answer
from audit.gate.cells import Pair
from audit.gate.leakage import Question, ask
from audit.gate.redraw import redraw
from audit.gate.strength import Strength

POWER = 0.8
STEPS = 8
"""Halvings of the search for the smallest regression: to 1/256 of the range."""


@dataclass(frozen=True, kw_only=True)
class RulePower:
    """What one rule finds in one cell.

    Args:
        rule: Its name.
        cell: In which it was looked at.
        margin: Of the rule.
        tests: Scores that it holds.
        passed, inconclusive, failed: Shares of the pairs in which nothing changed; all scores of
            the rule together, the worst counts.
        smallest: The smallest rise of all its scores that fails in 80 % of the pairs; None: none
            within the metric's range does.
        n: Observations behind a value now, the smallest.
        n_to_pass: So many would let an unchanged recipe pass in 80 % of the pairs; None: no number.
        seeds: On the baseline's side.
    """

    rule: str
    cell: str
    margin: float
    tests: int
    passed: float
    inconclusive: float
    failed: float
    smallest: float | None
    n: int
    n_to_pass: int | None
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Of a policy on a baseline.

    Args:
        pairs: Simulated pairs of gates.
        false_alarms: Gates that failed although nothing had changed.
        expected_at_most: 95 % quantile of that number if each gate fails with the policy's alpha.
        tests: Comparisons with the baseline in one gate.
        alpha: Of the policy.
        rules: One for each rule with a margin and each cell.
    """

    pairs: int
    false_alarms: int
    expected_at_most: int
    tests: int
    alpha: float
    rules: tuple[RulePower, ...]


def calibrate_policy(
    measured: Sequence[CellFacts], policy: Policy, *, pairs: int, seed: int
) -> Calibration:
    """Simulate gates of an unchanged recipe, and of regressions.

    Attacks are taken to detect their controls. Scores of one run are drawn independently of each
    other, which is no easier for the gate than the truth: Holm holds for any dependence.

    Args:
        measured: Cells of a baseline or of a run; their values are taken for the truth.
        policy: To calibrate.
        pairs: Gates to simulate.
        seed: Of the simulation.
    """
    rng = np.random.default_rng(seed)
    cells = [_gated(cell, policy) for cell in measured]
    strength = _all_detect(cells)
    false_alarms = tests = 0
    outcomes: dict[tuple[str, str], list[Decision]] = {}
    for _ in range(pairs):
        questions = [q for cell in cells for q in _ask(cell, policy, strength, rng, rise=0.0)]
        tests = sum(q.rule.level == "error" and q.rise is not None for q in questions)
        checks = answer(questions)
        false_alarms += any(c.decision is Decision.FAIL and c.counts for c in checks)
        for name, decision in _by_rule(questions, checks).items():
            outcomes.setdefault(name, []).append(decision)
    rules = [
        _power(cell, rule, policy, strength, rng, pairs=pairs, tests=tests, null=null)
        for cell in cells
        for rule in policy.rules
        if (null := outcomes.get((cell.cell, rule.name)))
    ]
    return Calibration(
        pairs=pairs,
        false_alarms=false_alarms,
        expected_at_most=binomial_quantile(pairs, policy.alpha, 0.95),
        tests=tests,
        alpha=policy.alpha,
        rules=tuple(rules),
    )


def binomial_quantile(trials: int, chance: float, level: float) -> int:
    """Return the smallest count that at least ``level`` of binomial draws do not exceed.

    Example:
        >>> binomial_quantile(200, 0.05, 0.95)
        15
    """
    total = 0.0
    for count in range(trials + 1):
        total += math.comb(trials, count) * chance**count * (1 - chance) ** (trials - count)
        if total >= level:
            return count
    return trials


def _gated(cell: CellFacts, policy: Policy) -> CellFacts:
    """The cell with only the scores that a margin holds."""
    kept = []
    for m in cell.metrics:
        rule = policy.rule_for(
            adversary=m.adversary.value, attack=m.attack, metric=m.metric, slice=m.slice
        )
        ends = None in {m.low, m.high, m.confidence}
        if rule is not None and rule.margin is not None and not ends:
            kept.append(m)
    return cell.model_copy(
        update={"metrics": tuple(m for m in kept if m.outcome is Outcome.EXECUTED)}
    )


def _ask(
    cell: CellFacts,
    policy: Policy,
    strength: Strength,
    rng: np.random.Generator,
    *,
    rise: float,
) -> list[Question]:
    """Questions of one pair: both sides drawn anew, the run's scores with a rise."""
    before, now = [], []
    for scores in _by_key(cell):
        rule = policy.rule_for(
            adversary=scores[0].adversary.value,
            attack=scores[0].attack,
            metric=scores[0].metric,
            slice=scores[0].slice,
        )
        seeds, spread = (rule.seeds, rule.spread) if rule is not None else (1, 0.0)
        before += redraw(scores, rng, count=len(scores), rise=0.0, retraining=spread)
        now += redraw(scores, rng, count=seeds, rise=rise, retraining=spread, first_seed=1_000_000)
    pair = Pair(
        now=cell.model_copy(update={"metrics": tuple(now)}),
        before=cell.model_copy(update={"metrics": tuple(before)}),
    )
    asked = ask(pair, policy, strength, same_records=False)
    return [q for q in asked if q.kind == "margin"]


def _power(
    cell: CellFacts,
    rule: Rule,
    policy: Policy,
    strength: Strength,
    rng: np.random.Generator,
    *,
    pairs: int,
    tests: int,
    null: Sequence[Decision],
) -> RulePower:
    if rule.margin is None:
        raise ValueError(f"{rule.name} has no margin")
    own = cell.model_copy(
        update={"metrics": tuple(m for m in cell.metrics if _deciding(policy, m) is rule)}
    )
    scores = _by_key(own)

    def found(rise: float) -> float:
        hits = 0
        for _ in range(pairs):
            questions = _ask(own, policy, strength, rng, rise=rise)
            checks = answer(questions, others=max(0, tests - len(questions)))
            hits += any(c.decision is Decision.FAIL for c in checks)
        return hits / pairs

    low, high = rule.margin, max(1.0, 10 * rule.margin)
    smallest: float | None = None
    if found(high) >= POWER:
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if found(middle) >= POWER else (middle, high)
        smallest = high
    needed = [_n_to_pass(group, rule, policy.alpha_of(rule)) for group in scores]
    n = min((m.n for group in scores for m in group if m.n is not None), default=0)
    return RulePower(
        rule=rule.name,
        cell=cell.cell,
        margin=rule.margin,
        tests=len(scores),
        passed=fmean(d is Decision.PASS for d in null),
        inconclusive=fmean(d is Decision.INCONCLUSIVE for d in null),
        failed=fmean(d is Decision.FAIL for d in null),
        smallest=smallest,
        n=n,
        n_to_pass=None if None in needed else max(n for n in needed if n is not None),
        seeds=len(scores[0]),
    )


def _n_to_pass(scores: Sequence[Measurement], rule: Rule, alpha: float) -> int | None:
    """Observations with which an unchanged score passes in 80 % of pairs; errors fall as 1/sqrt.

    None: no number does, since what retraining adds is too much for the margin.
    """
    normal = NormalDist()
    wanted = (rule.margin or 0.0) / (normal.inv_cdf(1 - alpha) + normal.inv_cdf(POWER))
    records = fmean(standard_error(m) for m in scores) ** 2
    retraining = rule.spread**2
    if len(scores) > 1:
        retraining = max(0.0, variance([m.value or 0.0 for m in scores]) - records)
    left = wanted**2 / 2 - retraining
    if left <= 0:
        return None
    return math.ceil(min(m.n or 1 for m in scores) * max(1.0, records / left))


def standard_error(m: Measurement) -> float:
    """Return the mean of the two standard errors that an interval implies."""
    if m.low is None or m.high is None or m.confidence is None:
        raise ValueError(f"{m.attack}: {m.metric} has no interval")
    return (m.high - m.low) / 2 / NormalDist().inv_cdf((1 + m.confidence) / 2)


def _deciding(policy: Policy, m: Measurement) -> Rule | None:
    return policy.rule_for(
        adversary=m.adversary.value, attack=m.attack, metric=m.metric, slice=m.slice
    )


def _by_key(cell: CellFacts) -> list[list[Measurement]]:
    groups: dict[object, list[Measurement]] = {}
    for m in cell.metrics:
        groups.setdefault(m.key, []).append(m)
    return list(groups.values())


def _by_rule(
    questions: Sequence[Question], checks: Sequence[Check]
) -> dict[tuple[str, str], Decision]:
    """The worst decision of each cell and rule."""
    order = (Decision.PASS, Decision.INCONCLUSIVE, Decision.FAIL)
    worst: dict[tuple[str, str], Decision] = {}
    for question, check in zip(questions, checks, strict=True):
        name = (question.pair.now.cell, question.rule.name)
        worst[name] = max(worst.get(name, Decision.PASS), check.decision, key=order.index)
    return worst


def _all_detect(cells: Sequence[CellFacts]) -> Strength:
    ran = {(m.adversary, m.attack) for cell in cells for m in cell.metrics}
    return Strength(ControlFacts(adversary=a, attack=b, detected=True) for a, b in ran)
