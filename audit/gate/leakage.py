"""Measured leakage against a limit and against the baseline: gathered here, decided together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from audit.core.metrics import METRICS, Direction
from audit.core.scores import Outcome
from audit.formats.baseline import CellFacts, Measurement
from audit.formats.gate import Side
from audit.formats.policy import BOUND, Policy, Rule
from audit.gate.cells import Pair
from audit.gate.idle import names_score
from audit.gate.strength import Strength
from audit.stats.change import (
    Change,
    Estimate,
    above,
    independent_rise,
    paired_rise,
    retrained,
    seeds_rise,
    wider,
)

Key = tuple[str, str, str, str]

FEWEST_PAIRS = 3
"""Seeds on both sides from which differences are taken in pairs; two show hardly any spread."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A score held against a limit or a margin, before it is decided.

    Args:
        kind: ``limit`` or ``margin``.
        pair: Whose score.
        key: Adversary, attack, metric, slice.
        rule: That asks.
        alpha: Of the rule.
        now, before: The two sides, for people.
        rise: Above the baseline, or above the limit; None: not measured.
        allowed: So much of it may be: the margin, or 0 above a limit.
        threshold: The limit or the margin, as in the policy.
        missing: Why there is nothing to decide by, whichever way it points.
        doubt: Why it cannot be a pass.
    """

    kind: str
    pair: Pair
    key: Key
    rule: Rule
    alpha: float
    now: Side | None
    before: Side | None
    rise: Change | None
    allowed: float
    threshold: float
    missing: str | None = None
    doubt: str | None = None


def ask(
    pair: Pair, policy: Policy, strength: Strength, *, same_records: bool
) -> Iterator[Question]:
    """Yield what the policy asks of a pair of cells.

    Args:
        pair: The cells.
        policy: Its first rule that matches a score decides about it.
        strength: What the run's positive controls say.
        same_records: Dataset, split and victims are the same wherever the seed is: seeds that
            both sides have can be taken in pairs.
    """
    now, before = _by_key(pair.now), _by_key(pair.before)
    for key in dict.fromkeys((*before, *now)):
        adversary, attack, metric, slice_ = key
        rule = policy.rule_for(adversary=adversary, attack=attack, metric=metric, slice=slice_)
        if rule is None or metric == BOUND:
            continue
        mine, theirs = _counted(now.get(key, []), rule), _counted(before.get(key, []), rule)
        asked: list[tuple[str, float | None, bool]] = [
            ("limit", rule.limit, not pair.now.control and bool(mine or theirs)),
            ("margin", rule.margin, bool(theirs)),
        ]
        for kind, threshold, applies in asked:
            if threshold is None or not applies:
                continue
            margin = kind == "margin"
            missing = _missing(pair.now, mine, rule, key) or (
                _missing(pair.before, theirs, rule, key, side="the baseline") if margin else None
            )
            rise = None
            if missing is None:
                rise = (
                    rise_between(
                        mine,
                        theirs,
                        alpha=policy.alpha_of(rule),
                        spread=rule.spread,
                        same_records=same_records,
                    )
                    if margin
                    else rise_above(mine, threshold, alpha=policy.alpha_of(rule))
                )
                if rise.down == 0 and rise.up == 0:
                    missing = "the intervals have no width"
            yield Question(
                kind=kind,
                pair=pair,
                key=key,
                rule=rule,
                alpha=policy.alpha_of(rule),
                now=_side(mine),
                before=_side(theirs),
                rise=None if missing else rise,
                allowed=threshold if margin else 0.0,
                threshold=threshold,
                missing=missing,
                doubt=strength.doubt(mine, (pair.now, pair.before)) if mine else None,
            )


def rise_between(
    now: Sequence[Measurement],
    before: Sequence[Measurement],
    *,
    alpha: float,
    spread: float,
    same_records: bool,
) -> Change:
    """Return how much more leaks now, turned so that up is more leak.

    One seed on each side: from the two intervals, as of independent records, and what retraining is
    assumed to add. The baseline keeps no record's score, so single runs are never paired.

    Several seeds: Student's bounds over the seeds, in pairs where both sides have the same seeds on
    the same records; never narrower than what the records alone allow, unless in pairs, whose
    records do not differ.
    """
    ours, theirs = _estimates(now), _estimates(before)
    records = independent_rise(ours, theirs)
    if len(ours) + len(theirs) == 2:
        return retrained(records, spread)
    mine = {m.seed: e.value for m, e in zip(now, ours, strict=True)}
    approved = {m.seed: e.value for m, e in zip(before, theirs, strict=True)}
    if same_records and set(mine) == set(approved) and len(mine) >= FEWEST_PAIRS:
        pairs = paired_rise([mine[seed] - approved[seed] for seed in mine])
        return pairs if pairs.down > 0 else records
    return wider(records, seeds_rise([*mine.values()], [*approved.values()]), alpha)


def rise_above(now: Sequence[Measurement], limit: float, *, alpha: float) -> Change:
    """Return by how much the leak exceeds a limit, turned so that up is more leak."""
    ours = _estimates(now)
    nothing = Estimate(value=0.0, down=0.0, up=0.0)
    change = independent_rise(ours, [nothing])
    if len(ours) > 1:
        change = wider(change, paired_rise([e.value for e in ours]), alpha)
    elif len(ours) == 1:
        change = Change(value=change.value, down=change.down, up=change.up, method="its interval")
    return above(change, -limit if _down(now[0]) else limit)


def _by_key(cell: CellFacts) -> dict[Key, list[Measurement]]:
    """Scores of all seeds, measured or not, by what they are about."""
    found: dict[Key, list[Measurement]] = {}
    for score in cell.metrics:
        adversary, *rest = score.key
        found.setdefault((adversary.value, rest[0], rest[1], rest[2]), []).append(score)
    return found


def _counted(scores: list[Measurement], rule: Rule) -> list[Measurement]:
    """Leave out what no seed measured, unless the rule names just that score."""
    measured = any(m.outcome is Outcome.EXECUTED for m in scores)
    return scores if measured or names_score(rule) else []


def _missing(
    cell: CellFacts, scores: Sequence[Measurement], rule: Rule, key: Key, side: str = "the run"
) -> str | None:
    if not scores:
        known = [m for m in cell.metrics if (m.adversary.value, *m.key[1:]) == key]
        why = next((f": {m.outcome.value.replace('_', ' ')}, {m.reason}" for m in known), "")
        return f"{side} did not measure it{why}"
    for score in scores:
        if score.outcome is not Outcome.EXECUTED:
            return f"{side}: {score.outcome.value.replace('_', ' ')}, {score.reason}"
        if score.low is None or score.high is None or score.confidence is None:
            return f"{side} has no interval for it"
        if score.n is None or score.n < rule.min_n:
            return f"{side} has {score.n} observations, the policy wants {rule.min_n}"
    if len(scores) < rule.seeds:
        return f"{side} has {len(scores)} seeds, the policy wants {rule.seeds}"
    return None


def _estimates(scores: Sequence[Measurement]) -> list[Estimate]:
    found = []
    for m in scores:
        if m.value is None or m.low is None or m.high is None or m.confidence is None:
            raise ValueError(f"{m.attack}: {m.metric} has no interval")
        estimate = Estimate.of_interval(m.value, m.low, m.high, confidence=m.confidence)
        found.append(estimate.mirrored() if _down(m) else estimate)
    return found


def _down(score: Measurement) -> bool:
    return METRICS[score.metric].leaks is Direction.DOWN


def _side(scores: Sequence[Measurement]) -> Side | None:
    measured = [m for m in scores if m.value is not None]
    if not measured:
        return None
    one = measured[0] if len(measured) == 1 else None
    by = {m.by for m in measured}
    return Side(
        value=fmean(m.value for m in measured if m.value is not None),
        low=one.low if one else None,
        high=one.high if one else None,
        confidence=one.confidence if one else None,
        n=min((m.n for m in measured if m.n is not None), default=None),
        seeds=len(measured),
        by=by.pop() if len(by) == 1 else None,
    )
