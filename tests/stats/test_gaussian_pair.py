"""Epsilon between two Gaussians: the closed form, a slow integral, and what canary clients find."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from audit.stats import (
    epsilon_of_gaussians,
    epsilon_of_mu,
    pushed_epsilon,
)


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


def exact_delta(epsilon: float, mean: float, deviation: float) -> float:
    """Divergence of N(mean, deviation^2), deviation above 1, from N(0, 1), with 400 digits."""
    with mpmath.workdps(400):
        m, s, e = map(mpmath.mpf, (mean, deviation, epsilon))
        a, b, c = (1 - s**-2) / 2, m / s**2, -(m**2) / (2 * s**2) - mpmath.log(s) - e
        root = mpmath.sqrt(b * b - 4 * a * c)
        low, high = (-b - root) / (2 * a), (-b + root) / (2 * a)
        masses = [
            (
                mpmath.erfc((k - low) / t / mpmath.sqrt(2))
                + mpmath.erfc((high - k) / t / mpmath.sqrt(2))
            )
            / 2
            for k, t in ((m, s), (mpmath.mpf(0), mpmath.mpf(1)))
        ]
        return float(masses[0] - mpmath.exp(e) * masses[1])


@pytest.mark.parametrize("mean", [30.0, 80.0, 300.0])
@pytest.mark.parametrize("deviation", [1.0001, 1.3, 3.0])
def test_epsilons_of_thousands_keep_their_digits(mean, deviation):
    found = epsilon_of_gaussians(mean, deviation, null_deviation=1.0, delta=1e-5)
    assert found > 300
    assert exact_delta(found, mean, deviation) == pytest.approx(1e-5, rel=1e-4)


@given(
    mean=st.floats(0, 500),
    deviation=st.floats(0.05, 20),
    scale=st.floats(0.01, 100),
    delta=st.floats(1e-9, 0.2),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_neither_unit_nor_sign_nor_order_matters(mean, deviation, scale, delta):
    found = epsilon_of_gaussians(mean, deviation, null_deviation=1.0, delta=delta)
    same = [
        epsilon_of_gaussians(mean * scale, deviation * scale, null_deviation=scale, delta=delta),
        epsilon_of_gaussians(-mean, deviation, null_deviation=1.0, delta=delta),
        epsilon_of_gaussians(mean, 1.0, null_deviation=deviation, delta=delta),
    ]
    assert found >= 0 and math.isfinite(found)
    assert same == [pytest.approx(found, rel=1e-6, abs=1e-6)] * 3
    assert found >= epsilon_of_gaussians(mean, deviation, null_deviation=1.0, delta=2 * delta)


def test_nothing_between_equal_gaussians_and_more_the_further_they_are():
    assert epsilon_of_gaussians(0.0, 1.0, null_deviation=1.0, delta=1e-5) == 0
    found = [epsilon_of_gaussians(m, 0.8, null_deviation=1.0, delta=1e-5) for m in (0, 1, 2, 4, 8)]
    assert found == sorted(found) and found[0] > 0


@pytest.mark.parametrize(("s", "t", "delta"), [(0, 1, 0.1), (1, 0, 0.1), (1, 1, 0), (1, 1, 1)])
def test_what_makes_no_sense_is_refused(s, t, delta):
    with pytest.raises(ValueError, match="expected above 0"):
        epsilon_of_gaussians(1.0, s, null_deviation=t, delta=delta)


@pytest.mark.parametrize("mu", [1.0, 3.0, 30.0])
def test_pushed_clients_of_a_gaussian_mechanism_find_its_epsilon(mu):
    # One release that 400 clients push, each in its own direction, with 2,000 nobody pushed.
    rng = np.random.default_rng(2)
    readings = rng.normal(size=2_400) * 0.2
    readings[:400] += 0.2 * mu
    found = pushed_epsilon(
        readings[:400], readings[400:], delta=1e-5, confidence=0.95, rng=np.random.default_rng(1)
    )
    assert found.value == pytest.approx(epsilon_of_mu(mu, 1e-5), rel=0.2 if mu < 2 else 0.1)
    assert found.n == 400 and "no bound" in found.method


@pytest.mark.parametrize("mu", [2.0, 30.0])
def test_readings_and_cosines_agree_where_clients_are_few_among_many_dimensions(mu):
    # Clients, independent directions and cosines as in the paper, one release: they are unit
    # vectors that push as hard as mu deviations of the noise, against its length, the dimension's
    # root. Cosines hold only while the pushes are short beside that.
    rng, d, clients = np.random.default_rng(8), 40_000, 60
    directions = rng.normal(size=(clients, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    release = mu * directions.sum(axis=0) + rng.normal(size=d)
    unused = rng.normal(size=(300, d))
    unused /= np.linalg.norm(unused, axis=1, keepdims=True)
    found = pushed_epsilon(
        directions @ release,
        unused @ release,
        delta=1e-5,
        confidence=0.95,
        rng=np.random.default_rng(1),
    )
    cosines = directions @ release / np.linalg.norm(release)
    paper = epsilon_of_gaussians(
        float(cosines.mean()),
        max(float(cosines.std(ddof=1)), d**-0.5),
        null_deviation=d**-0.5,
        delta=1e-5,
    )
    assert found.value == pytest.approx(paper, rel=0.25)
    if mu == 2.0:
        assert paper == pytest.approx(epsilon_of_mu(mu, 1e-5), rel=0.3)
    else:  # pushes of 30 deviations lengthen the release: both measures of the null see them
        assert paper < 0.8 * epsilon_of_mu(mu, 1e-5)


@pytest.mark.parametrize(("mu", "deviation"), [(5.0, 1.0), (80.0, 2.0)])
@pytest.mark.parametrize("clients", [6, 24])
def test_intervals_cover_the_epsilon_of_the_two_gaussians(mu, deviation, clients):
    truth = epsilon_of_gaussians(mu, deviation, null_deviation=1.0, delta=1e-5)
    rng, covered = np.random.default_rng(4), 0
    for _ in range(60):
        found = pushed_epsilon(
            mu + deviation * rng.normal(size=clients),
            rng.normal(size=100),
            delta=1e-5,
            confidence=0.9,
            rng=rng,
        )
        covered += found.low <= truth <= found.high
    assert covered / 60 > 0.9 - 3 * (0.09 / 60) ** 0.5


def test_without_a_push_the_interval_reaches_down_to_nothing():
    rng = np.random.default_rng(6)
    found = pushed_epsilon(
        rng.normal(size=48), rng.normal(size=300), delta=1e-5, confidence=0.95, rng=rng
    )
    assert found.low < 0.5 and found.value < 3


@pytest.mark.parametrize(
    ("pushed", "unpushed"), [([1, 2], [1, -1, 1]), ([1, 2, 3], [1, -1]), ([1, 2, 3], [0, 0, 0])]
)
def test_too_few_readings_or_no_noise_are_refused(pushed, unpushed):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="expected at least 3 of each, and noise above 0"):
        pushed_epsilon(pushed, unpushed, delta=0.1, confidence=0.9, rng=rng)
