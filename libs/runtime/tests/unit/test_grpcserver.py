"""The server's gate, over real gRPC: identity, roles, deadlines, error mapping."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from backbone.router.v1 import router_pb2, router_pb2_grpc
from contracts.roles import Role
from contracts.telemetry import Metric
from runtime import (
    authorisation,
    grpcclient,
    grpcserver,
    grpcspans,
    identity,
    rpcerrors,
    telemetry,
)
from runtime.errors import ConfigurationError, DatabaseUnavailableError
from runtime.grpcserver import GrpcServer, Service

SERVICE = "backbone.router.v1.RouterService"
WATCHED = "backbone.registry.v1.RegistryService"
METHOD = f"/{SERVICE}/TriggerDefinition"


class Servicer(router_pb2_grpc.RouterServiceServicer):
    def __init__(self, behaviour: Callable[[], str]) -> None:
        self.behaviour = behaviour
        self.reached = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def TriggerDefinition(self, request, context):
        outcome = self.behaviour()
        self.reached.set()
        if outcome == "hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return router_pb2.TriggerDefinitionResponse(run_id=outcome)


class Watched(registry_pb2_grpc.RegistryServiceServicer):
    def __init__(self, behaviour: Callable[[], str]) -> None:
        self.behaviour = behaviour

    async def WatchResources(self, request, context):
        yield registry_pb2.WatchResourcesResponse(
            resource=registry_pb2.Resource(resource_id=identity.current_identity().subject)
        )
        outcome = self.behaviour()
        if outcome == "hang":
            await asyncio.Event().wait()
        yield registry_pb2.WatchResourcesResponse(
            resource=registry_pb2.Resource(resource_id=outcome)
        )


@pytest.fixture
async def serve() -> AsyncIterator[Callable]:
    running = []

    async def start(
        behaviour, *, roles=frozenset(Role), allowed=(Role.OPERATOR,), authenticator=None, **limits
    ):
        methods = {"TriggerDefinition": allowed} if allowed else {}
        watched = {"WatchResources": allowed} if allowed else {}
        servicer = Servicer(behaviour)
        server = GrpcServer(
            listen="127.0.0.1:0",
            services=[
                Service(
                    name=SERVICE,
                    add=router_pb2_grpc.add_RouterServiceServicer_to_server,
                    servicer=servicer,
                    policy=authorisation.policy(SERVICE, methods),
                ),
                Service(
                    name=WATCHED,
                    add=registry_pb2_grpc.add_RegistryServiceServicer_to_server,
                    servicer=Watched(behaviour),
                    policy=authorisation.policy(WATCHED, watched),
                ),
            ],
            authenticator=authenticator or identity.LocalAuthenticator(roles),
            **limits,
        )
        await server.start()
        channel = grpcclient.channel(f"127.0.0.1:{server.port}", actor="alice")
        running.extend([channel.close, server.stop])
        stub = router_pb2_grpc.RouterServiceStub(channel)
        stub.servicer, stub.channel, stub.server = servicer, channel, server
        return stub

    yield start
    for end in running:
        await end()


@pytest.fixture
def calls_by_code(monkeypatch) -> Callable[[], dict[str, int]]:
    """How many calls of METHOD were measured, by the code they ended with."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    monkeypatch.setattr(telemetry, "meter", provider.get_meter)

    def counted() -> dict[str, int]:
        data = reader.get_metrics_data()
        return {
            point.attributes["rpc.grpc.status_code"]: point.count
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == Metric.RPC_SERVER_DURATION
            for point in metric.data.data_points
            if point.attributes["rpc.method"] == METHOD
        }

    return counted


async def until(expected, actual) -> None:
    """Wait until `actual()` is `expected`: an answer arrives before its call's end is noted."""
    async with asyncio.timeout(5):
        while actual() != expected:  # noqa: ASYNC110 - nobody tells of a figure
            await asyncio.sleep(0.01)


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


class Members:
    def authenticate(self, context, metadata):
        return identity.Identity("dev/alice", frozenset(Role), frozenset({"dev"}))


class Strangers:
    def authenticate(self, context, metadata):
        return None


@pytest.mark.parametrize("namespace", ["prod", ""])
async def test_a_member_of_a_namespace_is_denied_others(serve, namespace):
    stub = await serve(lambda: "reached", authenticator=Members())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.TriggerDefinition(router_pb2.TriggerDefinitionRequest(namespace=namespace))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    allowed = await stub.TriggerDefinition(router_pb2.TriggerDefinitionRequest(namespace="dev"))
    assert allowed.run_id == "reached"


class Called:
    """Believes whoever calls, as a member of dev or, without a namespace, as a service."""

    def __init__(self, *namespaces: str) -> None:
        self.namespaces = frozenset(namespaces) or None

    def authenticate(self, context, metadata):
        return identity.Identity(
            metadata["as-whom"], frozenset({Role.OPERATOR}), namespaces=self.namespaces
        )


async def hangs(stub, request, *, as_whom: str):
    """Return a call that is being served, and does not end."""
    stub.servicer.reached.clear()
    hanging = stub.TriggerDefinition(request, metadata=[("as-whom", as_whom)])
    await stub.servicer.reached.wait()
    return hanging


async def test_who_has_a_share_of_the_calls_open_waits_and_nobody_else(serve):
    stub = await serve(lambda: "hang", authenticator=Called("dev"), max_calls=8)
    request = router_pb2.TriggerDefinitionRequest(namespace="dev")
    first = await hangs(stub, request, as_whom="dev/ana")
    second = await hangs(stub, request, as_whom="dev/ana")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.TriggerDefinition(request, metadata=[("as-whom", "dev/ana")])
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "dev/ana has 2 calls open here" in refused.value.details()
    third = await hangs(stub, request, as_whom="dev/ben")

    first.cancel()
    await stub.servicer.cancelled.wait()
    again = await hangs(stub, request, as_whom="dev/ana")
    for hanging in (second, third, again):
        hanging.cancel()


async def test_a_stream_is_one_of_the_calls_that_its_caller_has_open(serve):
    stub = await serve(lambda: "hang", authenticator=Called("dev"), max_calls=4)
    watching = registry_pb2_grpc.RegistryServiceStub(stub.channel).WatchResources
    request = registry_pb2.WatchResourcesRequest(namespace="dev")
    first = watching(request, metadata=[("as-whom", "dev/ana")])
    await first.read()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await watching(request, metadata=[("as-whom", "dev/ana")]).read()
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_our_services_calls_are_not_counted(serve):
    stub = await serve(lambda: "hang", authenticator=Called(), max_calls=4)
    request = router_pb2.TriggerDefinitionRequest(namespace="dev")
    for hanging in [await hangs(stub, request, as_whom="ledger") for _ in range(3)]:
        hanging.cancel()


async def test_a_caller_whom_nobody_knows_is_unauthenticated(serve):
    stub = await serve(lambda: "reached", authenticator=Strangers())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stub)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


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
    detail = registry_pb2.InvalidDocuments(
        problems=[registry_pb2.Problem(path="spec", message="wrong")]
    )
    stub = await serve(raising(rpcerrors.InvalidArgumentError("bad", details=[detail])))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stub)
    received = registry_pb2.InvalidDocuments()
    assert rpcerrors.detail_of(caught.value, received)
    assert received == detail


async def test_a_call_ends_at_its_deadline(serve):
    stub = await serve(lambda: "hang")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stub, timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_is_cancelled_at_its_deadline(serve, calls_by_code):
    stub = await serve(lambda: "hang")
    with pytest.raises(grpc.aio.AioRpcError):
        await call(stub, timeout=0.2)
    await asyncio.wait_for(stub.servicer.cancelled.wait(), 5)
    await until({"DEADLINE_EXCEEDED": 1}, calls_by_code)


async def test_a_call_with_a_distant_deadline_ends_at_the_servers_own(
    serve, monkeypatch, calls_by_code
):
    monkeypatch.setattr(grpcserver, "MAX_UNARY_SECONDS", 0.2)
    stub = await serve(lambda: "hang")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stub, timeout=30)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert stub.servicer.cancelled.is_set()
    await until({"DEADLINE_EXCEEDED": 1}, calls_by_code)


async def test_a_call_that_its_caller_gives_up_is_cancelled(serve, calls_by_code):
    stub = await serve(lambda: "hang")
    task = asyncio.create_task(call(stub))
    await asyncio.wait_for(stub.servicer.reached.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until({"CANCELLED": 1}, calls_by_code)


async def test_calls_are_measured_by_how_they_ended(serve, calls_by_code):
    outcomes = iter(["done", "done", "absent"])

    def behaviour() -> str:
        if (outcome := next(outcomes)) == "absent":
            raise rpcerrors.NotFoundError("no run x")
        return outcome

    stub = await serve(behaviour)
    await call(stub)
    await call(stub)
    with pytest.raises(grpc.aio.AioRpcError):
        await call(stub)
    await until({"OK": 2, "NOT_FOUND": 1}, calls_by_code)


async def test_no_call_is_missing_from_the_figures_once_the_server_has_stopped(
    serve, calls_by_code
):
    stub = await serve(lambda: "done")
    for _ in range(100):
        await call(stub)
    await stub.server.stop()
    assert calls_by_code() == {"OK": 100}


@pytest.mark.parametrize("deadline", [5, 100])
async def test_the_callers_trace_goes_on_inside_the_call(serve, deadline):
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    stub = await serve(lambda: f"{trace.get_current_span().get_span_context().trace_id:032x}")
    metadata = (("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"),)
    assert (await call(stub, timeout=deadline, metadata=metadata)).run_id == trace_id
    assert (await call(stub, timeout=deadline)).run_id == "0" * 32


TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def spans(monkeypatch) -> InMemorySpanExporter:
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(grpcspans, "_TRACER", provider.get_tracer("test"))
    return kept


def is_refused() -> str:
    raise rpcerrors.NotFoundError("no definition canary-4711")


@pytest.mark.parametrize(
    ("behaviour", "code", "at_fault"),
    [
        (lambda: "done", "OK", set()),
        (is_refused, "NOT_FOUND", {SpanKind.CLIENT}),
        (lambda: 1 / 0, "INTERNAL", {SpanKind.CLIENT, SpanKind.SERVER}),
    ],
)
async def test_a_call_within_a_trace_is_a_span_on_both_sides(
    serve, spans, behaviour, code, at_fault
):
    stub = await serve(behaviour)
    with telemetry.attached(f"00-{TRACE}-{CALLER}-01"), contextlib.suppress(grpc.aio.AioRpcError):
        await call(stub)
    await until(2, lambda: len(spans.get_finished_spans()))
    found = {span.kind: span for span in spans.get_finished_spans()}
    client, server = found[SpanKind.CLIENT], found[SpanKind.SERVER]
    assert {span.name for span in found.values()} == {METHOD.removeprefix("/")}
    assert trace.format_span_id(client.parent.span_id) == CALLER
    assert server.parent.span_id == client.context.span_id
    assert {trace.format_trace_id(span.context.trace_id) for span in found.values()} == {TRACE}
    for kind, span in found.items():
        assert span.attributes["rpc.grpc.status_code"] == code
        assert (span.status.status_code is StatusCode.ERROR) == (kind in at_fault)
        assert "canary-4711" not in span.to_json()


async def test_a_call_outside_of_a_trace_is_no_span(serve, spans):
    await call(await serve(lambda: "done"))
    assert spans.get_finished_spans() == ()


async def test_a_call_that_is_given_up_is_cancelled_at_the_server(serve, spans):
    stub = await serve(lambda: "hang")
    with telemetry.attached(f"00-{TRACE}-{CALLER}-01"):
        calling = asyncio.ensure_future(call(stub, timeout=5))
    await stub.servicer.reached.wait()
    calling.cancel()
    async with asyncio.timeout(4):
        await stub.servicer.cancelled.wait()
    await until(2, lambda: len(spans.get_finished_spans()))
    codes = {span.attributes["rpc.grpc.status_code"] for span in spans.get_finished_spans()}
    assert "CANCELLED" in codes


async def watched(stub) -> list[str]:
    registry = registry_pb2_grpc.RegistryServiceStub(stub.channel)
    return [
        response.resource.resource_id
        async for response in registry.WatchResources(registry_pb2.WatchResourcesRequest())
    ]


async def test_a_stream_knows_its_caller(serve):
    assert await watched(await serve(lambda: "end")) == ["local/alice", "end"]


async def test_a_stream_is_denied_without_the_role(serve):
    stub = await serve(lambda: "reached", roles=frozenset({Role.VIEWER}))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watched(stub)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


class Ending:
    """Everybody's token ends in a moment, or much later."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def authenticate(self, context, metadata):
        until = time.time() + self.seconds
        return identity.Identity("oidc:ana", frozenset({Role.OPERATOR}), until=until)


async def test_a_stream_ends_with_the_token_it_began_with(serve):
    stub = await serve(lambda: "hang", authenticator=Ending(0.2))
    registry = registry_pb2_grpc.RegistryServiceStub(stub.channel)
    found = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for response in registry.WatchResources(registry_pb2.WatchResourcesRequest()):
            found.append(response.resource.resource_id)
    assert found == ["oidc:ana"]
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "expired meanwhile" in caught.value.details()


async def test_a_stream_within_its_tokens_time_is_whole(serve):
    stub = await serve(lambda: "end", authenticator=Ending(60))
    assert await watched(stub) == ["oidc:ana", "end"]


async def test_an_error_in_a_stream_becomes_its_status(serve):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watched(await serve(raising(rpcerrors.NotFoundError("no namespace x"))))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_method_that_does_not_exist_is_unimplemented(serve):
    stub = await serve(lambda: "reached")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.channel.unary_unary(f"/{SERVICE}/Absent")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_open_to_callers_without_a_role(serve):
    stub = await serve(lambda: "reached", roles=frozenset())
    health = health_pb2_grpc.HealthStub(stub.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert answer.status is health_pb2.HealthCheckResponse.SERVING


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
