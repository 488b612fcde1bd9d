"""Definitions from the registry."""

import grpc
from pydantic import ValidationError

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from contracts import definitions
from contracts.definitions import ActivityDefinition
from orchestrator_worker.adapters import grpc_errors
from orchestrator_worker.errors import DefinitionNotFoundError
from runtime.faultpoints import faultpoint

# Under the 5 s that a local decision has in all.
_TIMEOUT_S = 4.0


class GrpcDefinitionSource:
    """Gets a version of a definition by one call."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = registry_pb2_grpc.RegistryServiceStub(channel)

    async def get(self, namespace: str, definition_id: str, version: int) -> ActivityDefinition:
        """Return one version (see `ports.DefinitionSource`)."""
        request = registry_pb2.GetResourceRequest(
            namespace=namespace,
            kind=registry_pb2.RESOURCE_KIND_ACTIVITY_DEFINITION,
            resource_id=definition_id,
            version=version,
        )
        faultpoint("worker.before_get_definition")
        try:
            response = await self._stub.GetResource(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                raise DefinitionNotFoundError(
                    f"the registry has no version {version} of {definition_id} in {namespace}"
                ) from exc
            raise grpc_errors.translated("registry", exc) from exc
        faultpoint("worker.after_get_definition")
        try:
            return definitions.load(response.resource.content)
        except ValidationError as exc:
            raise DefinitionNotFoundError(
                f"version {version} of {definition_id} is in a language this worker cannot read: "
                f"{exc.errors(include_url=False, include_input=False)[0]['msg']}"
            ) from exc
