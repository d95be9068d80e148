"""Epsilon between two Gaussians: the closed form, a slow integral, and what canary clients find."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from audit.stats import canary_client_epsilon, epsilon_of_gaussians, epsilon_of_mu


def slow_delta(epsilon: float, first: tuple[float, float], second: tuple[float, float]) -> float:
    x = np.linspace(-60, 60, 1_200_001)
    p, q = norm.pdf(x, *first), norm.pdf(x, *second)
    return float(np.maximum(p - math.exp(epsilon) * q, 0).sum() * (x[1] - x[0]))


@given(mu=st.floats(0.05, 6), scale=st.floats(0.2, 5))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_equal_spreads_are_the_gaussian_mechanism(mu, scale):
    found = epsilon_of_gaussians(mu * scale, scale, null_deviation=scale, delta=1e-5)
    assert found == pytest.approx(epsilon_of_mu(mu, 1e-5), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("mean", "deviation"), [(1.0, 0.5), (1.0, 2.0), (0.0, 3.0), (4.0, 1.2), (-2.0, 0.7)]
)
def test_unequal_spreads_agree_with_an_integral(mean, deviation):
    delta = 1e-3
    found = epsilon_of_gaussians(mean, deviation, null_deviation=1.0, delta=delta)
    pair = (mean, deviation), (0.0, 1.0)
    worst = max(slow_delta(found, *pair), slow_delta(found, *pair[::-1]))
    assert worst == pytest.approx(delta, rel=2e-3)


def test_nothing_between_equal_gaussians_and_more_the_further_they_are():
    assert epsilon_of_gaussians(0.0, 1.0, null_deviation=1.0, delta=1e-5) == 0
    found = [epsilon_of_gaussians(m, 0.8, null_deviation=1.0, delta=1e-5) for m in (0, 1, 2, 4, 8)]
    assert found == sorted(found) and found[0] > 0


@pytest.mark.parametrize(("s", "t", "delta"), [(0, 1, 0.1), (1, 0, 0.1), (1, 1, 0), (1, 1, 1)])
def test_what_makes_no_sense_is_refused(s, t, delta):
    with pytest.raises(ValueError, match="expected above 0"):
        epsilon_of_gaussians(1.0, s, null_deviation=t, delta=delta)
    with pytest.raises(ValueError, match="2 canary clients"):
        canary_client_epsilon([1, 2], delta=0.1, confidence=0.9, rng=np.random.default_rng(0))


@pytest.mark.parametrize("mu", [1.0, 3.0])
def test_canary_clients_of_a_gaussian_mechanism_find_its_epsilon(mu):
    # Directions of dimension d, each pushed by its unit vector into noise of norm about sqrt(d)/mu:
    # cosine times sqrt(d) is then about normal around mu.
    rng, d, clients = np.random.default_rng(5), 1_000, 3_000
    directions = rng.normal(size=(clients, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    release = mu * directions + rng.normal(size=(clients, d))
    cosines = (directions * release).sum(axis=1) / np.linalg.norm(release, axis=1)
    found = canary_client_epsilon(
        cosines * d**0.5, delta=1e-5, confidence=0.95, rng=np.random.default_rng(1)
    )
    # The fitted spread decides in the tails: it errs by 1 / sqrt(2 clients).
    assert found.value == pytest.approx(epsilon_of_mu(mu, 1e-5), rel=0.15)
    assert found.low <= found.value <= found.high
    assert "no bound" in found.method and found.n == clients


def test_a_fit_without_spread_gives_no_number():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="cosines spread by 0"):
        canary_client_epsilon([5.0] * 12, delta=1e-5, confidence=0.95, rng=rng)
