"""The noise is ChaCha20's, Gaussian, different everywhere, and rests on all 256 bits of a key."""

import numpy as np
import pytest
from scipy import stats

from training.randomness import NoiseStream, derived_key, fresh_key, open_uniforms

LEVEL = 1e-3
COUNT = 200_000
MASTER = bytes(range(32))


def words(key: bytes, count: int) -> np.ndarray:
    """The stream's 52-bit integers, read back from its uniforms."""
    return (NoiseStream(key).uniform(count) * 2.0**52 - 0.5).astype(np.uint64)


def test_stream_is_the_published_chacha20_key_stream():
    # RFC 8439, appendix A.1, test vector 1: key, nonce and counter all zero.
    published = bytes.fromhex(
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
    expected = np.frombuffer(published, dtype="<u8") >> np.uint64(12)
    assert words(bytes(32), 8).tolist() == expected.tolist()


def test_smallest_and_largest_word_lie_inside_the_open_interval():
    uniforms = open_uniforms(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert uniforms.tolist() == [2.0**-53, 1 - 2.0**-53]


def test_uniforms_are_uniform():
    uniforms = NoiseStream(MASTER).uniform(COUNT)
    assert uniforms.min() > 0 and uniforms.max() < 1
    assert stats.kstest(uniforms, "uniform").pvalue > LEVEL


@pytest.mark.parametrize("count", [COUNT, COUNT + 1])
def test_gaussians_are_standard_and_independent(count):
    noise = NoiseStream(MASTER).gaussian(count)
    assert noise.shape == (count,)
    assert stats.kstest(noise, "norm").pvalue > LEVEL
    far = stats.norm.isf(LEVEL / 2)
    assert abs(noise.mean()) < far / np.sqrt(count)
    assert abs(noise.var() - 1) < far * np.sqrt(2 / count)
    assert abs(stats.kurtosis(noise)) < far * np.sqrt(24 / count)
    half = count // 2
    for a, b in ((noise[:half], noise[half : 2 * half]), (noise[:-1], noise[1:])):
        assert abs(np.corrcoef(a, b)[0, 1]) < far / np.sqrt(len(a))


def test_every_bit_of_the_key_counts():
    first = NoiseStream(bytes(32)).gaussian(4)
    for bit in range(256):
        key = (1 << bit).to_bytes(32, "little")
        assert not np.isclose(NoiseStream(key).gaussian(4), first).any()


def test_same_key_gives_the_same_stream_and_parts_continue_it():
    whole = NoiseStream(MASTER).uniform(10)
    stream = NoiseStream(MASTER)
    assert np.array_equal(np.concatenate([stream.uniform(4), stream.uniform(6)]), whole)


def test_names_give_keys_of_their_own_and_cannot_run_into_each_other():
    named = [("a", "b"), ("b", "a"), ("ab",), ("a", "b", ""), ("a\x1fb",), ('a","b',)]
    assert len({derived_key(MASTER, *names) for names in named}) == len(named)


def test_noise_of_two_hospitals_and_of_two_purposes_is_uncorrelated():
    names = [
        ("eps-1", client, session, purpose)
        for client in ("hospital-1", "hospital-2")
        for session in ("round-001", "round-002")
        for purpose in ("noise", "sampling")
    ]
    noise = [NoiseStream(derived_key(MASTER, *n)).gaussian(50_000) for n in names]
    correlations = np.corrcoef(noise)[np.triu_indices(len(names), 1)]
    assert np.abs(correlations).max() < stats.norm.isf(LEVEL / 2 / len(correlations)) / np.sqrt(
        50_000
    )


def test_fresh_keys_are_whole_and_never_the_same():
    keys = {fresh_key() for _ in range(100)}
    assert len(keys) == 100 and {len(key) for key in keys} == {32}


@pytest.mark.parametrize("length", [0, 4, 16, 31, 33])
def test_short_and_long_keys_are_refused(length):
    with pytest.raises(ValueError, match=f"key of {length} bytes"):
        NoiseStream(bytes(length))


def test_poisson_sample_takes_each_record_with_its_rate():
    taken = np.zeros(50)
    stream = NoiseStream(MASTER)
    for _ in range(4000):
        taken[stream.poisson_sample(50, 0.3)] += 1
    assert stats.binomtest(int(taken.sum()), 50 * 4000, 0.3).pvalue > LEVEL
    assert min(stats.binomtest(int(t), 4000, 0.3).pvalue for t in taken) > LEVEL / 50


def test_poisson_sample_at_rate_one_takes_all_and_near_zero_none():
    stream = NoiseStream(MASTER)
    assert stream.poisson_sample(5, 1.0).tolist() == [0, 1, 2, 3, 4]
    assert stream.poisson_sample(5, 1e-12).tolist() == []
