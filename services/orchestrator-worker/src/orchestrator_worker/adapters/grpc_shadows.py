"""Shadows from the ledger, and what they decided to it."""

import grpc
from pydantic import ValidationError

from backbone.ledger.v1 import shadows_pb2, shadows_pb2_grpc
from contracts import definitions
from contracts.definitions import ActivityDefinition
from contracts.runs import RunInput
from contracts.shadows import ShadowOutcome
from orchestrator_worker.adapters import grpc_errors
from orchestrator_worker.errors import DefinitionNotFoundError
from runtime.faultpoints import faultpoint

_TIMEOUT_S = 4.0

_OUTCOMES = {
    ShadowOutcome.DECIDED: shadows_pb2.SHADOW_OUTCOME_DECIDED,
    ShadowOutcome.FAILED: shadows_pb2.SHADOW_OUTCOME_FAILED,
    ShadowOutcome.NOT_STARTED: shadows_pb2.SHADOW_OUTCOME_NOT_STARTED,
    ShadowOutcome.NOT_COMPARABLE: shadows_pb2.SHADOW_OUTCOME_NOT_COMPARABLE,
}


class GrpcShadowRecords:
    """`ports.ShadowRecords` by the ledger's calls."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = shadows_pb2_grpc.ShadowServiceStub(channel)

    async def get(self, namespace: str, shadow_id: str) -> tuple[ActivityDefinition, int]:
        """Return the definition of a shadow, which never changes, and its version."""
        request = shadows_pb2.GetShadowRequest(namespace=namespace, shadow_id=shadow_id)
        faultpoint("worker.before_get_shadow")
        try:
            response = await self._stub.GetShadow(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_get_shadow")
        shadow = response.shadow
        try:
            return definitions.load(shadow.content), shadow.definition_version
        except ValidationError as exc:
            raise DefinitionNotFoundError(
                f"the shadow of {shadow.definition_id} is in a language this worker cannot read: "
                f"{exc.errors(include_url=False, include_input=False)[0]['msg']}"
            ) from exc

    async def record(
        self,
        run: RunInput,
        *,
        shadow_id: str,
        outcome: ShadowOutcome,
        reason: str = "",
        decision: bytes = b"",
    ) -> None:
        """Keep what a shadow made of a run; the first time stands."""
        request = shadows_pb2.RecordShadowDecisionRequest(
            namespace=run.namespace,
            shadow_id=shadow_id,
            decision=shadows_pb2.ShadowDecision(
                run_id=run.run_id, outcome=_OUTCOMES[outcome], reason=reason, decision=decision
            ),
        )
        faultpoint("worker.before_record_shadow_decision")
        try:
            await self._stub.RecordShadowDecision(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_record_shadow_decision")
