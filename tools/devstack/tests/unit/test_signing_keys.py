"""The keys of a stack are made once, and one that cannot be used is told of."""

from pathlib import Path

import pytest

from devstack import signing_keys
from devstack.errors import DevstackError
from signing import keyfiles


def test_keys_are_made_once_and_the_public_ones_are_those_that_sign(tmp_path: Path) -> None:
    made = signing_keys.bring(tmp_path / "keys")
    again = signing_keys.bring(tmp_path / "keys")
    assert again == made
    trusted = keyfiles.read_trusted(made.trusted)
    for signer in ("ledger", "registry"):
        key = keyfiles.read_private(Path(made.env[signer]["BACKBONE_SIGNING_KEY"]))
        assert trusted.get(signer, key.key_id) is not None
    assert "BACKBONE_SIGNING_KEY" not in made.env["router"]


def test_a_key_that_others_can_read_is_told_of(tmp_path: Path) -> None:
    signing_keys.bring(tmp_path)
    (tmp_path / "ledger.key").chmod(0o644)
    with pytest.raises(DevstackError, match=r"remove .* to have keys made anew"):
        signing_keys.bring(tmp_path)
