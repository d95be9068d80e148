"""A file and its signature: one spelling only, and every change is found."""

import base64
import json

import pytest

from audit.core.errors import ConfigError, IntegrityError
from audit.signing.canonical import canonical_json, parse_strictly
from audit.signing.keys import generate_key_pair, load_private_key
from audit.signing.signed_file import check_file, sign_file, signature_path


@pytest.fixture
def key(tmp_path):
    generate_key_pair(tmp_path / "keys")
    return load_private_key(tmp_path / "keys" / "audit.key")


@pytest.fixture
def signed(tmp_path, key):
    path = tmp_path / "baseline.json"
    path.write_bytes(b'{"claimed_epsilon": 1.0}\n')
    sign_file(path, key)
    return path


def test_a_signed_file_is_returned_as_it_was_checked(signed, key):
    assert check_file(signed, key.public_key) == b'{"claimed_epsilon": 1.0}\n'


def test_signing_again_gives_the_same_bytes(signed, key):
    before = signature_path(signed).read_bytes()
    sign_file(signed, key)
    assert signature_path(signed).read_bytes() == before


def test_the_envelope_holds_the_file_for_any_dsse_tool(signed):
    envelope = json.loads(signature_path(signed).read_bytes())
    assert base64.b64decode(envelope["payload"]) == signed.read_bytes()


def test_a_changed_file_is_found(signed, key):
    signed.write_bytes(signed.read_bytes().replace(b"1.0", b"2.0"))
    with pytest.raises(IntegrityError, match=r"baseline\.json was changed"):
        check_file(signed, key.public_key)


def test_an_unsigned_and_a_missing_file_are_told_apart(signed, key):
    signature_path(signed).unlink()
    with pytest.raises(IntegrityError, match="not signed"):
        check_file(signed, key.public_key)
    signed.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        check_file(signed, key.public_key)
    with pytest.raises(ConfigError, match="no such file"):
        sign_file(signed, key)


def test_another_key_is_found(signed, tmp_path):
    other = generate_key_pair(tmp_path / "other")
    with pytest.raises(IntegrityError, match="another key id"):
        check_file(signed, other)


def _again(signed, change):
    """Rewrite the envelope after a change to its parsed form, canonically."""
    envelope = json.loads(signature_path(signed).read_bytes())
    change(envelope)
    signature_path(signed).write_bytes(canonical_json(envelope))


def test_another_signers_signature_under_the_expected_key_id_is_found(signed, tmp_path, key):
    generate_key_pair(tmp_path / "other")
    sign_file(signed, load_private_key(tmp_path / "other" / "audit.key"))
    _again(signed, lambda e: e["signatures"][0].update(keyid=key.public_key.keyid))
    with pytest.raises(IntegrityError, match="signature that is not of the given key"):
        check_file(signed, key.public_key)


def _other_signature(envelope):
    (signature,) = envelope["signatures"]
    first = "B" if signature["sig"][0] == "A" else "A"
    signature["sig"] = first + signature["sig"][1:]


CHANGES = {
    "key id altered": (
        lambda e: e["signatures"][0].update(keyid="0" * 64),
        "another key id",
    ),
    "key id left out": (lambda e: e["signatures"][0].pop("keyid"), "keyid, sig only"),
    "second signature": (
        lambda e: e["signatures"].append(dict(e["signatures"][0])),
        "2 signatures; expected exactly one",
    ),
    "no signatures": (lambda e: e["signatures"].clear(), "0 signatures"),
    "signatures no list": (lambda e: e.update(signatures={}), "no list of signatures"),
    "payload type changed": (lambda e: e.update(payloadType="text/plain"), "another payload type"),
    "field added": (lambda e: e.update(note=""), "payload, payloadType, signatures only"),
    "signature field added": (lambda e: e["signatures"][0].update(cert=""), "keyid, sig only"),
    "signature changed": (_other_signature, "not of the given key"),
    "signature empty": (lambda e: e["signatures"][0].update(sig=""), "not of the given key"),
    "padding left out": (lambda e: e.update(payload=e["payload"].rstrip("=")), "strict base64"),
    "padding added": (lambda e: e.update(payload=e["payload"] + "===="), "strict base64"),
    "newline in base64": (lambda e: e.update(payload=e["payload"][:8] + "\n" + e["payload"][8:]),
                          "strict base64"),
    "newline after base64": (lambda e: e.update(payload=e["payload"] + "\n"), "strict base64"),
    "payload no text": (lambda e: e.update(payload=1), "strict base64"),
    "payload not ASCII": (lambda e: e.update(payload="é" + e["payload"]), "strict base64"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_envelope_is_found(signed, key, name):
    change, reason = CHANGES[name]
    _again(signed, change)
    with pytest.raises(IntegrityError, match=reason):
        check_file(signed, key.public_key)


@pytest.mark.parametrize("unused", ["unused bits", "url-safe letters"])
def test_base64_that_a_lax_reader_takes_for_the_same_is_found(tmp_path, key, unused):
    path = tmp_path / "baseline.json"
    path.write_bytes(b'"\xc3\xbf\xc3\xbf\xc3\xbf>"' + b" " * (unused == "unused bits"))
    sign_file(path, key)

    def change(envelope):
        if unused == "unused bits":
            bare = envelope["payload"].rstrip("=")
            assert bare != envelope["payload"]
            envelope["payload"] = (
                bare[:-1] + chr(ord(bare[-1]) + 1) + "=" * (len(envelope["payload"]) - len(bare))
            )
        else:
            changed = envelope["payload"].translate(str.maketrans("+/", "-_"))
            assert changed != envelope["payload"]
            envelope["payload"] = changed

    _again(path, change)
    with pytest.raises(IntegrityError, match="strict base64"):
        check_file(path, key.public_key)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c + b"\n",
        lambda c: b" " + c,
        lambda c: c.replace(b":", b": ", 1),
        lambda c: b"\xef\xbb\xbf" + c,
        lambda c: c[:-1],
        lambda c: b"",
        lambda c: c.replace(b"payloadType", b"payload\\u0054ype"),
        lambda c: c.replace(b'{"payload"', b'{"payload":"","payload"', 1),
        lambda c: b"[" * 100_000,
        lambda c: b"[NaN]",
        lambda c: b"null",
    ],
)
def test_other_bytes_for_the_same_envelope_are_found(signed, key, change):
    beside = signature_path(signed)
    beside.write_bytes(change(beside.read_bytes()))
    with pytest.raises(IntegrityError, match=r"baseline\.json\.dsse\.json"):
        check_file(signed, key.public_key)


def test_every_flipped_bit_of_the_envelope_is_found(signed, key):
    beside = signature_path(signed)
    original = beside.read_bytes()
    for position in range(len(original)):
        for bit in (0x01, 0x20):
            changed = bytearray(original)
            changed[position] ^= bit
            beside.write_bytes(changed)
            with pytest.raises(IntegrityError):
                check_file(signed, key.public_key)


def test_a_key_that_stands_twice_is_refused():
    with pytest.raises(IntegrityError, match="'a' stands twice"):
        parse_strictly(b'{"a": 1, "b": {}, "a": 1}', where="x")


def test_canonical_json_is_that_of_the_standard():
    # RFC 8785, section 3.2.2: the sample object.
    given = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '€$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    assert canonical_json(given).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
