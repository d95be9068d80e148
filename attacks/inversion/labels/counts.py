"""How many records of each class are behind an update, from the last layer's gradient.

A record pushes the last bias by its softmax less its one-hot label, so that the gradient's mean
over a batch says how often each label was in it. What a class pushes on average, clipped as the
recipe clips, the adversary finds on its own population at the same weights.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.attack import NOT_FINITE, Budget, finite, gradient_of, records_in
from attacks.inversion.labels.class_gradients import (
    Directions,
    Expected,
    directions_at,
    expected_gradients,
    last_parameter,
)
from attacks.inversion.labels.prior import asked, drawn_records, independent_records
from attacks.inversion.labels.simplex_fit import fit_shares, whole_counts
from attacks.membership.updates import ROUNDS, step_repeats
from audit.core.guesses import LabelCountGuess
from audit.core.model import Weights
from audit.core.views import Background, Observation, View

Array = NDArray[np.float64]
ID = "label-counts"

LIKENESS = 100.0
"""A probe's hospital is taken to differ from the population as so many records drawn from it."""

LIKENESSES = tuple(np.geomspace(1.0, 1000.0, 25).tolist())
"""The same of the hospitals of rounds, to choose from by their updates."""

DOUBT = 3.0
"""Nats of evidence that it takes to believe hospitals less like the population than others say."""

ROUNDING = 1e-6
"""Error of an update's coordinate by single precision and the masks' grid, model units."""

DEVIATIONS = 4.0
"""Deviations of the DP noise beyond which a label is taken for certain."""

RIDGE = 1e-4
"""Added variance over the mean variance: what the linear model leaves out."""


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """Fit class shares to the last bias' gradient of each probe, and of all rounds together.

    The fit is a Gaussian posterior: the expected gradient of each class, the spread of single
    records around it, the DP noise of the recipe, and as prior a random batch of the population.
    Where noise drowns the gradient, the answer is the prior's. A probe's counts are whole, and a
    class whose bias' gradient is too negative for fewer records has at least as many. An update of
    several steps is taken for their sum, with the mean of the gradients expected before and after
    it; all rounds together give a sender's shares. Without a bias the last
    weights' gradient is looked at along the classes' mean gradients.

    Args:
        most_rounds: Rounds that are looked at, evenly spread from the first to the last; None: all.

    Source:
        A label shows in the sign of the last layer's gradient: Zhao et al. 2020, arXiv:2001.02610
        (iDLG). Counts from its size: Wainakh et al. 2021, arXiv:2105.09369 (LLG); from linear
        equations of gradients and probabilities: Ma et al. 2023, ICLR, openreview FIrQfNSOoTr.
        Differs: the classes' gradients come from a population at the update's weights, each
        clipped; equations are weighted by noise and spread, with a prior; rounds are joined, and
        the prior's width is fitted to them.
    """

    most_rounds: int | None = None

    def guess(self, view: View, rng: np.random.Generator) -> LabelCountGuess:
        """Return counts for every probe, and over rounds for every sender; ``rng`` is not used.

        Raises:
            ViewError: The view has neither probes nor rounds, no population, or a model whose last
                parameter has no row for each class.
        """
        found, background = asked(view, ID), view.background
        last, _ = last_parameter(background, ID)
        models = Models(background)
        skipped: dict[str, str] = {}
        counts: dict[str, Array] = {}
        for probe in found.probes:
            if np.isfinite(probe.update[last]).all():
                counts[probe.name] = probe_counts(probe, models, found.prior)
            else:
                skipped[probe.name] = NOT_FINITE
        equations = {}
        for name, updates in found.senders.items():
            used = [u for u in updates if finite(u)]
            if used:
                equations[name] = _sender_equations(self._spread(used), models, found.prior)
            else:
                skipped[name] = "none of its updates is finite"
        for name, shares in _sender_shares(equations, found.prior).items():
            counts[name] = drawn_records(background, found.senders[name]) * shares
        described = found.described
        return LabelCountGuess(
            counts=counts,
            clients={name: described[name].clients for name in counts},
            shares={name: described[name].shares for name in counts},
            skipped=skipped,
        )

    def _spread(self, updates: list[Observation]) -> list[Observation]:
        count = min(self.most_rounds or len(updates), len(updates))
        chosen = np.unique(np.linspace(0, len(updates) - 1, count).round().astype(int))
        return [updates[i] for i in chosen]


@dataclass(frozen=True, kw_only=True)
class _Equations:
    """What updates say of shares s: half s'Ks - k's, half the squared misfit less a constant.

    Args:
        curvature: K, shape (classes, classes).
        slope: k, shape (classes,).
        square: The squared misfit at no shares at all, in variances.
        seen: How many numbers it is about.
    """

    curvature: Array
    slope: Array
    square: float
    seen: int

    def less_sure(self, prior: Array, apart: Array) -> "_Equations":
        """Return the same with larger variances, where random shares do not explain what was seen.

        Gradients of a trained model are mostly near 0 with a few large ones, which a covariance
        from few records does not foresee.

        Args:
            prior: Mean shares.
            apart: Covariance of random shares around them.
        """
        left = self.slope - self.curvature @ prior
        misfit = self.square - prior @ (self.slope + left)
        system = np.eye(len(prior)) + self.curvature @ apart
        unexplained = float(misfit - left @ apart @ np.linalg.solve(system, left))
        factor = max(1.0, unexplained / self.seen)
        return _Equations(
            curvature=self.curvature / factor,
            slope=self.slope / factor,
            square=self.square / factor,
            seen=self.seen,
        )


class Models:
    """The population's gradients at each model that updates started from; each measured once."""

    def __init__(self, background: Background) -> None:
        self.background = background
        self._known: dict[bytes, tuple[Directions, Expected]] = {}

    def at(self, weights: Weights) -> tuple[Directions, Expected]:
        """Return directions, and what is expected along them."""
        digest = hashlib.blake2b()
        for name in sorted(weights):
            digest.update(np.ascontiguousarray(weights[name]).data)
        key = digest.digest()
        if key not in self._known:
            directions = directions_at(self.background, weights, ID)
            expected = expected_gradients(self.background, weights, directions)
            self._known[key] = directions, expected
        return self._known[key]

    def during(self, update: Observation) -> tuple[Directions, Expected]:
        """Return the same over several steps: the mean of both ends, along the first one's."""
        directions, before = self.at(update.weights)
        of_round = update.records is None
        if (self.background.recipe.local_steps if of_round else update.steps) == 1:
            return directions, before
        end = {n: (w + update.update[n]).astype(np.float32) for n, w in update.weights.items()}
        after = expected_gradients(self.background, end, directions)
        return directions, Expected(
            means=(before.means + after.means) / 2, spread=(before.spread + after.spread) / 2
        )


def probe_counts(probe: Observation, models: Models, prior: Array) -> Array:
    """Return the whole counts of a probe; where public shares differ, of its weighted mean."""
    background, records = models.background, records_in(probe)
    directions, expected = models.during(probe)
    seen = directions.along(gradient_of(probe)) / probe.steps
    deviation = _noise(background, probe, steps=1.0) / probe.steps**0.5
    equations = _equations(background, probe, directions, expected, seen, deviation=deviation)
    alike = records * (1 + LIKENESS) / (records + LIKENESS)
    equations = equations.less_sure(prior, _covariance(prior) / alike)
    lower = np.zeros(len(prior))
    if directions.is_bias and probe.steps == 1:
        lower = _certain(background, probe, seen, deviation) * (prior > 0)
    return whole_counts(records * _posterior(equations, prior, alike, lower))


def _certain(background: Background, probe: Observation, seen: Array, deviation: float) -> Array:
    """Return the shares that each class has at least, shape (classes,).

    A record lowers no bias' gradient but its own label's, and that by at most what its loss is
    multiplied by, or its clipping norm.
    """
    recipe = background.recipe
    most = min(recipe.loss_scale, recipe.max_grad_norm or np.inf)
    margin = ROUNDING / probe.learning_rate + DEVIATIONS * deviation
    shares: Array = np.maximum(-seen - margin, 0.0) / most
    if len(set(probe.shares)) == 1:
        shares = np.ceil(records_in(probe) * shares) / records_in(probe)
    # More labels than records: this is no gradient of the recipe, and nothing is certain.
    return shares if shares.sum() <= 1 else np.zeros_like(shares)


def _sender_equations(updates: list[Observation], models: Models, prior: Array) -> _Equations:
    """Add up what each round says of a sender's shares."""
    background = models.background
    repeats = step_repeats(background.recipe)
    steps = float(repeats.sum() ** 2 / (repeats**2).sum())
    said = []
    for update in updates:
        directions, expected = models.during(update)
        seen = directions.along(gradient_of(update)) / repeats.sum()
        # The batches are drawn from the hospital: their shares vary around its own.
        drawn = np.diag(prior) / independent_records(background, update)
        said.append(
            _equations(
                background,
                update,
                directions,
                expected,
                seen,
                deviation=_noise(background, update, steps=steps),
                rounds=len(updates),
                more=expected.means @ drawn @ expected.means.T,
            )
        )
    return _Equations(
        curvature=np.sum([one.curvature for one in said], axis=0),
        slope=np.sum([one.slope for one in said], axis=0),
        square=sum(one.square for one in said),
        seen=sum(one.seen for one in said),
    )


def _sender_shares(equations: dict[str, _Equations], prior: Array) -> dict[str, Array]:
    """Return each sender's shares, with a prior as narrow as all updates together allow."""
    if not equations:
        return {}
    apart = _covariance(prior)

    def evidence(alike: float) -> float:
        total = 0.0
        for one in equations.values():
            left = one.slope - one.curvature @ prior
            system = np.eye(len(prior)) + one.curvature @ apart / alike
            total += float(left @ (apart / alike) @ np.linalg.solve(system, left)) / 2
            total -= float(np.linalg.slogdet(system).logabsdet) / 2
        return total

    found = [evidence(alike) for alike in LIKENESSES]
    alike = max(a for a, one in zip(LIKENESSES, found, strict=True) if one >= max(found) - DOUBT)
    free = np.zeros(len(prior))
    return {name: _posterior(one, prior, alike, free) for name, one in equations.items()}


def _equations(
    background: Background,
    update: Observation,
    directions: Directions,
    expected: Expected,
    seen: Array,
    *,
    deviation: float,
    rounds: int = 1,
    more: Array | float = 0.0,
) -> _Equations:
    """Weigh what was seen along directions by all that makes it differ from what is expected.

    The population's own sampling error is the same in all rounds that are added up: it counts in
    each as if there were so many of it, so that it does not average out.
    """
    known = len(background.population.labels)
    sampling = 1 / independent_records(background, update) + rounds / known
    variance = sampling * expected.spread + deviation**2 * directions.products + more
    size = float(np.trace(variance)) / len(seen) or np.finfo(np.float64).eps
    variance = variance + RIDGE * size * np.eye(len(seen))
    weighted = np.linalg.solve(variance, expected.means)
    return _Equations(
        curvature=expected.means.T @ weighted,
        slope=weighted.T @ seen,
        square=float(seen @ np.linalg.solve(variance, seen)),
        seen=len(seen),
    )


def _posterior(equations: _Equations, prior: Array, alike: float, lower: Array) -> Array:
    """Return the most probable shares: a class that the population lacks has none."""
    known = np.flatnonzero(prior > 0)
    inside = np.ix_(known, known)
    shares = np.zeros(len(prior))
    shares[known] = fit_shares(
        equations.curvature[inside] + np.diag(alike / prior[known]),
        equations.slope[known] + alike,
        lower[known],
    )
    return shares


def _covariance(prior: Array) -> Array:
    """Return the covariance of the class of one record, shape (classes, classes)."""
    return np.diag(prior) - np.outer(prior, prior)


def _noise(background: Background, update: Observation, *, steps: float) -> float:
    """Return the deviation of the DP noise in a coordinate of the mean gradient.

    Args:
        background: The recipe.
        update: Its shares and records.
        steps: As many steps of equal weight have the same noise.
    """
    recipe = background.recipe
    if recipe.noise_multiplier is None or recipe.max_grad_norm is None:
        return 0.0
    batch = update.batch or update.records or recipe.expected_batch_size
    one = recipe.noise_multiplier * recipe.max_grad_norm / batch
    return one * float(np.sqrt(np.sum(np.square(update.shares)) / steps))


def build(budget: Budget) -> LabelCounts:
    """Return the attack at a budget."""
    return LabelCounts(most_rounds=ROUNDS[budget])
