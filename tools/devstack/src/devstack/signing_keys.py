"""The keys with which a stack's services sign: a file for each, and the public ones for readers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import DevstackError
from signing import keyfiles
from signing.checkpoints import CHECKPOINTS
from signing.errors import KeyUnusableError
from signing.keys import SigningKey

_SIGNERS = ("ledger", "registry")


@dataclass(frozen=True)
class SigningKeys:
    """Where the public keys are, and the variables of each service."""

    trusted: Path
    env: Mapping[str, dict[str, str]]


def bring(folder: Path) -> SigningKeys:
    """Make the keys of ledger, registry and checkpoints, where there are none.

    Raises:
        DevstackError: A file is there that is no key, or that others can read.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    trusted: dict[str, list[dict[str, str]]] = {}
    for signer in (*_SIGNERS, CHECKPOINTS):
        path = _private(folder, signer)
        try:
            if not path.exists():
                keyfiles.write_private(path, SigningKey.generate(signer=signer, key_id="1"))
            key = keyfiles.read_private(path)
        except KeyUnusableError as exc:
            message = f"{exc}; remove {folder} to have keys made anew"
            raise DevstackError(message) from exc
        trusted[signer] = [{"id": key.key_id, "publicKey": key.public_key}]
    public = folder / "trusted.json"
    public.write_text(json.dumps({"keys": trusted}))
    seals = {"BACKBONE_CHECKPOINT_KEY": str(_private(folder, CHECKPOINTS))}
    env = {
        signer: {"BACKBONE_SIGNING_KEY": str(_private(folder, signer)), **seals}
        for signer in _SIGNERS
    }
    return SigningKeys(public, {**env, "router": {"BACKBONE_TRUSTED_KEYS": str(public)}})


def _private(folder: Path, signer: str) -> Path:
    return folder / f"{signer}.key"
