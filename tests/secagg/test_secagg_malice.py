"""Clients refuse a server that lies."""

import numpy as np
import pytest
from secagg_federation import Federation, identity, names, replace, updates

from audit.core.errors import ProtocolError
from audit.core.parcel import Parcel
from training.secagg import masking, terms
from training.secagg.identity import Identity
from training.secagg.terms import RoundKeys, Terms


def lying(n, stage, change, *, only=None, colluders=0):
    """A federation whose server changes the requests of one stage (for one client)."""

    def tamper(at, client, request):
        hit = at == stage and only in (None, client)
        return replace(request, **change(request.fields, client)) if hit else request

    return Federation(n, colluders, tamper_request=tamper)


def swapped(values, index, value):
    return [value if i == index else old for i, old in enumerate(values)]


def refuses(federation, match):
    with pytest.raises(ProtocolError, match=match):
        federation.run(updates(federation.n, 7))


def signed_by(signer, federation, client):
    """Keys that the server made up for a client, signed by whatever identity it holds."""
    keys = RoundKeys(
        share=masking.public_key(masking.new_private_key()),
        mask=masking.public_key(masking.new_private_key()),
    )
    options = {name: federation.options[name] for name in ("roster", "colluders", "quantiser")}
    context = Terms(**options).context(federation.session)
    return keys, signer.sign(terms.keys_statement(context, client, keys))


def test_key_swapped_by_the_relaying_server_is_refused():
    def change(fields, client):
        return {"mask_keys": swapped(fields["mask_keys"], 1, bytes(range(32)))}

    refuses(lying(3, "shares", change, only="hospital-0"), "hospital-1: the signature")


def test_keys_signed_by_another_identity_are_refused():
    federation = Federation(3)
    keys, signature = signed_by(Identity.generate(), federation, "hospital-1")
    federation.tamper_request = lying(
        3,
        "shares",
        lambda fields, client: {
            "share_keys": swapped(fields["share_keys"], 1, keys.share),
            "mask_keys": swapped(fields["mask_keys"], 1, keys.mask),
            "signatures": swapped(fields["signatures"], 1, signature),
        },
    ).tamper_request
    refuses(federation, "hospital-1: the signature")


def test_own_keys_changed_are_refused_even_when_signed():
    federation = Federation(3)
    keys, signature = signed_by(identity(0), federation, "hospital-0")
    federation.tamper_request = lying(
        3,
        "shares",
        lambda fields, client: {
            "share_keys": swapped(fields["share_keys"], 0, keys.share),
            "mask_keys": swapped(fields["mask_keys"], 0, keys.mask),
            "signatures": swapped(fields["signatures"], 0, signature),
        },
    ).tamper_request
    refuses(federation, "were changed")


def listed(fields, keep):
    """The key list restricted to, or extended by, these indices."""
    lists = ("clients", "share_keys", "mask_keys", "signatures")
    return {name: [fields[name][i] for i in keep] for name in lists}


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda fields, client: listed(fields, [0, 1, 2, 2]), "named twice"),
        (lambda fields, client: listed(fields, [0]), "1 clients are left"),
        (lambda fields, client: listed(fields, [1, 2]), "hospital-0, who is asked, is missing"),
        (
            lambda fields, client: {"clients": swapped(fields["clients"], 2, "stranger")},
            "stranger: not in the roster",
        ),
        (
            lambda fields, client: {"mask_keys": swapped(fields["mask_keys"], 1, bytes(31))},
            "mask_keys: expected",
        ),
        (
            lambda fields, client: {
                "mask_keys": swapped(fields["mask_keys"], 1, fields["mask_keys"][2])
            },
            "listed twice",
        ),
        (lambda fields, client: {"signatures": fields["signatures"][:2]}, "signatures: expected"),
        (lambda fields, client: {"session": "another"}, "session: the server sent"),
        (lambda fields, client: {"protocol": "v0"}, "protocol: the server sent"),
        (lambda fields, client: {"clients": "hospital-0"}, "clients: expected a list"),
    ],
)
def test_malformed_key_list_is_refused(change, match):
    refuses(lying(3, "shares", change, only="hospital-0"), match)


def test_keys_replayed_from_another_session_are_refused():
    old = Federation(3, label="round-001")
    old.before()
    replayed = old.log[1][1]["hospital-0"].fields
    index = 1
    federation = Federation(
        3,
        label="round-002",
        tamper_request=lying(
            3,
            "shares",
            lambda fields, client: {
                name: swapped(fields[name], index, replayed[name][index])
                for name in ("share_keys", "mask_keys", "signatures")
            },
        ).tamper_request,
    )
    refuses(federation, "another session")


@pytest.mark.parametrize("position", [0, 12, 40, -1])
def test_tampered_ciphertext_is_refused_before_the_update_leaves(position):
    def change(fields, client):
        damaged = bytearray(fields["ciphertexts"][0])
        damaged[position] ^= 1
        return {"ciphertexts": swapped(fields["ciphertexts"], 0, bytes(damaged))}

    refuses(lying(3, "train", change, only="hospital-0"), "do not authenticate")


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda f, c: {"ciphertexts": f["ciphertexts"][::-1]}, "do not authenticate"),
        (lambda f, c: {"senders": f["senders"][:1]}, "senders: expected"),
        (lambda f, c: {"clients": ["hospital-1", "hospital-2"]}, "who is asked, is missing"),
        (lambda f, c: {"clients": ["hospital-0"]}, "1 clients are left"),
        (lambda f, c: {"clients": [*f["clients"], "stranger"]}, "advertised no keys"),
        (lambda f, c: {"ciphertexts": [b"short"] * 2}, "ciphertexts: expected"),
    ],
)
def test_malformed_train_request_is_refused(change, match):
    refuses(lying(3, "train", change, only="hospital-0"), match)


@pytest.mark.parametrize("stage", ["consistency", "unmask"])
@pytest.mark.parametrize(
    "change, match",
    [
        (lambda f, c: {"dead": ["hospital-1"]}, "named alive and dead"),
        (lambda f, c: {"survivors": [*f["survivors"], "hospital-9"]}, "no partners"),
        (lambda f, c: {"dead": ["hospital-9"]}, "no partners"),
        (lambda f, c: {"survivors": f["survivors"][:-1]}, "survivors and dead: expected"),
        (
            lambda f, c: {
                "survivors": [x for x in names(4) if x != c],
                "dead": [c],
            },
            "who is asked, is missing",
        ),
        (
            lambda f, c: {"survivors": [c], "dead": [x for x in names(4) if x != c]},
            "1 clients are left",
        ),
        (lambda f, c: {"survivors": [c, c, *f["survivors"]]}, "named twice"),
    ],
)
def test_dishonest_lists_are_refused(stage, change, match):
    refuses(lying(4, stage, change), match)


def test_client_outside_u2_named_a_survivor_is_refused():
    federation = lying(3, "consistency", lambda f, c: {"survivors": names(3)})
    federation.drops = {"hospital-2": "shares"}
    refuses(federation, "hospital-2.* no partners")


def test_lists_other_than_the_signed_ones_are_refused():
    def change(fields, client):
        if client == "hospital-3":
            return {}
        return {"survivors": names(4)[:3], "dead": ["hospital-3"]}

    refuses(lying(4, "unmask", change), "survivors: expected")


def test_server_that_shows_each_client_other_lists_opens_nothing():
    """Without agreement 5 clients (t = 3) would open the sum of hospitals 0 and 1 alone.

    Each list is admissible by itself, all five give shares of the seeds of 0 and 1, and 2, 3 and
    4 are named dead by three clients each, which is enough for their mask keys.
    """
    dead = {0: (2, 3), 1: (2, 4), 2: (3, 4), 3: (2, 4), 4: (2, 3)}
    lists = {}
    for client, lost in dead.items():
        alive = [name for index, name in enumerate(names(5)) if index not in lost]
        lists[names(5)[client]] = {"survivors": alive, "dead": [names(5)[i] for i in lost]}
    for victim in names(5)[2:]:
        assert sum(victim in shown["dead"] for shown in lists.values()) >= 3

    federation = lying(5, "consistency", lambda fields, client: lists[client])
    replies = federation.train(updates(5, 7))
    signatures = {}

    def capture(stage, requests):
        answered = federation.exchange(stage, requests)
        signatures.update(answered)
        return answered

    with pytest.raises(ProtocolError, match="signature does not verify"):
        federation.server.after_training(federation.session, replies, capture)
    for client, shown in lists.items():
        honest = [name for name in shown["survivors"] if lists[name] == shown]
        for signers in (honest, shown["survivors"]):
            request = terms.message(
                federation.session,
                **shown,
                signers=signers,
                signatures=[signatures[name].fields["signature"] for name in signers],
            )
            with pytest.raises(ProtocolError, match=r"clients are left|does not verify"):
                federation.answer(client, "unmask", Parcel(fields=request))


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda f, c: {"signers": [], "signatures": []}, "0 clients are left"),
        (
            lambda f, c: {"signers": f["signers"][:2], "signatures": f["signatures"][:2]},
            "2 clients",
        ),
        (lambda f, c: {"signatures": f["signatures"][::-1]}, "signature does not verify"),
        (lambda f, c: {"signers": ["x", *f["signers"][1:]]}, "no survivors"),
    ],
)
def test_unmask_without_enough_signatures_is_refused(change, match):
    refuses(lying(4, "unmask", change), match)


@pytest.mark.parametrize("stage", ["shares", "consistency", "unmask"])
def test_second_request_of_a_stage_is_refused(stage):
    federation = Federation(3)
    federation.run(updates(3, 7))
    request = next(sent for at, sent, _ in federation.log if at == stage)["hospital-0"]
    with pytest.raises(ProtocolError, match="has done 'unmask'"):
        federation.answer("hospital-0", stage, request)


def test_second_key_advertisement_and_second_masking_are_refused():
    federation = Federation(3)
    requests = federation.before()
    keys_request = federation.log[0][1]["hospital-0"]
    federation.protect("hospital-0", np.zeros(7), requests["hospital-0"])
    with pytest.raises(ProtocolError, match="already advertised"):
        federation.answer("hospital-0", "keys", keys_request)
    with pytest.raises(ProtocolError, match="has done 'train'"):
        federation.protect("hospital-0", np.ones(7), requests["hospital-0"])


def test_unmask_before_agreement_is_refused():
    federation = Federation(3)
    federation.train(updates(3, 7))
    lists = terms.message(federation.session, survivors=names(3), dead=[])
    with pytest.raises(ProtocolError, match="expected right after 'consistency'"):
        federation.answer("hospital-0", "unmask", Parcel(fields=lists))


def test_state_of_another_client_session_or_terms_is_refused():
    federation = Federation(3)
    requests = federation.before()
    request, update = requests["hospital-0"], np.zeros(7)
    client = federation.client("hospital-0")
    with pytest.raises(ProtocolError, match="another client's"):
        client.protect(federation.session, update, request, federation.state("hospital-1"))
    with pytest.raises(ProtocolError, match="no state"):
        client.protect(federation.session, update, request, None)
    weighted = Federation(3, weights=dict.fromkeys(names(3), 2)).client("hospital-0")
    with pytest.raises(ProtocolError, match="terms changed"):
        weighted.protect(federation.session, update, request, federation.state("hospital-0"))
    other = Federation(3, dimension=8).session
    with pytest.raises(ProtocolError, match="another session"):
        client.protect(other, np.zeros(8), request, federation.state("hospital-0"))
