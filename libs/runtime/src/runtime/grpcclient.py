"""gRPC channels: one a neighbour, with a deadline on every call, keepalive and trace context.

A call that the neighbour never saw (UNAVAILABLE) is tried again a few times by gRPC itself; every
write of Backbone is idempotent, so that this is safe.
"""

import json
from collections.abc import Callable
from typing import Any

import grpc

from contracts.names import Metadata
from runtime import telemetry
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
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> grpc.aio.Channel:
    """Return a channel to `address` (host:port); it connects on its first call.

    `actor` is the name that we give ourselves where no certificate tells it. Unary calls without a
    timeout of their own get `timeout_s` seconds. Close the channel with `await channel.close()`.
    """
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
    interceptors = [_UnaryContext(actor, timeout_s), _StreamContext(actor)]
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(
        address, tls.channel_credentials(), options=options, interceptors=interceptors
    )


def _with_context(
    details: grpc.aio.ClientCallDetails, actor: str, timeout_s: float | None
) -> grpc.aio.ClientCallDetails:
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    metadata.add(Metadata.ACTOR.value, actor)
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
    def __init__(self, actor: str, timeout_s: float) -> None:
        self._actor = actor
        self._timeout_s = timeout_s

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        details = _with_context(client_call_details, self._actor, self._timeout_s)
        return await continuation(details, request)


class _StreamContext(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, actor: str) -> None:
        self._actor = actor

    async def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        return await continuation(_with_context(client_call_details, self._actor, None), request)
