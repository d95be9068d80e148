"""The strongest attack of each adversary, with an interval that allows for the choice."""

from collections.abc import Mapping

from audit import stats
from audit.core.adversaries import Adversary
from audit.core.guesses import MembershipGuess
from audit.core.scores import Outcome, Score
from audit.scoring.membership import FEW_VALUES, judge
from audit.scoring.origin import CONFIDENCE, Origin, interval_fields
from audit.vault import MembershipTruth

STRONGEST = "strongest"
_RATES = {"tpr_at_fpr_0.01": 0.01, "tpr_at_fpr_0.001": 0.001}

Guesses = Mapping[tuple[Adversary, str], MembershipGuess]
"""Adversary and attack to the guess on one cell."""


def score_strongest(guesses: Guesses, truth: MembershipTruth, cell: str) -> list[Score]:
    """Return, for each adversary with a guess, the largest AUC and TPR over its attacks.

    An adversary can do all that one who sees less can. With k attacks, each has an interval of
    confidence 1 - 0.05/k; then the largest true value lies between the largest lower and the
    largest upper end with at least 95 %. The value itself is the largest of k: above chance even
    where nothing leaks. Guesses that the budget kept to a part of the candidates are left out: few
    records would widen the interval of all.

    Args:
        guesses: All membership guesses on the cell.
        truth: Members and others.
        cell: The cell's id.
    """
    most = max((len(guess.candidates) for guess in guesses.values()), default=0)
    guesses = {key: g for key, g in guesses.items() if 2 * len(g.candidates) > most}
    scores = []
    for adversary in Adversary:
        own = {attack: guess for (who, attack), guess in guesses.items() if who is adversary}
        if not own:
            continue
        for weaker in reversed(adversary.includes):  # the one who sees most first
            inherited = {a: g for (who, a), g in guesses.items() if who is weaker}
            own = {**inherited, **own}
        origin = Origin(cell=cell, adversary=adversary.value, attack=STRONGEST)
        scores.append(_largest("auc", own, truth, origin))
        scores += [_largest(metric, own, truth, origin) for metric in _RATES]
    return scores


def _largest(
    metric: str,
    guesses: Mapping[str, MembershipGuess],
    truth: MembershipTruth,
    origin: Origin,
) -> Score:
    judged = {attack: judge(guess, truth) for attack, guess in sorted(guesses.items())}
    chance = 0.5
    if metric != "auc":
        chance = _RATES[metric]
        judged = {
            attack: one
            for attack, one in judged.items()
            if stats.resolvable(chance, len(one.outside))
            and len(set(one.scores.tolist())) > FEW_VALUES
        }
    if not judged:
        reason = "no attack has enough non-members to resolve it"
        return origin.score(metric, outcome=Outcome.NOT_RESOLVABLE, reason=reason, chance=chance)
    confidence = 1 - (1 - CONFIDENCE) / len(judged)
    intervals = {
        attack: stats.auc_interval(one.inside, one.outside, confidence)
        if metric == "auc"
        else stats.tpr_at_fpr_interval(one.inside, one.outside, chance, confidence)
        for attack, one in judged.items()
    }
    best = max(intervals, key=lambda attack: intervals[attack].value)
    top = intervals[best]
    together = stats.Interval(
        value=top.value,
        low=min(top.value, max(interval.low for interval in intervals.values())),
        high=max(interval.high for interval in intervals.values()),
        confidence=CONFIDENCE,
        n=top.n,
        method=f"largest of {len(intervals)}, bonferroni over {top.method}",
    )
    fields = interval_fields(together)
    return origin.score(metric, chance=chance, ceiling=1.0, by=best, **fields)
