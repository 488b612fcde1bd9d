"""Keys in files: a private key in PEM that says whose it is, and the public keys that are trusted.

A private key's file begins with a line `key: <signer>/<key id>`, which PEM lets stand before its
first line: who replaces the file replaces both at once.
"""

import os
import re
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from contracts.producers import ProducerKey
from contracts.resources import Name
from signing.errors import KeyUnusableError
from signing.keys import Keyring, SigningKey

MAX_FILE_BYTES = 64 * 1024

_NAMED = re.compile(rb"^key: ([a-z][a-z0-9_-]{0,62})/([A-Za-z0-9][A-Za-z0-9._-]{0,63})$", re.M)
_EVERYBODY = 0o007


class TrustedKeys(BaseModel):
    """The document of the keys that are trusted, by signer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: dict[Name, Annotated[list[ProducerKey], Field(max_length=20)]]

    @field_validator("keys")
    @classmethod
    def _told_apart(cls, keys: dict[str, list[ProducerKey]]) -> dict[str, list[ProducerKey]]:
        for signer, of_signer in keys.items():
            if len({key.id for key in of_signer}) != len(of_signer):
                raise ValueError(f"keys of {signer!r} share an id")
        return keys


def write_private(path: Path, key: SigningKey) -> None:
    """Write a private key to a new file that its owner alone can read.

    Raises:
        KeyUnusableError: there is such a file, or it cannot be written.
    """
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    content = f"key: {key.signer}/{key.key_id}\n".encode() + pem
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise KeyUnusableError(f"{path} is there already: a key is never overwritten") from exc
    except OSError as exc:
        raise KeyUnusableError(f"{path} cannot be written: {exc.strerror}") from exc
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def read_private(path: Path) -> SigningKey:
    """Read the private key in a file.

    Raises:
        KeyUnusableError: there is none, others can read it, or it is not an Ed25519 key that says
            whose it is. The message holds nothing of the file.
    """
    content = _read(path)
    mode = path.stat().st_mode
    if mode & _EVERYBODY:
        raise KeyUnusableError(f"{path} can be read by everybody: chmod 600 {path}")
    named = _NAMED.search(content)
    if named is None:
        raise KeyUnusableError(f"{path} has no line 'key: <signer>/<key id>' before the key")
    try:
        private = load_pem_private_key(content[named.end() :].lstrip(), password=None)
    except (ValueError, TypeError) as exc:
        raise KeyUnusableError(f"{path} holds no private key in PEM without a password") from exc
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyUnusableError(f"the key in {path} is not an Ed25519 key")
    return SigningKey(private, signer=named[1].decode(), key_id=named[2].decode())


def read_trusted(path: Path) -> Keyring:
    """Read the public keys in a file: JSON, `{"keys": {<signer>: [{"id": …, "publicKey": …}]}}`.

    Raises:
        KeyUnusableError: there is no such file, or it is not such a document.
    """
    try:
        keys = TrustedKeys.model_validate_json(_read(path)).keys
    except ValidationError as exc:
        told = "; ".join(
            f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
            for error in exc.errors(include_url=False, include_input=False)[:5]
        )
        raise KeyUnusableError(f"{path}: {told}") from exc
    return Keyring.of(keys)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise KeyUnusableError(f"{path} cannot be read: {exc.strerror}") from exc
    if len(content) > MAX_FILE_BYTES:
        raise KeyUnusableError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    return content
