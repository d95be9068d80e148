"""Deep leakage from gradients: made-up records whose gradient is fitted to the observed one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.attack import Budget
from attacks.inversion.batched_lbfgs import minimise
from attacks.inversion.problem import Problem, Solution
from attacks.inversion.search import Search, SearchedInversion, single_step

LABEL_START = 4.0
"""Logit with which the label that is read off the gradient starts ahead of the others."""


@dataclass(frozen=True, kw_only=True)
class GradientMatching:
    """L-BFGS on the squared distance of gradients, relative to the observed one's square.

    Args:
        iterations: Most L-BFGS iterations; a search ends early where it no longer gets on.
        fits_labels: Whether labels are fitted with the records (DLG), from a start at those that
            are read off the gradient; else they are kept (iDLG).
        start: Standard deviation of the first dummy records, input units.
        good_enough: Relative loss at which a search ends. Updates are recorded in single precision,
            which leaves 1e-15 to 1e-13 of the true records.

    Source:
        Zhu et al. 2019, arXiv:1906.08935, section 3: squared distance of gradients, labels
        optimised with the records. iDLG: Zhao et al. 2020, arXiv:2001.02610, section 3, labels
        from the last layer's gradient. Differs: float64, a distance relative to the observed
        gradient, dummies that start near zero and at the labels that ``inversion.labels.reader``
        finds; where the recipe clips each record's gradient the dummies' gradients are clipped
        alike, since the adversary knows the recipe.
    """

    iterations: int
    fits_labels: bool
    start: float = 0.1
    good_enough: float = 1e-13

    def solve(self, problem: Problem) -> Solution:
        """Return what was found (``problem.Solver``)."""
        shape, kinds = problem.start.shape, problem.labels.shape[1:]
        values = problem.start[0].numel()
        squares = problem.targets.square().sum(dim=1).clamp(min=1e-300)

        def labels(points: Tensor, rows: Tensor) -> Tensor:
            if not self.fits_labels:
                return problem.labels[rows]
            return points[:, values:].view(-1, *kinds).softmax(dim=2)

        def loss(points: Tensor, rows: Tensor) -> Tensor:
            records = points[:, :values].view(-1, *shape[1:])
            sent = problem.sent(records, labels(points, rows), problem.shares[rows])
            return (sent - problem.targets[rows]).square().sum(dim=1) / squares[rows]

        # Uniform numbers of that deviation.
        begin = [self.start * 12**0.5 * (problem.start - 0.5).flatten(1)]
        if self.fits_labels:
            begin.append(LABEL_START * problem.labels.flatten(1))
        found = minimise(
            loss,
            torch.cat(begin, dim=1),
            iterations=self.iterations,
            good_enough=self.good_enough,
        )
        low, high = problem.background.record_range
        return Solution(
            records=found.points[:, :values].view(shape).clamp(low, high),
            losses=found.values,
            labels=labels(found.points, torch.arange(len(found.points))),
        )


def build(budget: Budget) -> SearchedInversion:
    """Return DLG at a budget."""
    return _at(budget, attack="dlg", fits_labels=True)


def with_labels(budget: Budget) -> SearchedInversion:
    """Return iDLG at a budget: labels are read off the last layer's gradient first."""
    return _at(budget, attack="idlg", fits_labels=False)


def _at(budget: Budget, *, attack: str, fits_labels: bool) -> SearchedInversion:
    iterations, restarts, most = {
        Budget.QUICK: (240, 1, 4),
        Budget.STANDARD: (1500, 2, 8),
        Budget.THOROUGH: (4000, 4, 24),
    }[budget]
    search = Search(
        attack=attack,
        restarts=restarts,
        most_records=most,
        refuses=single_step,
        dtype=torch.float64,
    )
    return SearchedInversion(
        search=search, solver=GradientMatching(iterations=iterations, fits_labels=fits_labels)
    )
