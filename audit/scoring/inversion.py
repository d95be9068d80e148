"""Scores of reconstructions, and their pictures."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.parcel import Parcel
from audit.core.scores import Outcome, Score
from audit.scoring.origin import CONFIDENCE, Origin, interval_fields

MOST_PSNR = 100.0
"""A perfect reconstruction has infinite PSNR; it counts as this many dB."""

INVERSION_METRICS = ("ssim", "psnr", "mse", "label_accuracy")
_LIMITS = {"ssim": (-1.0, 1.0), "psnr": (0.0, MOST_PSNR), "mse": (0.0, 1.0)}


@dataclass(frozen=True, kw_only=True)
class InversionScores:
    """Scores of a reconstruction attack, and its pictures.

    Args:
        scores: One for each metric and probe size.
        panels: Observation to truth, reconstruction and baseline, as ``<name>|<kind>`` arrays in
            [0, 1]; patients' data.
    """

    scores: list[Score]
    panels: Parcel


def score_reconstruction(
    guess: ReconstructionGuess,
    baseline: ReconstructionGuess | None,
    victims: Parcel,
    origin: Origin,
    *,
    rng: np.random.Generator,
) -> InversionScores:
    """Score reconstructions against the probes' records, apart for each probe size.

    Reconstructions are matched to the true records by optimal assignment, the baseline's too.
    Values are on records scaled to [0, 1]. Records of one update are not independent: intervals
    resample whole updates, and n counts updates.

    Args:
        guess: What was rebuilt.
        baseline: The prior-only guess on the same probes; its mean is the chance level.
        victims: The truth, from the vault.
        origin: Where the guess came from.
        rng: For the bootstrap.
    """
    low, high = (float(v) for v in _floats(victims.fields["range"]))
    measured = {
        r.observation: _measure(r, victims, low=low, high=high) for r in guess.reconstructions
    }
    beside = {
        r.observation: _measure(r, victims, low=low, high=high)
        for r in (baseline.reconstructions if baseline else ())
    }
    groups: dict[str, list[str]] = defaultdict(list)
    for reconstruction in guess.reconstructions:
        groups[_slice(reconstruction)].append(reconstruction.observation)
    scores: list[Score] = []
    for name, observations in sorted(groups.items()):
        for metric in INVERSION_METRICS:
            values = [measured[o].values[metric] for o in observations]
            others = [beside[o].values[metric] for o in observations if o in beside]
            scores.append(_mean_score(origin, metric, name, values, others, rng=rng))
    scores += _skipped_scores(guess, origin, set(groups))
    panels = {
        f"{o}|{kind}": array
        for o, result in measured.items()
        for kind, array in (
            ("truth", result.truth),
            ("reconstruction", result.records),
            *((("baseline", beside[o].records),) if o in beside else ()),
        )
    }
    return InversionScores(scores=scores, panels=Parcel(arrays=panels))


@dataclass(frozen=True, kw_only=True)
class _Measured:
    values: dict[str, NDArray[np.float64]]
    truth: NDArray[np.float32]
    records: NDArray[np.float32]


def _measure(
    reconstruction: Reconstruction, victims: Parcel, *, low: float, high: float
) -> _Measured:
    session = reconstruction.observation.partition("|")[0]

    def truths(kind: str) -> NDArray[np.generic]:
        parts = [victims.arrays[f"{session}|{c}|{kind}"] for c in reconstruction.clients]
        return np.concatenate(parts)

    truth = ((truths("inputs").astype(np.float32) - low) / (high - low)).astype(np.float32)
    rebuilt = ((reconstruction.records - low) / (high - low)).astype(np.float32)
    order = stats.match(rebuilt, truth)
    rebuilt, labels = rebuilt[order], reconstruction.labels[order]
    pairs = list(zip(rebuilt, truth, strict=True))
    values = {
        "mse": np.array([stats.mse(a, b) for a, b in pairs]),
        "psnr": np.array([min(stats.psnr(a, b, 1.0), MOST_PSNR) for a, b in pairs]),
        "label_accuracy": (labels == truths("labels")).astype(np.float64),
    }
    if truth.ndim == 4:
        values["ssim"] = np.array([stats.ssim(a, b, 1.0) for a, b in pairs])
    else:
        values["ssim"] = np.array([])
    return _Measured(values=values, truth=truth, records=rebuilt)


def _mean_score(
    origin: Origin,
    metric: str,
    slice_name: str,
    values: list[NDArray[np.float64]],
    others: list[NDArray[np.float64]],
    *,
    rng: np.random.Generator,
) -> Score:
    flat = np.concatenate(values)
    if not len(flat):
        return origin.score(
            metric, slice=slice_name, outcome=Outcome.NOT_RUN, reason="the records are no images"
        )
    limits = _LIMITS.get(metric, (0.0, 1.0))
    if len(values) == 1:
        interval = stats.Interval(
            value=float(flat.mean()),
            low=limits[0],
            high=limits[1],
            confidence=CONFIDENCE,
            n=1,
            method="one update: the metric's whole range",
        )
    else:
        clusters = np.repeat(np.arange(len(values)), [len(v) for v in values])
        interval = stats.cluster_mean_interval(flat, clusters, CONFIDENCE, rng=rng, limits=limits)
    chance = float(np.concatenate(others).mean()) if others else None
    return origin.score(metric, slice=slice_name, chance=chance, **interval_fields(interval))


def _skipped_scores(guess: ReconstructionGuess, origin: Origin, measured: set[str]) -> list[Score]:
    """Return a score for each metric of a probe size that was skipped altogether."""
    reasons: dict[str, str] = {}
    for observation, reason in guess.skipped.items():
        reasons.setdefault(_size(observation), reason)
    return [
        origin.score(metric, slice=name, outcome=Outcome.NOT_RUN, reason=reason)
        for name, reason in sorted(reasons.items())
        if name not in measured
        for metric in INVERSION_METRICS
    ]


def _slice(reconstruction: Reconstruction) -> str:
    return _size(reconstruction.observation)


def _size(observation: str) -> str:
    """``round-001/probe-b4-r0|hospital-1`` is of slice ``round-1/batch-4``."""
    session = observation.partition("|")[0]
    round_name, _, probe = session.partition("/")
    return f"round-{int(round_name[-3:])}/batch-{probe.split('-')[1][1:]}"


def _floats(value: object) -> list[float]:
    return [float(v) for v in value] if isinstance(value, list | tuple) else []
