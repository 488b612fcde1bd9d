"""The gRPC edge over a real connection: statuses, details, roles, watches."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from contracts.roles import Role
from registry.adapters import grpc_registry
from registry.service.changes import Changes
from registry.service.definitions import DefinitionService
from runtime import grpcclient, rpcerrors
from runtime.grpcserver import GrpcServer
from runtime.identity import LocalAuthenticator


@pytest.fixture
def changes() -> Any:
    return Changes()


@pytest.fixture
async def connect(memory_store: Any, changes: Changes) -> AsyncIterator[Any]:
    """Connects to a registry, as somebody with the given roles."""
    opened = []

    async def call(*roles: Any) -> Any:
        service = DefinitionService(memory_store, changes, namespaces=["dev"])
        server = GrpcServer(
            listen="127.0.0.1:0",
            services=[grpc_registry.grpc_service(service)],
            authenticator=LocalAuthenticator(frozenset(roles or Role)),
            grace=timedelta(seconds=5),
        )
        await server.start()
        channel = grpcclient.channel(f"127.0.0.1:{server.port}", actor="ada")
        opened.append((server, channel))
        return registry_pb2_grpc.RegistryServiceStub(channel)

    yield call
    changes.close()
    for server, channel in opened:
        await channel.close()
        await server.stop()


def apply_request(raw: bytes, **fields: Any) -> Any:
    return registry_pb2.ApplyDefinitionRequest(document=raw, **{"reason": "why", **fields})


async def refusal(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


async def test_applied_definition_comes_back_whole(
    connect: Callable[..., Awaitable[Any]], document: Callable[..., bytes]
) -> None:
    registry = await connect()
    applied = await registry.ApplyDefinition(apply_request(document()))
    assert applied.changed
    definition = applied.definition
    assert (definition.namespace, definition.definition_id) == ("dev", "billing.overdue")
    assert (definition.version, definition.revision) == (1, 1)
    assert (definition.applied_by, definition.reason) == ("local/ada", "why")
    assert definition.applied_at.ToDatetime().year == 2026
    got = await registry.GetDefinition(
        registry_pb2.GetDefinitionRequest(namespace="dev", definition_id="billing.overdue")
    )
    assert got.definition == definition
    listed = await registry.ListDefinitions(registry_pb2.ListDefinitionsRequest(namespace="dev"))
    assert list(listed.definitions) == [definition]
    assert listed.next_page_token == ""


async def test_problems_travel_as_a_detail(
    connect: Callable[..., Awaitable[Any]], document: Callable[..., bytes]
) -> None:
    registry = await connect()
    raw = document().replace(b"owner", b"ownr")
    error = await refusal(registry.ApplyDefinition(apply_request(raw)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "owner is required" in error.details()
    detail = registry_pb2.InvalidDefinition()
    assert rpcerrors.detail_of(error, detail)
    assert [(problem.path, problem.message) for problem in detail.problems] == [
        ("metadata.owner", "owner is required"),
        ("metadata.ownr", "there is no field 'ownr' here; did you mean 'owner'?"),
    ]


@pytest.mark.parametrize("letter", ["x", "ü", "😀"])
async def test_thousands_of_problems_still_fit_into_an_answer(
    connect: Callable[..., Awaitable[Any]], letter: str
) -> None:
    registry = await connect()
    raw = "".join(f"{letter * 100}{i}: 1\n" for i in range(500)).encode()
    error = await refusal(registry.ApplyDefinition(apply_request(raw)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    detail = registry_pb2.InvalidDefinition()
    assert rpcerrors.detail_of(error, detail)
    told = len(detail.problems) - 1
    assert told >= 4
    assert detail.problems[-1].message == f"and {504 - told} more"


async def test_each_refusal_has_its_status(
    connect: Callable[..., Awaitable[Any]], document: Callable[..., bytes]
) -> None:
    registry = await connect()
    await registry.ApplyDefinition(apply_request(document(), request_id="r"))
    expected = {
        registry.ApplyDefinition(apply_request(document(), reason="")): "INVALID_ARGUMENT",
        registry.ApplyDefinition(apply_request(document(), etag="x")): "ABORTED",
        registry.ApplyDefinition(apply_request(document("b"), request_id="r")): "ALREADY_EXISTS",
        registry.GetDefinition(
            registry_pb2.GetDefinitionRequest(namespace="dev", definition_id="nobody")
        ): "NOT_FOUND",
        registry.ListDefinitions(
            registry_pb2.ListDefinitionsRequest(namespace="prod")
        ): "NOT_FOUND",
        registry.ListDefinitions(
            registry_pb2.ListDefinitionsRequest(namespace="dev", page_token="?")
        ): "INVALID_ARGUMENT",
    }
    for call, status in expected.items():
        assert (await refusal(call)).code().name == status


async def test_watch_of_an_unknown_namespace_is_refused(
    connect: Callable[..., Awaitable[Any]],
) -> None:
    registry = await connect()
    watch = registry.WatchDefinitions(registry_pb2.WatchDefinitionsRequest(namespace="prod"))
    assert (await refusal(watch.read())).code() is grpc.StatusCode.NOT_FOUND


async def test_only_authors_apply(
    connect: Callable[..., Awaitable[Any]], document: Callable[..., bytes]
) -> None:
    for role in set(Role) - {Role.AUTHOR}:
        registry = await connect(role)
        error = await refusal(registry.ApplyDefinition(apply_request(document())))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    registry = await connect(Role.AUTHOR)
    assert (await registry.ApplyDefinition(apply_request(document()))).changed


async def test_services_and_viewers_watch_and_others_do_not(
    connect: Callable[..., Awaitable[Any]],
) -> None:
    request = registry_pb2.WatchDefinitionsRequest(namespace="dev")
    for role in Role:
        watch = (await connect(role)).WatchDefinitions(request)
        if role in (Role.SERVICE, Role.VIEWER):
            assert (await watch.read()).HasField("snapshot_start")
        else:
            assert (await refusal(watch.read())).code() is grpc.StatusCode.PERMISSION_DENIED
        watch.cancel()


async def test_watch_tells_changes_until_the_registry_stops(
    connect: Callable[..., Awaitable[Any]], changes: Changes, document: Callable[..., bytes]
) -> None:
    registry = await connect()
    watch = registry.WatchDefinitions(registry_pb2.WatchDefinitionsRequest(namespace="dev"))
    assert (await watch.read()).HasField("snapshot_start")
    assert (await watch.read()).bookmark.revision == 0
    await registry.ApplyDefinition(apply_request(document()))
    assert (await watch.read()).active.version == 1
    changes.close()
    async with asyncio.timeout(5):
        while (answer := await watch.read()) is not grpc.aio.EOF:
            assert answer.HasField("bookmark")
    assert await watch.code() is grpc.StatusCode.OK
