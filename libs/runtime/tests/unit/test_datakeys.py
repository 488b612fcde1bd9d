"""What a ring seals opens for the same purpose and place with the key that it names, not else."""

import base64
import json
import logging
import os
from pathlib import Path

import pytest

from runtime import datakeys, reloading
from runtime.datakeys import (
    DataKeyFile,
    DataKeys,
    DataKeyUnknownError,
    DataKeyUnusableError,
    KeyDocument,
    NotAuthenticError,
)

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
RING = DataKeys({"old": OLD, "new": NEW}, active="new")


def document(path: Path, *, active: str = "old", **keys: bytes) -> Path:
    content = {one: base64.b64encode(key).decode() for one, key in (keys or {"old": OLD}).items()}
    datakeys.write_document(path, KeyDocument(active=active, keys=content))
    return path


def test_what_is_sealed_opens_and_holds_nothing_of_the_content() -> None:
    content = b"canary" * 10
    sealed = RING.seal(content, purpose="test", bound_to=("dev", "a"))
    assert sealed.key_id == "new"
    assert len(sealed.data) == len(content) + datakeys.OVERHEAD
    assert b"canary" not in sealed.data
    assert RING.open("new", sealed.data, purpose="test", bound_to=("dev", "a")) == content


def test_the_same_content_is_never_sealed_twice_alike() -> None:
    assert RING.seal(b"x", purpose="test").data != RING.seal(b"x", purpose="test").data


def test_format_is_the_one_that_was_written_before() -> None:
    sealed = "000102030405060708090a0b9627350f6f6852f6060b529a6e1b4b19f3ece225fce6"
    opened = RING.open("old", bytes.fromhex(sealed), purpose="test", bound_to=("dev",))
    assert opened == b"golden"


@pytest.mark.parametrize("bit", range(0, 8 * (6 + datakeys.OVERHEAD), 7))
def test_one_bit_anywhere_and_it_does_not_open(bit: int) -> None:
    data = bytearray(RING.seal(b"golden", purpose="test").data)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NotAuthenticError, match="changed"):
        RING.open("new", bytes(data), purpose="test")


@pytest.mark.parametrize(
    ("purpose", "bound_to"),
    [
        ("other", ("dev", "a")),
        ("test", ("prod", "a")),
        ("test", ("dev",)),
        ("test", ("deva",)),
        ("test", ("de", "va")),
        ("test", ()),
    ],
)
def test_it_opens_for_no_other_purpose_or_place(purpose: str, bound_to: tuple[str, ...]) -> None:
    sealed = RING.seal(b"x", purpose="test", bound_to=("dev", "a"))
    with pytest.raises(NotAuthenticError):
        RING.open("new", sealed.data, purpose=purpose, bound_to=bound_to)


def test_another_key_under_the_id_does_not_open_it() -> None:
    sealed = RING.seal(b"x", purpose="test")
    with pytest.raises(NotAuthenticError, match="another one"):
        DataKeys({"new": OLD}, active="new").open("new", sealed.data, purpose="test")
    with pytest.raises(DataKeyUnknownError, match="'new', which is not in the file"):
        DataKeys({"old": OLD}, active="old").open("new", sealed.data, purpose="test")


@pytest.mark.parametrize("data", [b"", b"short", bytes(12), bytes(27)])
def test_what_is_too_short_is_not_authentic(data: bytes) -> None:
    with pytest.raises(NotAuthenticError):
        RING.open("new", data, purpose="test")


def test_a_pseudonym_is_the_same_for_the_same_content_and_key() -> None:
    assert RING.pseudonym(b"a", purpose="p") == RING.pseudonym(b"a", purpose="p")
    others = [
        RING.pseudonym(b"b", purpose="p"),
        RING.pseudonym(b"a", purpose="q"),
        DataKeys({"old": OLD}, active="old").pseudonym(b"a", purpose="p"),
    ]
    assert RING.pseudonym(b"a", purpose="p") not in others


def test_keys_are_not_shown(tmp_path: Path) -> None:
    shown = (
        f"{RING!r} {DataKeyFile(document(tmp_path / 'ring'))!r} {RING.seal(b'x', purpose='t')!r}"
    )
    assert "active new" in shown
    for key in (OLD, NEW):
        assert base64.b64encode(key).decode()[:16] not in shown
        assert repr(key)[2:20] not in shown


def test_a_file_is_read_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(reloading.time, "monotonic", lambda: now[0])
    path = document(tmp_path / "ring")
    file = DataKeyFile(path)
    first = file.newest()
    document(path, active="new", old=OLD, new=NEW)
    assert file.newest() is first, "it is looked at once a second at the most"
    now[0] += 1.1
    assert file.newest().active == "new"
    assert file.newest().ids == {"old", "new"}


def test_a_file_that_cannot_be_used_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(reloading.time, "monotonic", lambda: now[0])
    path = document(tmp_path / "ring")
    file = DataKeyFile(path)
    first = file.newest()
    for wrong in ("{", '{"active": "x", "keys": {}}'):
        path.write_text(wrong)
        now[0] += 1.1
        with caplog.at_level(logging.WARNING):
            assert file.newest() is first
    path.unlink()
    now[0] += 1.1
    assert file.newest() is first


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no file of data keys"),
        ('{"active": "a", "keys": {"a": "c2VjcmV0"}}', "'a' is not 32 bytes in base64"),
        ('{"active": "a", "keys": {"a": "!secret!"}}', "'a' is not 32 bytes in base64"),
        ('{"active": "b", "keys": {"a": "%s"}}', "'b' is not among the keys"),
        ('{"active": "a", "keys": {"a": "%s", "b": "%s"}}', "two ids name the same key"),
        ('{"active": "a", "keys": {"a": "%s"}, "secret": 1}', "no file of data keys"),
        ('{"active": "a b", "keys": {"a b": "%s"}}', "no file of data keys"),
        ('{"active": "a", "keys": {}}', "no file of data keys"),
    ],
)
def test_a_file_that_is_no_ring_is_refused_without_quoting_it(
    tmp_path: Path, content: str, said: str
) -> None:
    key = base64.b64encode(OLD).decode()
    path = tmp_path / "ring"
    path.write_text(content.replace("%s", key))
    path.chmod(0o600)
    with pytest.raises(DataKeyUnusableError, match=said) as raised:
        datakeys.read_document(path)
    assert str(path) in str(raised.value)
    for secret in (key, "c2VjcmV0", "!secret!"):
        assert secret not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_file_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    path = document(tmp_path / "ring")
    path.chmod(0o640)
    datakeys.read_document(path)
    path.chmod(0o644)
    with pytest.raises(DataKeyUnusableError, match="chmod 600"):
        datakeys.read_document(path)


def test_a_file_that_is_too_large_or_not_there_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    with pytest.raises(DataKeyUnusableError, match="cannot be read"):
        datakeys.read_document(path)
    path.write_bytes(b" " * (datakeys.MAX_FILE_BYTES + 1))
    path.chmod(0o600)
    with pytest.raises(DataKeyUnusableError, match="larger than"):
        datakeys.read_document(path)


def test_a_file_is_written_for_its_owner_alone_and_at_once(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = document(tmp_path / "ring")
        document(path, active="new", new=NEW)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["active"] == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["ring"]
    with pytest.raises(DataKeyUnusableError, match="cannot be written"):
        document(tmp_path / "missing" / "ring")
