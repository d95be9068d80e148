"""Scores of reconstructed tables' records by field: how many numbers and categories are right."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core.fields import Field, FieldKind
from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.parcel import Parcel
from audit.core.scores import Outcome, Score
from audit.scoring.origin import CONFIDENCE, Origin, interval_fields
from audit.scoring.probes import record_range, size_of

FIELD_METRICS = ("field_accuracy",)

TOLERANCE = 0.319
"""Standard deviations by which a number may be off: a standard normal lies so near its mean with
probability 0.25. Vero et al. 2023, arXiv:2210.01785; the figure is the default of the authors' code
(`create_tolerance_map`)."""

ROUNDING = 1e-6
"""Input units that single precision may cost; all that a column without spread is allowed."""


@dataclass(frozen=True, kw_only=True)
class FieldRule:
    """When a field of a reconstructed record is right.

    Args:
        fields: Of the records.
        tolerances: How far off a column's number may be, input units, shape (columns,).
    """

    fields: tuple[Field, ...]
    tolerances: NDArray[np.float64]

    @classmethod
    def of(cls, fields: tuple[Field, ...], population: NDArray[np.float32]) -> "FieldRule":
        """Return the rule for public records of the population, shape (population, columns).

        Raises:
            ValueError: There are no such records, so no standard deviation either.
        """
        if not len(population):
            raise ValueError("the population is empty, expected records whose spread is known")
        spread = population.astype(np.float64).std(axis=0)
        return cls(fields=fields, tolerances=TOLERANCE * spread + ROUNDING)

    def right(
        self, rebuilt: NDArray[np.floating], truth: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return which fields are right, 0 or 1, shape (records, fields).

        Args:
            rebuilt: Records in input units, shape (records, columns), in the order of the truth.
            truth: Same shape and unit.
        """
        close = np.abs(rebuilt.astype(np.float64) - truth) <= self.tolerances
        columns = []
        for field in self.fields:
            at = list(field.columns)
            if field.kind is FieldKind.CONTINUOUS:
                columns.append(close[:, at[0]])
            else:
                columns.append(rebuilt[:, at].argmax(axis=1) == truth[:, at].argmax(axis=1))
        return np.stack(columns, axis=1).astype(np.float64)


def score_fields(
    guess: ReconstructionGuess,
    baseline: ReconstructionGuess | None,
    victims: Parcel,
    rule: FieldRule,
    origin: Origin,
    *,
    rng: np.random.Generator,
) -> list[Score]:
    """Score reconstructed tables by the fraction of fields that are right.

    Reconstructions are matched to the true records by optimal assignment on records scaled to
    [0, 1], the baseline's too. Fields and records of one update are not independent: intervals
    resample whole updates, and n counts updates.

    Args:
        guess: What was rebuilt.
        baseline: The prior-only guess on the same probes; its mean is the chance level.
        victims: The truth, from the vault.
        rule: When a field is right.
        origin: Where the guess came from.
        rng: For the bootstrap.

    Returns:
        One score for each probe size; higher leaks more.
    """
    beside = {r.observation: r for r in (baseline.reconstructions if baseline else ())}
    groups: dict[str, list[Reconstruction]] = defaultdict(list)
    for reconstruction in guess.reconstructions:
        groups[size_of(reconstruction.observation)].append(reconstruction)
    scores = []
    for name, reconstructions in sorted(groups.items()):
        values = [_right(r, victims, rule) for r in reconstructions]
        others = [
            _right(beside[r.observation], victims, rule)
            for r in reconstructions
            if r.observation in beside
        ]
        scores.append(_mean_score(origin, name, values, others, rng=rng))
    skipped: dict[str, str] = {}
    for observation, reason in guess.skipped.items():
        skipped.setdefault(size_of(observation), reason)
    scores += [
        origin.score(FIELD_METRICS[0], slice=name, outcome=Outcome.NOT_RUN, reason=reason)
        for name, reason in sorted(skipped.items())
        if name not in groups
    ]
    return scores


def _right(reconstruction: Reconstruction, victims: Parcel, rule: FieldRule) -> NDArray[np.float64]:
    """Return which fields of one update's records are right, flat."""
    session = reconstruction.observation.partition("|")[0]
    parts = [victims.arrays[f"{session}|{c}|inputs"] for c in reconstruction.clients]
    truth = np.concatenate(parts).astype(np.float32)
    low, high = record_range(victims)
    order = stats.match((reconstruction.records - low) / (high - low), (truth - low) / (high - low))
    return rule.right(reconstruction.records[order], truth).ravel()


def _mean_score(
    origin: Origin,
    slice_name: str,
    values: Sequence[NDArray[np.float64]],
    others: Sequence[NDArray[np.float64]],
    *,
    rng: np.random.Generator,
) -> Score:
    flat = np.concatenate(values)
    if len(values) == 1:
        interval = stats.Interval(
            value=float(flat.mean()),
            low=0.0,
            high=1.0,
            confidence=CONFIDENCE,
            n=1,
            method="one update: the metric's whole range",
        )
    else:
        clusters = np.repeat(np.arange(len(values)), [len(v) for v in values])
        interval = stats.cluster_mean_interval(
            flat, clusters, CONFIDENCE, rng=rng, limits=(0.0, 1.0)
        )
    chance = float(np.concatenate(others).mean()) if others else None
    return origin.score(
        FIELD_METRICS[0], slice=slice_name, chance=chance, **interval_fields(interval)
    )
