"""Checkpoints: what an event and a range of events hash to, and how checkpoints are chained.

Pure. Whoever has the rows can compute all of it again, in any language: SHA-256 over fields, each
after its length (eight bytes, big-endian; -1 for none), numbers as eight bytes, times as
microseconds since 1970.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, Self

from eventstore.events import GENESIS

LEAF_BYTES = 32

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EVENT = b"backbone.event.v1"
_CHECKPOINT = b"backbone.checkpoint.v1"


class Row(Protocol):
    """A row of a table, by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any:
        """Return the value of a column."""
        ...


class Kind(StrEnum):
    """What a checkpoint says."""

    SEALED = "sealed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One row of the chain.

    `sealed`: the events of `month` at the positions from `first_position` to `last_position`, by
    their hashes. `dropped`: so many sealed events of `month` may be gone from now on, by retention.
    """

    number: int
    kind: Kind
    first_position: int
    last_position: int
    month: date
    events: int
    digest: bytes
    sealed_at: datetime
    previous_hash: bytes
    hash: bytes = b""
    signature: bytes | None = None
    signing_key_id: str | None = None

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return the checkpoint that a row of the table holds."""
        return cls(
            number=row["number"],
            kind=Kind(row["kind"]),
            first_position=row["first_position"],
            last_position=row["last_position"],
            month=row["month"],
            events=row["events"],
            digest=row["digest"],
            sealed_at=row["sealed_at"],
            previous_hash=row["previous_hash"],
            hash=row["hash"],
            signature=row["signature"],
            signing_key_id=row["signing_key_id"],
        )

    def hashed(self) -> Self:
        """Return it with the hash that it should have."""
        fields = (
            _CHECKPOINT,
            self.number,
            self.kind.value,
            self.first_position,
            self.last_position,
            self.month.isoformat(),
            self.events,
            self.digest,
            self.sealed_at,
            self.previous_hash,
        )
        return replace(self, hash=_sha256(fields))


def leaf(row: Row) -> bytes:
    """Return the hash of an event with everything that stands in its row."""
    return _sha256(
        (
            _EVENT,
            row["position"],
            row["recorded_at"],
            row["namespace"],
            row["stream"],
            row["version"],
            row["event_id"].bytes,
            row["type"],
            row["topic"],
            row["key"],
            row["headers"],
            row["body"],
            row["signature"],
            row["signing_key_id"],
            row["previous_hash"],
            row["hash"],
            row["blob_ref"],
        )
    )


def month_of(moment: datetime) -> date:
    """Return the first day of the month that `moment` is in, in UTC: that of its partition."""
    return moment.astimezone(UTC).date().replace(day=1)


def seal(
    newest: Checkpoint | None,
    *,
    first_position: int,
    last_position: int,
    leaves: Mapping[date, Sequence[bytes]],
    at: datetime,
) -> list[Checkpoint]:
    """Return the checkpoints of a range after the `newest` one: one for each month, in order."""
    made: list[Checkpoint] = []
    for month in sorted(leaves):
        newest = _after(
            newest,
            kind=Kind.SEALED,
            first_position=first_position,
            last_position=last_position,
            month=month,
            events=len(leaves[month]),
            digest=digest(b"".join(leaves[month])),
            sealed_at=at,
        )
        made.append(newest)
    return made


def drop(newest: Checkpoint, *, month: date, events: int, at: datetime) -> Checkpoint:
    """Return the checkpoint that says that a month was dropped, after the `newest` one."""
    return _after(
        newest,
        kind=Kind.DROPPED,
        first_position=0,
        last_position=0,
        month=month,
        events=events,
        digest=digest(b""),
        sealed_at=at,
    )


def digest(leaves: bytes) -> bytes:
    """Return the hash of the leaves of a checkpoint, one after the other."""
    return hashlib.sha256(leaves).digest()


def _after(newest: Checkpoint | None, **fields: Any) -> Checkpoint:
    return Checkpoint(
        number=newest.number + 1 if newest is not None else 1,
        previous_hash=newest.hash if newest is not None else GENESIS,
        **fields,
    ).hashed()


def _sha256(fields: Sequence[bytes | str | int | datetime | None]) -> bytes:
    parts: list[bytes] = []
    for value in fields:
        match value:
            case None:
                parts.append(struct.pack(">q", -1))
                continue
            case str():
                content = value.encode()
            case bytes():
                content = value
            case datetime():
                content = struct.pack(">q", (value - _EPOCH) // timedelta(microseconds=1))
            case int():
                content = struct.pack(">q", value)
        parts += struct.pack(">q", len(content)), content
    return hashlib.sha256(b"".join(parts)).digest()
