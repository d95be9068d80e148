"""What a client hands in: refused by the client itself, or by the server."""

import numpy as np
import pytest
from secagg_federation import Federation, names, updates

from audit.core.errors import ProtocolError
from audit.core.parcel import Parcel


def refuses(federation, match):
    with pytest.raises(ProtocolError, match=match):
        federation.run(updates(federation.n, 7))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_update_that_is_not_finite_is_refused(value):
    vectors = updates(3, 7)
    vectors["hospital-1"][2] = value
    with pytest.raises(ProtocolError, match="NaN or infinite"):
        Federation(3).run(vectors)


def test_update_of_the_wrong_shape_is_refused():
    with pytest.raises(ProtocolError, match="shape"):
        Federation(3).run(updates(3, 8))


def test_unknown_stage_is_refused():
    federation = Federation(3)
    with pytest.raises(ProtocolError, match="no stage"):
        federation.answer("hospital-0", "evaluate", Parcel())


def dishonest(stage, change, *, drops=None):
    """A federation in which hospital-1 changes its replies of one stage."""

    def tamper(at, client, reply):
        if (at, client) != (stage, "hospital-1"):
            return reply
        arrays = {"masked": change(reply.arrays["masked"])} if at == "train" else {}
        fields = {} if at == "train" else change(reply.fields)
        return Parcel(arrays=arrays, fields={**reply.fields, **fields})

    return Federation(4, drops=drops, tamper_reply=tamper)


def flipped(share):
    return share[:-1] + bytes([share[-1] ^ 1])


@pytest.mark.parametrize(
    "stage, change, match",
    [
        ("keys", lambda f: {"signature": bytes(64)}, "hospital-1: the signature"),
        ("keys", lambda f: {"share_key": b"x"}, "share_key: expected 32 bytes"),
        ("shares", lambda f: {"receivers": f["receivers"][:1]}, "receivers: expected"),
        ("shares", lambda f: {"commitment": bytes(32)}, "do not give the committed seed"),
        ("shares", lambda f: {"session": "other"}, "session: hospital-1 sent"),
        ("train", lambda a: a.astype(np.uint64), "masked: expected uint32"),
        ("train", lambda a: a[:-1], "masked: expected uint32 of shape"),
        ("consistency", lambda f: {"signature": bytes(64)}, "hospital-1: the signature"),
        (
            "unmask",
            lambda f: {"seed_shares": [flipped(s) for s in f["seed_shares"]]},
            "committed seed|do not belong together",
        ),
        (
            "unmask",
            lambda f: {"key_shares": [flipped(s) for s in f["key_shares"]]},
            "mask key|do not belong together",
        ),
        ("unmask", lambda f: {"seed_shares": f["seed_shares"][:1]}, "seed_shares: expected"),
        ("unmask", lambda f: {"seed_shares": [b"\xff" * 66] * 3}, "field element"),
        ("unmask", lambda f: {"dead": []}, "answered for other clients"),
    ],
)
def test_server_refuses_an_inconsistent_reply(stage, change, match):
    federation = dishonest(stage, change, drops={"hospital-3": "train"})
    refuses(federation, match)


def test_garbage_in_a_masked_vector_is_refused_when_the_sum_leaves_the_range():
    federation = dishonest("train", lambda a: a + np.uint32(2**31))
    refuses(federation, "outside the public range")


def test_server_refuses_a_reply_of_a_client_that_was_not_asked():
    federation = Federation(3)
    with pytest.raises(ProtocolError, match="not in the roster"):
        federation.server.before_training(federation.session, ["x", *names(3)], None)

    def extra(stage, requests):
        replies = federation.exchange(stage, requests)
        return {**replies, "hospital-2": replies["hospital-0"]}

    with pytest.raises(ProtocolError, match="was not asked"):
        federation.server.before_training(federation.session, names(2), extra)
