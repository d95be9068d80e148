"""Scores of label counts: the part of the records whose label was in the guess."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core.guesses import LabelCountGuess
from audit.core.parcel import Parcel
from audit.core.scores import Outcome, Score
from audit.scoring.origin import CONFIDENCE, Origin, interval_fields
from audit.scoring.probes import SliceValues, kept_values, size_of

LABEL_METRICS = ("label_accuracy",)
ROUNDS = "rounds"
"""Slice of the class shares of whole hospitals; their observations' names start with it."""

NO_COUNTS = "this run was trained before hospitals' class counts were kept: train it again"


@dataclass(frozen=True, kw_only=True)
class LabelScores:
    """Scores of label counts.

    Args:
        scores: One for each probe size, and for the rounds.
        values: Probe size to metric to the values behind its score; patients' data.
    """

    scores: list[Score]
    values: Mapping[str, Mapping[str, SliceValues]]


def score_labels(
    guess: LabelCountGuess,
    baseline: LabelCountGuess | None,
    victims: Parcel,
    hospitals: Mapping[str, NDArray[np.int64]] | None,
    origin: Origin,
    *,
    rng: np.random.Generator,
) -> LabelScores:
    """Score label counts, apart for each probe size and for the rounds.

    Of a probe: sum over classes of min(guessed, true), over the records: the part of the labels
    that were recovered. Of rounds: 1 less the total variation distance of guessed shares from the
    hospital's own; of a sum, from the mean of the hospitals' shares by their parts in it. Both are
    in [0, 1] and 1 where all is right. Intervals resample whole observations (of rounds, senders),
    and n counts them.

    Args:
        guess: The counts.
        baseline: Counts by the prior alone for the same observations; their mean is the chance
            level.
        victims: Labels of the probes' records, from the vault.
        hospitals: Hospital to its records of each class, from the vault; None: not kept.
        origin: Where the guess came from.
        rng: For the bootstrap.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    reasons: dict[str, str] = {}
    for name in guess.counts:
        if _slice(name) == ROUNDS and hospitals is None:
            reasons[ROUNDS] = NO_COUNTS
        else:
            groups[_slice(name)].append(name)
    for name, reason in guess.skipped.items():
        reasons.setdefault(_slice(name), reason)
    scores, kept = [], {}
    for part, names in sorted(groups.items()):
        values = [_agreement(guess, name, victims, hospitals) for name in names]
        others = [
            _agreement(baseline, name, victims, hospitals)
            for name in names
            if baseline is not None and name in baseline.counts
        ]
        chance = float(np.mean(others)) if others else None
        if part != ROUNDS:
            each = [np.array([value]) for value in values]
            kept[part] = {"label_accuracy": kept_values(each, chance)}
        fields = interval_fields(_interval(np.array(values), rng))
        scores.append(origin.score("label_accuracy", slice=part, chance=chance, **fields))
    scores += [
        origin.score("label_accuracy", slice=part, outcome=Outcome.NOT_RUN, reason=reason)
        for part, reason in sorted(reasons.items())
        if part not in groups
    ]
    return LabelScores(scores=scores, values=kept)


def _agreement(
    guess: LabelCountGuess,
    name: str,
    victims: Parcel,
    hospitals: Mapping[str, NDArray[np.int64]] | None,
) -> float:
    """Return the overlap of guessed and true shares: 1 less their total variation distance."""
    counts, clients = guess.counts[name], guess.clients[name]
    if not np.isfinite(counts).all() or counts.min() < 0 or not counts.sum() > 0:
        raise ValueError(
            f"counts of {name} are {counts}: expected non-negative numbers, some not 0"
        )
    if _slice(name) == ROUNDS:
        own = [(hospitals or {})[client] for client in clients]
        parts = zip(guess.shares[name], own, strict=True)
        truth = np.sum([share * of_class / of_class.sum() for share, of_class in parts], axis=0)
    else:
        session = name.partition("|")[0]
        labels = np.concatenate([victims.arrays[f"{session}|{c}|labels"] for c in clients])
        truth = np.bincount(labels, minlength=len(counts)) / len(labels)
    # Rounding must not leave the range of the metric.
    return float(min(1.0, np.minimum(counts / counts.sum(), truth).sum()))


def _interval(values: NDArray[np.float64], rng: np.random.Generator) -> stats.Interval:
    if len(values) > 1:
        names = np.arange(len(values))
        return stats.cluster_mean_interval(values, names, CONFIDENCE, rng=rng, limits=(0.0, 1.0))
    return stats.Interval(
        value=float(values[0]),
        low=0.0,
        high=1.0,
        confidence=CONFIDENCE,
        n=1,
        method="one update: the metric's whole range",
    )


def _slice(observation: str) -> str:
    """``round-001/probe-b4-r0|hospital-1`` is of slice ``round-1/batch-4``."""
    session = observation.partition("|")[0]
    if session == ROUNDS:
        return ROUNDS
    return size_of(observation)
