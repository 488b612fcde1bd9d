"""Only on a machine of one's own nothing is encrypted without a word."""

from pathlib import Path

import pytest

from runtime import datakeys, encryption
from runtime.datakeys import KeyDocument
from runtime.errors import ConfigurationError
from runtime.settings import Encryption, EncryptionSettings


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    path = tmp_path / "data-keys.json"
    datakeys.write_document(path, KeyDocument(active="1", keys={"1": datakeys.generate()}))
    return path


@pytest.mark.parametrize(
    ("told", "environment", "mode"),
    [
        (None, "prod", "required"),
        (None, "local", "required"),
        ("accept", "prod", "accept"),
        ("off", "prod", "off"),
        ("off", "local", "off"),
    ],
)
def test_with_keys_it_is_as_told_and_else_required(
    ring: Path, told: Encryption | None, environment: str, mode: Encryption
) -> None:
    settings = EncryptionSettings(encryption=told, data_keys=ring)
    loaded = encryption.load(settings, environment=environment)
    assert loaded.mode == mode
    assert loaded.keys is not None, "what is encrypted already is opened in any mode"
    assert loaded.encrypts == (mode != "off")


@pytest.mark.parametrize(
    ("told", "environment"),
    [(None, "dev"), (None, "prod"), ("required", "local"), ("accept", "local")],
)
def test_without_keys_nothing_that_encrypts_starts(
    told: Encryption | None, environment: str
) -> None:
    with pytest.raises(ConfigurationError, match="BACKBONE_DATA_KEYS is missing"):
        encryption.load(EncryptionSettings(encryption=told), environment=environment)


def test_a_machine_of_ones_own_needs_no_keys() -> None:
    assert not encryption.load(EncryptionSettings(), environment="local").encrypts


def test_a_file_that_cannot_be_used_names_the_variable(tmp_path: Path) -> None:
    settings = EncryptionSettings(data_keys=tmp_path / "none.json")
    with pytest.raises(ConfigurationError, match=r"BACKBONE_DATA_KEYS: .* cannot be read"):
        encryption.load(settings, environment="prod")
