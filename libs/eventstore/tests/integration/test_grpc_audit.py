"""The evidence's gRPC service, on a real PostgreSQL, for callers with roles."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias

import grpc
import pytest

from backbone.audit.v1 import audit_pb2 as pb
from backbone.audit.v1 import audit_pb2_grpc as pb_grpc
from contracts.roles import Role
from eventstore import grpc_audit
from eventstore.events import Event
from eventstore.grpc_audit import AuditServicer
from runtime import grpcclient
from runtime.grpcserver import GrpcServer
from runtime.identity import Identity, LocalAuthenticator
from runtime.postgres import Postgres

# The stubs know this type in their type hints only.
AuditStub: TypeAlias = "pb_grpc.AuditServiceAsyncStub"
Calls = Callable[..., Awaitable[AuditStub]]
Appended = Callable[..., Awaitable[list[Event]]]
Sealed = Callable[..., Awaitable[int]]


class Member:
    """Authenticates everybody as an operator of one namespace."""

    def authenticate(self, context: Any, metadata: Any) -> Identity:
        return Identity("anna", frozenset({Role.OPERATOR}), frozenset({"dev"}))


@pytest.fixture
async def calls(postgres: Postgres) -> AsyncIterator[Calls]:
    """Opens the service for callers that have certain roles, all of them by default."""
    opened: list[tuple[GrpcServer, grpc.aio.Channel]] = []

    async def open_for(*roles: Role, authenticator: Any = None, budget_s: float = 3) -> AuditStub:
        service = grpc_audit.grpc_service(postgres, namespaces=["dev", "prod"])
        servicer = AuditServicer(postgres, namespaces=["dev", "prod"], budget_s=budget_s)
        server = GrpcServer(
            listen="127.0.0.1:0",
            services=[replace(service, servicer=servicer)],
            authenticator=authenticator or LocalAuthenticator(frozenset(roles or Role)),
            grace=timedelta(seconds=1),
        )
        await server.start()
        channel = grpcclient.channel(f"127.0.0.1:{server.port}", actor="anna")
        opened.append((server, channel))
        return pb_grpc.AuditServiceStub(channel)

    yield open_for
    for server, channel in opened:
        await channel.close()
        await server.stop()


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), failed.value.details() or ""


async def pages(audit: AuditStub, **fields: Any) -> list[pb.VerifyEventsResponse]:
    request, found = pb.VerifyEventsRequest(**{"namespace": "dev", **fields}), []
    while True:
        found.append(await audit.VerifyEvents(request))
        request.page_token = found[-1].next_page_token
        if not request.page_token:
            return found


@pytest.mark.parametrize("budget_s", [3, 0])
async def test_everything_is_verified_in_one_call_or_in_many(
    calls: Calls, postgres: Postgres, appended: Appended, sealed: Sealed, budget_s: float
) -> None:
    await appended("a", 5)
    await appended("b", 3, namespace="prod")
    await sealed(most=3)
    await appended("a", 1)
    async with postgres.transaction("dev") as transaction:
        await transaction.execute("UPDATE events SET topic = 'x' WHERE position = 7")
    found = await pages(await calls(budget_s=budget_s))
    assert (len(found) == 1) == bool(budget_s)
    assert sum(page.events for page in found) == 9
    assert sum(page.unsealed_events for page in found) == 1
    assert sum(page.checkpoints for page in found) == 3
    assert sum(page.streams for page in found) == 2
    assert [page.last_checkpoint for page in found][:1] == [3 if budget_s else 1]
    (finding,) = (finding for page in found for finding in page.findings)
    assert finding == pb.Finding(
        kind=pb.FINDING_KIND_EVENT_ALTERED,
        detail="it is not as it was sealed, or was not there then",
        checkpoint=3,
        position=7,
        namespace="prod",
        stream="run:b",
        stream_version=2,
    )
    assert not (await pages(await calls(), after_checkpoint=3))[0].findings


async def test_a_checkpoint_is_found_by_its_number_or_as_the_newest(
    calls: Calls, appended: Appended, sealed: Sealed
) -> None:
    audit = await calls()
    newest = pb.GetCheckpointRequest(namespace="dev")
    assert await refused(audit.GetCheckpoint(newest)) == (
        grpc.StatusCode.NOT_FOUND,
        "nothing is sealed yet",
    )
    await appended("a", 5)
    await sealed(most=3)
    found = await audit.GetCheckpoint(newest)
    assert (found.number, found.first_position, found.last_position, found.events) == (2, 4, 5, 2)
    assert len(found.hash) == 32
    assert await audit.GetCheckpoint(pb.GetCheckpointRequest(namespace="dev", number=2)) == found
    code, told = await refused(
        audit.GetCheckpoint(pb.GetCheckpointRequest(namespace="dev", number=3))
    )
    assert (code, told) == (grpc.StatusCode.NOT_FOUND, "there is no checkpoint 3")


async def test_who_may_look_is_not_who_may_verify(calls: Calls) -> None:
    verify, get = pb.VerifyEventsRequest(namespace="dev"), pb.GetCheckpointRequest(namespace="dev")
    denied = grpc.StatusCode.PERMISSION_DENIED
    viewer = await calls(Role.VIEWER)
    assert (await refused(viewer.VerifyEvents(verify)))[0] is denied
    assert (await refused(viewer.GetCheckpoint(get)))[0] is grpc.StatusCode.NOT_FOUND
    author = await calls(Role.AUTHOR)
    assert (await refused(author.GetCheckpoint(get)))[0] is denied
    member = await calls(authenticator=Member())
    code, told = await refused(member.VerifyEvents(verify))
    assert code is denied
    assert "operators of all of them" in told
    assert not (await (await calls(Role.OPERATOR)).VerifyEvents(verify)).next_page_token


@pytest.mark.parametrize(
    "fields",
    [
        {"namespace": "other"},
        {"after_checkpoint": -1},
        {"page_token": "x"},
        {"page_token": "bm90IGpzb24="},
    ],
)
async def test_malformed_requests_are_refused(calls: Calls, fields: dict[str, Any]) -> None:
    request = pb.VerifyEventsRequest(**{"namespace": "dev", **fields})
    code, told = await refused((await calls()).VerifyEvents(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert told


async def test_one_verification_at_a_time(
    calls: Calls, postgres: Postgres, appended: Appended, sealed: Sealed
) -> None:
    audit = await calls()
    await appended("a", 1)
    await sealed()
    async with postgres.transaction("dev") as blocker:
        await blocker.execute("LOCK TABLE audit_checkpoints IN ACCESS EXCLUSIVE MODE")
        first = audit.VerifyEvents(pb.VerifyEventsRequest(namespace="dev"))
        async with postgres.transaction("dev") as looking:
            while not await looking.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                pass
        code, _ = await refused(audit.VerifyEvents(pb.VerifyEventsRequest(namespace="dev")))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await first).events == 1
