"""The tables of resources as they follow from the streams, and making them again.

Everything in them comes from the events, times and revisions too.
"""

from collections.abc import Callable, Sequence
from typing import Any

from contracts import canonical
from contracts.events import (
    ResourceActivated,
    ResourceApplied,
    ResourceDisabled,
    ResourceEnabled,
    ResourceRetired,
)
from contracts.resources import ChangeKind, ResourceKind
from eventstore.events import Event
from eventstore.store import EventStore
from runtime import sqlfiles
from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres, Transaction
from runtime.signingkeys import SigningKeys

ResourceEvent = (
    ResourceApplied | ResourceActivated | ResourceEnabled | ResourceDisabled | ResourceRetired
)

EVENT_OF: dict[ChangeKind, type[ResourceEvent]] = {
    ChangeKind.APPLIED: ResourceApplied,
    ChangeKind.ACTIVATED: ResourceActivated,
    ChangeKind.ENABLED: ResourceEnabled,
    ChangeKind.DISABLED: ResourceDisabled,
    ChangeKind.RETIRED: ResourceRetired,
}
_CHANGE_OF = {model: change for change, model in EVENT_OF.items()}

_SQL = sqlfiles.load("registry", "resources")
_EMPTY = (
    "empty_schemas",
    "empty_changes",
    "empty_resources",
    "empty_versions",
    "empty_revision",
)


async def project_resources(transaction: Transaction, events: Sequence[Event]) -> None:
    """Write versions, heads, history and the schemas of event types from events."""
    changes: list[tuple[Any, ...]] = []
    schemas: list[tuple[Any, ...]] = []
    for event in events:
        payload = event.payload
        if not isinstance(payload, ResourceEvent):
            continue
        changes.append(_change_row(transaction.namespace, event, payload))
        if isinstance(payload, ResourceApplied) and payload.kind is ResourceKind.EVENT_TYPE:
            schemas += _schema_rows(transaction.namespace, payload)
    if changes:
        await transaction.executemany(_SQL["project_change"], changes)
    if schemas:
        await transaction.executemany(_SQL["project_schema"], schemas)


def event_store(
    *,
    appended: Callable[[], None] | None = None,
    keys: SigningKeys = SigningKeys(),  # noqa: B008 - a value
) -> EventStore:
    """Return the registry's event store, whose appends keep these tables."""
    return EventStore(
        service="registry", projections=[project_resources], appended=appended, keys=keys
    )


async def rebuild(postgres: Postgres, namespaces: Sequence[str]) -> dict[str, int]:
    """Empty the tables of each namespace and project its events again; return how many there were.

    Changes of the namespace wait meanwhile, and readers see the tables as they were. Requests and
    materialisations stay: they follow from no event.
    """
    events = event_store()
    counts: dict[str, int] = {}
    for namespace in namespaces:
        async with postgres.transaction(namespace) as transaction:
            await transaction.execute(_SQL["hold_revision"], namespace)
            for name in _EMPTY:
                await transaction.execute(_SQL[name], namespace)
            counts[namespace] = await events.rebuild(transaction)
            faultpoint("registry.before_rebuild")
        faultpoint("registry.after_rebuild")
    return counts


def _change_row(namespace: str, event: Event, payload: ResourceEvent) -> tuple[Any, ...]:
    owner = content = sha256 = None
    if isinstance(payload, ResourceApplied):
        owner = payload.content["metadata"]["owner"]
        content = canonical.render(payload.content)
        sha256 = payload.content_sha256
    return (
        namespace,
        payload.kind.value,
        payload.resource_id,
        payload.revision,
        _CHANGE_OF[type(payload)].value,
        payload.version,
        payload.state.value,
        event.envelope.occurred_at,
        payload.actor,
        payload.reason,
        owner,
        content,
        sha256,
        payload.held if isinstance(payload, ResourceEnabled) else None,
    )


def _schema_rows(namespace: str, applied: ResourceApplied) -> list[tuple[Any, ...]]:
    return [
        (
            namespace,
            applied.resource_id,
            schema["version"],
            canonical.render(schema["schema"]),
            applied.revision,
        )
        for schema in applied.content["spec"]["schemas"]
    ]
