"""The values of sensitive fields in a task's input: resolved for the attempt, and kept nowhere."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Protocol

import grpc

from backbone.ledger.v1 import subjects_pb2_grpc
from contracts import sensitive_calls
from contracts.sensitive import Reference
from runtime.faultpoints import faultpoint
from sdk.errors import RetryLaterError

_TIMEOUT_S = 5.0
_LATER = timedelta(seconds=5)


class SensitiveValues(Protocol):
    """Has the values of sensitive fields."""

    async def resolve(self, namespace: str, references: Collection[Reference]) -> Mapping[str, Any]:
        """Return the values behind references, by blob id; none of what is erased.

        Raises:
            RetryLaterError: they cannot be had now.
        """
        ...


class GrpcSensitiveValues:
    """Asks the ledger for them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = subjects_pb2_grpc.SubjectServiceStub(channel)

    async def resolve(self, namespace: str, references: Collection[Reference]) -> Mapping[str, Any]:
        """Return the values behind references (see `SensitiveValues`)."""
        found: dict[str, Any] = {}
        for request in sensitive_calls.resolutions(namespace, references):
            faultpoint("sdk.before_resolve_values")
            try:
                response = await self._stub.ResolveValues(request, timeout=_TIMEOUT_S)
            except grpc.aio.AioRpcError as exc:
                raise RetryLaterError(
                    f"the ledger does not tell sensitive values ({exc.code().name}): "
                    f"{exc.details()}",
                    after=_LATER,
                ) from exc
            faultpoint("sdk.after_resolve_values")
            found |= sensitive_calls.values(response.values)
        return found
