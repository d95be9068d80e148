"""The likeliest records given a noisy gradient and what records look like beforehand."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attacks.attack import Budget
from attacks.inversion.problem import Problem
from attacks.inversion.search import Search, SearchedInversion, single_step
from audit.core.views import Background

FLOOR = 1e-3
"""Least variance of a value beyond what the population shows, as a part of the squared range."""

LEAST_NOISE = 1e-3
"""Without DP: deviation of the noise that is presumed, as a part of the gradient's length."""

MILESTONES = (3 / 8, 5 / 8, 7 / 8)


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Adam on the negative log posterior of the records.

    The likelihood is that of the recipe's Gaussian noise. The prior is a Gaussian: each class has
    its mean in the population, all have the covariance within classes. The less the gradient says,
    the nearer the answer comes to the class mean, so noise costs it no more than the prior.

    Args:
        iterations: Steps of Adam.
        step: First step, in deviations of the prior.

    Source:
        Balunovic et al. 2022, arXiv:2111.04706, section 4: gradient leakage as a posterior.
        Differs: the prior is a Gaussian fitted to the population, and dummies are clipped as the
        recipe says.
    """

    iterations: int
    step: float = 0.1

    def solve(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Return the records found, and their loss (``search.Solver``)."""
        prior = _Prior(problem.background, problem.sent.dtype)
        means = problem.labels @ prior.means
        low, high = problem.background.record_range
        noise = (LEAST_NOISE * problem.targets.norm(dim=1)).clamp(min=max(problem.noise, 1e-12))
        shape = problem.start.shape

        def records(main: Tensor, rest: Tensor) -> Tensor:
            found: Tensor = means + main @ prior.directions + prior.floor * rest
            return found.view(shape)

        def loss(main: Tensor, rest: Tensor) -> Tensor:
            off = problem.gradients(records(main, rest)) - problem.targets
            fit = off.square().sum(dim=1) / (2 * noise**2)
            away = main.square().flatten(1).sum(dim=1) + rest.square().flatten(1).sum(dim=1)
            total: Tensor = fit + away / 2
            return total

        sets, count = shape[:2]
        small = 0.2 * (problem.start.flatten(2) - 0.5)
        main = small.new_zeros((sets, count, len(prior.directions))).requires_grad_()
        rest = small.clone().requires_grad_()
        optimizer = torch.optim.Adam([main, rest], lr=self.step)
        falls = [int(self.iterations * part) for part in MILESTONES]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls, 0.3)
        for _ in range(self.iterations):
            main.grad, rest.grad = torch.autograd.grad(loss(main, rest).sum(), [main, rest])
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            return records(main, rest).clamp(low, high), loss(main, rest)


class _Prior:
    """Class means, and the covariance within classes: its directions and a floor.

    A record is its class mean, plus standard normal numbers along the directions, plus standard
    normal numbers times the floor.
    """

    def __init__(self, background: Background, dtype: torch.dtype) -> None:
        low, high = background.record_range
        inputs = background.population.inputs.reshape(len(background.population.inputs), -1)
        labels = background.population.labels
        means = np.repeat(inputs.mean(axis=0)[None], background.architecture.classes, axis=0)
        for label in np.unique(labels):
            means[label] = inputs[labels == label].mean(axis=0)
        _, spread, directions = np.linalg.svd(
            (inputs - means[labels]) / len(inputs) ** 0.5, full_matrices=False
        )
        self.means = torch.from_numpy(means).to(dtype)
        self.directions = torch.from_numpy(spread[:, None] * directions).to(dtype)
        self.floor = FLOOR**0.5 * (high - low)


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
