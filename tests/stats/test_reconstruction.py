"""Reconstruction metrics against scikit-image and by definition."""

import doctest
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from audit.stats import match, mse, psnr, reconstruction, ssim


def test_examples_in_docstrings_run():
    assert doctest.testmod(reconstruction).failed == 0


@pytest.mark.parametrize("shape", [(7, 7), (8, 8), (28, 28), (1, 28, 28), (3, 32, 20), (2, 9, 7)])
@pytest.mark.parametrize("data_range", [1.0, 2.0, 255.0])
def test_ssim_is_that_of_scikit_image(shape, data_range):
    rng = np.random.default_rng(0)
    a = rng.random(shape) * data_range
    for noise in (0.01, 0.3, 1.0):
        b = a + noise * data_range * rng.normal(size=shape)
        expected = structural_similarity(
            a, b, data_range=data_range, channel_axis=0 if len(shape) == 3 else None
        )
        assert ssim(a, b, data_range) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("side", "window"), [(3, 3), (4, 3), (5, 5), (6, 5)])
def test_ssim_of_small_images_takes_the_largest_odd_window(side, window):
    rng = np.random.default_rng(1)
    a, b = rng.random((2, side, side + 4))
    expected = structural_similarity(a, b, data_range=1.0, win_size=window)
    assert ssim(a, b, 1.0) == pytest.approx(expected, abs=1e-7)


def test_psnr_is_that_of_scikit_image_and_uint8_does_not_wrap():
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 256, (2, 1, 9, 9), dtype=np.uint8)
    expected = peak_signal_noise_ratio(a.astype(float), b.astype(float), data_range=255)
    assert psnr(a, b, 255) == pytest.approx(expected, abs=1e-10)
    assert mse(np.uint8([0]), np.uint8([255])) == 255**2


def test_identical_images():
    a = np.random.default_rng(3).random((1, 8, 8))
    assert mse(a, a) == 0 and psnr(a, a, 1.0) == math.inf and ssim(a, a, 1.0) == 1.0
    flat = np.zeros((8, 8))
    assert ssim(flat, flat, 1.0) == 1.0


@given(st.integers(0, 10_000), st.floats(0.1, 100))
@settings(derandomize=True, deadline=None, max_examples=30)
def test_metrics_are_symmetric_and_follow_the_unit(seed, unit):
    a, b = np.random.default_rng(seed).random((2, 9, 9))
    assert ssim(a, b, 1.0) == pytest.approx(ssim(b, a, 1.0), abs=1e-12)
    assert ssim(unit * a, unit * b, unit) == pytest.approx(ssim(a, b, 1.0), abs=1e-9)
    assert psnr(unit * a, unit * b, unit) == pytest.approx(psnr(a, b, 1.0), abs=1e-9)
    assert mse(unit * a, unit * b) == pytest.approx(unit**2 * mse(a, b), rel=1e-9)
    assert -1 <= ssim(a, b, 1.0) < 1


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_match_is_the_best_of_all_permutations(seed, n):
    rng = np.random.default_rng(seed)
    found, truths = rng.random((2, n, 1, 2, 2))
    chosen = match(found, truths)
    assert sorted(chosen.tolist()) == list(range(n))
    best = min(mse(found[list(p)], truths) for p in itertools.permutations(range(n)))
    assert mse(found[chosen], truths) == pytest.approx(best, abs=1e-12)


def test_match_undoes_a_shuffle():
    rng = np.random.default_rng(4)
    truths = rng.random((20, 1, 5, 5))
    found = truths[rng.permutation(20)]
    np.testing.assert_array_equal(found[match(found, truths)], truths)


@pytest.mark.parametrize("metric", [mse, lambda a, b: psnr(a, b, 1.0), lambda a, b: ssim(a, b, 1)])
def test_what_cannot_be_compared_is_refused(metric):
    image = np.zeros((8, 8))
    for other, message in (
        (np.zeros((8, 9)), r"shapes are \(8, 8\) and \(8, 9\)"),
        (np.full((8, 8), np.nan), "NaN or infinite"),
        (np.full((8, 8), np.inf), "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=message):
            metric(image, other)
    with pytest.raises(ValueError, match="at least one value"):
        metric(np.zeros((0, 8)), np.zeros((0, 8)))


@pytest.mark.parametrize("data_range", [0, -1, math.nan, math.inf])
def test_a_data_range_that_is_no_range_is_refused(data_range):
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match="data_range is"):
            metric(np.zeros((8, 8)), np.ones((8, 8)), data_range)


def test_ssim_needs_images_and_match_needs_equal_counts():
    for shape in [(30,), (2, 8), (1, 1, 8, 8)]:
        with pytest.raises(ValueError, match="image has shape"):
            ssim(np.zeros(shape), np.zeros(shape), 1.0)
    with pytest.raises(ValueError, match="shapes are"):
        match(np.zeros((2, 3)), np.zeros((3, 3)))
