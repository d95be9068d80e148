"""Many small minimisations at once: L-BFGS whose every row has a history and a step of its own."""

from collections.abc import Callable
from dataclasses import dataclass, field

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
    loss: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    *,
    iterations: int,
    history: int = 100,
    good_enough: float = 0.0,
) -> Minimum:
    """Minimise a loss from many starts; rows do not influence each other.

    A row ends where it is good enough, where it no longer gets on, or where not even the steepest
    descent lowers its loss; the others go on without it.

    Args:
        loss: From points of shape (some, dimensions), and the rows that they belong to, of shape
            (some,), to a loss of each, shape (some,).
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
    rows = torch.arange(len(start))
    here = _at(loss, start, rows)
    points, values = here.points.clone(), here.values.clone()
    curvature = _Curvature(most=history)
    past = [here.values]
    steepest = torch.ones_like(rows, dtype=torch.bool)
    for _ in range(iterations):
        direction = curvature.direction(here.slopes)
        there, found = _line_search(loss, rows, here, direction)
        curvature.learn(there.points - here.points, there.slopes - here.slopes)
        curvature.forget(~found)
        points[rows], values[rows] = there.points, there.values
        past = [*past[-LOOK_BACK:], there.values]
        done = (~found & steepest) | (there.values <= good_enough)
        if len(past) > LOOK_BACK:
            done |= there.values > (1 - LEAST_PROGRESS) * past[0]
        here, steepest, going = there, ~found, ~done
        if not bool(going.any()):
            break
        if bool(done.any()):
            rows, steepest, here = rows[going], steepest[going], here.of(going)
            past = [values[going] for values in past]
            curvature.keep(going)
    return Minimum(points=points, values=values)


@dataclass(frozen=True, kw_only=True)
class _Place:
    points: Tensor
    values: Tensor
    slopes: Tensor

    def of(self, going: Tensor) -> "_Place":
        return _Place(
            points=self.points[going], values=self.values[going], slopes=self.slopes[going]
        )


def _at(loss: Callable[[Tensor, Tensor], Tensor], points: Tensor, rows: Tensor) -> _Place:
    inputs = points.detach().requires_grad_()
    values = loss(inputs, rows)
    (slopes,) = torch.autograd.grad(values.sum(), inputs)
    return _Place(points=points.detach(), values=values.detach(), slopes=slopes)


@dataclass(kw_only=True)
class _Curvature:
    """What the last steps say of each row's inverse Hessian."""

    most: int
    steps: list[Tensor] = field(default_factory=list)
    changes: list[Tensor] = field(default_factory=list)
    inverses: list[Tensor] = field(default_factory=list)

    def learn(self, step: Tensor, change: Tensor) -> None:
        """Take in a step and how the slopes changed by it."""
        product = (step * change).sum(dim=1)
        usable = product > 1e-14 * step.norm(dim=1) * change.norm(dim=1)
        self.steps.append(step)
        self.changes.append(change)
        self.inverses.append(torch.where(usable, 1 / torch.where(usable, product, 1.0), 0.0))
        if len(self.steps) > self.most:
            del self.steps[0], self.changes[0], self.inverses[0]

    def forget(self, rows: Tensor) -> None:
        """Leave out the past of some rows."""
        if bool(rows.any()):
            self.inverses = [torch.where(rows, 0.0, inverse) for inverse in self.inverses]

    def keep(self, going: Tensor) -> None:
        """Go on with some rows alone."""
        self.steps = [step[going] for step in self.steps]
        self.changes = [change[going] for change in self.changes]
        self.inverses = [inverse[going] for inverse in self.inverses]

    def direction(self, slopes: Tensor) -> Tensor:
        """Return where to go: by the two-loop recursion, or downhill where that leads up."""
        direction = -self._times(slopes)
        uphill = ~((direction * slopes).sum(dim=1) < 0)
        return torch.where(uphill[:, None], -slopes, direction)

    def _times(self, slopes: Tensor) -> Tensor:
        """The inverse Hessian times the slopes; without history a step of length one."""
        if not self.steps:
            unit: Tensor = slopes / slopes.norm(dim=1, keepdim=True).clamp_min(1e-300)
            return unit
        vector: Tensor = slopes
        weights: list[Tensor] = []
        pairs = list(zip(self.steps, self.changes, self.inverses, strict=True))
        for step, change, inverse in reversed(pairs):
            weight = inverse * (step * vector).sum(dim=1)
            weights.append(weight)
            vector = vector - weight[:, None] * change
        step, change, inverse = pairs[-1]
        squares = (change**2).sum(dim=1).clamp_min(1e-300)
        vector = (
            vector * torch.where(inverse > 0, (step * change).sum(dim=1) / squares, 1.0)[:, None]
        )
        for (step, change, inverse), weight in zip(pairs, reversed(weights), strict=True):
            vector = vector + step * (weight - inverse * (change * vector).sum(dim=1))[:, None]
        return vector


def _line_search(
    loss: Callable[[Tensor, Tensor], Tensor], rows: Tensor, here: _Place, direction: Tensor
) -> tuple[_Place, Tensor]:
    """Shorten each row's step until it lowers the loss; a row where none does stays."""
    promised = LEAST_DECREASE * (direction * here.slopes).sum(dim=1)
    length = torch.ones_like(here.values)
    found = torch.zeros_like(here.values, dtype=torch.bool)
    points, values, slopes = here.points.clone(), here.values.clone(), here.slopes.clone()
    for _ in range(MOST_TRIES):
        left = torch.nonzero(~found)[:, 0]
        tried = _at(loss, here.points[left] + length[left, None] * direction[left], rows[left])
        accepted = tried.values <= here.values[left] + length[left] * promised[left]
        accepted &= torch.isfinite(tried.values) & torch.isfinite(tried.slopes).all(dim=1)
        taken = left[accepted]
        points[taken], values[taken] = tried.points[accepted], tried.values[accepted]
        slopes[taken] = tried.slopes[accepted]
        found[taken] = True
        if bool(found.all()):
            break
        length = torch.where(found, length, SHRINK * length)
    return _Place(points=points, values=values, slopes=slopes), found
