"""The attack of each adversary that rebuilds or names most, with an interval that allows for it."""

from collections.abc import Mapping

import numpy as np

from audit import stats
from audit.core.adversaries import Adversary
from audit.core.scores import Score
from audit.scoring.origin import CONFIDENCE, Origin, interval_fields
from audit.scoring.probes import POOLS, SliceValues, mean_over_updates, rate_over_updates
from audit.scoring.strongest import STRONGEST

GAIN = "ssim_over_baseline"
SUMMARISED = {
    **dict.fromkeys(POOLS, (0.0, 1.0)),
    GAIN: (-2.0, 2.0),
    "label_accuracy": (0.0, 1.0),
    "field_accuracy": (0.0, 1.0),
}
"""Metric to its range."""

Measured = Mapping[tuple[Adversary, str], Mapping[str, Mapping[str, SliceValues]]]
"""Adversary and attack to slice to metric to what was measured."""


def score_strongest_inversion(
    measured: Measured, cell: str, *, rng: np.random.Generator
) -> list[Score]:
    """Return, for each adversary, the largest value over its attacks at the smallest probes.

    With k attacks, each has an interval of confidence 1 - 0.05/k; then the largest true value lies
    between the largest lower and the largest upper end with at least 95 %. The value itself is the
    largest of k: above chance even where nothing leaks.

    Args:
        measured: All that was measured on the cell.
        cell: The cell's id.
        rng: For the bootstrap.
    """
    scores = []
    for adversary in Adversary:
        own = {attack: found for (who, attack), found in measured.items() if who is adversary}
        slices = sorted({name for found in own.values() for name in found}, key=_size)
        for metric in SUMMARISED:
            for name in slices:
                candidates = {
                    attack: found[name][metric]
                    for attack, found in sorted(own.items())
                    if metric in found.get(name, {})
                }
                if candidates:
                    origin = Origin(cell=cell, adversary=adversary.value, attack=STRONGEST)
                    scores.append(_largest(metric, name, candidates, origin, rng))
                    break
    return scores


def _largest(
    metric: str,
    slice_name: str,
    candidates: Mapping[str, SliceValues],
    origin: Origin,
    rng: np.random.Generator,
) -> Score:
    confidence = 1 - (1 - CONFIDENCE) / len(candidates)
    intervals = {}
    for attack, found in candidates.items():
        values = [np.array(one, dtype=np.float64) for one in found.updates]
        intervals[attack] = (
            rate_over_updates(values, confidence, rng=rng)
            if metric in POOLS
            else mean_over_updates(values, confidence, limits=SUMMARISED[metric], rng=rng)
        )
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
    return origin.score(
        metric,
        slice=slice_name,
        chance=candidates[best].chance,
        bound=candidates[best].bound,
        by=best,
        **interval_fields(together),
    )


def _size(name: str) -> tuple[int, ...]:
    """``round-1/batch-4`` is (1, 4, 1), of one step: by steps, then records, then round."""
    parts = [part.rpartition("-") for part in name.split("/")]
    numbers = {kind: int(n) for kind, _, n in parts if n.isdigit()}
    records = numbers.get("batch", 0)
    epochs, mini = numbers.get("epochs", 1), numbers.get("mini", records or 1)
    steps = numbers.get("steps", epochs * records // mini if records else 1)
    return steps, records, numbers.get("round", 0)
