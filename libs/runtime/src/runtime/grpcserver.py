"""A gRPC server that knows its callers, denies by default, and bounds every call."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.trace import SpanKind

from contracts.names import Metadata
from contracts.telemetry import Metric
from runtime import grpcrenewal, grpcspans, identity, logs, rpcerrors, telemetry
from runtime.authorisation import Decisions, Policy
from runtime.errors import ConfigurationError, DatabaseUnavailableError
from runtime.identity import Authenticator, Identity
from runtime.rpcerrors import RpcError
from runtime.shares import Shares
from runtime.tls import TlsFiles

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_UNARY_SECONDS = 60.0
MAX_STREAMS = 1000
"""At once, of one connection."""
MAX_CALLS = 2000
"""At once, of one server."""
CALLERS = 4
"""How many it takes at least to have all calls of a server open."""
MAX_HANDSHAKE = timedelta(seconds=10)
"""Until a connection speaks TLS and HTTP/2."""

# Seconds; those that OpenTelemetry's conventions give for the duration of an RPC.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_RECORDED_AT_ONCE = 64
_RECORDED_AFTER_SECONDS = 0.25
_CLOCK_TOLERANCE_SECONDS = 0.01

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Service:
    """A servicer, how it is added to a server, its full name and who may call its methods."""

    name: str
    add: Callable[[Any, Any], None]
    servicer: Any
    policy: Policy


class Tokens(Protocol):
    """Finds out who is calling by what an `authorization` header says."""

    async def authenticate(self, authorization: str) -> Identity:
        """Return the caller. Raises UnauthenticatedError, or UnavailableError when it may soon."""
        ...


class GrpcServer:
    """Serves gRPC from `start` to `stop`; with `listen` port 0 the system chooses, see `port`.

    A token that is shown decides alone who calls; without `tokens` it is turned away. Without
    `client_certificates` nobody is asked for one. `setting` is the variable of `listen`.
    """

    def __init__(
        self,
        *,
        listen: str,
        services: Sequence[Service],
        authenticator: Authenticator,
        tokens: Tokens | None = None,
        tls: TlsFiles | None = None,
        client_certificates: bool = True,
        max_calls: int = MAX_CALLS,
        setting: str = "BACKBONE_GRPC_LISTEN",
        reflection_enabled: bool = False,
        grace: timedelta = timedelta(seconds=10),
        handshake: timedelta = MAX_HANDSHAKE,
    ) -> None:
        self.name = setting.removeprefix("BACKBONE_").removesuffix("_LISTEN").lower()
        self._listen = listen
        self._setting = setting
        self._client_certificates = client_certificates
        self._services = services
        self._tls = tls
        self._reflection = reflection_enabled
        self._grace = grace.total_seconds()
        self._health = health.aio.HealthServicer()
        table = {method: roles for service in services for method, roles in service.policy.items()}
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", MAX_STREAMS),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.server_handshake_timeout_ms", handshake // timedelta(milliseconds=1)),
                # Two servers on one port would share its calls by chance.
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=max_calls,
        )
        decisions = Decisions(table)
        shares = Shares(max_calls // CALLERS, decisions)
        self._gate = _Gate(self._server, authenticator, tokens, decisions, shares)
        self.port = 0

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigurationError: the address is taken or malformed, or a certificate cannot be read.
        """
        for service in self._services:
            service.add(service.servicer, self._gate)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._reflection:
            names = [service.name for service in self._services]
            reflection.enable_server_reflection(
                [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
            )
        try:
            if self._tls is None:
                self.port = self._server.add_insecure_port(self._listen)
            else:
                credentials = grpcrenewal.server_credentials(
                    self._tls, client_certificates=self._client_certificates
                )
                self.port = self._server.add_secure_port(self._listen, credentials)
        except (RuntimeError, OSError) as exc:
            raise ConfigurationError(
                f"cannot listen on {self._listen} ({self._setting}): {exc}"
            ) from exc
        await self._server.start()
        for status_of in ("", *(service.name for service in self._services)):
            await self._health.set(status_of, health_pb2.HealthCheckResponse.SERVING)
        _log.info("grpc_listening", listen=self._listen, port=self.port, tls=self._tls is not None)

    async def stop(self) -> None:
        """Refuse new calls, let running ones end within the grace, then cut them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._grace)
        self._gate.durations.flush()


class _Gate:
    """Identity, authorisation, time limit, trace context, figures and errors of every call.

    To a servicer it is the server that it is added to. Handlers are wrapped once, when they are
    looked up first, and not by an interceptor, which grpc.aio would run for each call.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        authenticator: Authenticator,
        tokens: Tokens | None,
        decisions: Decisions,
        shares: Shares,
    ) -> None:
        self._server = server
        self._authenticator = authenticator
        self._tokens = tokens
        self._decisions = decisions
        self._shares = shares
        self.durations = _Durations()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Add handlers to the server, each behind this gate."""
        self._server.add_generic_rpc_handlers(
            tuple(_Gated(handler, self.wrapped) for handler in handlers)
        )

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """Do nothing, as grpc.aio's own server: the same handlers are added as generic ones."""

    def wrapped(self, method: str, handler: Any) -> Any:
        """Return `handler`, of the full name `method`, behind this gate."""
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler.unary_stream),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _unary(self, method: str, behaviour: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        admit, take = self._admission(method), self._shares.take
        note = self.durations.note
        attributes = {
            code: {"rpc.method": method, "rpc.grpc.status_code": code.name}
            for code in grpc.StatusCode
        }

        async def call(request: Any, context: Any) -> Any:
            started = time.perf_counter()
            code = grpc.StatusCode.OK
            try:
                caller, parent = await admit(request, context)
                with take(method, caller, request):
                    remaining = context.time_remaining()
                    # gRPC itself ends a call at its deadline; a late or absent one needs ours.
                    bounded = remaining is not None and remaining <= MAX_UNARY_SECONDS
                    if bounded and parent is None:
                        return await behaviour(request, context)
                    limit = None if bounded else MAX_UNARY_SECONDS
                    with telemetry.attached(parent):
                        return await answer(request, context, limit)
            except asyncio.CancelledError as exc:
                code = _code_of(exc, context)
                raise
            except Exception as exc:  # noqa: BLE001 - every failure becomes a status, once, here
                code = _code_of(exc, context)
                await _abort(method, context, exc)
            finally:
                note(time.perf_counter() - started, attributes[code])

        async def answer(request: Any, context: Any, limit: float | None) -> Any:
            code = grpc.StatusCode.OK
            with grpcspans.within_trace(method, SpanKind.SERVER) as span:
                try:
                    async with asyncio.timeout(limit):
                        return await behaviour(request, context)
                except (Exception, asyncio.CancelledError) as exc:
                    code = _code_of(exc, context)
                    raise
                finally:
                    grpcspans.ended(span, code, SpanKind.SERVER)

        return call

    def _stream(self, method: str, behaviour: Callable[[Any, Any], AsyncIterator[Any]]) -> Any:
        admit = self._admission(method)

        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                caller, parent = await admit(request, context)
                with self._shares.take(method, caller, request), telemetry.attached(parent):
                    responses = behaviour(request, context)
                    until = caller.until
                    async for response in responses if until is None else _until(until, responses):
                        yield response
            except Exception as exc:  # noqa: BLE001 - every failure becomes a status, once, here
                await _abort(method, context, exc)

        return call

    def _admission(self, method: str) -> Callable[[Any, Any], Awaitable[tuple[Identity, Any]]]:
        """Return what lets a call of `method` in, and returns its caller and its traceparent."""
        decide = self._decisions.decide

        async def admit(request: Any, context: Any) -> tuple[Identity, str | None]:
            metadata = dict(context.invocation_metadata() or ())
            try:
                caller = await self._caller(context, metadata)
            except RpcError as exc:
                self._decisions.unknown(method, request, error=exc, peer=context.peer())
                raise
            decide(method, caller, request)
            identity.set_current(caller)
            return caller, metadata.get(Metadata.TRACEPARENT)

        return admit

    async def _caller(self, context: Any, metadata: Mapping[str, Any]) -> Identity:
        shown = metadata.get(Metadata.AUTHORIZATION)
        if shown is None:
            caller = self._authenticator.authenticate(context, metadata)
            if caller is None:
                raise rpcerrors.UnauthenticatedError("the caller has no identity known here")
            return caller
        # Never passed over: who shows a token acts as whom it names, and with no more rights.
        if self._tokens is None:
            raise rpcerrors.UnauthenticatedError(
                "no tokens are taken here", reason="TOKENS_NOT_TAKEN"
            )
        return await self._tokens.authenticate(shown)


class _Durations:
    """How long calls took, handed to the instrument many at a time.

    Called once a call, between everything else that a call does, it is three times as slow.
    """

    def __init__(self) -> None:
        self._histogram = telemetry.meter(__name__).create_histogram(
            Metric.RPC_SERVER_DURATION,
            unit="s",
            description="Time to answer an RPC.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._noted: list[tuple[float, dict[str, str]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def note(self, seconds: float, attributes: dict[str, str]) -> None:
        """Take a call's duration; it is recorded within a quarter of a second."""
        self._noted.append((seconds, attributes))
        if len(self._noted) >= _RECORDED_AT_ONCE:
            self._record()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_RECORDED_AFTER_SECONDS, self.flush)

    def flush(self) -> None:
        """Record what is noted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._record()

    def _record(self) -> None:
        noted, self._noted = self._noted, []
        for seconds, attributes in noted:
            self._histogram.record(seconds, attributes)


class _Gated(grpc.GenericRpcHandler):
    """Finds a service's handlers as `inner` does, wrapped."""

    def __init__(self, inner: grpc.GenericRpcHandler, wrapped: Callable[[str, Any], Any]) -> None:
        self._inner = inner
        self._wrapped = wrapped
        self._handlers: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method
        found = self._handlers.get(method)
        if found is None:
            handler = self._inner.service(handler_call_details)
            if handler is None:
                return None
            found = self._handlers[method] = self._wrapped(method, handler)
        return found


async def _until(end: float, responses: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield what `responses` yields, until a token ends."""
    while True:
        try:
            # Not around the `yield`, which would end whoever waits for the network there.
            async with asyncio.timeout(max(0.0, end - time.time())) as limit:
                response = await anext(responses)
        except StopAsyncIteration:
            return
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise rpcerrors.UnauthenticatedError(
                "the token has expired meanwhile", reason="TOKEN_EXPIRED"
            ) from exc
        yield response


def _code_of(exc: BaseException, context: Any) -> grpc.StatusCode:
    if not isinstance(exc, Exception):
        return _cancelled_as(context)
    error = _as_rpc_error(exc)
    return grpc.StatusCode.INTERNAL if error is None else error.code


def _cancelled_as(context: Any) -> grpc.StatusCode:
    """Say why a call was cancelled: its time was up, or its caller gave up."""
    remaining = context.time_remaining()
    # gRPC's timer and the clock that this is told by may differ by a little.
    if remaining is not None and remaining < _CLOCK_TOLERANCE_SECONDS:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return grpc.StatusCode.CANCELLED


async def _abort(method: str, context: Any, exc: Exception) -> None:
    error = _as_rpc_error(exc)
    if error is None:
        if isinstance(exc, grpc.aio.AbortError):
            raise exc
        _log.error("rpc_failed", method=method, exc_info=exc)
        error = _InternalError("an unexpected error; the service's log has the details")
    trailing = rpcerrors.status_details(error)
    if trailing is not None:
        context.set_trailing_metadata(((rpcerrors.DETAILS_KEY, trailing),))
    await context.abort(error.code, error.message)


class _InternalError(RpcError):
    code = grpc.StatusCode.INTERNAL


class _DeadlineExceededError(RpcError):
    code = grpc.StatusCode.DEADLINE_EXCEEDED


def _as_rpc_error(exc: Exception) -> RpcError | None:
    if isinstance(exc, RpcError):
        return exc
    if isinstance(exc, DatabaseUnavailableError):
        return rpcerrors.UnavailableError(str(exc))
    if isinstance(exc, TimeoutError):
        return _DeadlineExceededError("the call took longer than it was given")
    return None
