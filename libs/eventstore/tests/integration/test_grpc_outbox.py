"""The outbox's gRPC service, on a real PostgreSQL, for callers with roles."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import grpc
import pytest

from backbone.outbox.v1 import outbox_pb2 as pb
from backbone.outbox.v1 import outbox_pb2_grpc as pb_grpc
from contracts.roles import Role
from eventstore import grpc_outbox
from eventstore.events import Event
from eventstore.grpc_outbox import OutboxServicer
from runtime import grpcclient
from runtime.grpcserver import GrpcServer
from runtime.identity import LocalAuthenticator
from runtime.postgres import Postgres

# The stubs know this type in their type hints only.
OutboxStub: TypeAlias = "pb_grpc.OutboxServiceAsyncStub"
Calls = Callable[..., Awaitable[OutboxStub]]
Appended = Callable[..., Awaitable[list[Event]]]

OPERATOR_CALLS = ("RepublishEvents", "RetryParkedEvent", "DiscardParkedEvent")
VIEWER_CALLS = ("ListParkedEvents", "GetOutbox")


@pytest.fixture
async def calls(postgres: Postgres) -> AsyncIterator[Calls]:
    """Opens the service for callers that have certain roles, all of them by default."""
    opened: list[tuple[GrpcServer, grpc.aio.Channel]] = []

    async def open_for(*roles: Role, **options: Any) -> OutboxStub:
        service = grpc_outbox.grpc_service(postgres, namespaces=["dev", "prod"])
        if options:
            servicer = OutboxServicer(postgres, namespaces=["dev", "prod"], **options)
            service = replace(service, servicer=servicer)
        server = GrpcServer(
            listen="127.0.0.1:0",
            services=[service],
            authenticator=LocalAuthenticator(frozenset(roles or Role)),
            grace=timedelta(seconds=1),
        )
        await server.start()
        channel = grpcclient.channel(f"127.0.0.1:{server.port}", actor="anna")
        opened.append((server, channel))
        return pb_grpc.OutboxServiceStub(channel)

    yield open_for
    for server, channel in opened:
        await channel.close()
        await server.stop()


@pytest.fixture
async def outbox(calls: Calls) -> OutboxStub:
    return await calls()


def republishing(**fields: Any) -> pb.RepublishEventsRequest:
    request = pb.RepublishEventsRequest(
        **{"namespace": "dev", "request_id": "r-1", "reason": "index lost", **fields}
    )
    if not request.HasField("recorded_from"):
        request.recorded_from.FromDatetime(datetime(2020, 1, 1, tzinfo=UTC))
    if not request.HasField("recorded_to"):
        request.recorded_to.FromDatetime(datetime(2100, 1, 1, tzinfo=UTC))
    return request


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), failed.value.details() or ""


async def clear(postgres: Postgres) -> list[tuple[int, str | None]]:
    """Publish all, as a relay does; return position and mark of what was pending."""
    async with postgres.transaction("dev") as transaction:
        rows = await transaction.fetch(
            "DELETE FROM outbox_pending RETURNING position, republish_id"
        )
    return sorted((row["position"], row["republish_id"]) for row in rows)


async def park(postgres: Postgres, *events: Event) -> None:
    async with postgres.transaction("dev") as transaction:
        await transaction.execute(
            "WITH refused AS (DELETE FROM outbox_pending WHERE position = ANY($1) RETURNING *)"
            " INSERT INTO outbox_parked (position, recorded_at, namespace, stream, version,"
            " republish_id, queued_at, reason, waits)"
            " SELECT position, recorded_at, namespace, stream, version, republish_id, queued_at,"
            " 'too large', true FROM refused",
            [event.position for event in events],
        )


async def test_range_is_republished_in_batches_and_once(
    outbox: OutboxStub, calls: Calls, postgres: Postgres, appended: Appended
) -> None:
    events = await appended(count=25)
    await clear(postgres)
    response = await (await calls(batch=10)).RepublishEvents(republishing())
    assert (response.republished, response.complete, response.throttled) == (25, True, False)
    assert await clear(postgres) == [(event.position, "r-1") for event in events]
    again = await outbox.RepublishEvents(republishing())
    assert again == response
    assert await clear(postgres) == []
    async with postgres.transaction("dev") as transaction:
        row = await transaction.fetchrow("SELECT actor, reason FROM outbox_requests")
        assert row is not None
        assert tuple(row) == ("local/anna", "index lost")


async def test_republication_waits_while_too_many_copies_are_not_published(
    calls: Calls, postgres: Postgres, appended: Appended
) -> None:
    await appended(count=25)
    await clear(postgres)
    outbox = await calls(batch=10, most_copies=10)
    counts = []
    complete = False
    while not complete:
        response = await outbox.RepublishEvents(republishing())
        complete = response.complete
        counts.append((response.republished, response.throttled))
        if response.throttled:
            stuck = await outbox.RepublishEvents(republishing())
            assert (stuck.republished, stuck.throttled) == counts[-1]
        await clear(postgres)
    assert counts[-1] == (25, False)
    assert len(counts) >= 3


async def test_dry_run_counts_in_parts_and_changes_nothing(
    calls: Calls, postgres: Postgres, appended: Appended, monkeypatch: pytest.MonkeyPatch
) -> None:
    await appended(count=25)
    await clear(postgres)
    await appended("b:manual:1", 2)
    monkeypatch.setattr(grpc_outbox, "_BUDGET_S", 0.0)
    outbox = await calls(batch=10)
    request = republishing(dry_run=True, request_id="", reason="")
    pages = []
    while not pages or not pages[-1].complete:
        pages.append(await outbox.RepublishEvents(request))
        request.page_token = pages[-1].next_page_token
    assert len(pages) == 3
    assert sum(page.republished for page in pages) == 25
    assert sum(page.pending for page in pages) == 2
    assert len(await clear(postgres)) == 2
    other = republishing(dry_run=True, stream="run:x", page_token=pages[0].next_page_token)
    assert (await refused(outbox.RepublishEvents(other)))[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"namespace": "other"}, "is not served here"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": "a b"}, "request_id"),
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"reason": "\x07"}, "reason"),
        ({"stream": "\x00"}, "stream"),
        ({"types": [""]}, "types"),
        ({"types": ["a"] * 51}, "types"),
        ({"dry_run": True, "page_token": "?"}, "page_token"),
        ({"dry_run": True, "page_token": "W10="}, "page_token"),
    ],
)
async def test_malformed_republication_is_refused(
    outbox: OutboxStub, fields: dict[str, Any], told: str
) -> None:
    code, details = await refused(outbox.RepublishEvents(republishing(**fields)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert told in details


async def test_range_that_is_missing_or_ends_before_it_begins_is_refused(
    outbox: OutboxStub,
) -> None:
    request = republishing()
    request.ClearField("recorded_from")
    code, details = await refused(outbox.RepublishEvents(request))
    assert (code, "recorded_from" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    request = republishing()
    request.recorded_to.CopyFrom(request.recorded_from)
    code, details = await refused(outbox.RepublishEvents(request))
    assert (code, "recorded_to" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)


async def test_parked_events_are_listed_retried_and_discarded(
    outbox: OutboxStub, postgres: Postgres, appended: Appended
) -> None:
    events = await appended(count=3)
    await park(postgres, *events)
    first = await outbox.ListParkedEvents(pb.ListParkedEventsRequest(namespace="dev", page_size=2))
    rest = await outbox.ListParkedEvents(
        pb.ListParkedEventsRequest(namespace="dev", page_size=2, page_token=first.next_page_token)
    )
    assert [one.position for one in (*first.events, *rest.events)] == [
        event.position for event in events
    ]
    assert rest.next_page_token == ""
    assert (first.events[0].reason, first.events[0].waits) == ("too large", True)
    assert first.events[0].size == len(events[0].body)

    retry = pb.RetryParkedEventRequest(
        namespace="dev", position=events[0].position, request_id="r", reason="limit raised"
    )
    assert (await outbox.RetryParkedEvent(retry)).changed
    assert not (await outbox.RetryParkedEvent(retry)).changed
    discard = pb.DiscardParkedEventRequest(
        namespace="dev", position=events[1].position, request_id="d", reason="nobody needs it"
    )
    assert (await outbox.DiscardParkedEvent(discard)).changed
    assert not (await outbox.DiscardParkedEvent(discard)).changed

    state = await outbox.GetOutbox(pb.GetOutboxRequest(namespace="dev"))
    assert (state.pending, state.parked, state.waiting_streams, state.discarded) == (1, 1, 1, 1)
    assert state.HasField("oldest_queued_at")
    assert not state.more
    empty = await outbox.GetOutbox(pb.GetOutboxRequest(namespace="prod"))
    assert (empty.pending, empty.parked, empty.HasField("oldest_queued_at")) == (0, 0, False)

    retry.position, retry.request_id = events[1].position, "r-2"
    assert (await refused(outbox.RetryParkedEvent(retry)))[0] is grpc.StatusCode.NOT_FOUND
    retry.request_id = "d"
    assert (await refused(outbox.RetryParkedEvent(retry)))[0] is grpc.StatusCode.ALREADY_EXISTS
    retry.reason = ""
    assert (await refused(outbox.RetryParkedEvent(retry)))[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("role", "allowed"),
    [(Role.OPERATOR, {*OPERATOR_CALLS, *VIEWER_CALLS}), (Role.VIEWER, set(VIEWER_CALLS))],
)
async def test_viewers_look_and_operators_act(calls: Calls, role: Role, allowed: set[str]) -> None:
    outbox = await calls(role)
    for name in (*OPERATOR_CALLS, *VIEWER_CALLS):
        request = getattr(pb, f"{name}Request")(namespace="other")
        code, _ = await refused(getattr(outbox, name)(request))
        expected = (
            grpc.StatusCode.INVALID_ARGUMENT
            if name in allowed
            else grpc.StatusCode.PERMISSION_DENIED
        )
        assert code is expected, name


def test_every_call_is_in_the_policy() -> None:
    methods = pb.DESCRIPTOR.services_by_name["OutboxService"].methods
    assert {f"/{grpc_outbox.NAME}/{method.name}" for method in methods} == set(grpc_outbox.POLICY)
