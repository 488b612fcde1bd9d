"""The server's gate, over real gRPC: identity, roles, deadlines, error mapping."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from backbone.registry.v1 import registry_pb2
from backbone.router.v1 import router_pb2, router_pb2_grpc
from contracts.roles import Role
from runtime import authorisation, grpcclient, identity, rpcerrors
from runtime.errors import ConfigurationError, DatabaseUnavailableError
from runtime.grpcserver import GrpcServer, Service

SERVICE = "backbone.router.v1.RouterService"


class Servicer(router_pb2_grpc.RouterServiceServicer):
    def __init__(self, behaviour: Callable[[], str]) -> None:
        self.behaviour = behaviour

    async def TriggerDefinition(self, request, context):
        outcome = self.behaviour()
        if outcome == "hang":
            await asyncio.Event().wait()
        return router_pb2.TriggerDefinitionResponse(run_id=outcome)


@pytest.fixture
async def serve() -> AsyncIterator[Callable]:
    running = []

    async def start(behaviour, *, roles=frozenset(Role), allowed=(Role.OPERATOR,)):
        methods = {"TriggerDefinition": allowed} if allowed else {}
        server = GrpcServer(
            listen="127.0.0.1:0",
            services=[
                Service(
                    name=SERVICE,
                    add=router_pb2_grpc.add_RouterServiceServicer_to_server,
                    servicer=Servicer(behaviour),
                    policy=authorisation.policy(SERVICE, methods),
                )
            ],
            authenticator=identity.LocalAuthenticator(roles),
        )
        await server.start()
        channel = grpcclient.channel(f"127.0.0.1:{server.port}", actor="alice")
        running.extend([channel.close, server.stop])
        return router_pb2_grpc.RouterServiceStub(channel)

    yield start
    for end in running:
        await end()


async def call(stub, **kwargs):
    return await stub.TriggerDefinition(router_pb2.TriggerDefinitionRequest(), **kwargs)


async def test_the_caller_is_known_inside_the_call(serve):
    stub = await serve(lambda: identity.current_identity().subject)
    assert (await call(stub)).run_id == "local/alice"


async def test_a_caller_without_the_role_is_denied(serve):
    stub = await serve(lambda: "reached", roles=frozenset({Role.VIEWER}))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stub)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_method_missing_from_the_policy_is_denied(serve):
    stub = await serve(lambda: "reached", allowed=())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stub)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def raising(exc: Exception) -> Callable[[], str]:
    def behaviour() -> str:
        raise exc

    return behaviour


@pytest.mark.parametrize(
    ("exc", "code", "message"),
    [
        (rpcerrors.NotFoundError("no run x"), grpc.StatusCode.NOT_FOUND, "no run x"),
        (rpcerrors.AbortedError("changed"), grpc.StatusCode.ABORTED, "changed"),
        (ValueError("secret detail"), grpc.StatusCode.INTERNAL, "an unexpected error"),
    ],
)
async def test_an_error_becomes_its_status(serve, exc, code, message):
    stub = await serve(raising(exc))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stub)
    assert caught.value.code() is code
    assert message in caught.value.details()
    assert "secret" not in caught.value.details()


async def test_a_lost_database_is_unavailable_after_retries(serve):
    calls = []

    def behaviour() -> str:
        calls.append(1)
        raise DatabaseUnavailableError("away")

    stub = await serve(behaviour)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stub)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(calls) > 1


async def test_a_detail_reaches_the_caller(serve):
    detail = registry_pb2.InvalidDefinition(
        problems=[registry_pb2.Problem(path="spec", message="wrong")]
    )
    stub = await serve(raising(rpcerrors.InvalidArgumentError("bad", detail=detail)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stub)
    received = registry_pb2.InvalidDefinition()
    assert rpcerrors.detail_of(caught.value, received)
    assert received == detail


async def test_a_call_ends_at_its_deadline(serve):
    stub = await serve(lambda: "hang")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stub, timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_two_servers_do_not_share_a_port(serve):
    await serve(lambda: "first")
    first = GrpcServer(
        listen="127.0.0.1:0", services=[], authenticator=identity.LocalAuthenticator()
    )
    await first.start()
    second = GrpcServer(
        listen=f"127.0.0.1:{first.port}", services=[], authenticator=identity.LocalAuthenticator()
    )
    with pytest.raises(Exception, match="BACKBONE_GRPC_LISTEN"):
        await second.start()
    await first.stop()


def test_without_tls_only_the_local_environment_trusts_its_callers():
    assert isinstance(
        identity.authenticator(environment="local", tls=False), identity.LocalAuthenticator
    )
    assert isinstance(
        identity.authenticator(environment="prod", tls=True), identity.CertificateAuthenticator
    )
    with pytest.raises(ConfigurationError, match="BACKBONE_TLS_CERTIFICATE"):
        identity.authenticator(environment="prod", tls=False)
