"""Shamir sharing, the grid and the threshold, each by itself."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audit.core.errors import ProtocolError
from training.secagg import shamir
from training.secagg.quantise import Quantiser
from training.secagg.threshold import allowed_dropouts, exposure_warning, threshold

# The example of the Wikipedia article: 1234 + 166 x + 94 x^2.
KNOWN = {1: 1494, 2: 1942, 3: 2578, 4: 3402, 5: 4414, 6: 5614}


def test_shares_of_a_known_polynomial():
    coefficients = iter([166, 94])
    shares = shamir.split(
        (1234).to_bytes(32, "big"),
        threshold=3,
        points=range(1, 7),
        randbelow=lambda bound: next(coefficients),
    )
    assert {point: int.from_bytes(share, "big") for point, share in shares.items()} == KNOWN
    for points in itertools.combinations(KNOWN, 3):
        secret = shamir.combine({point: shares[point] for point in points}, threshold=3)
        assert int.from_bytes(secret, "big") == 1234


def test_prime_is_the_mersenne_prime_and_holds_every_secret():
    assert shamir.PRIME == 2**521 - 1
    assert pow(3, shamir.PRIME - 1, shamir.PRIME) == 1
    assert shamir.PRIME < 1 << 8 * shamir.SHARE_BYTES


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 8), st.data())
def test_any_threshold_shares_give_the_secret_back(secret, n, data):
    t = data.draw(st.integers(1, n))
    shares = shamir.split(secret, threshold=t, points=range(1, n + 1))
    chosen = data.draw(st.permutations(sorted(shares)))[: data.draw(st.integers(t, n))]
    assert shamir.combine({point: shares[point] for point in chosen}, threshold=t) == secret
    assert all(len(share) == shamir.SHARE_BYTES for share in shares.values())
    with pytest.raises(ProtocolError, match="needed"):
        shamir.combine({point: shares[point] for point in chosen[: t - 1]}, threshold=t)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_fewer_shares_fit_every_secret(secret, other):
    """For two shares of three there is a polynomial through them and any other secret."""
    shares = shamir.split(secret, threshold=3, points=[1, 2, 3])
    y1, y2 = (int.from_bytes(shares[point], "big") for point in (1, 2))
    s = int.from_bytes(other, "big")
    y3 = (s - 3 * y1 + 3 * y2) % shamir.PRIME
    forged = {1: shares[1], 2: shares[2], 3: y3.to_bytes(shamir.SHARE_BYTES, "big")}
    assert shamir.combine(forged, threshold=3) == other


def test_shares_are_fresh_each_time():
    drawn = {shamir.split(bytes(32), threshold=2, points=[1, 2])[1] for _ in range(50)}
    assert len(drawn) == 50


def test_malformed_splits_and_shares_are_refused():
    for options in (
        {"secret": bytes(31), "threshold": 1, "points": [1]},
        {"secret": bytes(32), "threshold": 2, "points": [1]},
        {"secret": bytes(32), "threshold": 1, "points": [0]},
        {"secret": bytes(32), "threshold": 1, "points": [1, 1]},
    ):
        secret = options.pop("secret")
        with pytest.raises(ValueError, match=r"secret|threshold|points"):
            shamir.split(secret, **options)
    for share in (bytes(65), b"\xff" * 66, shamir.PRIME.to_bytes(66, "big")):
        with pytest.raises(ProtocolError, match="field element"):
            shamir.combine({1: share}, threshold=1)
    with pytest.raises(ProtocolError, match="do not belong together"):
        shamir.combine({1: (1 << 300).to_bytes(66, "big")}, threshold=1)


quantisers = st.builds(
    Quantiser,
    clip_range=st.floats(1e-6, 1e6),
    bits=st.integers(1, 32),
    stochastic=st.booleans(),
)


@settings(derandomize=True, deadline=None)
@given(quantisers, arrays(np.float64, 20, elements=st.floats(-1, 1)))
def test_rounding_error_is_half_a_step_or_one_when_stochastic(quantiser, unit):
    update = unit * quantiser.clip_range
    quantised = quantiser.quantise(update)
    error = np.abs(quantiser.mean(quantised.levels, 1) - update).max()
    assert error <= quantiser.step * (1.0 if quantiser.stochastic else 0.5) * (1 + 1e-5)
    assert quantised.clipped == 0


@settings(derandomize=True, deadline=None)
@given(quantisers, arrays(np.float64, 20, elements=st.floats(-1e9, 1e9)))
def test_levels_stay_on_the_grid_and_clipped_coordinates_are_counted(quantiser, update):
    quantised = quantiser.quantise(update)
    assert quantised.levels.dtype == np.uint64
    assert int(quantised.levels.max()) <= quantiser.top == 2**quantiser.bits - 1
    outside = np.abs(update) > quantiser.clip_range
    assert quantised.clipped == outside.sum()
    expected = np.where(update[outside] > 0, quantiser.top, 0)
    assert np.array_equal(quantised.levels[outside], expected)


def test_range_ends_are_levels_and_the_step_is_as_documented():
    quantiser = Quantiser(clip_range=3.0, bits=2, stochastic=False)
    assert quantiser.step == 2.0
    update = np.array([-3.0, -1.0, 1.0, 3.0])
    levels = quantiser.quantise(update).levels
    assert levels.tolist() == [0, 1, 2, 3]
    assert quantiser.mean(levels, 1).tolist() == update.tolist()


def test_stochastic_rounding_is_unbiased_and_follows_the_injected_generator():
    quantiser = Quantiser(clip_range=1.0, bits=2, stochastic=True)
    update = np.full(20_000, 0.1)
    first = quantiser.quantise(update, rng=np.random.default_rng(5)).levels
    again = quantiser.quantise(update, rng=np.random.default_rng(5)).levels
    assert np.array_equal(first, again)
    spread = quantiser.mean(first, 1)
    assert abs(spread.mean() - 0.1) < 4 * spread.std() / np.sqrt(update.size)
    assert set(np.unique(quantiser.quantise(update).levels)) == {1, 2}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_quantiser_refuses_values_that_are_not_finite(value):
    with pytest.raises(ProtocolError, match="1 coordinates are NaN"):
        Quantiser(clip_range=1.0, bits=8).quantise(np.array([0.0, value]))


def test_sum_above_what_the_weight_allows_is_refused():
    quantiser = Quantiser(clip_range=1.0, bits=8)
    assert quantiser.mean(np.array([2 * 255], dtype=np.uint64), 2).tolist() == [1.0]
    with pytest.raises(ProtocolError, match="outside the public range"):
        quantiser.mean(np.array([2 * 255 + 1], dtype=np.uint64), 2)


@pytest.mark.parametrize(
    "options", [{"clip_range": 0.0}, {"clip_range": np.inf}, {"bits": 0}, {"bits": 33}]
)
def test_impossible_grids_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Quantiser(**{"clip_range": 1.0, "bits": 8, **options})


@settings(derandomize=True, deadline=None)
@given(st.integers(2, 200), st.data())
def test_threshold_is_the_smallest_that_keeps_both_secrets_apart(n, data):
    k = data.draw(st.integers(0, n - 1))
    t = threshold(n, k)
    assert 2 * t > n + k >= 2 * (t - 1)
    assert k < t <= n
    assert allowed_dropouts(n, k) == n - t


def test_threshold_of_the_seed_federation_and_of_two_hospitals():
    assert (threshold(3, 0), allowed_dropouts(3, 0)) == (2, 1)
    assert (threshold(3, 1), allowed_dropouts(3, 1)) == (3, 0)
    assert (threshold(2, 0), threshold(2, 1)) == (2, 2)


@pytest.mark.parametrize("n, k", [(1, 0), (3, 3), (2, 2), (3, -1)])
def test_impossible_threshold_is_refused(n, k):
    with pytest.raises(ValueError, match=r"n:|colluders:"):
        threshold(n, k)


def test_warning_where_the_sum_itself_exposes_a_hospital():
    assert "reveals each hospital's update" in exposure_warning(2)
    assert "remaining hospital's update" in exposure_warning(4, 3)
    assert "After the drop-outs" in exposure_warning(3)
    assert exposure_warning(3, 1) is None
    assert exposure_warning(5) is None
