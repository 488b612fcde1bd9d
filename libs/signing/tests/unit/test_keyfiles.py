"""Keys in files: what is written can be read, and what cannot be used says why, not what it is."""

import json

import pytest

from signing import keyfiles
from signing.errors import KeyUnusableError


def test_a_private_key_is_written_for_its_owner_alone_and_read_again(tmp_path, key):
    path = tmp_path / "shop.key"
    keyfiles.write_private(path, key)
    assert path.stat().st_mode & 0o777 == 0o600
    again = keyfiles.read_private(path)
    assert (again.signer, again.key_id, again.public_key) == ("shop", "2026-11", key.public_key)


def test_a_key_is_never_overwritten(tmp_path, key):
    path = tmp_path / "shop.key"
    keyfiles.write_private(path, key)
    before = path.read_bytes()
    with pytest.raises(KeyUnusableError, match="never overwritten"):
        keyfiles.write_private(path, key)
    assert path.read_bytes() == before
    with pytest.raises(KeyUnusableError, match="cannot be written"):
        keyfiles.write_private(tmp_path / "no" / "dir", key)


def test_a_key_that_everybody_can_read_is_not_used(tmp_path, key):
    path = tmp_path / "shop.key"
    keyfiles.write_private(path, key)
    path.chmod(0o604)
    with pytest.raises(KeyUnusableError, match=r"chmod 600 .*shop\.key"):
        keyfiles.read_private(path)


def test_a_key_shows_itself_nowhere(key):
    assert repr(key) == "SigningKey(shop/2026-11)"
    assert str(key) == repr(key)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda _: b"", "no line 'key: <signer>/<key id>'"),
        (lambda content: content.split(b"\n", 1)[1], "no line 'key: <signer>/<key id>'"),
        (lambda content: content.replace(b"key: shop", b"key: SHOP"), "no line 'key:"),
        (lambda content: content.split(b"\n", 1)[0] + b"\nsecret", "holds no private key"),
        (lambda content: content.replace(b"MC4", b"MC5"), "holds no private key"),
        (lambda _: b"x" * 70_000, "larger than"),
    ],
)
def test_a_file_that_holds_no_key_says_what_is_wrong_and_nothing_of_itself(
    tmp_path, key, edit, told
):
    path = tmp_path / "shop.key"
    keyfiles.write_private(path, key)
    content = edit(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(KeyUnusableError, match=told) as caught:
        keyfiles.read_private(path)
    assert "secret" not in str(caught.value)


def test_a_key_of_another_algorithm_is_not_used(tmp_path):
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    path = tmp_path / "shop.key"
    path.write_bytes(b"key: shop/1\n" + pem)
    path.chmod(0o600)
    with pytest.raises(KeyUnusableError, match="not an Ed25519 key"):
        keyfiles.read_private(path)


def test_a_file_that_is_not_there_is_told(tmp_path):
    for read in (keyfiles.read_private, keyfiles.read_trusted):
        with pytest.raises(KeyUnusableError, match="cannot be read"):
            read(tmp_path / "nothing")


def test_trusted_keys_are_read_by_signer(tmp_path, key, make):
    path = tmp_path / "trusted.json"
    listed = [{"id": "2026-11", "publicKey": key.public_key}]
    path.write_text(json.dumps({"keys": {"shop": listed, "other": []}}))
    ring = keyfiles.read_trusted(path)
    assert make.Sent().signed(key).verify(ring)
    assert ring.get("other", "2026-11") is None


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ('{"keys": {"shop": [{"id": "a", "publicKey": "AAAA"}]}}', "32 bytes in base64"),
        (
            '{"keys": {"s": [{"id": "a", "publicKey": "KEY"}, {"id": "a", "publicKey": "KEY"}]}}',
            "share an id",
        ),
    ],
)
def test_a_document_of_keys_that_cannot_be_used_says_where(tmp_path, key, document, told):
    path = tmp_path / "trusted.json"
    path.write_text(document.replace("KEY", key.public_key))
    with pytest.raises(KeyUnusableError, match=told) as caught:
        keyfiles.read_trusted(path)
    assert str(path) in str(caught.value)
