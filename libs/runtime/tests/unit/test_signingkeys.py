"""The keys that a service signs with: its own, both of them, and only a local one has none."""

import json
from pathlib import Path

import pytest

from runtime import reloading, signingkeys
from runtime.errors import ConfigurationError
from runtime.settings import SigningSettings
from runtime.signingkeys import SigningKeys
from signing import keyfiles
from signing.keys import SigningKey


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {}
    for signer in ("ledger", "registry", "checkpoints"):
        made[signer] = tmp_path / f"{signer}.key"
        keyfiles.write_private(made[signer], SigningKey.generate(signer=signer, key_id="1"))
    return made


def load(environment: str = "prod", **paths: Path) -> SigningKeys:
    settings = SigningSettings(**paths)
    return signingkeys.load(settings, service="ledger", environment=environment)


def test_a_service_signs_with_its_own_keys(files: dict[str, Path]) -> None:
    keys = load(signing_key=files["ledger"], checkpoint_key=files["checkpoints"])
    assert keys.events is not None
    assert keys.checkpoints is not None
    assert (keys.events.signer, keys.checkpoints.signer) == ("ledger", "checkpoints")


def test_only_a_local_service_runs_without(files: dict[str, Path]) -> None:
    unsigned = load("local")
    assert (unsigned.events, unsigned.checkpoints) == (None, None)
    with pytest.raises(ConfigurationError, match=r"BACKBONE_SIGNING_KEY is missing.*keys new ledg"):
        load()
    with pytest.raises(ConfigurationError, match="BACKBONE_CHECKPOINT_KEY is missing"):
        load("stage", signing_key=files["ledger"])


def test_the_key_of_another_signer_is_refused_wherever(files: dict[str, Path]) -> None:
    for name in ("registry", "checkpoints"):
        with pytest.raises(ConfigurationError, match=f"a key of {name!r}, and 'ledger' signs"):
            load("local", signing_key=files[name])
    with pytest.raises(ConfigurationError, match=r"BACKBONE_CHECKPOINT_KEY: .*a key of 'ledger'"):
        load("local", checkpoint_key=files["ledger"])


def test_a_file_that_holds_no_key_is_told_with_its_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"BACKBONE_SIGNING_KEY: .*cannot be read"):
        load("local", signing_key=tmp_path / "none.key")


def test_trusted_keys_that_cannot_be_read_are_told_with_their_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"BACKBONE_TRUSTED_KEYS: .*cannot be read"):
        signingkeys.trusted("BACKBONE_TRUSTED_KEYS", tmp_path / "none.json")


def test_a_key_that_is_replaced_signs_from_then_on_and_one_of_another_signer_does_not(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "_LOOK_S", 0.0)
    keys = load(signing_key=files["ledger"], checkpoint_key=files["checkpoints"])
    keyfiles.write_private(tmp_path / "next", SigningKey.generate(signer="ledger", key_id="2"))
    (tmp_path / "next").replace(files["ledger"])
    assert keys.events is not None
    assert keys.events.key_id == "2"
    files["registry"].replace(files["ledger"])
    assert keys.events is not None
    assert (keys.events.signer, keys.events.key_id) == ("ledger", "2")


def test_trusted_keys_that_are_replaced_are_trusted_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "_LOOK_S", 0.0)
    path = tmp_path / "trusted.json"
    path.write_text('{"keys": {}}')
    trusted = signingkeys.trusted("BACKBONE_TRUSTED_KEYS", path)
    before = trusted.newest()
    public = SigningKey.generate(signer="ledger", key_id="1").public_key
    path.write_text(json.dumps({"keys": {"ledger": [{"id": "1", "publicKey": public}]}}))
    assert trusted.newest() is not before
