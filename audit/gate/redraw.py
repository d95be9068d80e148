"""A measurement drawn anew from what was stored of it."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, variance

import numpy as np

from audit.core.metrics import METRICS, Direction
from audit.formats.baseline import Measurement

COUNTED = {
    "tpr_at_fpr_0.1",
    "tpr_at_fpr_0.01",
    "tpr_at_fpr_0.001",
    "hospital_accuracy",
    "identification_rate_10",
    "identification_rate_100",
    "label_accuracy",
    "field_accuracy",
    "attribute_accuracy",
}
"""Metrics that are shares of successes: drawn as binomial counts."""


def redraw(
    scores: Sequence[Measurement],
    rng: np.random.Generator,
    *,
    count: int,
    rise: float,
    retraining: float = 0.0,
    first_seed: int = 0,
) -> list[Measurement]:
    """Draw measurements of an unchanged recipe, or of one that leaks more by ``rise``.

    Args:
        scores: The same score of each stored seed, with intervals; their mean is the truth.
        rng: Of the simulation.
        count: Seeds to draw.
        rise: Of the leak, in the metric's unit.
        retraining: Standard deviation over retrained models, where a single seed was stored.
        first_seed: Seeds are numbered from here.

    Returns:
        Shares as binomial counts of the effective n that the stored interval implies, with
        Wilson's interval; all else as Gaussian, with the stored distances to the ends. Where
        several seeds spread more than one interval says, the excess is drawn too.
    """
    first = scores[0]
    metric = METRICS[first.metric]
    sign = -1.0 if metric.leaks is Direction.DOWN else 1.0
    truth = fmean(_value(m) for m in scores) + sign * rise
    normal = NormalDist().inv_cdf((1 + (first.confidence or 0.95)) / 2)
    errors = [_error(m, normal) for m in scores]
    error = fmean(errors)
    excess = retraining
    if len(scores) > 1:
        excess = math.sqrt(max(0.0, variance([_value(m) for m in scores]) - error**2))
    drawn = []
    for i in range(count):
        like = scores[i % len(scores)]
        centre = truth + excess * rng.standard_normal()
        update = (
            _counted(like, centre, error, normal, rng)
            if first.metric in COUNTED
            else _gaussian(like, centre, error, rng)
        )
        drawn.append(like.model_copy(update={"seed": first_seed + i, **update}))
    return drawn


def _counted(
    like: Measurement, centre: float, error: float, normal: float, rng: np.random.Generator
) -> dict[str, float]:
    n = like.n or 1
    inside = min(max(_value(like), 1 / (n + 1)), n / (n + 1))
    trials = max(2, min(n, round(inside * (1 - inside) / error**2))) if error > 0 else n
    share = min(max(centre, 0.5 / (trials + 1)), 1 - 0.5 / (trials + 1))
    value = float(rng.binomial(trials, share)) / trials
    middle = (value + normal**2 / (2 * trials)) / (1 + normal**2 / trials)
    half = (
        normal
        / (1 + normal**2 / trials)
        * math.sqrt(value * (1 - value) / trials + normal**2 / (4 * trials**2))
    )
    low, high = max(0.0, min(value, middle - half)), min(1.0, max(value, middle + half))
    return {"value": value, "low": low, "high": high}


def _gaussian(
    like: Measurement, centre: float, error: float, rng: np.random.Generator
) -> dict[str, float]:
    value = centre + error * float(rng.standard_normal())
    down, up = _value(like) - (like.low or 0.0), (like.high or 0.0) - _value(like)
    return {"value": value, "low": value - down, "high": value + up}


def _value(m: Measurement) -> float:
    if m.value is None or m.low is None or m.high is None:
        raise ValueError(f"{m.attack}: {m.metric} has no interval")
    return m.value


def _error(m: Measurement, normal: float) -> float:
    return ((m.high or 0.0) - (m.low or 0.0)) / 2 / normal
