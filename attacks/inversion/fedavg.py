"""Updates of several local steps: local training imitated step by step, and taken for one step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from attacks.attack import CLIP_SLACK, Budget, probe_observations
from attacks.inversion.dummies import DummyGradients
from attacks.inversion.exchange import tries
from attacks.inversion.inverting_gradients import CosineMatching
from attacks.inversion.problem import Sent
from attacks.inversion.rounds import (
    MOST_NUMBERS,
    as_training,
    first_and_last,
    size_of_round,
    too_costly,
)
from attacks.inversion.search import Search, no_step_alone
from attacks.inversion.work import NOTHING, ProbeSize, Work
from audit.core.errors import ViewError
from audit.core.guesses import ReconstructionGuess
from audit.core.views import Background, Observation, SecaggServerView, ServerView, View


class UnrolledTraining:
    """What sets of dummy records would send after several local steps (``search.Sent``).

    Every hospital takes its steps for itself, from the same model; each step is on all of its
    records or on a batch, clipped one by one where the recipe says so, with the recipe's momentum.
    What is returned is minus the mean update over the learning rate, as a gradient is.

    Args:
        background: Architecture and recipe.
        one: Steps, batch, learning rate and hospitals; every observation of a group has the same.
    """

    def __init__(self, background: Background, one: Observation) -> None:
        self._plain = DummyGradients(background, one.weights)
        self.parameters, self.dtype = self._plain.parameters * one.steps, self._plain.dtype
        self._steps, self._batch, self._rate = one.steps, one.batch, one.learning_rate
        self._hospitals = len(one.clients)
        self._momentum, self._norm = background.recipe.momentum, background.recipe.max_grad_norm
        self._scale = background.recipe.loss_scale

    def target(self, gradient: dict[str, Any]) -> Tensor:
        """Return an observed gradient as one vector."""
        return self._plain.target(gradient)

    def __call__(self, records: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
        """Return the gradient of every set, shape (sets, parameters).

        Args:
            records: Hospital after hospital, in mini-batches one step's after the other's, shape
                (sets, places, *record shape).
            labels: Likewise, shape (sets, places, classes).
            shares: Each record's part of its set's mean, shape (sets, records).
        """
        sets = len(shares)
        apart = (sets * self._hospitals, records.shape[1] // self._hospitals)
        x, y = records.reshape(*apart, *records.shape[2:]), labels.reshape(*apart, -1)
        part = shares.reshape(sets, self._hospitals, -1).sum(dim=2)
        moved = self._train(x, y).view(sets, self._hospitals, -1)
        return torch.einsum("sh,shp->sp", part, moved)

    def _train(self, x: Tensor, y: Tensor) -> Tensor:
        """Return minus the update over the learning rate of each hospital, shape (hospitals, p)."""
        start = self._plain.weights
        weights = {n: w.expand(len(x), *w.shape) for n, w in start.items()}
        speed: dict[str, Tensor] = {}
        for step in range(self._steps):
            slope = self._slope(weights, *self._in_step(step, x, y))
            speed = {
                n: g + self._momentum * speed[n] if n in speed else g for n, g in slope.items()
            }
            weights = {n: w - self._rate * speed[n] for n, w in weights.items()}
        parts = [(start[n] - w).flatten(1) / self._rate for n, w in weights.items()]
        return torch.cat(parts, dim=1)

    def _in_step(self, step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return what every hospital uses in a step."""
        if self._batch is None:
            return x, y
        now = slice(step * self._batch, (step + 1) * self._batch)
        return x[:, now], y[:, now]

    def _slope(self, weights: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return every hospital's mean gradient at its own weights."""
        count = x.shape[1]
        if self._norm is None:
            mean: dict[str, Tensor] = vmap(grad(self._loss))(weights, x, y)
            return mean
        own = vmap(vmap(grad(self._loss), in_dims=(None, 0, 0)))(
            weights, x[:, :, None], y[:, :, None]
        )
        norms = torch.cat([g.flatten(2) for g in own.values()], dim=2).norm(dim=2)
        factors = (self._norm / (norms + CLIP_SLACK)).clamp(max=self._scale) / count
        return {n: torch.einsum("hr,hr...->h...", factors, g) for n, g in own.items()}

    def _loss(self, weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        logits = functional_call(self._plain.module, weights, (x,)) + self._plain.offsets
        loss: Tensor = -(y * logits.log_softmax(dim=1)).sum(dim=1).mean()
        return loss


MOST_OF_ROUND = 10**6
"""Records of a round: its cost is what limits it."""


@dataclass(frozen=True, kw_only=True)
class FedAvgInversion:
    """Invert probes of several local steps, and training rounds.

    Args:
        unrolled: Whether local training is imitated; else its update is taken for one gradient.
        solver: How dummies are fitted.
        restarts: Starts; the one with the smallest loss is kept.
        most_records: Larger probes are skipped.
        deals: In mini-batches, ways of dealing labels to batches that are tried first, each in a
            tenth of the iterations.
        most_numbers: What a training round may cost at most (``rounds.too_costly``); 0: rounds are
            left out.

    Source:
        Dimitrov et al. 2022, arXiv:2206.12395, section 4: the client's training is simulated and
        differentiated; the naive way is the single gradient that they compare with. Differs:
        labels are read off both ends of the update, not off every step; dummies change
        batches (``exchange.Exchange``), and are clipped as the recipe clips.
    """

    unrolled: bool
    solver: CosineMatching
    restarts: int
    most_records: int
    deals: int = 8
    most_numbers: float = 0

    def guess(self, view: View, rng: np.random.Generator) -> ReconstructionGuess:
        """Reconstruct probes of several steps, and the first and last round if that is affordable.

        Raises:
            ViewError: The view has neither, or its model leaves no gradient path.
        """
        rounds = self._rounds(view)
        probes = probe_observations(view, self._id, needed=not rounds)
        if not rounds and all(one.steps == 1 for one in probes):
            raise ViewError(
                f"{self._id} needs probes of several local steps, and this run recorded none (see "
                "`probes.local_steps`)"
            )
        sent = _unrolled if self.unrolled else _naive
        found = self._search.invert(probes, view.background, self.solver, rng, sent)
        of_rounds = self._of_rounds(rounds, view.background, rng)
        return ReconstructionGuess(
            reconstructions=(*found.reconstructions, *of_rounds.reconstructions),
            skipped={**found.skipped, **of_rounds.skipped},
            controls=found.controls,
        )

    def _rounds(self, view: View) -> list[Observation]:
        """Return the training rounds that a budget looks at."""
        if not isinstance(view, ServerView | SecaggServerView) or not self.most_numbers:
            return []
        return first_and_last(view.rounds)

    def _of_rounds(
        self, rounds: Sequence[Observation], background: Background, rng: np.random.Generator
    ) -> ReconstructionGuess:
        """Return what is made of training rounds, of each that is affordable."""
        recipe, skipped, affordable = background.recipe, {}, []
        for one in rounds:
            size = size_of_round(recipe, len(one.clients))
            parameters = sum(int(np.prod(part.shape)) for part in one.weights.values())
            reason = too_costly(self._round_work(size).passes * parameters, self.most_numbers)
            if reason is None and self.unrolled and size.steps == 1:
                reason = "a single step: see fedavg-naive"
            if reason is not None:
                skipped[one.name] = reason
            else:
                affordable.append(as_training(one, recipe))
        sent = _unrolled if self.unrolled else _naive
        found = self._round_search.invert(
            affordable, background, self.solver, rng, sent, controls=False
        )
        return replace(found, skipped={**found.skipped, **skipped})

    def _round_work(self, size: ProbeSize) -> Work:
        uses = size.uses if self.unrolled else size.in_all
        each, steps = self.solver.iterations, size.steps if self.unrolled else 1
        tried = tries(each, size.uses) if self.unrolled and size.batch else 0
        return Work.of(searches=1, iterations=each, uses=uses, calls=each * steps, tries=tried)

    def work(self, background: Background, sizes: Sequence[ProbeSize]) -> Work:
        """Return what probes cost (``work.Searching``); rounds: ``training_work``."""
        del background
        return self._search.work(sizes, self.solver, in_steps=self.unrolled)

    def training_work(
        self, background: Background, *, hospitals: int, observations: int, parameters: int
    ) -> Work:
        """Return what training rounds cost.

        Args:
            background: The recipe.
            hospitals: In each observation.
            observations: Of the first and the last round.
            parameters: Of the model.
        """
        size = size_of_round(background.recipe, hospitals)
        each = self._round_work(size)
        skipped = self.unrolled and size.steps == 1
        if skipped or too_costly(each.passes * parameters, self.most_numbers) is not None:
            return NOTHING
        return sum((each for _ in range(observations)), NOTHING)

    @property
    def _round_search(self) -> Search:
        """One start, and labels dealt once: a round has too many records for more."""
        return Search(
            attack=self._id, restarts=1, most_records=MOST_OF_ROUND, refuses=lambda _: None
        )

    @property
    def _id(self) -> str:
        return "fedavg-unrolled" if self.unrolled else "fedavg-naive"

    @property
    def _search(self) -> Search:
        return Search(
            attack=self._id,
            restarts=self.restarts,
            most_records=self.most_records,
            refuses=no_step_alone,
            deals=self.deals,
            screen=replace(self.solver, iterations=max(1, self.solver.iterations // 10)),
        )


def _unrolled(background: Background, one: Observation) -> Sent:
    return UnrolledTraining(background, one)


def _naive(background: Background, one: Observation) -> Sent:
    return DummyGradients(background, one.weights)


def smooth_matching(iterations: int) -> CosineMatching:
    """Return how dummies are fitted to updates of several steps.

    Smoother than to those of one: what is told of each record is less.
    """
    return CosineMatching(iterations=iterations, total_variation=0.02)


def unrolled(budget: Budget) -> FedAvgInversion:
    """Return the attack that imitates local training."""
    return _at(budget, imitates=True)


def naive(budget: Budget) -> FedAvgInversion:
    """Return the attack that takes an update for one gradient."""
    return _at(budget, imitates=False)


def _at(budget: Budget, *, imitates: bool) -> FedAvgInversion:
    iterations, restarts, most, deals, numbers = {
        Budget.QUICK: (100, 1, 4, 2, 0.0),
        Budget.STANDARD: (300, 2, 16, 4, MOST_NUMBERS),
        Budget.THOROUGH: (1000, 4, 48, 16, 20 * MOST_NUMBERS),
    }[budget]
    return FedAvgInversion(
        unrolled=imitates,
        solver=smooth_matching(iterations),
        restarts=restarts,
        most_records=most,
        deals=deals,
        most_numbers=numbers,
    )
