"""Inversion of tables' records: numbers and categories fitted to a gradient, restarts pooled."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from attacks.attack import (
    NOT_FINITE,
    Budget,
    finite,
    gradient_of,
    probe_observations,
    records_in,
)
from attacks.inversion.batched_lbfgs import minimise
from attacks.inversion.controls import with_controls
from attacks.inversion.dummies import DummyGradients, reachable
from attacks.inversion.search import noise_in
from attacks.inversion.table_dummies import Labelled, TableDummies
from attacks.inversion.work import NOTHING, ProbeSize, Work
from audit.core.errors import ViewError
from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.views import Background, Observation, View

AS_GOOD = 3.0
"""Restarts whose loss is at most so many times the smallest are pooled."""

EXACT = 1e-12
"""Relative losses below this are one: updates are recorded in single precision."""

LABEL_NOISE = 0.7
"""Records by which the restarts' class counts depart from the estimate, standard deviation."""

MOST_POPULATION = 256
"""Population records whose gradients tell how many records of each class an update holds."""

NO_TABLE = "the records are no tables"


@dataclass(frozen=True, kw_only=True)
class Tabular:
    """Fit made-up records to a probe's gradient from many starts at once, and pool the best.

    Args:
        iterations: L-BFGS iterations for one record; n records get sqrt(n) times as many.
        restarts: Starts from new noise and, where classes are uncertain, other labels.
        ensemble: Most restarts that are pooled; only those nearly as close as the best are.
        most_records: Larger probes are skipped, with that as the reason.
        controls: Whether random gradients are inverted beside.

    Source:
        Vero et al. 2023, arXiv:2210.01785 (TabLeak), sections 4.1 and 4.2: softmax relaxation
        of categories, restarts pooled after matching. Differs: the relative squared distance
        of gradients and L-BFGS in float64 in place of the cosine and 1500 steps of Adam; restarts
        that ended far above the best are left out of the pool; labels are estimated from the
        gradient (below), not known; the dummies' gradients are clipped as the recipe clips, and
        where it adds noise of known variance the population weighs against it, as in the
        maximum a posteriori attack of Balunović et al. 2022, arXiv:2111.04706.
    """

    iterations: int
    restarts: int
    ensemble: int
    most_records: int
    controls: bool = True

    def guess(self, view: View, rng: np.random.Generator) -> ReconstructionGuess:
        """Reconstruct every probe that is small enough, and a random gradient beside each.

        Raises:
            ViewError: The view has no probes, no population, or a model without gradient path.
        """
        probes = probe_observations(view, "tabular")
        return with_controls(
            lambda some: self._each(some, view.background, rng), probes, rng, wanted=self.controls
        )

    def _each(
        self, probes: Sequence[Observation], background: Background, rng: np.random.Generator
    ) -> ReconstructionGuess:
        done: list[Reconstruction] = []
        skipped: dict[str, str] = {}
        for probe in probes:
            reason = self._obstacle(probe, background)
            found = None if reason else self._invert(probe, background, rng)
            if found is None:
                skipped[probe.name] = reason or "every restart diverged"
            else:
                done.append(found)
        return ReconstructionGuess(reconstructions=tuple(done), skipped=skipped)

    def work(self, background: Background, sizes: Sequence[ProbeSize]) -> Work:
        """Return what ``guess`` will compute (``work.Searching``), line searches left out."""
        total, begun = NOTHING, set[ProbeSize]()
        for size in sizes if background.fields else ():
            if size.in_all <= self.most_records and size.steps == 1:
                each = int(self.iterations * size.in_all**0.5)
                tries = 1 if size in begun else 2  # and a random gradient
                begun.add(size)
                total += Work.of(
                    searches=tries * self.restarts,
                    iterations=each,
                    uses=2 * size.in_all,
                    calls=tries * each,
                )
        return total

    def _obstacle(self, probe: Observation, background: Background) -> str | None:
        """Return why a probe cannot be worked on, or None."""
        count, gradient = records_in(probe), gradient_of(probe)
        if not background.fields:
            return NO_TABLE
        if not len(background.population.labels):
            raise ViewError("tabular needs a population, whose records scale the columns")
        if probe.steps > 1:
            return f"{probe.steps} local steps: see fedavg-unrolled"
        if not count:
            return "how many records it holds is not known"
        if count > self.most_records:
            return f"{count} records: more than the {self.most_records} of this budget"
        if not finite(probe):
            return NOT_FINITE
        return None if any(part.any() for part in gradient.values()) else "the update is zero"

    def _invert(
        self, probe: Observation, background: Background, rng: np.random.Generator
    ) -> Reconstruction | None:
        low, high = background.record_range
        population = background.population.inputs
        gradients = DummyGradients(background, probe.weights, dtype=torch.float64)
        reachable(gradients, torch.from_numpy(population[None, :1]).double(), "tabular")
        matching = _Matching(gradients, probe, background)
        dummies = TableDummies(background.fields, population, low=low, high=high)
        count = records_in(probe)
        labels = _labels(matching.class_shares(), count, self.restarts, rng)
        one_hot = torch.from_numpy(np.eye(background.architecture.classes)[labels])

        def loss(parameters: Tensor, rows: Tensor) -> Tensor:
            records = dummies.records(parameters, count)
            unlikely = matching.noise * dummies.surprise(parameters)
            return matching.loss(records, one_hot[rows]) + dummies.outside(records) + unlikely

        found = minimise(
            loss,
            dummies.starts(self.restarts, count, rng),
            iterations=int(self.iterations * count**0.5),
            good_enough=EXACT,
        )
        records = dummies.records(found.points, count).clamp(low, high)
        losses = matching.loss(records, one_hot).numpy()
        if not np.isfinite(losses).any():
            return None
        best = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")
        near = losses[best] <= AS_GOOD * max(losses[best[0]], EXACT)
        chosen = best[near][: self.ensemble]
        pooled = dummies.pooled(Labelled(records=records.numpy()[chosen], labels=labels[chosen]))
        return Reconstruction(
            observation=probe.name,
            clients=probe.clients,
            records=pooled.records.astype(np.float32),
            labels=pooled.labels,
            objective=float(losses[best[0]]),
        )


class _Matching:
    """Distance between the observed gradient and those of many versions of the records."""

    def __init__(
        self, gradients: DummyGradients, probe: Observation, background: Background
    ) -> None:
        self._gradients, self._population = gradients, background.population
        self._classes = background.architecture.classes
        each = [share / (probe.records or 1) for share in probe.shares]
        self._shares = torch.from_numpy(np.repeat(each, probe.records or 1))
        self._target = gradients.target(gradient_of(probe))
        self._last = -list(gradients.weights.values())[-1].numel()
        self._scale = 1.0 / max(float(self._target.square().sum()), 1e-300)
        self.noise = noise_in(probe, background) ** 2 * self._scale
        """Variance of a coordinate, in units of the loss."""

    def loss(self, records: Tensor, one_hot: Tensor) -> Tensor:
        """Return the squared distance, relative to the observed gradient's square.

        Args:
            records: Shape (restarts, records, columns).
            one_hot: Labels, shape (restarts, records, classes).

        Returns:
            Shape (restarts,); lower is closer.
        """
        sent = self._gradients(records, one_hot, self._shares.expand(len(records), -1))
        return self._scale * (sent - self._target).square().sum(dim=1)

    def class_shares(self) -> NDArray[np.float64]:
        """Estimate which part of the records is of each class, shape (classes,).

        The last parameter's gradient, of a bias where there is one, is held against the
        population's mean of each class: a least-squares mixture without negative parts. A class
        that the population lacks gets all its records with that label.
        """
        labels = self._population.labels[:MOST_POPULATION]
        inputs = torch.from_numpy(self._population.inputs[:MOST_POPULATION]).double()
        columns = []
        for label in range(self._classes):
            own = inputs[torch.from_numpy(labels == label)] if (labels == label).any() else inputs
            one_hot = torch.eye(self._classes, dtype=torch.float64)[[label] * len(own)]
            alone = torch.ones((len(own), 1), dtype=torch.float64)
            each = self._gradients(own[:, None], one_hot[:, None], alone)
            columns.append(each[:, self._last :].mean(dim=0).numpy())
        mixed, target = np.stack(columns, axis=1), self._target[self._last :].numpy()
        weight = 10 * np.abs(mixed).max()  # the parts' sum is known: 1
        parts: NDArray[np.float64] = nnls(
            np.vstack([mixed, np.full(self._classes, weight)]), np.append(target, weight)
        )[0]
        return parts / parts.sum() if parts.sum() > 0 else np.full_like(parts, 1 / len(parts))


def _labels(
    shares: NDArray[np.float64], count: int, restarts: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw class counts around the estimate; the first restart takes the estimate itself."""
    drawn = np.empty((restarts, count), dtype=np.int64)
    for row in range(restarts):
        noise = LABEL_NOISE * rng.standard_normal(len(shares)) if row else 0.0
        wanted = np.clip(count * shares + noise, 0, None)
        wanted = count * (wanted / wanted.sum() if wanted.sum() > 0 else shares)
        counts = np.floor(wanted).astype(np.int64)
        largest = np.argsort(counts - wanted, kind="stable")
        counts[largest[: count - counts.sum()]] += 1
        drawn[row] = rng.permutation(np.repeat(np.arange(len(shares)), counts))
    return drawn


def build(budget: Budget) -> Tabular:
    """Return the attack at a budget."""
    settings = {
        Budget.QUICK: Tabular(iterations=100, restarts=8, ensemble=8, most_records=4),
        Budget.STANDARD: Tabular(iterations=200, restarts=16, ensemble=16, most_records=8),
        Budget.THOROUGH: Tabular(iterations=400, restarts=32, ensemble=32, most_records=12),
    }
    return settings[budget]
