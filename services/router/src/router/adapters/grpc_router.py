"""The gRPC door: starts by hand. Maps the router's errors to statuses, once."""

from typing import Any

from backbone.router.v1 import router_pb2, router_pb2_grpc
from contracts.roles import Role
from router.errors import (
    DefinitionDisabledError,
    DefinitionUnknownError,
    DefinitionUnusableError,
    RequestIdReusedError,
    RequestInvalidError,
    StartRefusedError,
    TransientError,
)
from router.service import ManualTrigger
from runtime import authorisation, identity, rpcerrors
from runtime.grpcserver import Service

SERVICE_NAME = "backbone.router.v1.RouterService"


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    """Serves `RouterService`."""

    def __init__(self, manual: ManualTrigger) -> None:
        self._manual = manual

    async def TriggerDefinition(  # noqa: N802 - the proto's name
        self,
        request: router_pb2.TriggerDefinitionRequest,
        context: Any,  # noqa: ARG002 - the generated signature
    ) -> router_pb2.TriggerDefinitionResponse:
        """Start a run by hand, on behalf of the caller."""
        try:
            start = await self._manual.trigger(
                namespace=request.namespace,
                definition_id=request.definition_id,
                request_id=request.request_id,
                input_json=request.input,
                actor=identity.current_identity().subject,
                reason=request.reason,
            )
        except (RequestInvalidError, StartRefusedError) as exc:
            raise rpcerrors.InvalidArgumentError(str(exc)) from exc
        except DefinitionUnknownError as exc:
            raise rpcerrors.NotFoundError(str(exc)) from exc
        except DefinitionDisabledError as exc:
            raise rpcerrors.FailedPreconditionError(str(exc), reason="DEFINITION_DISABLED") from exc
        except DefinitionUnusableError as exc:
            raise rpcerrors.FailedPreconditionError(
                f"this release cannot read the definition: {exc}", reason="DEFINITION_UNREADABLE"
            ) from exc
        except RequestIdReusedError as exc:
            raise rpcerrors.AlreadyExistsError(str(exc)) from exc
        except TransientError as exc:
            raise rpcerrors.UnavailableError(str(exc)) from exc
        return router_pb2.TriggerDefinitionResponse(
            run_id=start.run_id, definition_version=start.definition_version, started=start.started
        )


def service(manual: ManualTrigger) -> Service:
    """Return the service with who may call it."""
    return Service(
        name=SERVICE_NAME,
        add=router_pb2_grpc.add_RouterServiceServicer_to_server,
        servicer=RouterServicer(manual),
        policy=authorisation.policy(SERVICE_NAME, {"TriggerDefinition": {Role.OPERATOR}}),
    )
