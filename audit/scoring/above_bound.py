"""Rates that lie above what the claimed mechanism allows any attack, tested over a whole run."""

import math
from collections.abc import Sequence

from scipy import special

from audit import stats
from audit.core.scores import Outcome, Score
from audit.scoring.strongest import STRONGEST
from audit.scoring.verdicts import LEVEL


def above_bounds(scores: Sequence[Score]) -> list[Score]:
    """Return the rates that contradict their bound, with at most ``LEVEL`` false alarms a run.

    A run has a rate for every attack, adversary and probe size, so that one interval of many lies
    above a true bound by chance: Holm goes over all of them. The strongest attack's rate is one of
    them, and left out.

    Args:
        scores: Of all cells of a run.
    """
    tested = {
        str(place): score
        for place, score in enumerate(scores)
        if score.bound is not None
        and score.outcome is Outcome.EXECUTED
        and score.attack != STRONGEST
    }
    adjusted = stats.holm({place: bound_p_value(score) for place, score in tested.items()})
    return [score for place, score in tested.items() if adjusted[place] < LEVEL]


def bound_p_value(score: Score) -> float:
    """Return the probability of a rate so high if the true one were at its bound.

    Of independent records exactly; of updates with several records by the statistic of its
    interval, and where all updates have one mean by Chernoff's bound (Hoeffding 1963, theorem 1).
    1 where the interval reaches down to the bound.

    Raises:
        ValueError: The score has no interval or no bound.
    """
    value, low, n, bound = score.value, score.low, score.n, score.bound
    if value is None or low is None or n is None or bound is None or score.confidence is None:
        raise ValueError(f"{score.metric} of {score.attack} has no interval or no bound")
    if low <= bound:
        return 1.0
    if score.method == "clopper-pearson":
        hits = round(value * n)
        return float(special.betainc(hits, n - hits + 1, bound))
    if score.method == "hoeffding":
        apart = special.rel_entr(value, bound) + special.rel_entr(1 - value, 1 - bound)
        return float(math.exp(-n * apart))
    side = float(special.stdtrit(n - 1, (1 + score.confidence) / 2))
    return float(special.stdtr(n - 1, -side * (value - bound) / (value - low)))
