"""Inverting gradients: dummies whose gradient points the same way, and which look like images."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attacks.attack import Budget
from attacks.inversion.exchange import Exchange, reordered
from attacks.inversion.problem import Problem, Solution
from attacks.inversion.search import Search, SearchedInversion, image_like, single_step

MILESTONES = (3 / 8, 5 / 8, 7 / 8)
"""Parts of the iterations after which the step is a tenth of before."""


SMOOTH = 0.7
"""Part of the iterations after which total variation has its last weight."""


@dataclass(frozen=True, kw_only=True)
class CosineMatching:
    """Signed Adam on the cosine distance of gradients and total variation.

    Args:
        iterations: Steps of Adam.
        step: First step, as a part of the records' range.
        total_variation: Weight of the mean absolute difference of neighbouring pixels, as a part of
            the range, without noise.
        noisy_total_variation: The same under DP noise.
        first_total_variation: The weight at first without noise, if it is larger; from there it
            falls geometrically until ``SMOOTH`` of the iterations are over.
        agreement: Weight of the epochs' disagreement where local training is in mini-batches of an
            unknown order (``batch_order.Layout``), as a part of the squared range.

    Source:
        Geiping et al. 2020, arXiv:2003.14053, section 4, equation 4, and appendix: signed Adam with
        a step of 0.1 that falls tenfold after 3/8, 5/8 and 7/8 of the iterations. Differs: total
        variation weighs more at first, so that dummies are blurred before they are sharp; where
        the recipe clips each record's gradient, so are the dummies'.
    """

    iterations: int
    step: float = 0.1
    total_variation: float = 0.01
    noisy_total_variation: float = 0.1
    first_total_variation: float = 1.0
    agreement: float = 1.0

    def solve(self, problem: Problem) -> Solution:
        """Return what was found (``problem.Solver``)."""
        low, high = problem.background.record_range
        span, images = high - low, image_like(problem.background)
        weight = self.noisy_total_variation if problem.noise else self.total_variation
        first = weight if problem.noise else max(weight, self.first_total_variation)
        lengths = problem.targets.norm(dim=1)

        def loss(problem: Problem, records: Tensor, smooth: float = weight) -> Tensor:
            sent = problem.gradients(records)
            scale = (sent.norm(dim=1) * lengths).clamp(min=1e-30)
            found = 1 - (sent * problem.targets).sum(dim=1) / scale
            rough = smooth * _variation(records) / span if images else 0.0
            apart = self.agreement * problem.disagreement(records) / span**2
            total: Tensor = found + rough + apart
            return total

        records = (low + span * problem.start).requires_grad_()
        optimizer = torch.optim.Adam([records], lr=self.step * span)
        falls = [int(self.iterations * part) for part in MILESTONES]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls, 0.1)
        exchange = Exchange(problem.layout, self.iterations)
        for done in range(self.iterations):
            if exchange.due(done):
                order = exchange.best(problem, records, loss)
                problem = replace(problem, labels=reordered(problem.labels, order))
                state = optimizer.state[records]
                with torch.no_grad():
                    for values in (records, state["exp_avg"], state["exp_avg_sq"]):
                        values.copy_(reordered(values, order))
            left = max(0.0, 1 - done / (SMOOTH * self.iterations))
            smooth = first**left * weight ** (1 - left)
            (slope,) = torch.autograd.grad(loss(problem, records, smooth).sum(), records)
            records.grad = slope.sign()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                records.clamp_(low, high)
        with torch.no_grad():
            losses = loss(problem, records)
        return Solution(records=records.detach(), losses=losses, labels=problem.labels)


def _variation(records: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbours, a set, shape (sets,)."""
    down = (records[..., 1:, :] - records[..., :-1, :]).abs().flatten(1).mean(dim=1)
    right = (records[..., :, 1:] - records[..., :, :-1]).abs().flatten(1).mean(dim=1)
    return down + right


def build(budget: Budget) -> SearchedInversion:
    """Return the attack at a budget."""
    iterations, restarts, most = {
        Budget.QUICK: (150, 1, 4),
        Budget.STANDARD: (500, 2, 16),
        Budget.THOROUGH: (2000, 4, 48),
    }[budget]
    return searched(CosineMatching(iterations=iterations), restarts=restarts, most_records=most)


def searched(solver: CosineMatching, *, restarts: int, most_records: int) -> SearchedInversion:
    """Return the attack with settings of one's own.

    Args:
        solver: How dummies are fitted.
        restarts: Starts; the one with the smallest loss is kept.
        most_records: Larger probes are skipped.
    """
    search = Search(
        attack="inverting-gradients",
        restarts=restarts,
        most_records=most_records,
        refuses=single_step,
    )
    return SearchedInversion(search=search, solver=solver)
