"""gRPC channels: one a neighbour, with a deadline on every call, keepalive and trace context.

A unary call within a trace is a span of it.

A call that the neighbour never saw (UNAVAILABLE) is tried again a few times by gRPC itself; every
write of Backbone is idempotent, so that this is safe.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.trace import SpanKind

from contracts.names import Metadata
from runtime import grpcspans, telemetry
from runtime.errors import ConfigurationError
from runtime.grpcrenewal import RenewedChannel
from runtime.grpcserver import MAX_MESSAGE_BYTES
from runtime.tls import TlsFiles

DEFAULT_TIMEOUT_S = 10.0

_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


def channel(
    address: str,
    *,
    actor: str,
    tls: TlsFiles | None = None,
    trusted: Path | None = None,
    token: Callable[[], str] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> grpc.aio.Channel:
    """Return a channel to `address` (host:port); it connects on its first call.

    `actor` is the name that we give ourselves where nothing else tells it. `token` is asked for the
    token to show with each call. `trusted` is the authority (PEM) of the server that we call
    without a certificate of ours; with `tls` it is not looked at. Unary calls without a timeout of
    their own get `timeout_s` seconds. Close the channel with `await channel.close()`.

    Raises:
        ConfigurationError: files cannot be used, or a token would go in the clear.
    """
    if token is not None and tls is None and trusted is None:
        raise ConfigurationError(f"a token would go to {address} in the clear")
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.service_config", _SERVICE_CONFIG),
    ]
    interceptors = [_UnaryContext(actor, timeout_s, token), _StreamContext(actor, token)]

    def made(credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(
            address, credentials, options=options, interceptors=interceptors
        )

    if tls is not None:
        return RenewedChannel(tls, made)
    if trusted is not None:
        return made(_of_server_only(trusted))
    return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)


def _of_server_only(trusted: Path) -> grpc.ChannelCredentials:
    try:
        return grpc.ssl_channel_credentials(trusted.read_bytes())
    except OSError as exc:
        raise ConfigurationError(f"{trusted} cannot be read: {exc.strerror}") from exc


async def reach(address: str, *, actor: str, tls: TlsFiles | None = None) -> None:
    """Return once `address` has taken a connection; how long that may last is the caller's."""
    opened = channel(address, actor=actor, tls=tls)
    try:
        await opened.channel_ready()
    finally:
        await opened.close()


def _with_context(
    details: grpc.aio.ClientCallDetails,
    actor: str,
    token: Callable[[], str] | None,
    timeout_s: float | None,
) -> grpc.aio.ClientCallDetails:
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    metadata.add(Metadata.ACTOR.value, actor)
    if token is not None:
        metadata.add(Metadata.AUTHORIZATION.value, f"Bearer {token()}")
    parent = telemetry.traceparent()
    if parent is not None:
        metadata.add(Metadata.TRACEPARENT.value, parent)
    return grpc.aio.ClientCallDetails(
        method=details.method,
        timeout=details.timeout if details.timeout is not None else timeout_s,
        metadata=metadata,
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
    )


class _UnaryContext(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, actor: str, timeout_s: float, token: Callable[[], str] | None) -> None:
        self._actor = actor
        self._timeout_s = timeout_s
        self._token = token

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        with grpcspans.within_trace(client_call_details.method, SpanKind.CLIENT) as span:
            details = _with_context(client_call_details, self._actor, self._token, self._timeout_s)
            call = await continuation(details, request)
            if span.is_recording():
                try:
                    code = await call.code()
                except asyncio.CancelledError:
                    # The call itself does not hear of it as long as it is awaited here.
                    call.cancel()
                    grpcspans.ended(span, grpc.StatusCode.CANCELLED, SpanKind.CLIENT)
                    raise
                grpcspans.ended(span, code, SpanKind.CLIENT)
            return call


class _StreamContext(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, actor: str, token: Callable[[], str] | None) -> None:
        self._actor = actor
        self._token = token

    async def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        return await continuation(
            _with_context(client_call_details, self._actor, self._token, None), request
        )
