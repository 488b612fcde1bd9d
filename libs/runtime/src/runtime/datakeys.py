"""Data keys: what is encrypted at rest, under keys in a file that is read again when it changes.

One key of the ring is active and seals; all of them open. What is sealed says which key it needs,
and is bound to a purpose and to whatever else its caller names: moved elsewhere, it does not open.
Each purpose has a key of its own, derived from the ring's: nonces of one never meet another's.
"""

import base64
import binascii
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from runtime.errors import ConfigurationError, RuntimeLibraryError
from runtime.reloading import Reloaded

KEY_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
KEY_BYTES = 32
NONCE_BYTES = 12
OVERHEAD = NONCE_BYTES + 16
"""Bytes by which what is sealed is longer."""
MAX_FILE_BYTES = 64 * 1024

_EVERYBODY = 0o007
_VARIABLE = "BACKBONE_DATA_KEYS"


class DataKeyUnusableError(RuntimeLibraryError):
    """A file of data keys cannot be used; the message says why and holds nothing of the file."""


class NotOpenedError(RuntimeLibraryError):
    """Something sealed cannot be opened; the message says why."""


class DataKeyUnknownError(NotOpenedError):
    """It is sealed with a key that is not in the ring."""


class NotAuthenticError(NotOpenedError):
    """It was changed, cut, or sealed for another purpose or place."""


class KeyDocument(BaseModel):
    """The file: `{"active": <id>, "keys": {<id>: <32 bytes in base64>}}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    active: str
    keys: dict[Annotated[str, Field(pattern=KEY_ID)], str] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.active not in self.keys:
            raise ValueError(f"the active key {self.active!r} is not among the keys")
        for key_id, content in self.keys.items():
            try:
                found = base64.b64decode(content, validate=True)
            except binascii.Error:
                found = b""
            if len(found) != KEY_BYTES:
                raise ValueError(f"the key {key_id!r} is not {KEY_BYTES} bytes in base64")
        if len(set(self.keys.values())) != len(self.keys):
            raise ValueError("two ids name the same key")
        return self


@dataclass(frozen=True, slots=True)
class Sealed:
    """What was sealed, and with which key."""

    key_id: str
    data: bytes = field(repr=False)


class DataKeys:
    """A ring of keys. It shows itself nowhere: not when printed, and not in a log."""

    def __init__(self, keys: Mapping[str, bytes], *, active: str) -> None:
        """`keys` are 32 bytes each, by id; `active` is the one that seals."""
        self._keys = dict(keys)
        self.active = active
        self._ciphers: dict[tuple[str, str], AESGCM] = {}

    def __repr__(self) -> str:
        return f"DataKeys({', '.join(sorted(self._keys))}; active {self.active})"

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all keys."""
        return frozenset(self._keys)

    def seal(self, content: bytes, *, purpose: str, bound_to: tuple[str, ...] = ()) -> Sealed:
        """Return what is sealed with the active key: a fresh nonce, the ciphertext, its tag."""
        nonce = os.urandom(NONCE_BYTES)
        cipher = self._cipher(self.active, purpose)
        told = _told(purpose, self.active, bound_to)
        return Sealed(self.active, nonce + cipher.encrypt(nonce, content, told))

    def open(
        self, key_id: str, data: bytes, *, purpose: str, bound_to: tuple[str, ...] = ()
    ) -> bytes:
        """Return what was sealed for the same purpose and place.

        Raises:
            DataKeyUnknownError: the ring has no such key.
            NotAuthenticError: it is not as it was sealed, or was sealed for something else.
        """
        if key_id not in self._keys:
            raise DataKeyUnknownError(
                f"it is encrypted with the data key {key_id[:64]!r}, which is not in the file of "
                "data keys here (BACKBONE_DATA_KEYS)"
            )
        told = _told(purpose, key_id, bound_to)
        try:
            return self._cipher(key_id, purpose).decrypt(
                data[:NONCE_BYTES], data[NONCE_BYTES:], told
            )
        except (InvalidTag, ValueError) as exc:
            raise NotAuthenticError(
                f"it does not open with the data key {key_id!r}: it was changed, moved here from "
                "elsewhere, or the key of that id is another one"
            ) from exc

    def pseudonym(self, content: bytes, *, purpose: str) -> bytes:
        """Return 16 bytes that are the same for the same content, under the active key alone."""
        derived = _derived(self._keys[self.active], f"pseudonym/{purpose}")
        return hmac.digest(derived, content, "sha256")[:16]

    def _cipher(self, key_id: str, purpose: str) -> AESGCM:
        known = self._ciphers.get((key_id, purpose))
        if known is None:
            known = AESGCM(_derived(self._keys[key_id], purpose))
            self._ciphers[key_id, purpose] = known
        return known


class DataKeyFile:
    """The ring in a file, read again when the file has changed; for any thread.

    A file that cannot be used is looked at again, and meanwhile changes nothing.
    """

    def __init__(self, path: Path) -> None:
        """Read it. Raises ConfigurationError when it cannot be used; the variable is named."""
        self._path = path
        self._ring = Reloaded(_VARIABLE, (path,), lambda: _ring(path))

    def __repr__(self) -> str:
        return f"DataKeyFile({self._path})"

    def newest(self) -> DataKeys:
        """Return what is in the file, as of at most a second ago; the same object if unchanged."""
        return self._ring.newest()


def generate() -> str:
    """Return a new key as the file holds it, of the system's randomness."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def read_document(path: Path) -> KeyDocument:
    """Return what is in a file.

    Raises:
        DataKeyUnusableError: there is none, everybody can read it, or it is not such a file.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise DataKeyUnusableError(f"{path} cannot be read: {exc.strerror}") from exc
    if mode & _EVERYBODY:
        raise DataKeyUnusableError(f"{path} can be read by everybody: chmod 600 {path}")
    if len(content) > MAX_FILE_BYTES:
        raise DataKeyUnusableError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return KeyDocument.model_validate_json(content)
    except ValidationError as exc:
        told = "; ".join(
            f"{'.'.join(map(str, error['loc'][:1])) or 'file'}: {error['msg']}"
            for error in exc.errors(include_url=False, include_input=False)[:3]
        )
        # Not with its cause: that could quote the file, and with it a key.
        raise DataKeyUnusableError(f"{path} is no file of data keys: {told}") from None


def write_document(path: Path, document: KeyDocument) -> None:
    """Put a document in place of a file at once, which its owner alone can read.

    Raises:
        DataKeyUnusableError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(document.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as exc:
        beside.unlink(missing_ok=True)
        raise DataKeyUnusableError(f"{path} cannot be written: {exc.strerror}") from exc


def _ring(path: Path) -> DataKeys:
    try:
        document = read_document(path)
    except DataKeyUnusableError as exc:
        # Not with its cause, as above.
        raise ConfigurationError(f"{_VARIABLE}: {exc}") from None
    keys = {key_id: base64.b64decode(content) for key_id, content in document.keys.items()}
    return DataKeys(keys, active=document.active)


def _derived(key: bytes, purpose: str) -> bytes:
    info = b"backbone data key 1/" + purpose.encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)


def _told(purpose: str, key_id: str, bound_to: tuple[str, ...]) -> bytes:
    """Return the additional data: each part with its length, so that no two ways of it are one."""
    parts = (purpose, key_id, *bound_to)
    return b"".join(b"%d:%b," % (len(raw), raw) for raw in (part.encode() for part in parts))
