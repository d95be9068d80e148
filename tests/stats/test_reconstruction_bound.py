"""The reconstruction-robustness bound: closed forms, published-setting checks, limits, monotony."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from audit.stats import reconstruction_bound


@pytest.mark.parametrize(("prior", "expected"), [(0.1, 0.389), (0.01, 0.0924)])
def test_one_full_batch_is_the_gaussian_trade_off(prior, expected):
    found = reconstruction_bound(prior, noise_multiplier=1.0, sample_rate=1.0, steps=1)
    assert found == pytest.approx(expected, rel=2e-3)
    assert found == pytest.approx(norm.cdf(norm.ppf(prior) + 1), rel=1e-9)


@pytest.mark.parametrize(("prior", "expected"), [(0.1, 0.261), (0.01, 0.0483)])
def test_subsampled_steps_agree_with_the_loss_distribution(prior, expected):
    found = reconstruction_bound(prior, noise_multiplier=1.287, sample_rate=0.05, steps=200)
    assert found == pytest.approx(expected, rel=3e-3)


def test_sampling_nearly_everything_is_nearly_the_full_batch():
    full = reconstruction_bound(0.01, noise_multiplier=2.0, sample_rate=1.0, steps=3)
    nearly = reconstruction_bound(0.01, noise_multiplier=2.0, sample_rate=0.9999, steps=3)
    assert nearly == pytest.approx(full, rel=1e-2)


def test_one_sampled_step_agrees_with_a_slow_test_of_likelihood_ratios():
    # Outputs with the record: (1 - q) N(0, s) + q N(1, s). The best test of size k is a threshold.
    q, s, k = 0.3, 0.8, 0.05
    threshold = norm.isf(k) * s
    power = (1 - q) * norm.sf(threshold / s) + q * norm.sf((threshold - 1) / s)
    found = reconstruction_bound(k, noise_multiplier=s, sample_rate=q, steps=1)
    assert power - 1e-6 <= found <= power * 1.01


def test_limits():
    rest = {"sample_rate": 0.2, "steps": 5}
    assert reconstruction_bound(0.0, noise_multiplier=1.0, **rest) == 0
    assert reconstruction_bound(1.0, noise_multiplier=1.0, **rest) == 1
    assert reconstruction_bound(0.1, noise_multiplier=math.inf, **rest) == 0.1
    # Without noise the record is named in every step that draws it, and guessed otherwise.
    exact = 1 - 0.8**5 * 0.9
    assert reconstruction_bound(0.1, noise_multiplier=0.0, **rest) == pytest.approx(exact)
    near = reconstruction_bound(0.1, noise_multiplier=0.05, **rest)
    assert exact - 1e-9 <= near <= exact * 1.01
    assert reconstruction_bound(0.1, noise_multiplier=0.0, sample_rate=1.0, steps=1) == 1


@given(
    prior=st.floats(0.001, 0.9),
    noise=st.floats(0.5, 8),
    steps=st.integers(1, 30),
    rate=st.sampled_from([0.1, 0.5, 1.0]),
)
@settings(derandomize=True, deadline=None, max_examples=25)
def test_it_grows_with_the_prior_and_steps_and_falls_with_noise(prior, noise, steps, rate):
    def bound(k=prior, s=noise, t=steps, q=rate):
        return reconstruction_bound(k, noise_multiplier=s, sample_rate=q, steps=t)

    here, slack = bound(), 1e-3
    assert prior - 1e-12 <= here <= 1
    assert bound(k=min(1.0, prior * 1.2)) >= here - slack
    assert bound(t=steps + 5) >= here - slack
    assert bound(s=noise * 1.3) <= here + slack
    assert bound(q=min(1.0, rate * 1.5)) >= here - slack


def test_a_simulated_best_attack_attains_it():
    # Ten orthogonal candidates and one full batch: the largest inner product, no better way.
    rng, noise, count, trials = np.random.default_rng(3), 0.7, 10, 20_000
    seen = noise * rng.normal(size=(trials, count))
    seen[:, 0] += 1
    rate = float((seen.argmax(axis=1) == 0).mean())
    bound = reconstruction_bound(1 / count, noise_multiplier=noise, sample_rate=1.0, steps=1)
    assert 0.7 * bound < rate < bound


@pytest.mark.parametrize(
    ("prior", "noise", "rate", "steps", "said"),
    [
        (-0.1, 1, 1, 1, "prior_success is -0.1"),
        (1.1, 1, 1, 1, "prior_success is 1.1"),
        (math.nan, 1, 1, 1, "prior_success is nan"),
        (0.1, -1, 1, 1, "noise_multiplier is -1"),
        (0.1, math.nan, 1, 1, "noise_multiplier is nan"),
        (0.1, 1, 0, 1, "sample_rate is 0"),
        (0.1, 1, 1.5, 1, "sample_rate is 1.5"),
        (0.1, 1, 1, 0, "steps is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(prior, noise, rate, steps, said):
    with pytest.raises(ValueError, match=said):
        reconstruction_bound(prior, noise_multiplier=noise, sample_rate=rate, steps=steps)
