"""SPEAR: exact records of a small batch, read off the zeros that a ReLU leaves in a gradient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.attack import Budget, probe_observations, records_in
from attacks.inversion.controls import with_controls
from attacks.inversion.exact.fully_connected import (
    MATCHES,
    ROUNDING,
    FirstLayer,
    Labelled,
    Matrix,
    labelled,
    likely_labels,
    noise_level,
    unusable,
)
from attacks.inversion.exact.peeling import peeled
from attacks.inversion.exact.sparse_columns import (
    Direction,
    Factors,
    direction_to,
    independent,
    rows_of,
    sparse_directions,
    with_orthogonal,
)
from audit.core.errors import ViewError
from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.views import Background, Observation, View

INVISIBLE = 1e-9
"""Part of a row that its last entry must exceed: the 1 beside every record."""

MOST_RATIOS = 1024
"""Distinct ratios of neurons that are looked at for a record alone."""

GAP = 10.0
"""A singular value this many times above the first of the noise belongs to a record."""


@dataclass(frozen=True, kw_only=True)
class Spear:
    """Split the first layer's gradient into its records by the zeros behind a ReLU.

    What comes out is checked without the truth: the model itself tells the gradient of a record
    that was found, with the neurons that it leaves at zero, and these must add up to the observed
    gradient. Otherwise the probe is skipped; there is no half-right answer.

    Args:
        draws: Sets of neurons that are tried; time grows with it, and nothing stops on a clock.

    Source:
        After Dimitrov et al. 2024, arXiv:2403.03945, of which the abstract and an outline of the
        algorithm were known, and derived anew: the low rank, the sparse columns,
        their search by submatrices, greedy assembly. Differs: the bias' gradient is one more
        column, so that lengths follow from a row's last entry being 1; directions are refined by
        all rows that they kill; a column must be a sum of the next layer's rows where it is not
        zero, which differences of columns are not; neurons are drawn more often where the
        population leaves them at zero, half of the time; the last record needs no column of its
        own; where that fails, records that some neuron sees alone are taken off first, as
        ``first-layer`` does; the predicted gradient decides in the place of the paper's share of
        matching signs, which it contains, and it tells the labels.
    """

    draws: int

    def guess(self, view: View, rng: np.random.Generator) -> ReconstructionGuess:
        """Reconstruct every probe whose records can be told apart (a random gradient has none).

        Raises:
            ViewError: No probes, or a model without a fully connected first layer with a bias and
                a ReLU.
        """
        probes = probe_observations(view, "spear")
        return with_controls(lambda some: self._each(some, view.background, rng), probes, rng)

    def _each(
        self, probes: Sequence[Observation], background: Background, rng: np.random.Generator
    ) -> ReconstructionGuess:
        done: list[Reconstruction] = []
        skipped: dict[str, str] = {}
        for probe in probes:
            first = FirstLayer.of(background, probe, "spear")
            if not first.rectified:
                raise ViewError(
                    "spear needs ReLU behind the first fully connected layer, "
                    f"which {background.architecture.name!r} lacks"
                )
            found = self._invert(first, probe, background, rng)
            if isinstance(found, str):
                skipped[probe.name] = found
            else:
                done.append(found)
        return ReconstructionGuess(reconstructions=tuple(done), skipped=skipped)

    def _invert(
        self,
        first: FirstLayer,
        probe: Observation,
        background: Background,
        rng: np.random.Generator,
    ) -> Reconstruction | str:
        """Return the records, or why there are none."""
        gradient, count = first.gradient(probe), records_in(probe)
        reason = unusable(gradient)
        if reason is not None:
            return reason
        if count >= min(gradient.shape):
            return (
                f"{count} records: expected fewer than {min(gradient.shape)}, the smaller side "
                "of the first layer's gradient"
            )
        best = self._whole(first, gradient, count, background, rng)
        if isinstance(best, str):
            best = self._peeled(first, gradient, count, background, rng) or best
        if isinstance(best, str):
            return best
        found = len(best.labels)
        records = np.repeat(background.population.inputs.mean(axis=0)[None], count, axis=0)
        labels = likely_labels(probe, background, count)
        records[:found], labels[:found] = best.records, best.labels
        low, high = background.record_range
        return Reconstruction(
            observation=probe.name,
            clients=probe.clients,
            records=records.clip(low, high).astype(np.float32),
            labels=labels,
            objective=best.misfit,
        )

    def _whole(
        self,
        first: FirstLayer,
        gradient: Matrix,
        count: int,
        background: Background,
        rng: np.random.Generator,
    ) -> "_Found | str":
        """Return the records of a gradient, or why there are none."""
        _, values, right = np.linalg.svd(gradient, full_matrices=False)
        rank = int((values[:count] > max(GAP * values[count], ROUNDING * values[0])).sum())
        if rank == 0:
            return "no gap in the singular values: noise hides the rank"
        factors = Factors(
            left=gradient @ right[:rank].T,
            right=right[:rank],
            scales=values[:rank],
            noise=noise_level(values, rank, (gradient.shape[0], gradient.shape[1])),
            following=first.following,
            odds=_odds(first, background),
        )
        best = self._search(_Check(first, factors, gradient, background), rng)
        return _not_recovered(count, rank) if best is None else best

    def _peeled(
        self,
        first: FirstLayer,
        gradient: Matrix,
        count: int,
        background: Background,
        rng: np.random.Generator,
    ) -> "_Found | None":
        """Try again without the records that some neuron sees alone: fewer are left to split."""
        known = peeled(first, gradient, count, background, most=MOST_RATIOS)
        number = len(known.labels)
        if number == 0:
            return None
        records = known.rows[:, :-1].reshape(-1, *background.architecture.input_shape)
        labels, rows = known.labels, known.rows
        if number < count:
            left = self._whole(first, known.rest, count - number, background, rng)
            if isinstance(left, str):
                return None
            records = np.concatenate([records, left.records])
            labels = np.concatenate([labels, left.labels])
            flat = left.records.reshape(len(left.labels), -1)
            rows = np.vstack([rows, np.column_stack([flat, np.ones(len(flat))])])
        misfit = _misfit(gradient, first.in_neurons(records, labels), rows)
        if misfit > MATCHES:
            return None
        return _Found(records=records, labels=labels, misfit=misfit)

    def _search(self, check: "_Check", rng: np.random.Generator) -> "_Found | None":
        """Return the records of the first set of directions that explains the gradient."""
        rank = check.factors.rank
        if rank == 1:
            return check.records(np.ones((1, 1)))
        tried: list[Direction] = []
        for directions in sparse_directions(check.factors, rng, draws=self.draws):
            chosen = independent(directions, rank)
            if len(chosen) < rank - 1 or chosen == tried:
                continue
            tried = chosen
            columns = np.stack([d.vector for d in chosen], axis=1)
            found = check.records(columns if len(chosen) == rank else check.completed(columns))
            if found is not None:
                return found
        return None


@dataclass(frozen=True, kw_only=True)
class _Found:
    records: Matrix
    labels: NDArray[np.int64]
    misfit: float


@dataclass(frozen=True)
class _Check:
    """What a set of directions says of the records, held against the whole gradient."""

    first: FirstLayer
    factors: Factors
    gradient: Matrix
    background: Background

    def records(self, columns: Matrix | None) -> _Found | None:
        """Return the records if they explain the gradient.

        Args:
            columns: Q's, shape (rank, rank); None: there are none.
        """
        rows = None if columns is None else _scaled(rows_of(self.factors, columns))
        if rows is None:
            return None
        records, told = self._labelled(rows, (self.gradient @ np.linalg.pinv(rows)).T)
        misfit = _misfit(self.gradient, told.columns, rows)
        if misfit > MATCHES:
            return None
        return _Found(records=records, labels=told.labels, misfit=misfit)

    def completed(self, columns: Matrix) -> Matrix | None:
        """Add the last column: the gradient of the record that all the others leave.

        Args:
            columns: Q's but one, shape (rank, rank - 1).
        """
        rows = _scaled(rows_of(self.factors, with_orthogonal(columns))[-1:])
        if rows is None:
            return None
        _, told = self._labelled(rows, None)
        if told.misfits[0] > MATCHES:
            return None
        return np.column_stack([columns, direction_to(self.factors, told.columns[0])])

    def _labelled(self, rows: Matrix, shown: Matrix | None) -> tuple[Matrix, Labelled]:
        architecture = self.background.architecture
        records = rows[:, :-1].reshape(-1, *architecture.input_shape)
        basis = np.linalg.qr(self.factors.left)[0]
        return records, labelled(self.first, records, basis, shown, architecture.classes)


def _scaled(rows: Matrix) -> Matrix | None:
    """Make the last entry of each row 1; None where one is invisible."""
    if (np.abs(rows[:, -1]) < INVISIBLE * np.linalg.norm(rows, axis=1)).any():
        return None
    return rows / rows[:, -1:]


def _misfit(gradient: Matrix, columns: Matrix, rows: Matrix) -> float:
    """Return the squared part of a gradient that records' own gradients do not add up to."""
    norms = np.linalg.norm(columns, axis=1, keepdims=True)
    columns = np.divide(columns, norms, out=np.zeros_like(columns), where=norms > 0)
    singles = (columns[:, :, None] * rows[:, None, :]).reshape(len(rows), -1).T
    seen = gradient.ravel()
    left = seen - singles @ np.linalg.lstsq(singles, seen, rcond=None)[0]
    return float(left @ left / (seen @ seen))


def _odds(first: FirstLayer, background: Background) -> Matrix:
    """Return each neuron's odds of being left at zero by a record of the population."""
    inputs = background.population.inputs
    active = first.active(inputs).sum(axis=0) if len(inputs) else np.zeros(first.layer.out_features)
    odds: Matrix = (len(inputs) - active + 1.0) / (active + 1.0)
    return odds


def _not_recovered(count: int, rank: int) -> str:
    if rank < count:
        return (
            f"only {rank} of {count} records stand out of the singular values, and no set of "
            "sparse columns explains these: noise hides the rest, or the budget is too small"
        )
    return (
        f"{count} records: not recovered by this attack, no set of sparse columns within the "
        "budget explains all but a ten-thousandth of the gradient's square"
    )


def build(budget: Budget) -> Spear:
    """Return the attack at a budget."""
    draws = {Budget.QUICK: 2**14, Budget.STANDARD: 2**17, Budget.THOROUGH: 2**20}
    return Spear(draws=draws[budget])
