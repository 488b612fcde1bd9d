"""Definitions in PostgreSQL: streams of events, with the tables that are projected from them."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from contracts import canonical
from contracts.events import DefinitionApplied
from eventstore import store
from eventstore.events import Cause, Event, Fact
from eventstore.store import EventStore
from registry.domain import versioning
from registry.domain.versioning import DefinitionVersion
from registry.ports import DefinitionChange, Request
from runtime import sqlfiles, telemetry
from runtime.postgres import Postgres, Transaction

T = TypeVar("T")

_SQL = sqlfiles.load("registry", "definitions")


async def project_definitions(transaction: Transaction, events: Sequence[Event]) -> None:
    """Write the versions that events tell of, and make them the active ones."""
    namespace = transaction.namespace
    for event in events:
        if not isinstance(event.payload, DefinitionApplied):
            continue
        applied = event.payload
        await transaction.execute(
            _SQL["insert_version"],
            namespace,
            applied.definition_id,
            applied.version,
            canonical.render(applied.content),
            applied.content_sha256,
            event.envelope.occurred_at,
            applied.actor,
            applied.reason,
            applied.revision,
        )
        await transaction.execute(
            _SQL["activate_version"],
            namespace,
            applied.definition_id,
            applied.version,
            versioning.etag(namespace, applied.definition_id, applied.revision),
            applied.revision,
        )


class PostgresDefinitionStore:
    """The definitions of one database."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._events = EventStore(service="registry", projections=[project_definitions])

    async def change(self, namespace: str, work: Callable[[DefinitionChange], Awaitable[T]]) -> T:
        """Run `work` with the namespace's revision locked, and commit."""

        async def locked(transaction: Transaction) -> T:
            row = await transaction.fetchrow(_SQL["lock_revision"], namespace)
            if row is None:
                raise AssertionError("an upsert returns its row")
            change = _Change(
                transaction, self._events, now=row["now"], next_revision=row["revision"] + 1
            )
            return await work(change)

        return await self._postgres.retrying(namespace, locked)

    async def active(self, namespace: str, definition_id: str) -> DefinitionVersion | None:
        """Return the active version of a definition."""
        async with self._postgres.transaction(namespace) as transaction:
            return _one(await transaction.fetchrow(_SQL["active"], namespace, definition_id))

    async def version(
        self, namespace: str, definition_id: str, version: int
    ) -> DefinitionVersion | None:
        """Return a version of a definition."""
        async with self._postgres.transaction(namespace) as transaction:
            return _one(
                await transaction.fetchrow(_SQL["version"], namespace, definition_id, version)
            )

    async def page(
        self, namespace: str, *, after_id: str, limit: int, max_bytes: int
    ) -> list[DefinitionVersion]:
        """Return active versions by id, after `after_id`."""
        async with self._postgres.transaction(namespace) as transaction:
            rows = await transaction.fetch(_SQL["page"], namespace, after_id, limit, max_bytes)
        return [_version(row) for row in rows]

    async def changed(
        self, namespace: str, *, after_revision: int, limit: int, max_bytes: int
    ) -> list[DefinitionVersion]:
        """Return active versions by revision, after `after_revision`."""
        async with self._postgres.transaction(namespace) as transaction:
            rows = await transaction.fetch(
                _SQL["changed"], namespace, after_revision, limit, max_bytes
            )
        return [_version(row) for row in rows]

    async def revision(self, namespace: str) -> int:
        """Return the newest revision."""
        async with self._postgres.transaction(namespace) as transaction:
            return int(await transaction.fetchval(_SQL["revision"], namespace) or 0)


class PostgresMaterialisations:
    """What came of handing schedules on, in a table for people to look at."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def record(
        self, namespace: str, definition_id: str, *, version: int, error: str | None
    ) -> None:
        """Record a success or an error, unless that is what stands there."""
        async with self._postgres.transaction(namespace) as transaction:
            await transaction.execute(
                _SQL["record_materialisation"], namespace, definition_id, version, error
            )


class _Change:
    """One transaction that holds the revision's lock."""

    def __init__(
        self, transaction: Transaction, events: EventStore, *, now: datetime, next_revision: int
    ) -> None:
        self._transaction = transaction
        self._events = events
        self.now = now
        self.next_revision = next_revision

    async def request(self, request_id: str) -> Request | None:
        row = await self._transaction.fetchrow(
            _SQL["find_request"], self._transaction.namespace, request_id
        )
        if row is None:
            return None
        return Request(
            request_id=row["request_id"],
            sha256=row["request_sha256"],
            definition_id=row["definition_id"],
            version=row["version"],
            changed=row["changed"],
        )

    async def remember(self, request: Request) -> None:
        await self._transaction.execute(
            _SQL["insert_request"],
            self._transaction.namespace,
            request.request_id,
            request.sha256,
            request.definition_id,
            request.version,
            request.changed,
            self.now,
        )

    async def active(self, definition_id: str) -> DefinitionVersion | None:
        namespace = self._transaction.namespace
        return _one(await self._transaction.fetchrow(_SQL["active"], namespace, definition_id))

    async def version(self, definition_id: str, version: int) -> DefinitionVersion | None:
        namespace = self._transaction.namespace
        return _one(
            await self._transaction.fetchrow(_SQL["version"], namespace, definition_id, version)
        )

    async def append(self, version: DefinitionVersion) -> None:
        applied = DefinitionApplied(
            definition_id=version.definition_id,
            version=version.version,
            revision=version.revision,
            content_sha256=version.content_sha256,
            content=json.loads(version.content),
            actor=version.applied_by,
            reason=version.reason,
        )
        await self._transaction.execute(
            _SQL["advance_revision"], self._transaction.namespace, version.revision
        )
        await self._events.append(
            self._transaction,
            stream=store.definition_stream(version.definition_id),
            facts=[Fact(payload=applied, key=version.definition_id)],
            # The lock of the revision has made the changes of the namespace take turns already.
            expected=store.ANY,
            occurred_at=version.applied_at or self.now,
            # A person's change is where a chain begins; its etag is as unique as the change.
            cause=Cause(correlation_id=version.etag, traceparent=telemetry.traceparent()),
        )


def _one(row: Any) -> DefinitionVersion | None:
    return None if row is None else _version(row)


def _version(row: Any) -> DefinitionVersion:
    return DefinitionVersion(
        namespace=row["namespace"],
        definition_id=row["definition_id"],
        version=row["version"],
        content=row["content"],
        content_sha256=row["content_sha256"],
        etag=versioning.etag(row["namespace"], row["definition_id"], row["revision"]),
        applied_at=row["applied_at"],
        applied_by=row["applied_by"],
        reason=row["reason"],
        revision=row["revision"],
        enabled=row["enabled"],
    )
