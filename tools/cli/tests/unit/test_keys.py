"""Pairs of keys, and the public ones in the registry: made, added, rotated, revoked."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.producers import Producer
from signing import keyfiles


@pytest.fixture
def pair(backbone: Any, tmp_path: Path) -> Any:
    def pair(key_id: str = "2026-11", signer: str = "shop") -> dict[str, Any]:
        words = ("keys", "new", signer, key_id, "-d", str(tmp_path), "-o", "json")
        result = backbone(*words)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return pair


@pytest.fixture
def keys(backbone: Any, stack: Path, services: Any) -> Any:
    """Apply a producer, and return what its keys are now."""
    document = {
        "apiVersion": "backbone/v1",
        "kind": "Producer",
        "metadata": {"id": "shop", "namespace": "dev", "owner": "tests"},
        "spec": {"sources": ["shop"], "types": ["*"]},
    }
    assert backbone("apply", "-f", "-", stdin=json.dumps(document)).exit_code == 0

    def keys() -> list[dict[str, Any]]:
        listed = backbone("keys", "list", "shop", "-o", "json")
        assert listed.exit_code == 0, listed.stderr
        return [json.loads(line) for line in listed.stdout.splitlines()]

    return keys


def spec(backbone: Any) -> Any:
    shown = backbone("get", "shop", "--kind", "producer", "-o", "json")
    content = json.loads(shown.stdout)["content"]
    Producer.model_validate(content)
    return content["spec"]


def test_the_secret_is_in_a_file_of_its_owner_and_nowhere_else(
    backbone: Any, tmp_path: Path
) -> None:
    result = backbone("keys", "new", "shop", "2026-11", "-d", str(tmp_path))
    assert result.exit_code == 0
    private = tmp_path / "shop.2026-11.key"
    assert private.stat().st_mode & 0o777 == 0o600
    key = keyfiles.read_private(private)
    public = json.loads((tmp_path / "shop.2026-11.pub.json").read_text())
    assert public == {"signer": "shop", "id": "2026-11", "publicKey": key.public_key}
    secret = private.read_text().splitlines()[2]
    assert secret not in result.stdout + result.stderr
    again = backbone("keys", "new", "shop", "2026-11", "-d", str(tmp_path))
    assert again.exit_code == 1
    assert "never overwritten" in again.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("Shop", "1"), "'Shop' is no signer"),
        (("shop/x", "1"), "is no signer"),
        (("shop", "../x"), "is no key id"),
    ],
)
def test_a_name_that_no_signature_could_hold_is_refused(
    backbone: Any, tmp_path: Path, words: Any, told: str
) -> None:
    result = backbone("keys", "new", *words, "-d", str(tmp_path))
    assert result.exit_code == 2
    assert told in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_registered_and_the_others_end_with_an_overlap(
    backbone: Any, keys: Any, pair: Any
) -> None:
    old, next_ = pair(), pair("2026-12")
    assert keys() == []
    assert backbone("keys", "register", "shop", old["public_file"]).exit_code == 0
    assert [key["id"] for key in keys()] == ["2026-11"]
    end = ("--others-until", "2026-12-02T00:00:00Z", "--required")
    result = backbone("keys", "register", "shop", next_["public_file"], *end)
    assert result.exit_code == 0, result.stderr
    assert keys() == [
        {"id": "2026-11", "publicKey": old["publicKey"], "notAfter": "2026-12-02T00:00:00Z"},
        {"id": "2026-12", "publicKey": next_["publicKey"]},
    ]
    assert spec(backbone)["signatures"] == "required"


def test_a_key_is_revoked_with_a_reason_and_stays_to_be_seen(
    backbone: Any, keys: Any, pair: Any, services: Any
) -> None:
    backbone("keys", "register", "shop", pair()["public_file"])
    result = backbone("keys", "revoke", "shop", "2026-11", "--reason", "it was on a laptop")
    assert result.exit_code == 0, result.stderr
    [key] = keys()
    assert key["revokedAt"].endswith("Z")
    assert services.registry.changes[-1][1].reason == "it was on a laptop"
    assert backbone("keys", "revoke", "shop", "2026-11").exit_code == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("revoke", "shop", "other", "--reason", "r"), "has no key 'other'"),
        (("register", "shop", "FILE"), "has a key '2026-11' already"),
        (("register", "other", "FILE"), "holds a key of 'shop'"),
        (("register", "shop", "SECRET"), "is no public key"),
        (("register", "shop", "none.json"), "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(
    backbone: Any, keys: Any, pair: Any, words: Any, told: str
) -> None:
    made = pair()
    backbone("keys", "register", "shop", made["public_file"])
    before = keys()
    files = {"FILE": made["public_file"], "SECRET": made["private_file"]}
    result = backbone("keys", *[files.get(word, word) for word in words])
    assert result.exit_code in {1, 2}
    assert told in result.stderr
    assert keys() == before


def test_the_document_of_trusted_keys_is_one_that_is_read(
    backbone: Any, pair: Any, tmp_path: Path
) -> None:
    made = [pair("1", "ledger"), pair("2", "ledger"), pair("1", "registry")]
    result = backbone("keys", "trust", *[one["public_file"] for one in made])
    assert result.exit_code == 0, result.stderr
    path = tmp_path / "trusted.json"
    path.write_text(result.stdout)
    ring = keyfiles.read_trusted(path)
    assert all(ring.get(one["signer"], one["id"]) for one in made)
    twice = backbone("keys", "trust", made[0]["public_file"], made[0]["public_file"])
    assert (twice.exit_code, "share an id" in twice.stderr) == (2, True)
