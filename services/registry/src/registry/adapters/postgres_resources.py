"""Resources in PostgreSQL: streams of events, with the tables that are projected from them."""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from contracts.resources import ChangeKind, HeldEvents, ResourceKind, ResourceState
from eventstore import store
from eventstore.events import Cause, Fact
from eventstore.store import EventStore
from registry.adapters import postgres_projections
from registry.adapters.postgres_projections import EVENT_OF
from registry.domain import resources
from registry.domain.resources import Change, Key, Resource
from registry.ports import Request, ResourceChanges
from runtime import sqlfiles, telemetry
from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres, Transaction
from runtime.signingkeys import SigningKeys

T = TypeVar("T")

REQUESTS_KEPT = timedelta(days=7)
"""How long the answer to a request is known."""

_SQL = sqlfiles.load("registry", "resources")
_NEWEST = 2**63 - 1


class PostgresResourceStore:
    """The resources of one database."""

    def __init__(
        self,
        postgres: Postgres,
        *,
        appended: Callable[[], None] | None = None,
        keys: SigningKeys = SigningKeys(),  # noqa: B008 - a value
    ) -> None:
        """Read and write over `postgres`; `appended` hears of commits."""
        self._postgres = postgres
        self._events = postgres_projections.event_store(appended=appended, keys=keys)

    async def change(self, namespace: str, work: Callable[[ResourceChanges], Awaitable[T]]) -> T:
        """Run `work` with the namespace's revision locked, and commit."""

        async def locked(transaction: Transaction) -> T:
            row = await transaction.fetchrow(_SQL["lock_revision"], namespace)
            if row is None:
                raise AssertionError("an upsert returns its row")
            now = resources.change_time(row["changed_at"], now=row["now"])
            result = await work(_Changes(transaction, self._events, now, row["revision"]))
            faultpoint("registry.before_change")
            return result

        result = await self._postgres.retrying(namespace, locked)
        faultpoint("registry.after_change")
        return result

    async def request(self, namespace: str, request_id: str) -> Request | None:
        """Return the request that was carried out under this id."""
        async with self._postgres.transaction(namespace) as transaction:
            return await _request(transaction, request_id)

    async def resource(self, namespace: str, key: Key, version: int = 0) -> Resource | None:
        """Return a version of a resource, the current one for 0."""
        async with self._postgres.transaction(namespace) as transaction:
            found = [await transaction.fetchval(_SQL["head_revision"], namespace, *key)]
            if version:
                found.append(
                    await transaction.fetchval(_SQL["version_revision"], namespace, *key, version)
                )
            if None in found:
                return None
            states = await _states(transaction, found)
        head, stored = states[found[0]], states[found[-1]]
        return replace(stored, latest=head.latest, versions=head.versions)

    async def resource_at(self, namespace: str, key: Key, at: datetime) -> Resource | None:
        """Return a resource as it was at a time."""
        async with self._postgres.transaction(namespace) as transaction:
            revision = await _revision_at(transaction, at)
            found = await transaction.fetchval(_SQL["head_revision_at"], namespace, *key, revision)
            return None if found is None else (await _states(transaction, [found]))[found]

    async def resources_at_revisions(
        self, namespace: str, revisions: Sequence[int]
    ) -> dict[int, Resource]:
        """Return what each of these revisions changed, as it was right after it."""
        async with self._postgres.transaction(namespace) as transaction:
            return await _states(transaction, revisions)

    async def payload_schemas(
        self, namespace: str, event_types: Collection[str]
    ) -> dict[str, dict[int, Mapping[str, Any]]]:
        """Return every schema that these event types ever had, by schema version."""
        async with self._postgres.transaction(namespace) as transaction:
            rows = await transaction.fetch(_SQL["schemas"], namespace, sorted(event_types))
        schemas: dict[str, dict[int, Mapping[str, Any]]] = {name: {} for name in event_types}
        for row in rows:
            schemas[row["event_type"]][row["schema_version"]] = json.loads(row["schema"])
        return schemas

    async def page(
        self,
        namespace: str,
        kind: ResourceKind,
        *,
        after_id: str,
        limit: int,
        max_bytes: int,
        at: datetime | None = None,
        owner: str = "",
        show_retired: bool = False,
    ) -> list[Resource]:
        """Return current versions by id, after `after_id`; as they were at a time."""
        arguments = (namespace, kind.value, after_id, limit, max_bytes, owner, show_retired)
        async with self._postgres.transaction(namespace) as transaction:
            revision = _NEWEST if at is None else await _revision_at(transaction, at)
            rows = await transaction.fetch(_SQL["page_revisions"], *arguments, revision)
            return await _in_order(transaction, rows)

    async def changed(
        self, namespace: str, *, after_revision: int, limit: int, max_bytes: int
    ) -> list[Resource]:
        """Return current versions by revision, after `after_revision`."""
        async with self._postgres.transaction(namespace) as transaction:
            return await _changed(transaction, after_revision, limit, max_bytes)

    async def history(
        self, namespace: str, key: Key | None, *, before_revision: int | None, limit: int
    ) -> list[Change]:
        """Return changes of a resource, or of all, newest first."""
        arguments: list[Any] = [namespace, before_revision or _NEWEST, limit]
        block = "history" if key is None else "history_of"
        async with self._postgres.transaction(namespace) as transaction:
            rows = await transaction.fetch(_SQL[block], *arguments, *(key or ()))
        return [_change(row) for row in rows]

    async def released(self, namespace: str, definition_ids: Collection[str]) -> dict[str, Change]:
        """Return, by id, the newest change of definitions that says what becomes of held events."""
        kind = ResourceKind.ACTIVITY_DEFINITION.value
        async with self._postgres.transaction(namespace) as transaction:
            rows = await transaction.fetch(_SQL["released"], namespace, kind, list(definition_ids))
        return {row["resource_id"]: _change(row) for row in rows}

    async def revision(self, namespace: str) -> int:
        """Return the newest revision."""
        async with self._postgres.transaction(namespace) as transaction:
            return int(await transaction.fetchval(_SQL["revision"], namespace) or 0)


class _Changes:
    """One transaction that holds the revision's lock."""

    def __init__(
        self, transaction: Transaction, events: EventStore, now: datetime, revision: int
    ) -> None:
        self._transaction = transaction
        self._namespace = transaction.namespace
        self._events = events
        self._chain = ""
        self.now = now
        self.revision = revision

    async def request(self, request_id: str) -> Request | None:
        return await _request(self._transaction, request_id)

    async def remember(self, request: Request) -> None:
        await self._transaction.execute(
            _SQL["insert_request"],
            self._namespace,
            request.request_id,
            request.sha256,
            json.dumps(request.answer),
            self.now,
        )
        await self._transaction.execute(
            _SQL["forget_requests"], self._namespace, self.now - REQUESTS_KEPT
        )

    async def changed(self, *, after_revision: int, limit: int, max_bytes: int) -> list[Resource]:
        return await _changed(self._transaction, after_revision, limit, max_bytes)

    async def apply(
        self, key: Key, content: bytes, *, before: Resource | None, actor: str, reason: str
    ) -> Resource:
        resource = resources.applied(
            before,
            namespace=self._namespace,
            key=key,
            content=content,
            revision=self._next(key),
            at=self.now,
            actor=actor,
            reason=reason,
        )
        await self._append(
            resource,
            expected=store.NEW if before is None else store.ANY,
            content=json.loads(content),
            content_sha256=resource.content_sha256,
        )
        return resource

    async def alter(
        self,
        target: Resource,
        change: ChangeKind,
        *,
        state: ResourceState,
        actor: str,
        reason: str,
        held: HeldEvents | None = None,
    ) -> Resource:
        resource = resources.altered(
            target,
            change,
            state=state,
            revision=self._next(target.key),
            at=self.now,
            actor=actor,
            reason=reason,
            held=held,
        )
        fields = {} if held is None else {"held": held}
        await self._append(resource, expected=store.ANY, **fields)
        return resource

    def _next(self, key: Key) -> int:
        self.revision += 1
        # A request is where a chain begins: the etag of its first change is as unique as it is.
        self._chain = self._chain or resources.etag(self._namespace, key, self.revision)
        return self.revision

    async def _append(self, resource: Resource, *, expected: store.Expected, **fields: Any) -> None:
        latest = resource.latest
        kind, resource_id = resource.key
        payload = EVENT_OF[latest.change](
            kind=kind,
            resource_id=resource_id,
            version=latest.version,
            revision=latest.revision,
            state=latest.state,
            actor=latest.actor,
            reason=latest.reason,
            **fields,
        )
        await self._events.append(
            self._transaction,
            stream=store.resource_stream(kind, resource_id),
            facts=[Fact(payload=payload, key=resource_id)],
            # The lock of the revision has made the changes of the namespace take turns already.
            expected=expected,
            occurred_at=latest.at,
            cause=Cause(correlation_id=self._chain, traceparent=telemetry.traceparent()),
        )


async def _request(transaction: Transaction, request_id: str) -> Request | None:
    row = await transaction.fetchrow(_SQL["find_request"], transaction.namespace, request_id)
    if row is None:
        return None
    return Request(row["request_id"], row["request_sha256"], json.loads(row["answer"]))


async def _revision_at(transaction: Transaction, at: datetime) -> int:
    return int(await transaction.fetchval(_SQL["revision_at"], transaction.namespace, at) or 0)


async def _changed(
    transaction: Transaction, after_revision: int, limit: int, max_bytes: int
) -> list[Resource]:
    rows = await transaction.fetch(
        _SQL["changed_revisions"], transaction.namespace, after_revision, limit, max_bytes
    )
    return await _in_order(transaction, rows)


async def _in_order(transaction: Transaction, rows: Sequence[Any]) -> list[Resource]:
    revisions = [row["revision"] for row in rows]
    states = await _states(transaction, revisions)
    return [states[revision] for revision in revisions]


async def _states(transaction: Transaction, revisions: Sequence[int]) -> dict[int, Resource]:
    if not revisions:
        return {}
    rows = await transaction.fetch(_SQL["states"], transaction.namespace, revisions)
    return {row["revision"]: _resource(row) for row in rows}


def _resource(row: Any) -> Resource:
    latest = _change(row)
    applied = Change(
        revision=row["applied_revision"],
        key=latest.key,
        change=ChangeKind.APPLIED,
        version=row["version"],
        state=ResourceState(row["applied_state"]),
        at=row["applied_at"],
        actor=row["applied_by"],
        reason=row["applied_reason"],
    )
    return Resource(
        namespace=row["namespace"],
        key=latest.key,
        version=row["version"],
        content=row["content"],
        content_sha256=row["content_sha256"],
        applied=applied,
        # One object where it is one change.
        latest=applied if applied == latest else latest,
        versions=row["versions"],
    )


def _change(row: Any) -> Change:
    return Change(
        revision=row["revision"],
        key=Key(ResourceKind(row["kind"]), row["resource_id"]),
        change=ChangeKind(row["change"]),
        version=row["version"],
        state=ResourceState(row["state"]),
        at=row["changed_at"],
        actor=row["actor"],
        reason=row["reason"],
        held=None if row["held"] is None else HeldEvents(row["held"]),
    )
