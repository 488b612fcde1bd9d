"""A gRPC server that knows its callers, denies by default, and bounds every call."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from contracts.names import Metadata
from contracts.telemetry import Metric
from runtime import authorisation, identity, logs, rpcerrors, telemetry
from runtime.authorisation import Policy
from runtime.errors import ConfigurationError, DatabaseUnavailableError
from runtime.identity import Authenticator
from runtime.rpcerrors import RpcError
from runtime.tls import TlsFiles

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_UNARY_SECONDS = 60.0

_OPEN_TO_ALL = ("/grpc.health.v1.Health/", "/grpc.reflection.")

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Service:
    """A servicer, how it is added to a server, its full name and who may call its methods."""

    name: str
    add: Callable[[Any, grpc.aio.Server], None]
    servicer: Any
    policy: Policy


class GrpcServer:
    """Serves gRPC from `start` to `stop`; with `listen` port 0 the system chooses, see `port`."""

    name = "grpc"

    def __init__(
        self,
        *,
        listen: str,
        services: Sequence[Service],
        authenticator: Authenticator,
        tls: TlsFiles | None = None,
        reflection_enabled: bool = False,
        grace: timedelta = timedelta(seconds=10),
    ) -> None:
        self._listen = listen
        self._services = services
        self._tls = tls
        self._reflection = reflection_enabled
        self._grace = grace.total_seconds()
        self._health = health.aio.HealthServicer()
        table = {method: roles for service in services for method, roles in service.policy.items()}
        self._server = grpc.aio.server(
            interceptors=[_Gate(authenticator, table)],
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", 1000),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                # Two servers on one port would share its calls by chance.
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=2000,
        )
        self.port = 0

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            ConfigurationError: the address is taken or malformed, or a certificate cannot be read.
        """
        for service in self._services:
            service.add(service.servicer, self._server)
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
                self.port = self._server.add_secure_port(
                    self._listen, self._tls.server_credentials()
                )
        except (RuntimeError, OSError) as exc:
            raise ConfigurationError(
                f"cannot listen on {self._listen} (BACKBONE_GRPC_LISTEN): {exc}"
            ) from exc
        await self._server.start()
        for status_of in ("", *(service.name for service in self._services)):
            await self._health.set(status_of, health_pb2.HealthCheckResponse.SERVING)
        _log.info("grpc_listening", listen=self._listen, port=self.port, tls=self._tls is not None)

    async def stop(self) -> None:
        """Refuse new calls, let running ones end within the grace, then cut them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._grace)


class _Gate(grpc.aio.ServerInterceptor):
    """Identity, authorisation, time limit, trace context, figures and errors of every call."""

    def __init__(self, authenticator: Authenticator, table: Policy) -> None:
        self._authenticator = authenticator
        self._table = table
        self._duration = telemetry.meter(__name__).create_histogram(
            Metric.RPC_SERVER_DURATION, unit="s", description="Time to answer an RPC."
        )

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or method.startswith(_OPEN_TO_ALL):
            return handler
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
        async def call(request: Any, context: Any) -> Any:
            started = time.perf_counter()
            code = grpc.StatusCode.OK
            try:
                parent = self._admit(method, context)
                remaining = context.time_remaining()
                limit = min(MAX_UNARY_SECONDS, remaining or MAX_UNARY_SECONDS)
                with telemetry.attached(parent):
                    async with asyncio.timeout(limit):
                        return await behaviour(request, context)
            except Exception as exc:  # noqa: BLE001 - every failure becomes a status, once, here
                error = _as_rpc_error(exc)
                code = grpc.StatusCode.INTERNAL if error is None else error.code
                await _abort(method, context, exc)
            finally:
                self._duration.record(
                    time.perf_counter() - started,
                    {"rpc.method": method, "rpc.grpc.status_code": code.name},
                )

        return call

    def _stream(self, method: str, behaviour: Callable[[Any, Any], AsyncIterator[Any]]) -> Any:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                parent = self._admit(method, context)
                with telemetry.attached(parent):
                    async for response in behaviour(request, context):
                        yield response
            except Exception as exc:  # noqa: BLE001 - every failure becomes a status, once, here
                await _abort(method, context, exc)

        return call

    def _admit(self, method: str, context: Any) -> str | None:
        metadata = {
            key: value
            for key, value in context.invocation_metadata() or ()
            if isinstance(value, str)
        }
        caller = self._authenticator.authenticate(context, metadata)
        if caller is None:
            raise rpcerrors.UnauthenticatedError("the caller has no identity known here")
        if not authorisation.allows(self._table, method, caller):
            _log.warning("rpc_denied", method=method, actor=caller.subject)
            raise rpcerrors.PermissionDeniedError(f"{caller.subject} may not call {method}")
        identity.set_current(caller)
        return metadata.get(Metadata.TRACEPARENT)


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
