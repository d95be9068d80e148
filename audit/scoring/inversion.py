"""Scores of reconstructions beside baselines that never saw a gradient, and their pictures."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core.guesses import ReconstructionGuess
from audit.core.metrics import METRICS, Direction
from audit.core.parcel import Parcel
from audit.core.scores import Outcome, Score
from audit.scoring.baselines import CLASS_MEAN, TOLD_THE_CLASS, Baselines, scaled_already, told
from audit.scoring.learned import LPIPS, MOST_LPIPS, Learned, learned_metric
from audit.scoring.origin import Origin, interval_fields
from audit.scoring.probes import (
    MEAN,
    POOLS,
    Known,
    ProbeTruth,
    SliceValues,
    kept_values,
    mean_over_updates,
    probe_truth,
    rate_score,
    scaled,
    size_of,
    too_few_decoys,
    with_left_out,
)

MOST_PSNR = 100.0
"""A perfect reconstruction has infinite PSNR; it counts as this many dB."""

GAIN = "ssim_over_baseline"
INVERSION_METRICS = ("ssim", GAIN, "psnr", "mse", LPIPS, "label_accuracy", *POOLS)
_LIMITS = {
    "ssim": (-1.0, 1.0),
    GAIN: (-2.0, 2.0),
    "psnr": (0.0, MOST_PSNR),
    LPIPS: (0.0, MOST_LPIPS),
}
NO_IMAGES = "the records are no images"

Values = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class InversionScores:
    """Scores of a reconstruction attack, and its pictures.

    Args:
        scores: One for each metric and probe size.
        panels: Observation to truth, reconstruction and baseline, as ``<name>|<kind>`` arrays in
            [0, 1]; patients' data.
        values: Probe size to metric to the values behind its score; patients' data.
    """

    scores: list[Score]
    panels: Parcel
    values: Mapping[str, Mapping[str, SliceValues]]


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """One observation: the attack's values, each baseline's, and the pictures."""

    values: Values
    beside: dict[str, Values]
    panels: dict[str, NDArray[np.float32]]
    decoys: int


def score_reconstruction(
    guess: ReconstructionGuess,
    baseline: ReconstructionGuess | None,
    victims: Parcel,
    origin: Origin,
    *,
    rng: np.random.Generator,
    known: Known | None = None,
    bounds: dict[str, dict[str, float]] | None = None,
    learned: Learned | None = None,
) -> InversionScores:
    """Score reconstructions against the probes' records, apart for each probe size.

    Reconstructions are matched to the true records by optimal assignment, every baseline's too.
    Values are on records scaled to [0, 1]. A score's chance is the best baseline's value on the
    same records. Records of one update are not independent: intervals resample whole updates, and
    n counts updates.

    Args:
        guess: What was rebuilt.
        baseline: The prior-only guess on the same probes, where baselines cannot be made anew.
        victims: The truth, from the vault.
        origin: Where the guess came from.
        rng: For the bootstrap.
        known: Population and pool; None: the run kept no pool.
        bounds: Observation to identification metric to the most that the mechanism allows.
        learned: A learned distance; None: whatever this machine has.
    """
    extra = learned or learned_metric()
    baselines = Baselines(guess, known)
    prior = {one.observation: one for one in baseline.reconstructions} if baseline else {}
    measured: dict[str, _Measured] = {}
    for one in guess.reconstructions:
        truth = probe_truth(victims, one.observation, one.clients)
        beside = {
            name: (records if scaled_already(name) else scaled(records, victims), labels)
            for name, (records, labels) in baselines.of(one.observation, truth).items()
        }
        if not beside and one.observation in prior:
            other = prior[one.observation]
            beside[MEAN] = scaled(other.records, victims), other.labels
        measured[one.observation] = _measure(
            scaled(one.records, victims), one.labels, truth, beside, known=known, extra=extra
        )
    groups: dict[str, list[str]] = defaultdict(list)
    for name in measured:
        groups[size_of(name)].append(name)
    scores: list[Score] = []
    kept: dict[str, dict[str, SliceValues]] = {}
    for slice_name, names in sorted(groups.items()):
        group = [measured[name] for name in names]
        allowed = (bounds or {}).get(names[0], {})
        found, kept[slice_name] = _group_scores(
            origin, slice_name, group, allowed, rng=rng, without=extra.reason
        )
        scores += found
    scores = with_left_out(scores, measured, guess.skipped)
    scores += _skipped_scores(guess, origin, set(groups))
    panels = {
        f"{name}|{kind}": array
        for name, one in measured.items()
        for kind, array in one.panels.items()
    }
    return InversionScores(scores=scores, panels=Parcel(arrays=panels), values=kept)


def _measure(
    records: NDArray[np.float32],
    labels: NDArray[np.int64],
    truth: ProbeTruth,
    beside: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]],
    *,
    known: Known | None,
    extra: Learned,
) -> _Measured:
    order = stats.match(records, truth.inputs)
    panels = {"truth": truth.inputs, "reconstruction": records[order]}
    others = {}
    for name, (rebuilt, theirs) in beside.items():
        others[name] = _values(rebuilt, theirs, truth, known, extra)
    picture = CLASS_MEAN if CLASS_MEAN in beside else next(iter(beside), None)
    if picture is not None:
        rebuilt = beside[picture][0]
        panels["baseline"] = rebuilt[stats.match(rebuilt, truth.inputs)]
    fewest = 0 if truth.decoys is None else int((truth.decoys >= 0).sum(axis=1).min())
    return _Measured(
        values=_values(records, labels, truth, known, extra),
        beside=others,
        panels=panels,
        decoys=fewest,
    )


def _values(
    records: NDArray[np.float32],
    labels: NDArray[np.int64],
    truth: ProbeTruth,
    known: Known | None,
    extra: Learned,
) -> Values:
    """Return every metric of each true record that can be measured."""
    order = stats.match(records, truth.inputs)
    pairs = list(zip(records[order], truth.inputs, strict=True))
    values = {
        "mse": np.array([stats.mse(a, b) for a, b in pairs]),
        "psnr": np.array([min(stats.psnr(a, b, 1.0), MOST_PSNR) for a, b in pairs]),
        "label_accuracy": (labels[order] == truth.labels).astype(np.float64),
    }
    if truth.inputs.ndim == 4:
        values["ssim"] = np.array([stats.ssim(a, b, 1.0) for a, b in pairs])
        if extra.distance is not None:
            values[LPIPS] = extra.distance(records[order], truth.inputs)
    if known is not None and truth.decoys is not None:
        for metric, count in POOLS.items():
            rows = truth.decoys[:, : count - 1]
            if (rows >= 0).all() and rows.shape[1] == count - 1:
                values[metric] = np.array(
                    [
                        _nearest(a, b, known.pool[row])
                        for (a, b), row in zip(pairs, rows, strict=True)
                    ]
                )
    return values


def _nearest(
    rebuilt: NDArray[np.float32], true: NDArray[np.float32], decoys: NDArray[np.float32]
) -> float:
    """Return 1 where the true record is nearer to the reconstruction than every decoy."""
    away = ((decoys - rebuilt) ** 2).reshape(len(decoys), -1).sum(axis=1)
    return float(((true - rebuilt) ** 2).sum() < away.min())


def _reached(metric: str, beside: dict[str, Values]) -> dict[str, float]:
    """Return what each baseline that competes reaches on a metric."""
    means = {name: float(v[metric].mean()) for name, v in beside.items() if metric in v}
    if metric == "label_accuracy":
        means = {name: mean for name, mean in means.items() if name not in TOLD_THE_CLASS}
    return means


def _best(metric: str, means: dict[str, float]) -> str | None:
    """Return the baseline that does best on a metric, or None where none has it."""
    if not means:
        return None
    up = METRICS[metric].leaks is Direction.UP
    return (max if up else min)(means, key=lambda name: means[name])


def _group_scores(
    origin: Origin,
    slice_name: str,
    group: list[_Measured],
    bounds: dict[str, float],
    *,
    rng: np.random.Generator,
    without: str | None,
) -> tuple[list[Score], dict[str, SliceValues]]:
    shared = set.intersection(*(set(one.beside) for one in group))
    beside = {
        name: {
            metric: np.concatenate([one.beside[name][metric] for one in group])
            for metric in group[0].beside[name]
        }
        for name in group[0].beside  # not the set's order: it changes which of two equals is best
        if name in shared
    }
    scores, kept = [], {}
    for metric in INVERSION_METRICS:
        source = "ssim" if metric == GAIN else metric
        if metric in POOLS and source not in group[0].values:
            fewest = min(one.decoys for one in group)
            scores.append(too_few_decoys(origin, metric, slice_name, fewest))
            continue
        if source not in group[0].values:
            images = "ssim" in group[0].values
            reason = without if images and metric == LPIPS else NO_IMAGES
            scores.append(
                origin.score(metric, slice=slice_name, outcome=Outcome.NOT_RUN, reason=reason)
            )
            continue
        values = [one.values[source] for one in group]
        means = _reached(source, beside)
        best = _best(source, means)
        chance = None if best is None else means[best]
        reason = None if best is None else told(means, best)
        if metric in POOLS:
            kept[metric] = kept_values(values, chance, bounds.get(metric))
            scores.append(
                rate_score(
                    origin,
                    metric,
                    slice_name,
                    values,
                    chance=max(1 / POOLS[metric], chance or 0.0),
                    bound=bounds.get(metric),
                    rng=rng,
                    reason=reason,
                )
            )
            continue
        if metric == GAIN:
            if best is None:
                continue
            values = [one.values["ssim"] - one.beside[best]["ssim"] for one in group]
            chance = 0.0
        kept[metric] = kept_values(values, chance)
        interval = mean_over_updates(values, limits=_LIMITS.get(metric, (0.0, 1.0)), rng=rng)
        scores.append(
            origin.score(
                metric, slice=slice_name, chance=chance, reason=reason, **interval_fields(interval)
            )
        )
    return scores, kept


def _skipped_scores(guess: ReconstructionGuess, origin: Origin, measured: set[str]) -> list[Score]:
    """Return a score for each metric of a probe size that was skipped altogether."""
    reasons: dict[str, str] = {}
    for observation, reason in guess.skipped.items():
        reasons.setdefault(size_of(observation), reason)
    return [
        origin.score(metric, slice=name, outcome=Outcome.NOT_RUN, reason=reason)
        for name, reason in sorted(reasons.items())
        if name not in measured
        for metric in INVERSION_METRICS
    ]
