"""Shares that add up to one, and whole counts made of them."""

import numpy as np
import pytest

from attacks.inversion.labels.simplex_fit import fit_shares, whole_counts
from audit.core.randomness import named_generator


def test_shares_are_fitted_as_a_slow_solver_fits_them() -> None:
    from scipy.optimize import minimize

    rng = named_generator(3, "simplex")
    for _ in range(25):
        root = rng.standard_normal((6, 6))
        curvature, slope = root @ root.T + 0.1 * np.eye(6), 3 * rng.standard_normal(6)
        lower = rng.uniform(0, 0.2, 6) * (rng.random(6) < 0.5)
        found = fit_shares(curvature, slope, lower)
        slow = minimize(
            lambda w, h=curvature, b=slope: 0.5 * w @ h @ w - b @ w,
            np.full(6, 1 / 6),
            jac=lambda w, h=curvature, b=slope: h @ w - b,
            bounds=[(low, 1.0) for low in lower],
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert np.allclose(found, slow.x, atol=1e-5)


def test_bounds_without_room_are_refused() -> None:
    with pytest.raises(ValueError, match="lower bounds"):
        fit_shares(np.eye(2), np.zeros(2), np.array([0.7, 0.6]))


def test_counts_keep_their_sum() -> None:
    rng = named_generator(4, "rounding")
    for total in (1, 7, 128):
        expected = total * rng.dirichlet(np.ones(10))
        found = whole_counts(expected)
        assert found.sum() == total
        assert np.abs(found - expected).max() < 1
