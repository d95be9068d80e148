"""From questions about leakage to checks: Holm over all of them, then interval bounds only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from audit.formats.gate import Check, Decision, Side
from audit.gate.leakage import Question
from audit.stats.change import Change
from audit.stats.families import holm

HOPELESS = 1_000.0
"""So many times too wide an interval is not mended by a million times the observations."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What would decide.

    Args:
        text: In words.
        n, seeds: A side; None: no such number would.
    """

    text: str
    n: int | None = None
    seeds: int | None = None


def answer(questions: Sequence[Question], *, others: int = 0) -> list[Check]:
    """Decide questions together.

    Those at level error are one family: the chance that any of them fails although nothing rose
    is held at the largest alpha among them.

    Args:
        questions: All of a gate.
        others: Further tests of the family that are not among them and show no rise at all; for
            a simulation of a part of a gate.
    """
    family = {
        str(i): q.rise.p_value
        for i, q in enumerate(questions)
        if q.rise is not None and q.rule.level == "error"
    }
    adjusted = holm({**family, **{f"other {i}": 1.0 for i in range(others)}})
    tests = len(family) + others
    return [_answer(q, adjusted.get(str(i)), tests) for i, q in enumerate(questions)]


def decide(rise: Change, *, allowed: float, alpha: float, p_value: float) -> Decision:
    """Decide by bounds only.

    Args:
        rise: Of the leak.
        allowed: So much of it may be.
        alpha: Level of the one-sided bounds.
        p_value: Of no rise, adjusted for the number of tests.

    Returns:
        Fail: it rose, and the estimate is above what is allowed. Pass: the upper bound is within
        what is allowed. Else inconclusive.
    """
    if p_value <= alpha and rise.value > allowed:
        return Decision.FAIL
    return Decision.PASS if rise.upper(alpha) <= allowed else Decision.INCONCLUSIVE


def _answer(question: Question, adjusted: float | None, tests: int) -> Check:
    adversary, attack, metric, slice_ = question.key
    rule, rise = question.rule, question.rise
    level = "warn" if rule.level == "warn" else "error"
    p_value = rise.p_value if rise else None
    if rise is None or p_value is None:
        decision, reason, advice = Decision.INCONCLUSIVE, question.missing or "not measured", None
    else:
        decision = decide(
            rise,
            allowed=question.allowed,
            alpha=question.alpha,
            p_value=p_value if adjusted is None else adjusted,
        )
        reason, advice = _reason(question, rise, decision), None
        if decision is Decision.PASS and question.doubt is not None:
            decision, reason = Decision.INCONCLUSIVE, question.doubt
            advice = Advice(text="mend the attack, or run `audit attack` with its controls")
        elif decision is Decision.INCONCLUSIVE:
            advice = _advice(question, rise, tests)
            if rule.on_inconclusive == "fail":
                decision, reason = Decision.FAIL, f"{reason} (the policy fails what is undecided)"
            elif rule.on_inconclusive == "warn":
                level = "warn"
    return Check(
        rule=question.kind,
        cell=question.pair.now.cell,
        baseline_cell=question.pair.before.cell,
        adversary=adversary,
        attack=attack,
        metric=metric,
        slice=slice_,
        level=level,
        decision=decision,
        reason=reason,
        advice=advice.text if advice else None,
        needed_n=advice.n if advice else None,
        needed_seeds=advice.seeds if advice else None,
        run=question.now,
        baseline=question.before if question.kind == "margin" else None,
        rise=None if rise is None else _shown(rise, question.alpha),
        threshold=question.threshold,
        alpha=question.alpha,
        p_value=p_value,
        adjusted_p_value=adjusted,
        method=rise.method if rise else None,
    )


def _shown(rise: Change, alpha: float) -> Side:
    return Side(
        value=rise.value, low=rise.lower(alpha), high=rise.upper(alpha), confidence=1 - 2 * alpha
    )


def _reason(question: Question, rise: Change, decision: Decision) -> str:
    low, high = rise.lower(question.alpha), rise.upper(question.alpha)
    over = "baseline" if question.kind == "margin" else f"limit {question.threshold:g}"
    allowed = f"margin {question.allowed:g}" if question.kind == "margin" else "the limit"
    said = f"{rise.value:+.3g} [{low:+.3g}, {high:+.3g}] against {over}"
    if decision is Decision.FAIL:
        return f"{said}: it rose, by more than {allowed}"
    if decision is Decision.PASS:
        return f"{said}: within {allowed}"
    return f"{said}: undecided, {allowed}"


def _advice(question: Question, rise: Change, tests: int) -> Advice | None:
    """So many records or seeds would decide, if the estimate stays where it is."""
    over = rise.value - question.allowed
    if over == 0:
        return None
    if over < 0:
        needed = rise.quantile(question.alpha) * rise.up / -over
    elif rise.value <= 0:
        return None
    else:
        needed = rise.quantile(question.alpha / max(tests, 1)) * rise.down / rise.value
    if needed > HOPELESS:
        told = "no number of observations that can be had would decide: another margin would"
        return Advice(text=told)
    factor = max(1.0, needed**2)
    sides = [side for side in (question.now, question.before) if side is not None]
    if any(side.seeds > 1 for side in sides):
        seeds = _rounded(max(side.seeds for side in sides) * factor)
        return Advice(text=f"about {seeds:,} seeds a side would decide", seeds=seeds)
    return _records_advice(question, rise, factor, passing=over < 0)


def _records_advice(
    question: Question, rise: Change, factor: float, *, passing: bool
) -> Advice | None:
    """What more records would do, which shrink their own error and not what retraining adds."""
    n = question.now.n if question.now else None
    if n is None:
        return None
    assumed = 2 * question.rule.spread**2 if question.kind == "margin" else 0.0
    error = (rise.up if passing else rise.down) ** 2
    wanted = error / factor - assumed
    if wanted <= 0:
        return Advice(text="more observations cannot decide, several seeds on each side can")
    wide = _rounded(n * max(1.0, (error - assumed) / wanted))
    return Advice(text=f"n of about {wide:,} a side would decide (now {n:,})", n=wide)


def _rounded(number: float) -> int:
    """Round up to two digits: it is an extrapolation."""
    step: int = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / step) * step
