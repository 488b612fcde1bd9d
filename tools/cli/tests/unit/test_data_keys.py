"""A ring in a file: keys are added, used in turn and given up, and never shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from runtime import datakeys


@pytest.fixture
def ring(backbone: Any, tmp_path: Path) -> Path:
    path = tmp_path / "data-keys.json"
    assert backbone("keys", "data", "add", str(path), "2026-11").exit_code == 0
    return path


def test_the_first_key_encrypts_and_the_next_one_only_when_it_is_used(
    backbone: Any, ring: Path
) -> None:
    assert ring.stat().st_mode & 0o777 == 0o600
    added = backbone("keys", "data", "add", str(ring), "2026-12")
    assert "`backbone keys data use" in added.stderr
    first = datakeys.read_document(ring)
    assert (first.active, list(first.keys)) == ("2026-11", ["2026-11", "2026-12"])
    used = backbone("keys", "data", "use", str(ring), "2026-12", "-o", "json")
    assert [json.loads(line) for line in used.stdout.splitlines()] == [
        {"id": "2026-11", "active": False},
        {"id": "2026-12", "active": True},
    ]
    assert datakeys.read_document(ring).keys == first.keys


def test_a_key_is_given_up_only_by_a_word_and_never_the_one_that_encrypts(
    backbone: Any, ring: Path
) -> None:
    backbone("keys", "data", "add", str(ring), "2026-12")
    refused = backbone("keys", "data", "remove", str(ring), "2026-11", "--lose")
    assert refused.exit_code == 1
    assert "have another one do it first" in refused.stderr
    refused = backbone("keys", "data", "remove", str(ring), "2026-12")
    assert refused.exit_code == 2
    assert "--lose" in refused.stderr
    assert backbone("keys", "data", "remove", str(ring), "2026-12", "--lose").exit_code == 0
    assert list(datakeys.read_document(ring).keys) == ["2026-11"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "2026-11"), "has a key '2026-11' already"),
        (("add", "a b"), "'a b' is no key id"),
        (("use", "2027"), "has no key '2027', only 2026-11"),
        (("remove", "2027", "--lose"), "has no key '2027'"),
    ],
)
def test_what_cannot_be_is_told(
    backbone: Any, ring: Path, words: tuple[str, ...], said: str
) -> None:
    before = ring.read_bytes()
    command, *rest = words
    result = backbone("keys", "data", command, str(ring), *rest)
    assert result.exit_code != 0
    assert said in result.stderr
    assert ring.read_bytes() == before


def test_no_key_is_ever_printed(backbone: Any, ring: Path) -> None:
    (secret,) = datakeys.read_document(ring).keys.values()
    listed = backbone("keys", "data", "list", str(ring))
    assert "2026-11" in listed.stdout
    ring.chmod(0o644)
    refused = backbone("keys", "data", "list", str(ring))
    assert "chmod 600" in refused.stderr
    assert secret not in listed.stdout + listed.stderr + refused.stdout + refused.stderr
