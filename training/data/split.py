"""Which records may be trained on, which are held out, and what the adversary may know."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import ConfigError, DataError
from training.data.dataset import Dataset
from training.data.units import Units, group_units


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Record indices by role, each ascending.

    Args:
        members_pool: May be trained on.
        holdout: Never trained on: the test set; auxiliary is a part of it.
        nonmembers: Candidates that are no members: held-out records, or withheld training records.
        auxiliary: A public reference sample that the adversary may use; may be empty.
    """

    members_pool: NDArray[np.int64]
    holdout: NDArray[np.int64]
    nonmembers: NDArray[np.int64]
    auxiliary: NDArray[np.int64]


def split(
    dataset: Dataset,
    *,
    holdout_fraction: float,
    auxiliary_fraction: float,
    validation_fraction: float | None = None,
    withheld: int | None = None,
    rng: np.random.Generator,
) -> Split:
    """Split a dataset by patient, in each class alike; deterministic for a given generator.

    Args:
        dataset: Where its source sets records aside, those are the holdout.
        holdout_fraction: Share of the patients (else records) to hold out, in (0, 1); unused where
            the source sets its own aside.
        auxiliary_fraction: Share of the held-out patients (else records) that becomes the
            auxiliary sample, in [0, 1).
        validation_fraction: Share of the remaining patients (else records), in (0, 1), that takes
            the holdout's place, so that settings can be chosen on it; the holdout itself then has
            no role at all. None: no such share.
        withheld: Training records, about so many, that are to be the non-members in place of
            held-out records. None: held-out records are.
        rng: Source of all randomness.

    Raises:
        ConfigError: A fraction is out of range or leaves one side empty.
        DataError: The source's own holdout shares a patient with the rest.
    """
    if not 0 <= auxiliary_fraction < 1:
        raise ConfigError(f"auxiliary_fraction is {auxiliary_fraction}, expected 0 to below 1")
    units = group_units(dataset.y, dataset.patients)
    if dataset.holdout is None:
        if not 0 < holdout_fraction < 1:
            raise ConfigError(f"holdout_fraction is {holdout_fraction}, expected between 0 and 1")
        out = _stratified(units, np.ones(len(units), np.bool_), holdout_fraction, rng)
        _check_sides("holdout_fraction", holdout_fraction, out.sum(), (~out).sum(), units)
    else:
        out = np.zeros(len(units), np.bool_)
        out[units.of_record[dataset.holdout]] = True
        both = int(out[units.of_record[~dataset.holdout]].sum())
        if both:
            raise DataError(
                f"{dataset.name}: {both} records outside the source's holdout are of patients in "
                "it, expected no patient on both sides"
            )
        _check_sides("the source's holdout", "given", out.sum(), (~out).sum(), units)
    unused = np.zeros(len(units), np.bool_)
    if validation_fraction is not None:
        if not 0 < validation_fraction < 1:
            raise ConfigError(
                f"validation_fraction is {validation_fraction}, expected between 0 and 1"
            )
        unused, out = out, _stratified(units, ~out, validation_fraction, rng)
        remaining = int((~(out | unused)).sum())
        _check_sides("validation_fraction", validation_fraction, out.sum(), remaining, units)
    auxiliary = np.zeros(len(units), np.bool_)
    if auxiliary_fraction > 0:
        auxiliary = _stratified(units, out, auxiliary_fraction, rng)
        rest = out & ~auxiliary
        _check_sides("auxiliary_fraction", auxiliary_fraction, auxiliary.sum(), rest.sum(), units)
    train = ~(out | unused)
    nonmembers = out & ~auxiliary
    if withheld is not None:
        available = len(units.records(train))
        if withheld >= available:
            raise ConfigError(f"withheld is {withheld}, expected fewer than {available} records")
        nonmembers = _stratified(units, train, withheld / available, rng)
        train = train & ~nonmembers
        _check_sides("withheld", withheld, nonmembers.sum(), train.sum(), units)
    return Split(
        members_pool=units.records(train),
        holdout=units.records(out),
        nonmembers=units.records(nonmembers),
        auxiliary=units.records(auxiliary),
    )


def _stratified(
    units: Units, among: NDArray[np.bool_], fraction: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Mask of a share of the units in `among`, in each class alike, by largest remainders."""
    labels, counts = np.unique(units.classes[among], return_counts=True)
    quota = fraction * counts
    take = np.floor(quota).astype(np.int64)
    short = round(fraction * int(counts.sum())) - int(take.sum())
    take[np.argsort(take - quota, kind="stable")[: max(short, 0)]] += 1
    chosen = np.zeros(len(units), np.bool_)
    for label, number in zip(labels, take, strict=True):
        members = np.flatnonzero(among & (units.classes == label))
        chosen[rng.permutation(members)[:number]] = True
    return chosen


def _check_sides(field: str, value: object, inside: int, outside: int, units: Units) -> None:
    if inside == 0 or outside == 0:
        raise ConfigError(
            f"{field} ({value}) leaves {inside} {units.noun} inside and {outside} outside, "
            "expected at least one on each side"
        )
