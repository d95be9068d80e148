"""Many small minimisations at once: L-BFGS whose every row has a history and a step of its own."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_DECREASE = 1e-4
"""Part of the decrease that the slope promises which a step must bring (Armijo)."""

SHRINK = 0.35
MOST_TRIES = 12
LOOK_BACK = 20
LEAST_PROGRESS = 1e-3


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """Where each row ended.

    Args:
        points: Shape (rows, dimensions).
        values: Loss of each, shape (rows,).
    """

    points: Tensor
    values: Tensor


def minimise(
    loss: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    iterations: int,
    history: int = 100,
    good_enough: float = 0.0,
) -> Minimum:
    """Minimise a loss from many starts; rows do not influence each other.

    Args:
        loss: From points of shape (rows, dimensions) to a loss of each row, shape (rows,).
        start: First points, shape (rows, dimensions), double precision.
        iterations: Most iterations.
        history: Steps that the curvature is estimated from.
        good_enough: A row at or below this loss needs no further iteration.

    Returns:
        The last points; a loss never rises from one iteration to the next.

    Source:
        Nocedal and Wright 2006, algorithms 7.4 and 7.5, with backtracking to Armijo's condition
        (equation 3.4) in place of Wolfe's; pairs without positive curvature are left out.
    """
    here = _at(loss, start)
    steps: list[Tensor] = []
    changes: list[Tensor] = []
    inverses: list[Tensor] = []
    past = [here.values]
    for _ in range(iterations):
        direction = -_inverse_hessian_times(here.slopes, steps, changes, inverses)
        uphill = ~((direction * here.slopes).sum(dim=1) < 0)
        there, found = _line_search(
            loss, here, torch.where(uphill[:, None], -here.slopes, direction)
        )
        if not bool(found.any()):
            break
        step, change = there.points - here.points, there.slopes - here.slopes
        product = (step * change).sum(dim=1)
        usable = product > 1e-14 * step.norm(dim=1) * change.norm(dim=1)
        steps.append(step)
        changes.append(change)
        inverses.append(torch.where(usable, 1 / torch.where(usable, product, 1.0), 0.0))
        if len(steps) > history:
            del steps[0], changes[0], inverses[0]
        here = there
        past.append(here.values)
        stuck = torch.zeros_like(found)
        if len(past) > LOOK_BACK:
            stuck = here.values > (1 - LEAST_PROGRESS) * past[-1 - LOOK_BACK]
        if bool((stuck | (here.values <= good_enough)).all()):
            break
    return Minimum(points=here.points, values=here.values)


@dataclass(frozen=True, kw_only=True)
class _Place:
    points: Tensor
    values: Tensor
    slopes: Tensor


def _at(loss: Callable[[Tensor], Tensor], points: Tensor) -> _Place:
    inputs = points.detach().requires_grad_()
    values = loss(inputs)
    (slopes,) = torch.autograd.grad(values.sum(), inputs)
    return _Place(points=points.detach(), values=values.detach(), slopes=slopes)


def _inverse_hessian_times(
    slopes: Tensor, steps: list[Tensor], changes: list[Tensor], inverses: list[Tensor]
) -> Tensor:
    """The two-loop recursion; without history a step of length one."""
    if not steps:
        unit: Tensor = slopes / slopes.norm(dim=1, keepdim=True).clamp_min(1e-300)
        return unit
    vector: Tensor = slopes
    weights: list[Tensor] = []
    for step, change, inverse in zip(
        reversed(steps), reversed(changes), reversed(inverses), strict=True
    ):
        weight = inverse * (step * vector).sum(dim=1)
        weights.append(weight)
        vector = vector - weight[:, None] * change
    squares = (changes[-1] ** 2).sum(dim=1).clamp_min(1e-300)
    scale = torch.where(inverses[-1] > 0, (steps[-1] * changes[-1]).sum(dim=1) / squares, 1.0)
    vector = vector * scale[:, None]
    for step, change, inverse, weight in zip(
        steps, changes, inverses, reversed(weights), strict=True
    ):
        vector = vector + step * (weight - inverse * (change * vector).sum(dim=1))[:, None]
    return vector


def _line_search(
    loss: Callable[[Tensor], Tensor], here: _Place, direction: Tensor
) -> tuple[_Place, Tensor]:
    """Shorten each row's step until it lowers the loss; a row where none does stays."""
    promised = LEAST_DECREASE * (direction * here.slopes).sum(dim=1)
    length = torch.ones_like(here.values)
    found = torch.zeros_like(here.values, dtype=torch.bool)
    best = here
    for _ in range(MOST_TRIES):
        tried = _at(loss, here.points + length[:, None] * direction)
        accepted = ~found & (tried.values <= here.values + length * promised)
        accepted &= torch.isfinite(tried.values) & torch.isfinite(tried.slopes).all(dim=1)
        best = _Place(
            points=torch.where(accepted[:, None], tried.points, best.points),
            values=torch.where(accepted, tried.values, best.values),
            slopes=torch.where(accepted[:, None], tried.slopes, best.slopes),
        )
        found |= accepted
        if bool(found.all()):
            break
        length = torch.where(found, length, SHRINK * length)
    return best, found
