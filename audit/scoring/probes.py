"""The truth of probes, as scoring of reconstructions and of identification needs it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core.fields import Field
from audit.core.parcel import Parcel
from audit.core.scores import Outcome, Score
from audit.scoring.origin import CONFIDENCE, Origin, interval_fields

POOLS = {"identification_rate_10": 10, "identification_rate_100": 100}
"""Metric to the candidates among which the true record is: itself and decoys of its class."""


MEAN, MEDIAN = "the mean record", "the median record"
"""Baselines that are one record for everyone; of a category the median is the most frequent."""

_PARTS = {"s": "steps", "m": "mini", "e": "epochs"}
"""First letter of a part of a probe's name to the part of its slice."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """Public records, scaled to [0, 1]: what baselines are made of, and decoys.

    Args:
        population: Shape (population, *record shape).
        labels: Of the population, same length.
        pool: Shape (pool, *record shape).
        fields: Of tables' records; empty: the records are no tables.
    """

    population: NDArray[np.float32]
    labels: NDArray[np.int64]
    pool: NDArray[np.float32]
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProbeTruth:
    """The records behind one observation.

    Args:
        inputs: Scaled to [0, 1], shape (records, *record shape).
        labels: Shape (records,).
        places: Of the records in the pool, shape (records,); None: the run kept no pool.
        decoys: Places of decoys of the same class, shape (records, 99), -1 where there are fewer.
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    places: NDArray[np.int64] | None
    decoys: NDArray[np.int64] | None


@dataclass(frozen=True, kw_only=True)
class SliceValues:
    """One metric of one attack on the probes of one size.

    Args:
        updates: Of each update, one value a record.
        chance: What the best baseline reaches.
        bound: The most that the mechanism allows; None: none is known.
    """

    updates: tuple[tuple[float, ...], ...]
    chance: float | None = None
    bound: float | None = None


def kept_values(
    values: list[NDArray[np.float64]], chance: float | None, bound: float | None = None
) -> SliceValues:
    """Return values as they are kept."""
    updates = tuple(tuple(float(v) for v in one) for one in values)
    return SliceValues(updates=updates, chance=chance, bound=bound)


def record_range(victims: Parcel) -> tuple[float, float]:
    """Return the lowest and highest value of an input."""
    found = victims.fields["range"]
    low, high = found if isinstance(found, list) else (0.0, 1.0)
    return float(low), float(high)


def scaled(records: NDArray[np.float32], victims: Parcel) -> NDArray[np.float32]:
    """Return records on a scale from 0 to 1."""
    low, high = record_range(victims)
    found: NDArray[np.float32] = ((records - low) / (high - low)).astype(np.float32)
    return found


def probe_truth(victims: Parcel, observation: str, clients: tuple[str, ...]) -> ProbeTruth:
    """Return the records behind an observation, hospital after hospital.

    Args:
        victims: The truth, from the vault.
        observation: Its name.
        clients: Whose records it mixes.
    """
    session = observation.partition("|")[0]

    def part(kind: str) -> NDArray[np.generic] | None:
        names = [f"{session}|{client}|{kind}" for client in clients]
        if names[0] not in victims.arrays:
            return None
        return np.concatenate([victims.arrays[name] for name in names])

    inputs, labels, places, decoys = map(part, ("inputs", "labels", "places", "decoys"))
    if inputs is None or labels is None:
        raise KeyError(f"no records of {observation!r}")
    return ProbeTruth(
        inputs=scaled(inputs.astype(np.float32), victims),
        labels=labels.astype(np.int64),
        places=None if places is None else places.astype(np.int64),
        decoys=None if decoys is None else decoys.astype(np.int64),
    )


def size_of(observation: str) -> str:
    """Return an observation's slice.

    ``round-001/probe-b4-r0|hospital-1`` is of ``round-1/batch-4``, and of several steps, as in
    ``probe-b4-s5-r0``, of ``round-1/batch-4/steps-5``. In mini-batches, ``probe-b8-m4-e5-r0`` is of
    ``round-1/batch-8/mini-4/epochs-5``, with ``/order-known`` where the adversary knows the order.
    """
    session = observation.partition("|")[0]
    round_name, _, probe = session.partition("/")
    size, *rest = probe.split("-")[1:]
    kind = [
        "/order-known" if part == "open" else f"/{_PARTS[part[0]]}-{part[1:]}"
        for part in rest
        if part[0] in _PARTS or part == "open"
    ]
    return f"round-{int(round_name[-3:])}/batch-{size[1:]}{''.join(kind)}"


def mean_over_updates(
    values: list[NDArray[np.float64]],
    confidence: float = CONFIDENCE,
    *,
    limits: tuple[float, float],
    rng: np.random.Generator,
) -> stats.Interval:
    """Return the mean over records, with whole updates as the independent unit; n counts them.

    A run's hospitals are given, and victims are drawn from each at random for every probe: that is
    what the interval allows for. It does not speak of other hospitals.

    Args:
        values: Of each update, one value a record.
        confidence: Of the interval.
        limits: The metric's range.
        rng: For the bootstrap.
    """
    flat = np.concatenate(values)
    if len(values) == 1:
        return stats.Interval(
            value=float(flat.mean()),
            low=limits[0],
            high=limits[1],
            confidence=confidence,
            n=1,
            method="one update: the metric's whole range",
        )
    clusters = np.repeat(np.arange(len(values)), [len(v) for v in values])
    return stats.cluster_mean_interval(flat, clusters, confidence, rng=rng, limits=limits)


def rate_over_updates(
    values: list[NDArray[np.float64]],
    confidence: float = CONFIDENCE,
    *,
    rng: np.random.Generator,
) -> stats.Interval:
    """Return a rate: exact where every update holds one record, else as ``mean_over_updates``."""
    if all(len(one) == 1 for one in values):
        hits = int(sum(one[0] for one in values))
        return stats.clopper_pearson_interval(hits, len(values), confidence)
    return mean_over_updates(values, confidence, limits=(0.0, 1.0), rng=rng)


def with_left_out(
    scores: Sequence[Score], names: Iterable[str], skipped: Mapping[str, str]
) -> list[Score]:
    """Return scores that say how many observations of their size are not in them, and why.

    What an attack could not rebuild is no part of its means: a reader must see that.

    Args:
        scores: Of observations that were rebuilt.
        names: These observations.
        skipped: All others, with the reason.
    """
    kept = Counter(size_of(name) for name in names)
    left: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        left.setdefault(size_of(name), []).append(reason)

    def said(score: Score) -> Score:
        out, within = left.get(score.slice, []), kept[score.slice]
        if not out or not within:
            return score
        what = f"{len(out)} of {len(out) + within} observations left out: {out[0]}"
        reason = what if score.reason is None else f"{score.reason}; {what}"
        return score.model_copy(update={"reason": reason})

    return [said(score) for score in scores]


def too_few_decoys(origin: Origin, metric: str, slice_name: str, least: int) -> Score:
    """Return the score of an identification for which the class has too few records."""
    return origin.score(
        metric,
        slice=slice_name,
        outcome=Outcome.NOT_RESOLVABLE,
        reason=f"{least + 1} candidates of a class: {POOLS[metric]} are needed",
    )


def rate_score(
    origin: Origin,
    metric: str,
    slice_name: str,
    values: list[NDArray[np.float64]],
    *,
    chance: float,
    bound: float | None,
    rng: np.random.Generator,
    reason: str | None = None,
) -> Score:
    """Return an identification rate beside chance and what the mechanism allows at most."""
    return origin.score(
        metric,
        slice=slice_name,
        chance=chance,
        bound=bound,
        reason=reason,
        **interval_fields(rate_over_updates(values, rng=rng)),
    )
