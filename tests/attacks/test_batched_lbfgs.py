"""Minimisations that run together come out as each would alone."""

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from attacks.inversion.batched_lbfgs import minimise

STEEPNESS = torch.tensor([1.0, 10.0, 100.0, 1e-3], dtype=torch.float64)
START = torch.tensor([[-1.2, 1.0], [0.5, -0.5], [-1.2, 1.0], [2.0, 2.0]], dtype=torch.float64)


def valleys(points: Tensor, rows: Tensor) -> Tensor:
    """Rosenbrock's function, a steepness for each row; its minimum is 0 at (1, 1)."""
    x, y = points.unbind(dim=1)
    return (1 - x) ** 2 + STEEPNESS[rows] * (y - x**2) ** 2


def test_every_row_finds_its_minimum() -> None:
    found = minimise(valleys, START, iterations=200)
    torch.testing.assert_close(found.points[:3], torch.ones_like(START[:3]), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.values, valleys(found.points, torch.arange(4)))
    reference = scipy.optimize.minimize(
        lambda p: float(valleys(torch.from_numpy(p)[None], torch.tensor([2]))[0]),
        START[2].numpy(),
    )
    assert found.values[2] <= max(reference.fun, 1e-8)


@pytest.mark.parametrize("good_enough", [0.0, 1e-3])
def test_a_row_does_not_notice_that_others_end_before_it(good_enough: float) -> None:
    together = minimise(valleys, START, iterations=60, good_enough=good_enough)
    for row in range(len(START)):
        alone = minimise(
            lambda points, rows, row=row: valleys(points, rows + row),
            START[row : row + 1],
            iterations=60,
            good_enough=good_enough,
        )
        torch.testing.assert_close(together.points[row], alone.points[0], atol=1e-9, rtol=1e-9)


def test_rows_that_are_good_enough_are_asked_no_more() -> None:
    asked: list[list[int]] = []

    def counted(points: Tensor, rows: Tensor) -> Tensor:
        asked.append(rows.tolist())
        return valleys(points, rows)

    found = minimise(counted, START, iterations=200, good_enough=0.1)
    assert (found.values <= 0.1).all()
    assert len(asked[-1]) < len(START) and asked[0] == [0, 1, 2, 3]


def test_a_row_that_cannot_move_stays() -> None:
    def broken(points: Tensor, rows: Tensor) -> Tensor:
        return valleys(points, rows) + points[:, 0] * torch.tensor([0.0, np.inf, 0.0, 0.0])[rows]

    found = minimise(broken, START, iterations=60)
    assert torch.equal(found.points[1], START[1])
    torch.testing.assert_close(found.points[0], torch.ones_like(START[0]), atol=1e-4, rtol=0)
