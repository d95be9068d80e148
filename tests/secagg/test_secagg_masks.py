"""What the server receives is uniform and says nothing; every secret has 256 bits."""

import numpy as np
import pytest
from scipy import stats
from secagg_federation import Federation, names, replace, updates

from audit.core.errors import ProtocolError
from training.secagg import masking
from training.secagg.identity import Identity, Roster, encode

UINT32 = np.dtype(np.uint32)
DIMENSION = 4096


def fixed_masked_vector(update, *, seed_byte=7, label="run/round-001"):
    """One client's masked vector with every secret fixed, so that the statistics are too."""
    federation = Federation(3, dimension=DIMENSION, label=label)
    requests = federation.before()
    private = [bytes([seed_byte + i]) * 32 for i in range(3)]
    state = replace(
        federation.state("hospital-0"),
        seed=bytes([seed_byte]) * 32,
        mask_private_key=private[0],
        mask_keys=[masking.public_key(key) for key in private],
    )
    client = federation.client("hospital-0")
    reply, _ = client.protect(federation.session, update, requests["hospital-0"], state)
    return reply.arrays["masked"]


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("shift", [0, 12, 24])
def test_masked_vector_of_a_constant_update_looks_uniform(value, shift):
    masked = fixed_masked_vector(np.full(DIMENSION, value))
    counts = np.bincount((masked >> shift) & 0xFF, minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_masked_vector_is_unrelated_to_the_update():
    update = updates(1, DIMENSION)["hospital-0"]
    masked = fixed_masked_vector(update)
    assert stats.spearmanr(masked, update).pvalue > 1e-3
    levels = (update * 2**15).astype(np.int64)
    agree = np.mean(((masked & 0xFFFF) > 2**15) == (levels > 0))
    assert abs(agree - 0.5) < 4 * 0.5 / np.sqrt(DIMENSION)


def test_masks_differ_between_sessions_and_seeds():
    update = np.zeros(DIMENSION)
    first = fixed_masked_vector(update)
    assert np.array_equal(first, fixed_masked_vector(update))
    for other in (
        fixed_masked_vector(update, label="run/round-002"),
        fixed_masked_vector(update, seed_byte=9),
    ):
        counts = np.bincount((first - other) >> 24, minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-3


def test_expand_is_the_chacha20_keystream():
    """RFC 8439, appendix A.1, test vector 1."""
    stream = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
    assert masking.expand(bytes(32), 8, UINT32).astype("<u4").tobytes() == stream
    assert masking.expand(bytes(32), 4, np.dtype(np.uint64)).astype("<u8").tobytes() == stream


@pytest.mark.parametrize("length", [0, 4, 16, 31, 33])
def test_mask_key_of_other_than_256_bits_is_refused(length):
    with pytest.raises(ValueError, match="expected 32"):
        masking.expand(bytes(length), 4, UINT32)


def test_every_secret_in_a_client_state_has_256_bits_and_is_fresh():
    seen = set()
    for label in ("a", "b"):
        federation = Federation(3, label=label)
        federation.before()
        for name in names(3):
            fields = federation.state(name).fields
            secrets = [fields[x] for x in ("seed", "mask_private_key", "share_private_key")]
            assert all(len(secret) == 32 for secret in secrets)
            seen.update(secrets)
    assert len(seen) == 18
    assert len({masking.new_seed() for _ in range(100)}) == 100


def test_every_byte_of_the_seed_and_of_the_key_moves_the_mask():
    base = masking.self_mask_key(bytes(32), context=b"c", client="a")
    for index in range(32):
        seed = bytes(1 if i == index else 0 for i in range(32))
        assert masking.self_mask_key(seed, context=b"c", client="a") != base
        mask = masking.expand(seed, 16, UINT32)
        assert not np.array_equal(mask, masking.expand(bytes(32), 16, UINT32))


def test_pair_key_is_the_same_from_both_sides_and_bound_to_pair_and_session():
    a, b = masking.new_private_key(), masking.new_private_key()
    public_a, public_b = masking.public_key(a), masking.public_key(b)
    key = masking.pair_mask_key(a, context=b"c", own="a", peer="b", peer_public=public_b)
    assert key == masking.pair_mask_key(b, context=b"c", own="b", peer="a", peer_public=public_a)
    for changed in ({"context": b"d"}, {"peer": "z"}, {"own": "z"}):
        options = {"context": b"c", "own": "a", "peer": "b", "peer_public": public_b, **changed}
        assert masking.pair_mask_key(a, **options) != key
    assert len(key) == 32


def test_low_order_public_key_is_refused():
    with pytest.raises(ProtocolError, match="unusable"):
        masking.pair_mask_key(
            masking.new_private_key(), context=b"c", own="a", peer="b", peer_public=bytes(32)
        )


def test_sealed_shares_open_only_for_the_receiver_of_this_session():
    a, b = masking.new_private_key(), masking.new_private_key()
    sealed = masking.seal(
        b"shares",
        a,
        context=b"c",
        sender="a",
        receiver="b",
        receiver_public=masking.public_key(b),
    )
    right = {
        "context": b"c",
        "sender": "a",
        "receiver": "b",
        "sender_public": masking.public_key(a),
    }
    assert masking.unseal(sealed, b, **right) == b"shares"
    wrong = [{"context": b"d"}, {"sender": "x"}, {"receiver": "x"}]
    for changed in wrong:
        with pytest.raises(ProtocolError, match="do not authenticate"):
            masking.unseal(sealed, b, **{**right, **changed})
    with pytest.raises(ProtocolError, match="do not authenticate"):
        masking.unseal(sealed, masking.new_private_key(), **right)


def test_encoding_tells_apart_what_concatenation_would_not():
    tuples = [("ab", "c"), ("a", "bc"), ("abc",), (["a", "b"], "c"), (["a"], ["b", "c"]), ([],)]
    assert len({encode(*parts) for parts in tuples}) == len(tuples)


def test_identity_round_trips_and_never_prints_its_private_key():
    identity = Identity.generate()
    assert Identity.from_bytes(identity.to_bytes()).public_key == identity.public_key
    assert str(identity.private_key) not in repr(identity)
    with pytest.raises(ValueError, match="expected 32"):
        Identity.from_bytes(b"short")


def test_roster_refuses_what_cannot_be_told_apart():
    key = Identity.generate().public_key
    other = Identity.generate().public_key
    for keys in ({"a": key}, {"a": key, "b": key}, {"a": key, "b": b"x"}, {"": key, "b": other}):
        with pytest.raises(ValueError, match="public_keys"):
            Roster(keys)
