"""The likeliest records given a noisy gradient and what records look like beforehand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.attack import Budget
from attacks.inversion.problem import Problem, Solution
from attacks.inversion.search import Search, SearchedInversion, single_step
from audit.core.views import Background

FLOOR = 1e-3
"""Least variance of a value beyond what the population shows, as a part of the squared range."""

LEAST_NOISE = 1e-3
"""Without DP: deviation of the noise that is presumed, as a part of the gradient's length."""

MILESTONES = (3 / 8, 5 / 8, 7 / 8)
"""Parts of a search after which the step is 0.3 of before."""

SMOOTH = 5 / 8
"""Part of the iterations that see the Gaussian prior alone."""

EVIDENCE = 3.0
"""Nats of likelihood by which the second answer must be better than the first."""

EDGE = 0.01
"""A value so near to an end of its range, as a part of it, lies at that end."""


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Adam on the negative log posterior of the records, under two priors in turn.

    The likelihood is that of the recipe's Gaussian noise. The first prior is a Gaussian: each class
    has its mean in the population, all have the covariance within classes. The less the gradient
    says, the nearer the answer comes to the class mean, so noise costs it no more than the prior.
    A Gaussian leaves a faint speckle where true values lie exactly at an end of their range, as a
    digit's background does. The second prior is the first times, for every value, how often the
    population's values of that class and place lie at an end or between. Of both answers the one is
    kept whose gradient is nearer to what was seen, the second only if by ``EVIDENCE``: where noise
    drowns the gradient, that prior must not speak alone.

    Args:
        iterations: Steps of Adam; ``SMOOTH`` of them under the first prior.
        step: First step, in deviations of the prior.

    Source:
        Balunovic et al. 2022, arXiv:2111.04706, section 4: gradient leakage as a posterior.
        Differs: the prior is fitted to the population, and dummies are clipped as the recipe says.
    """

    iterations: int
    step: float = 0.1

    def solve(self, problem: Problem) -> Solution:
        """Return what was found (``problem.Solver``)."""
        prior = _Prior(problem.background, problem.sent.dtype)
        ends = _Ends(problem.background, problem.labels)
        means = problem.labels @ prior.means
        low, high = problem.background.record_range
        noise = (LEAST_NOISE * problem.targets.norm(dim=1)).clamp(min=max(problem.noise, 1e-12))
        shape = problem.start.shape

        def records(main: Tensor, rest: Tensor) -> Tensor:
            found: Tensor = means + main @ prior.directions + prior.floor * rest
            return found.view(shape)

        def misfit(found: Tensor) -> Tensor:
            off = problem.gradients(found) - problem.targets
            fit: Tensor = off.square().sum(dim=1) / (2 * noise**2)
            return fit

        def unlikely(main: Tensor, rest: Tensor) -> Tensor:
            away = main.square().flatten(1).sum(dim=1) + rest.square().flatten(1).sum(dim=1)
            return away / 2

        def smooth(main: Tensor, rest: Tensor) -> Tensor:
            return misfit(records(main, rest)) + unlikely(main, rest)

        def sharp(main: Tensor, rest: Tensor) -> Tensor:
            found = records(main, rest)
            return misfit(found) + unlikely(main, rest) + ends.surprise(found)

        small = 0.2 * (problem.start.flatten(2) - 0.5)
        begin = small.new_zeros((*shape[:2], len(prior.directions))), small
        first = int(SMOOTH * self.iterations)
        main, rest = _descend(smooth, *begin, iterations=first, step=self.step)
        kept = records(main, rest).clamp(low, high)
        edged = records(
            *_descend(sharp, main, rest, iterations=self.iterations - first, step=0.3 * self.step)
        ).clamp(low, high)
        with torch.no_grad():
            before, after = misfit(kept), misfit(edged)
        better = after + EVIDENCE < before
        found = torch.where(better.view(-1, 1, 1), edged.flatten(2), kept.flatten(2))
        return Solution(records=found.view(shape), losses=torch.where(better, after, before))


def _descend(
    loss: Callable[[Tensor, Tensor], Tensor],
    main: Tensor,
    rest: Tensor,
    *,
    iterations: int,
    step: float,
) -> tuple[Tensor, Tensor]:
    """Return where Adam ends from a start."""
    main, rest = main.clone().requires_grad_(), rest.clone().requires_grad_()
    optimizer = torch.optim.Adam([main, rest], lr=step)
    falls = [int(iterations * part) for part in MILESTONES]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls, 0.3)
    for _ in range(iterations):
        main.grad, rest.grad = torch.autograd.grad(loss(main, rest).sum(), [main, rest])
        optimizer.step()
        schedule.step()
    return main.detach(), rest.detach()


class _Prior:
    """Class means, and the covariance within classes: its directions and a floor.

    A record is its class mean, plus standard normal numbers along the directions, plus standard
    normal numbers times the floor.
    """

    def __init__(self, background: Background, dtype: torch.dtype) -> None:
        low, high = background.record_range
        inputs, labels = _flat(background), background.population.labels
        means = _by_class(background, inputs)
        _, spread, directions = np.linalg.svd(
            (inputs - means[labels]) / len(inputs) ** 0.5, full_matrices=False
        )
        self.means = torch.from_numpy(means).to(dtype)
        self.directions = torch.from_numpy(spread[:, None] * directions).to(dtype)
        self.floor = FLOOR**0.5 * (high - low)


class _Ends:
    """How often values of a class and place lie at the ends of their range, and how near that is.

    A value is at the lower or the upper end, exponentially near to it (``EDGE``), or anywhere
    between. The shares are the population's, with one record more that is evenly spread.

    Args:
        background: With the population.
        labels: One-hot, of the dummies, shape (sets, dummies, classes).
    """

    def __init__(self, background: Background, labels: Tensor) -> None:
        self._low, self._high = background.record_range
        self._span = self._high - self._low
        self._edge = EDGE * self._span
        inputs, classes = _flat(background), background.architecture.classes
        counts = np.bincount(background.population.labels, minlength=classes)[:, None]
        at = inputs <= self._low + self._edge, inputs >= self._high - self._edge
        shares = [(counts * _by_class(background, one) + 1 / 3) / (counts + 1) for one in at]
        self._shares = [labels @ torch.from_numpy(one).to(labels.dtype) for one in shares]

    def surprise(self, records: Tensor) -> Tensor:
        """Return minus the log density of all values, shape (sets,)."""
        values = records.flatten(2)
        near = (values - self._low).clamp(min=0), (self._high - values).clamp(min=0)
        between = (1 - self._shares[0] - self._shares[1]) / self._span
        density = between + sum(
            share * torch.exp(-far / self._edge) / self._edge
            for share, far in zip(self._shares, near, strict=True)
        )
        return -density.log().flatten(1).sum(dim=1)


def _flat(background: Background) -> NDArray[np.float64]:
    """Return the population's records, shape (population, values)."""
    inputs = background.population.inputs
    return inputs.reshape(len(inputs), -1).astype(np.float64)


def _by_class(background: Background, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean of each class in the population, or of all, shape (classes, values)."""
    labels = background.population.labels
    means = np.repeat(values.mean(axis=0)[None], background.architecture.classes, axis=0)
    for label in np.unique(labels):
        means[label] = values[labels == label].mean(axis=0)
    return means


def build(budget: Budget) -> SearchedInversion:
    """Return the attack at a budget."""
    iterations, restarts, most = {
        Budget.QUICK: (150, 1, 4),
        Budget.STANDARD: (400, 1, 16),
        Budget.THOROUGH: (1000, 2, 48),
    }[budget]
    return searched(Posterior(iterations=iterations), restarts=restarts, most_records=most)


def searched(solver: Posterior, *, restarts: int, most_records: int) -> SearchedInversion:
    """Return the attack with settings of one's own.

    Args:
        solver: How dummies are fitted.
        restarts: Starts; the one with the smallest loss is kept.
        most_records: Larger probes are skipped.
    """
    search = Search(
        attack="bayes-inversion", restarts=restarts, most_records=most_records, refuses=single_step
    )
    return SearchedInversion(search=search, solver=solver)
