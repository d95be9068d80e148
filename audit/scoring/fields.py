"""Scores of reconstructed tables' records by field: how many numbers and categories are right."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core.fields import Field, FieldKind
from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.parcel import Parcel
from audit.core.scores import Outcome, Score
from audit.scoring.baselines import Baselines, scaled_already, told
from audit.scoring.origin import Origin, interval_fields
from audit.scoring.probes import (
    MEAN,
    MEDIAN,
    Known,
    SliceValues,
    kept_values,
    mean_over_updates,
    probe_truth,
    record_range,
    size_of,
    with_left_out,
)
from audit.scoring.typical import typical_record

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
        typical: The population's median record (``typical_record``), input units, shape (columns,).
    """

    fields: tuple[Field, ...]
    tolerances: NDArray[np.float64]
    typical: NDArray[np.float64]

    @classmethod
    def of(cls, fields: tuple[Field, ...], population: NDArray[np.float32]) -> "FieldRule":
        """Return the rule for public records of the population, shape (population, columns).

        Raises:
            ValueError: There are no such records, so no standard deviation either.
        """
        if not len(population):
            raise ValueError("the population is empty, expected records whose spread is known")
        spread = population.astype(np.float64).std(axis=0)
        return cls(
            fields=fields,
            tolerances=TOLERANCE * spread + ROUNDING,
            typical=typical_record(fields, population),
        )

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


@dataclass(frozen=True, kw_only=True)
class FieldScores:
    """Scores of reconstructed tables.

    Args:
        scores: One for each probe size; higher leaks more.
        values: Probe size to metric to the values behind its score; patients' data.
    """

    scores: list[Score]
    values: Mapping[str, Mapping[str, SliceValues]]


def score_fields(
    guess: ReconstructionGuess,
    baseline: ReconstructionGuess | None,
    victims: Parcel,
    rule: FieldRule,
    origin: Origin,
    *,
    rng: np.random.Generator,
    known: Known | None = None,
) -> FieldScores:
    """Score reconstructed tables by the fraction of fields that are right.

    Reconstructions are matched to the true records by optimal assignment on records scaled to
    [0, 1], the baseline's too. Fields and records of one update are not independent: intervals
    resample whole updates, and n counts updates.

    Args:
        guess: What was rebuilt.
        baseline: The prior-only guess on the same probes, where baselines cannot be made anew: the
            chance level is then the better of its mean and that of the median record.
        victims: The truth, from the vault.
        rule: When a field is right.
        origin: Where the guess came from.
        rng: For the bootstrap.
        known: Population and pool, of which all baselines are made (``Baselines``).
    """
    baselines = None if known is None else Baselines(guess, known)
    beside = {r.observation: r for r in (baseline.reconstructions if baseline else ())}
    groups: dict[str, list[Reconstruction]] = defaultdict(list)
    for reconstruction in guess.reconstructions:
        groups[size_of(reconstruction.observation)].append(reconstruction)
    scores, kept = [], {}
    for name, reconstructions in sorted(groups.items()):
        values = [_right(r, victims, rule) for r in reconstructions]
        others = [
            _others(r, beside.get(r.observation), victims, rule, baselines) for r in reconstructions
        ]
        means = {
            which: float(np.concatenate([one[which] for one in others]).mean())
            for which in others[0]
            if all(which in one for one in others)
        }
        best = max(means, key=lambda which: means[which])
        kept[name] = {FIELD_METRICS[0]: kept_values(values, means[best])}
        interval = mean_over_updates(values, limits=(0.0, 1.0), rng=rng)
        scores.append(
            origin.score(
                FIELD_METRICS[0],
                slice=name,
                chance=means[best],
                reason=told(means, best),
                **interval_fields(interval),
            )
        )
    scores = with_left_out(scores, [r.observation for r in guess.reconstructions], guess.skipped)
    skipped: dict[str, str] = {}
    for observation, reason in guess.skipped.items():
        skipped.setdefault(size_of(observation), reason)
    scores += [
        origin.score(FIELD_METRICS[0], slice=name, outcome=Outcome.NOT_RUN, reason=reason)
        for name, reason in sorted(skipped.items())
        if name not in groups
    ]
    return FieldScores(scores=scores, values=kept)


def _others(
    one: Reconstruction,
    prior: Reconstruction | None,
    victims: Parcel,
    rule: FieldRule,
    baselines: Baselines | None,
) -> dict[str, NDArray[np.float64]]:
    """Return which fields each baseline of an observation has right."""
    if baselines is None:
        found = {MEDIAN: _right(_repeated(one, rule.typical), victims, rule)}
        return found if prior is None else found | {MEAN: _right(prior, victims, rule)}
    truth = probe_truth(victims, one.observation, one.clients)
    low, high = record_range(victims)
    return {
        name: _right(
            replace(one, records=records * (high - low) + low if scaled_already(name) else records),
            victims,
            rule,
        )
        for name, (records, _) in baselines.of(one.observation, truth).items()
    }


def _repeated(one: Reconstruction, record: NDArray[np.float64]) -> Reconstruction:
    """Return the same record in the place of all that were rebuilt."""
    rows = np.repeat(record[None].astype(np.float32), len(one.records), axis=0)
    return replace(one, records=rows)


def _right(reconstruction: Reconstruction, victims: Parcel, rule: FieldRule) -> NDArray[np.float64]:
    """Return which fields of one update's records are right, flat."""
    session = reconstruction.observation.partition("|")[0]
    parts = [victims.arrays[f"{session}|{c}|inputs"] for c in reconstruction.clients]
    truth = np.concatenate(parts).astype(np.float32)
    low, high = record_range(victims)
    order = stats.match((reconstruction.records - low) / (high - low), (truth - low) / (high - low))
    return rule.right(reconstruction.records[order], truth).ravel()
