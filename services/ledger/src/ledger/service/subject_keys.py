"""What the keys of people do: wrap them with a data key, seal values with them, hash with them.

A key is 32 random bytes that nothing derives: destroyed, it is gone. References to people are made
with a key of the namespace, so that they outlast every data key.
"""

import base64
import os
from uuid import UUID

from ledger.domain.subjects import Wrapped
from ledger.errors import NoDataKeysError, ValueUnreadableError
from runtime.datakeys import KEY_BYTES, DataKeyFile, DataKeys, NotOpenedError

_WRAPPING = "subject-keys"
_INDEX = "subject-index"
_VALUE = "sensitive-value"
_OWN = "subject"


def generate() -> bytes:
    """Return a new key, of the system's randomness."""
    return os.urandom(KEY_BYTES)


class SubjectKeys:
    """Wraps keys of people and of namespaces with the ring of data keys."""

    def __init__(self, ring: DataKeyFile | None) -> None:
        """None for a ledger that was given no data keys: then nothing sensitive is kept."""
        self._file = ring

    @property
    def active(self) -> str:
        """The id of the data key that wraps. Raises NoDataKeysError."""
        return self._ring().active

    def wrap(self, key: bytes, *, namespace: str, subject_ref: str = "") -> Wrapped:
        """Return a key as it is stored; without a person it is the namespace's own.

        Raises:
            NoDataKeysError: there are none here.
        """
        purpose = _WRAPPING if subject_ref else _INDEX
        sealed = self._ring().seal(key, purpose=purpose, bound_to=(namespace, subject_ref))
        return Wrapped(sealed.key_id, sealed.data)

    def unwrap(self, wrapped: Wrapped, *, namespace: str, subject_ref: str = "") -> bytes:
        """Return a key that was stored.

        Raises:
            NoDataKeysError: there are none here.
            ValueUnreadableError: the data key that it needs is not here, or it was changed.
        """
        purpose = _WRAPPING if subject_ref else _INDEX
        try:
            return self._ring().open(
                wrapped.data_key, wrapped.data, purpose=purpose, bound_to=(namespace, subject_ref)
            )
        except NotOpenedError as exc:
            raise ValueUnreadableError(f"the key of a subject: {exc}") from exc

    def _ring(self) -> DataKeys:
        if self._file is None:
            raise NoDataKeysError
        return self._file.newest()


def subject_ref(index_key: bytes, subject: str) -> str:
    """Return what stands for a person in a namespace: 26 characters."""
    return _text(_ring(index_key).pseudonym(subject.encode(), purpose=_INDEX))


def value_hash(key: bytes, blob_id: UUID, value: bytes) -> str:
    """Return the hash of a value: salted by its id, and keyed, so that none is found by trying."""
    return _text(_ring(key).pseudonym(value, purpose=f"{_VALUE}/{blob_id}"))


def seal(key: bytes, value: bytes, *, namespace: str, blob_id: UUID) -> bytes:
    """Return a value encrypted under a person's key, bound to its id."""
    return _ring(key).seal(value, purpose=_VALUE, bound_to=(namespace, str(blob_id))).data


def unseal(key: bytes, sealed: bytes, *, namespace: str, blob_id: UUID) -> bytes:
    """Return a value that was sealed.

    Raises:
        ValueUnreadableError: it was changed, or moved here from elsewhere.
    """
    try:
        return _ring(key).open(_OWN, sealed, purpose=_VALUE, bound_to=(namespace, str(blob_id)))
    except NotOpenedError as exc:
        raise ValueUnreadableError(
            f"the value {blob_id} does not open: it was changed, or moved here from elsewhere"
        ) from exc


def _ring(key: bytes) -> DataKeys:
    return DataKeys({_OWN: key}, active=_OWN)


def _text(digest: bytes) -> str:
    return base64.b32encode(digest).decode().rstrip("=").lower()
