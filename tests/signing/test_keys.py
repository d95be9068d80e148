"""Key pairs: made once, never overwritten, and read with an error that says what is wrong."""

import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from audit.core.errors import AuditError, ConfigError
from audit.signing.keys import generate_key_pair, load_private_key, load_public_key


def test_a_key_pair_can_be_read_again(tmp_path):
    made = generate_key_pair(tmp_path / "keys")
    private = load_private_key(tmp_path / "keys" / "audit.key")
    public = load_public_key(tmp_path / "keys" / "audit.pub")
    assert public == made == private.public_key


def test_keys_and_their_folder_are_private(tmp_path):
    generate_key_pair(tmp_path / "keys")
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "keys").iterdir()}
    assert modes == {"audit.key": 0o600, "audit.pub": 0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_two_key_pairs_differ(tmp_path):
    assert generate_key_pair(tmp_path / "a").keyid != generate_key_pair(tmp_path / "b").keyid


@pytest.mark.parametrize("name", ["audit.key", "audit.pub"])
def test_an_existing_file_is_kept_and_nothing_else_is_written(tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(ConfigError, match="exists"):
        generate_key_pair(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_a_dangling_link_is_not_followed(tmp_path):
    (tmp_path / "audit.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="exists"):
        generate_key_pair(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_is_no_folder_for_keys(tmp_path):
    (tmp_path / "keys").write_text("x")
    with pytest.raises(ConfigError, match="expected a folder"):
        generate_key_pair(tmp_path / "keys")
    with pytest.raises(ConfigError, match="expected a folder"):
        generate_key_pair(tmp_path / "keys" / "below")


def test_the_wrong_half_is_named(tmp_path):
    generate_key_pair(tmp_path)
    with pytest.raises(ConfigError, match="holds a public key"):
        load_private_key(tmp_path / "audit.pub")
    with pytest.raises(ConfigError, match="holds a private key"):
        load_public_key(tmp_path / "audit.key")


@pytest.mark.parametrize("load", [load_private_key, load_public_key])
def test_missing_and_damaged_files_are_configuration_errors(tmp_path, load):
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none")
    with pytest.raises(ConfigError, match="directory"):
        load(tmp_path)
    (tmp_path / "bad").write_bytes(b"\x00 not a key")
    with pytest.raises(ConfigError, match="damaged; expected an Ed25519"):
        load(tmp_path / "bad")


def test_a_truncated_key_is_damaged(tmp_path):
    generate_key_pair(tmp_path)
    for name, load in (("audit.key", load_private_key), ("audit.pub", load_public_key)):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ConfigError, match="damaged"):
            load(tmp_path / name)


def test_an_encrypted_key_is_refused(tmp_path):
    generate_key_pair(tmp_path)
    key = load_pem_private_key((tmp_path / "audit.key").read_bytes(), password=None)
    encrypted = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (tmp_path / "locked").write_bytes(encrypted)
    with pytest.raises(ConfigError, match="encrypted"):
        load_private_key(tmp_path / "locked")


@pytest.mark.parametrize(
    ("key", "word"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "EllipticCurve|EC"),
        (rsa.generate_private_key(65537, 2048), "RSA"),
    ],
)
def test_another_algorithm_is_named(tmp_path, key, word):
    (tmp_path / "k").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (tmp_path / "p").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(ConfigError, match=f"({word}).*expected an Ed25519 private key"):
        load_private_key(tmp_path / "k")
    with pytest.raises(ConfigError, match=f"({word}).*expected an Ed25519 public key"):
        load_public_key(tmp_path / "p")


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("audit.signing.keys.os.fsync", full)
    with pytest.raises(AuditError, match="No space left"):
        generate_key_pair(tmp_path / "keys")
    assert list((tmp_path / "keys").iterdir()) == []
