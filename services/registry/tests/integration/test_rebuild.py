"""The tables follow from the events: emptied and projected again, they are the same."""

from collections.abc import Callable
from typing import Any

import pytest

from contracts.rejections import EventRejectedError
from contracts.resources import HeldEvents, ResourceKind
from eventstore import store as eventstore
from registry.adapters import postgres_projections
from registry.adapters.postgres_materialisations import PostgresMaterialisations
from registry.domain.planning import Prune
from registry.errors import InvalidDocumentsError
from runtime.postgres import Postgres

DEFINITION = ResourceKind.ACTIVITY_DEFINITION
WHO = {"actor": "bob", "reason": "because"}
PROJECTIONS = ("revisions", "resource_versions", "resources", "resource_changes", "event_schemas")
KEPT = ("requests", "materialisations", "events", "outbox_pending", "stream_heads")


async def test_rebuild_gives_the_same_rows_and_touches_nothing_else(
    *,
    registry: Any,
    postgres: Postgres,
    rows: Any,
    document: Callable[..., bytes],
    event_type: Any,
    producer: Any,
) -> None:
    await registry.apply(document("a"), document("b"), event_type(), producer())
    await registry.apply(document("a", description="x"), request_id="r-1")
    await registry.apply(
        event_type(schemas={1: {"type": "object"}}, compatibility="none", name="t")
    )
    await registry.service.disable("dev", "a", **WHO)
    await registry.service.activate("dev", DEFINITION, "a", version=1, **WHO)
    await registry.service.enable("dev", "a", held=HeldEvents.START, **WHO)
    await registry.apply(document("a"), namespace="dev", prune=Prune())
    await registry.apply(document("b", owner="crm"))
    await registry.apply(document("a", namespace="stage"))
    await PostgresMaterialisations(postgres).record("dev", "a", revision=1, error=None)
    before, others = await rows(*PROJECTIONS), await rows(*KEPT)
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("UPDATE resource_changes SET reason = 'forged'")
        await transaction.execute("DELETE FROM event_schemas")
        await transaction.execute("UPDATE revisions SET revision = 99")
    counted = await postgres_projections.rebuild(postgres, ["dev", "stage", "empty"])
    assert counted == {"dev": 14, "stage": 1, "empty": 0}
    assert await rows(*PROJECTIONS) == before
    assert await rows(*KEPT) == others
    # And life goes on from there.
    await registry.mirrors.refresh("dev")
    assert (await registry.apply(document("c"))).revision == 15


async def test_rebuild_that_fails_leaves_the_tables_as_they_were(
    registry: Any, postgres: Postgres, rows: Any, document: Callable[..., bytes]
) -> None:
    await registry.apply(document("a"))
    before = await rows(*PROJECTIONS)
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("UPDATE events SET body = 'not json'")
    with pytest.raises(EventRejectedError):
        await postgres_projections.rebuild(postgres, ["dev"])
    assert await rows(*PROJECTIONS) == before


async def test_every_change_is_an_event_in_the_stream_of_its_resource(
    registry: Any, postgres: Postgres, document: Callable[..., bytes], event_type: Any
) -> None:
    await registry.apply(document("a"), event_type())
    await registry.apply(document("a", description="x"))
    await registry.service.disable("dev", "a", **WHO)
    await registry.service.activate("dev", DEFINITION, "a", version=1, **WHO)
    await registry.service.enable("dev", "a", **WHO)
    await registry.service.retire("dev", DEFINITION, "a", **WHO)
    async with postgres.transaction("dev") as transaction:
        events = await postgres_projections.event_store().read(
            transaction, eventstore.resource_stream(DEFINITION, "a")
        )
        pending = await transaction.fetchval("SELECT count(*) FROM outbox_pending")
    assert pending == 7
    assert [event.envelope.type for event in events] == [
        "backbone.ResourceApplied",
        "backbone.ResourceApplied",
        "backbone.ResourceDisabled",
        "backbone.ResourceActivated",
        "backbone.ResourceEnabled",
        "backbone.ResourceRetired",
    ]
    payloads = [event.envelope.payload for event in events]
    assert [(p["version"], p["state"], p["revision"]) for p in payloads] == [
        (1, "active", 2),
        (2, "active", 3),
        (2, "disabled", 4),
        (1, "disabled", 5),
        (1, "active", 6),
        (1, "retired", 7),
    ]
    assert (payloads[5]["actor"], payloads[5]["reason"]) == ("bob", "because")
    head = await registry.service.get("dev", DEFINITION, "a")
    assert events[-1].envelope.occurred_at == head.latest.at


async def test_whatever_can_be_applied_can_be_read_from_its_event(
    registry: Any, postgres: Postgres, rows: Any, event_type: Any
) -> None:
    schema: Any = {"enum": [2**63 - 1, -(2**63), 1e300, "\x00\u2028"]}
    depth = 0
    while True:
        try:
            await registry.apply(event_type(f"deep{depth}", schemas={1: schema}))
        except InvalidDocumentsError:
            break
        schema, depth = {"not": schema}, depth + 1
    assert depth > 40
    before = await rows(*PROJECTIONS)
    assert (await postgres_projections.rebuild(postgres, ["dev"]))["dev"] == depth
    assert await rows(*PROJECTIONS) == before
