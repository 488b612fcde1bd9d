"""People whose sensitive values are kept, and the keys these are encrypted under."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class NewValue:
    """A value that is to be kept: canonical JSON, of somebody as an event names them."""

    blob_id: UUID
    subject: str = field(repr=False)
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Kept:
    """What stands for a value; `conflict` says that its id stood for another value before."""

    hash: str
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A key as it is stored: encrypted with a data key."""

    data_key: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OwnedKey:
    """The live key of a person."""

    key_id: int
    subject_ref: str
    wrapped: Wrapped


@dataclass(frozen=True, slots=True)
class SealedValue:
    """A value as it is stored."""

    blob_id: UUID
    key_id: int
    hash: str
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value as it was stored, with the key of its person; None once that was destroyed."""

    blob_id: UUID
    hash: str
    sealed: bytes = field(repr=False)
    subject_ref: str
    wrapped: Wrapped | None


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """A key of a person: since when, for how many values, and its end; `data_key` until then."""

    created_at: datetime
    values: int
    data_key: str | None
    erased_at: datetime | None
    erased_by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of a person without reading anything; the keys are the oldest first."""

    subject_ref: str
    keys: Sequence[KeyHistory]


@dataclass(frozen=True, slots=True)
class Reveal:
    """Who was shown which values, and why."""

    reveal_id: int
    blob_ids: Sequence[UUID]
    actor: str
    reason: str
    request_id: str
    revealed_at: datetime
