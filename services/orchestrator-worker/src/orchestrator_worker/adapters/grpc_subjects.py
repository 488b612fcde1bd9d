"""The values of sensitive fields from the ledger, for what is decided upon them."""

from collections.abc import Collection, Mapping
from typing import Any

import grpc

from backbone.ledger.v1 import subjects_pb2_grpc
from contracts import sensitive_calls
from contracts.sensitive import Reference
from orchestrator_worker.errors import NeighbourUnavailableError
from runtime.faultpoints import faultpoint

_TIMEOUT_S = 4.0


class GrpcSensitiveValues:
    """`ports.SensitiveValues` by the ledger's calls."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = subjects_pb2_grpc.SubjectServiceStub(channel)

    async def resolve(self, namespace: str, references: Collection[Reference]) -> Mapping[str, Any]:
        """Return the values behind references, by blob id; none of what is erased.

        Whatever the ledger says against it is its installation's fault: the run waits for that.
        """
        found: dict[str, Any] = {}
        for request in sensitive_calls.resolutions(namespace, references):
            faultpoint("worker.before_resolve_values")
            try:
                response = await self._stub.ResolveValues(request, timeout=_TIMEOUT_S)
            except grpc.aio.AioRpcError as exc:
                raise NeighbourUnavailableError(
                    f"the ledger does not tell sensitive values ({exc.code().name}): "
                    f"{exc.details()}"
                ) from exc
            faultpoint("worker.after_resolve_values")
            found |= sensitive_calls.values(response.values)
        return found
