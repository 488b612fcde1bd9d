"""The event store of one service: append, read, rebuild.

State and event are one transaction; version n+1 of a stream is written only after n committed.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final, Literal
from uuid import UUID

from contracts import envelope as envelopes
from contracts import names
from contracts.resources import ResourceKind
from eventstore import events as rendering
from eventstore import sealing
from eventstore.errors import ConcurrencyError
from eventstore.events import GENESIS, Cause, Event, Fact, Rendered
from eventstore.projections import Projection
from eventstore.sealing import CheckpointSigner
from runtime import sqlfiles, telemetry
from runtime.postgres import Transaction
from runtime.signingkeys import SigningKeys
from signing.keys import SigningKey

NEW: Final = 0
"""Expect that the stream does not exist."""

ANY: Final = "any"
"""Expect nothing: the stream's head is locked and the append goes after it."""

Expected = int | Literal["any"]

_REBUILD_BATCH = 500
_STREAM_OF = {
    ResourceKind.ACTIVITY_DEFINITION: "definition",
    ResourceKind.EVENT_TYPE: "event-type",
    ResourceKind.PRODUCER: "producer",
}


def run_stream(run_id: str) -> str:
    """Return the stream of a run and its tasks."""
    return f"run:{run_id}"


def subject_stream(subject_ref: str) -> str:
    """Return the stream of a person, by what stands for them."""
    return f"subject:{subject_ref}"


def kill_switch_stream(switch_id: str) -> str:
    """Return the stream of a kill switch."""
    return f"kill-switch:{switch_id}"


def resource_stream(kind: ResourceKind, resource_id: str) -> str:
    """Return the stream of a resource: `definition:`, `event-type:` or `producer:` and its id."""
    return f"{_STREAM_OF[kind]}:{resource_id}"


def migrations() -> Traversable:
    """Return the folder of the event store's migrations."""
    return resources.files("eventstore").joinpath("sql", "migrations")


class EventStore:
    """The streams of one service; its `projections` run in the transaction of every append.

    `appended` is called when one was committed: a hint to publish, see `eventstore.wakeup`. Each
    event is signed with a key of the service as it is written, and never again: what is published
    a second time has the same signature. None signs nothing. `clock` tells milliseconds since 1970.
    """

    def __init__(
        self,
        *,
        service: str,
        projections: Sequence[Projection] = (),
        appended: Callable[[], None] | None = None,
        keys: SigningKeys = SigningKeys(),  # noqa: B008 - a value
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._source = names.source(service)
        self._keys = keys
        self._clock = clock
        self._checkpoint_signer = CheckpointSigner(service, keys)
        self._projections = projections
        self._appended = appended
        self._sql = sqlfiles.load("eventstore", "events")

    async def append(
        self,
        transaction: Transaction,
        *,
        stream: str,
        facts: Sequence[Fact],
        expected: Expected,
        occurred_at: datetime,
        cause: Cause,
    ) -> list[Event]:
        """Write `facts` after the last event of `stream`, and queue them for publication.

        Raises:
            ConcurrencyError: the stream is not at the expected version.
            EventTooLargeError: one of the events could not be read by anybody.
        """
        if not facts:
            return []
        appended: list[Event] | None = None
        while appended is None:
            version, previous = NEW, GENESIS
            # A stream that is expected not to exist needs no look at its head: one round trip less.
            if expected != NEW:
                head = await transaction.fetchrow(
                    self._sql["lock_head"], transaction.namespace, stream
                )
                if head is not None:
                    version, previous = head["version"], head["hash"]
                if expected not in (ANY, version):
                    raise ConcurrencyError(stream, expected=int(expected), actual=version)
            rendered = self._render(
                transaction.namespace,
                stream=stream,
                facts=facts,
                version=version,
                previous=previous,
                occurred_at=occurred_at,
                # What publishes it goes on from here, where here is the same trace.
                cause=replace(cause, traceparent=telemetry.within(cause.traceparent)),
            )
            appended = await self._write(transaction, stream, rendered)
            if appended is None and expected == NEW:
                actual = await self.version_of(transaction, stream)
                raise ConcurrencyError(stream, expected=NEW, actual=actual)
        for project in self._projections:
            await project(transaction, appended)
        if self._appended is not None:
            transaction.after_commit(self._appended)
        return appended

    async def read(
        self, transaction: Transaction, stream: str, *, after: int = 0, limit: int = 500
    ) -> list[Event]:
        """Return at most `limit` events of `stream` whose version is greater than `after`."""
        rows = await transaction.fetch(
            self._sql["read_stream"], transaction.namespace, stream, after, limit
        )
        return [_event(row) for row in rows]

    async def version_of(self, transaction: Transaction, stream: str) -> int:
        """Return the version of the last event of `stream`, 0 when there is none."""
        version = await transaction.fetchval(self._sql["version_of"], transaction.namespace, stream)
        return int(version or 0)

    async def rebuild(self, transaction: Transaction) -> int:
        """Run the projections over all events of the namespace; return how many there were.

        The caller empties their tables first, in the same transaction. Appends wait meanwhile.
        """
        await transaction.execute(self._sql["hold_appends"])
        position = total = 0
        while rows := await transaction.fetch(
            self._sql["read_all"], transaction.namespace, position, _REBUILD_BATCH
        ):
            batch = [_event(row) for row in rows]
            for project in self._projections:
                await project(transaction, batch)
            position = batch[-1].position
            total += len(batch)
        return total

    async def ensure_partitions(self, transaction: Transaction, *, months: int = 3) -> list[str]:
        """Make the partitions of this month and `months` more; return the names of the new ones."""
        rows = await transaction.fetch(self._sql["ensure_partitions"], months)
        return [row["name"] for row in rows]

    async def drop_month(self, transaction: Transaction, *, older_than: timedelta) -> str | None:
        """Drop the oldest month that has been over for so long and is sealed and published.

        A checkpoint says so. Returns its name, None when there is none. Appends wait until the
        transaction ends.
        """
        await sealing.hold_chain(transaction)
        row = await transaction.fetchrow(self._sql["drop_month"], older_than)
        if row is None:
            return None
        await sealing.record_dropped(transaction, row["month"], self._checkpoint_signer)
        return str(row["dropped"])

    async def clear_default(
        self, transaction: Transaction, *, older_than: timedelta, most: int = 10_000
    ) -> int:
        """Delete at most `most` such events of one such month from the default partition."""
        await sealing.hold_chain(transaction)
        row = await transaction.fetchrow(self._sql["clear_default"], older_than, most)
        if row is None:
            return 0
        await sealing.record_dropped(transaction, row["month"], self._checkpoint_signer)
        return int(row["deleted"])

    def _render(
        self,
        namespace: str,
        *,
        stream: str,
        facts: Sequence[Fact],
        version: int,
        previous: bytes,
        occurred_at: datetime,
        cause: Cause,
    ) -> list[Rendered]:
        rendered: list[Rendered] = []
        for offset, fact in enumerate(facts, start=1):
            rendered.append(
                rendering.render(
                    fact,
                    source=self._source,
                    namespace=namespace,
                    stream=stream,
                    version=version + offset,
                    previous_hash=previous,
                    occurred_at=occurred_at,
                    cause=cause,
                )
            )
            previous = rendered[-1].hash
        return rendered

    async def _write(
        self, transaction: Transaction, stream: str, rendered: Sequence[Rendered]
    ) -> list[Event] | None:
        """Return the events; None when somebody else began the stream meanwhile."""
        key = self._keys.events
        rows = await transaction.fetch(
            self._sql["append"],
            transaction.namespace,
            stream,
            rendered[-1].version,
            rendered[-1].hash,
            [item.version for item in rendered],
            [UUID(item.envelope.event_id) for item in rendered],
            [item.type.value for item in rendered],
            [item.topic for item in rendered],
            [item.key for item in rendered],
            [json.dumps(item.headers) for item in rendered],
            [item.body for item in rendered],
            [item.previous_hash for item in rendered],
            [item.hash for item in rendered],
            rendered[0].version - 1,
            self._signed(rendered, key),
            None if key is None else key.key_id,
        )
        if not rows:
            return None
        return [
            Event(
                position=row["position"],
                recorded_at=row["recorded_at"],
                stream=stream,
                version=item.version,
                envelope=item.envelope,
                payload=item.payload,
                body=item.body,
                previous_hash=item.previous_hash,
                hash=item.hash,
            )
            for row, item in zip(rows, rendered, strict=True)
        ]

    def _signed(self, rendered: Sequence[Rendered], key: SigningKey | None) -> list[bytes | None]:
        if key is None:
            return [None] * len(rendered)
        at_ms = self._clock()
        return [item.signed(key, at_ms=at_ms) for item in rendered]


def _event(row: Any) -> Event:
    envelope = envelopes.parse(row["body"])
    return Event(
        position=row["position"],
        recorded_at=row["recorded_at"],
        stream=row["stream"],
        version=row["version"],
        envelope=envelope,
        payload=rendering.payload_of(envelope),
        body=row["body"],
        previous_hash=row["previous_hash"],
        hash=row["hash"],
    )
