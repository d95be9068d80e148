"""The opened mean is the plain mean, up to rounding, for every allowed drop-out."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from secagg_federation import (
    QUANTISER,
    STAGES,
    Federation,
    dump,
    load,
    names,
    plain_mean,
    roster,
    updates,
)

from audit.core.errors import ProtocolError
from training.secagg.identity import Identity
from training.secagg.masked_client import MaskedClient
from training.secagg.masked_server import MaskedServer
from training.secagg.plain import PlainClient, PlainServer
from training.secagg.protocol import Session
from training.secagg.quantise import Quantiser
from training.secagg.threshold import allowed_dropouts

BEFORE_UNMASKING = ("keys", "shares", "train")


@st.composite
def federations(draw):
    """n, colluders, an allowed pattern of drop-outs, weights, rounding."""
    n = draw(st.integers(2, 6))
    colluders = draw(st.integers(0, n - 1))
    lost = draw(st.permutations(names(n)))[: draw(st.integers(0, allowed_dropouts(n, colluders)))]
    drops = {name: draw(st.sampled_from(STAGES)) for name in lost}
    weights = draw(
        st.none() | st.fixed_dictionaries({name: st.integers(1, 50_000) for name in names(n)})
    )
    quantiser = Quantiser(
        clip_range=draw(st.floats(1e-3, 1e3)),
        bits=draw(st.sampled_from([2, 8, 16, 20, 24, 32])),
        stochastic=draw(st.booleans()),
    )
    return n, colluders, drops, weights, quantiser, draw(st.integers(0, 2**32 - 1))


@settings(derandomize=True, deadline=None, max_examples=120)
@given(federations())
def test_sum_equals_the_plain_sum_within_half_a_step_per_client(case):
    n, colluders, drops, weights, quantiser, seed = case
    federation = Federation(n, colluders, drops=drops, weights=weights, quantiser=quantiser)
    vectors = updates(n, 7, seed, scale=quantiser.clip_range)
    aggregate = federation.run(vectors)

    expected = tuple(name for name in names(n) if drops.get(name) not in BEFORE_UNMASKING)
    assert aggregate.survivors == expected
    total_weight = sum((weights or dict.fromkeys(names(n), 1))[name] for name in expected)
    error = np.abs(aggregate.mean - plain_mean(vectors, expected, weights)) * total_weight
    steps = total_weight / 2 if not quantiser.stochastic else total_weight
    assert error.max() <= steps * quantiser.step * (1 + 1e-5)


@pytest.mark.parametrize("n, colluders", [(3, 0), (4, 0), (5, 1)])
def test_every_single_dropout_at_every_stage_leaves_the_sum_of_the_rest(n, colluders):
    for name, stage in itertools.product(names(n), STAGES):
        vectors = updates(n, 3)
        federation = Federation(n, colluders, drops={name: stage}, dimension=3)
        aggregate = federation.run(vectors)
        assert (name in aggregate.survivors) == (stage not in BEFORE_UNMASKING)
        mean = plain_mean(vectors, aggregate.survivors, None)
        assert np.abs(aggregate.mean - mean).max() <= QUANTISER.step / 2


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("n, colluders", [(2, 0), (3, 0), (3, 1), (5, 2)])
def test_one_dropout_too_many_raises_and_says_how_many_are_needed(n, colluders, stage):
    lost = names(n)[: allowed_dropouts(n, colluders) + 1]
    federation = Federation(n, colluders, drops=dict.fromkeys(lost, stage))
    left, needed = n - len(lost), n - allowed_dropouts(n, colluders)
    with pytest.raises(ProtocolError, match=rf"{left} clients are left .* {needed} of {n}"):
        federation.run(updates(n, 7))


def test_nobody_answering_raises():
    with pytest.raises(ProtocolError, match=r"0 clients are left \(none\)"):
        Federation(3, drops=dict.fromkeys(names(3), "train")).run(updates(3, 7))


def test_restarted_server_sends_byte_identical_requests():
    federation = Federation(4)
    first = federation.before()
    recorded = {stage: (sent, replies) for stage, sent, replies in federation.log}

    def replay(stage, requests):
        sent, replies = recorded[stage]
        assert {name: dump(parcel) for name, parcel in requests.items()} == {
            name: dump(parcel) for name, parcel in sent.items()
        }
        return dict(reversed(replies.items()))

    server = MaskedServer(**federation.options)
    again = server.before_training(federation.session, list(reversed(names(4))), replay)
    assert {name: dump(p) for name, p in again.items()} == {n: dump(p) for n, p in first.items()}
    vectors = updates(4, 7)
    replies = {name: federation.protect(name, vectors[name], again[name]) for name in again}
    mean = server.after_training(federation.session, replies, federation.exchange).mean
    assert np.abs(mean - plain_mean(vectors, tuple(names(4)), None)).max() <= QUANTISER.step / 2


def test_several_sessions_may_be_open_at_once():
    first, second = Federation(3, label="a"), Federation(3, label="b")
    second.server = first.server
    one, two = first.train(updates(3, 7, 1)), second.train(updates(3, 7, 2))
    for federation, replies, seed in ((first, one, 1), (second, two, 2)):
        mean = federation.server.after_training(
            federation.session, replies, federation.exchange
        ).mean
        assert np.allclose(mean, plain_mean(updates(3, 7, seed), tuple(names(3)), None), atol=1e-4)


def test_after_training_without_before_training_raises():
    federation = Federation(3)
    with pytest.raises(ProtocolError, match="not prepared"):
        federation.server.after_training(federation.session, {}, federation.exchange)


def test_words_are_as_wide_as_the_weighted_sum_of_all_clients_needs():
    narrow, wide = Federation(3), Federation(3, weights=dict.fromkeys(names(3), 60_000))
    assert narrow.train(updates(3, 7))["hospital-0"].arrays["masked"].dtype == np.uint32
    assert wide.train(updates(3, 7))["hospital-0"].arrays["masked"].dtype == np.uint64


def test_clip_count_stays_in_the_client_state():
    federation = Federation(3)
    vectors = updates(3, 7)
    vectors["hospital-1"][:4] = 5.0
    aggregate = federation.run(vectors)
    assert federation.state("hospital-1").fields["clipped"] == 4
    assert federation.state("hospital-0").fields["clipped"] == 0
    assert not hasattr(aggregate, "clipped")
    for _, _, replies in federation.log:
        assert all("clipped" not in reply.fields for reply in replies.values())


@pytest.mark.parametrize(
    "changed",
    [
        {"weights": {"hospital-0": 2, "hospital-1": 1, "hospital-2": 1}},
        {"colluders": 1},
        {"quantiser": Quantiser(clip_range=2.0, bits=16)},
    ],
)
def test_server_with_other_public_terms_is_refused(changed):
    federation = Federation(3)
    federation.server = MaskedServer(**{**federation.options, **changed})
    with pytest.raises(ProtocolError, match="different public terms"):
        federation.run(updates(3, 7))


def test_impossible_options_are_refused():
    options = {"roster": roster(3), "colluders": 0, "quantiser": QUANTISER}
    with pytest.raises(ValueError, match="colluders"):
        MaskedServer(**{**options, "colluders": 3})
    with pytest.raises(ValueError, match="weights"):
        MaskedServer(**options, weights={"hospital-0": 1})
    with pytest.raises(ValueError, match="weights"):
        MaskedServer(**options, weights=dict.fromkeys(names(3), 0))
    with pytest.raises(ValueError, match="2\\^53"):
        MaskedServer(**options, weights=dict.fromkeys(names(3), 2**40))
    with pytest.raises(ValueError, match="identity"):
        MaskedClient("hospital-0", identity=Identity.generate(), **options)


def test_parties_can_be_copied_to_another_process():
    federation = Federation(3)
    federation.server = copy.deepcopy(federation.server)
    client = copy.deepcopy(federation.client("hospital-0"))
    assert client.client_id == "hospital-0"
    assert federation.run(updates(3, 7)).survivors == tuple(names(3))


def test_state_survives_serialisation_unchanged():
    federation = Federation(3, drops={"hospital-2": "train"})
    federation.run(updates(3, 7))
    state = federation.state("hospital-0")
    assert load(dump(state)).fields == state.fields
    assert state.fields["stage"] == "unmask"


@pytest.mark.parametrize("weights", [None, {"a": 3, "b": 1, "c": 2}])
def test_plain_protocol_gives_the_weighted_mean_of_those_that_replied(weights):
    session = Session(label="plain", dimension=5)
    vectors = {name: np.random.default_rng(i).normal(size=5) for i, name in enumerate("abc")}
    server = PlainServer(weights=weights)
    requests = server.before_training(session, ["c", "a", "b"], lambda *_: {})
    assert list(requests) == ["a", "b", "c"]
    replies = {
        name: PlainClient(name).protect(session, vectors[name], requests[name], None)[0]
        for name in ("a", "c")
    }
    assert replies["a"].arrays["update"].dtype == np.float32
    aggregate = server.after_training(session, replies, lambda *_: {})
    assert aggregate.survivors == ("a", "c")
    assert np.allclose(aggregate.mean, plain_mean(vectors, ("a", "c"), weights), atol=1e-6)


def test_plain_protocol_refuses_what_it_cannot_average():
    session = Session(label="plain", dimension=2)
    server, client = PlainServer(weights={"a": 1}), PlainClient("a")
    request = server.before_training(session, ["a"], lambda *_: {})["a"]
    for update in (np.array([1.0, np.nan]), np.array([1.0, 1e300]), np.zeros(3)):
        with pytest.raises(ProtocolError):
            client.protect(session, update, request, None)
    with pytest.raises(ProtocolError, match="0 clients"):
        server.after_training(session, {}, lambda *_: {})
    reply, _ = client.protect(session, np.zeros(2), request, None)
    with pytest.raises(ProtocolError, match="no weight"):
        server.after_training(session, {"b": reply}, lambda *_: {})
    with pytest.raises(ProtocolError, match="no such stage"):
        client.answer(session, "keys", request, None)
