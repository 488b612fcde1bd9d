# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.ledger.v1.ShadowService`: reads a request, calls a use case, tells the answer."""

from datetime import UTC, datetime
from typing import Any

import grpc

from backbone.ledger.v1 import shadows_pb2 as pb
from backbone.ledger.v1 import shadows_pb2_grpc as pb_grpc
from contracts import canonical, definitions, identifiers
from contracts.decisions import Decision
from contracts.definitions import ActivityDefinition, Mode
from contracts.roles import Role
from contracts.shadows import (
    DEFAULT_SHADOW_RUNS,
    MAX_SHADOW_AGE,
    MAX_SHADOW_RUNS,
    ShadowOutcome,
)
from ledger.adapters import messages, pages, requests
from ledger.adapters.grpc_errors import as_statuses
from ledger.adapters.requests import RequestReader
from ledger.domain.shadows import NewShadow, Shadow, ShadowDecision
from ledger.errors import InvalidRequestError
from ledger.ports.shadows import RecordedShadowDecision
from ledger.service.shadows import ShadowLedger
from rules import decisions
from rules.errors import DecisionError
from runtime import authorisation, identity

Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["ShadowService"].full_name

POLICY = authorisation.policy(
    NAME,
    {
        "StartShadow": {Role.OPERATOR},
        "StopShadow": {Role.OPERATOR},
        "GetShadow": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "ListShadows": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "RecordShadowDecision": {Role.SERVICE},
        "ListShadowDecisions": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
    },
)

MAX_CONTENT_BYTES = 256 * 1024

_OUTCOME_OF: dict["pb.ShadowOutcome.ValueType", ShadowOutcome] = {
    pb.SHADOW_OUTCOME_DECIDED: ShadowOutcome.DECIDED,
    pb.SHADOW_OUTCOME_FAILED: ShadowOutcome.FAILED,
    pb.SHADOW_OUTCOME_NOT_STARTED: ShadowOutcome.NOT_STARTED,
    pb.SHADOW_OUTCOME_NOT_COMPARABLE: ShadowOutcome.NOT_COMPARABLE,
}
_MESSAGE_OF = {outcome: message for message, outcome in _OUTCOME_OF.items()}


class ShadowServicer(pb_grpc.ShadowServiceServicer):
    """Shadows, as operators and workers call them."""

    def __init__(self, shadows: ShadowLedger, *, reader: RequestReader) -> None:
        self._shadows = shadows
        self._reader = reader

    async def StartShadow(
        self, request: pb.StartShadowRequest, context: Context
    ) -> pb.StartShadowResponse:
        """Let a version decide beside each run."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            shadow = await self._shadows.start(namespace, _asked(namespace, request))
        return pb.StartShadowResponse(shadow=_message(shadow))

    async def StopShadow(
        self, request: pb.StopShadowRequest, context: Context
    ) -> pb.StopShadowResponse:
        """Let the shadow of a definition decide nothing more."""
        with as_statuses():
            shadow = await self._shadows.stop(
                self._reader.namespace(request.namespace),
                requests.definition(request.definition_id),
                actor=identity.current_identity().subject,
                reason=requests.text("reason", request.reason),
            )
        return pb.StopShadowResponse(shadow=_message(shadow))

    async def GetShadow(
        self, request: pb.GetShadowRequest, context: Context
    ) -> pb.GetShadowResponse:
        """Tell a shadow with its content."""
        with as_statuses():
            shadow = await self._shadows.get(
                self._reader.namespace(request.namespace),
                requests.text("shadow_id", request.shadow_id),
            )
        return pb.GetShadowResponse(shadow=_message(shadow))

    async def ListShadows(
        self, request: pb.ListShadowsRequest, context: Context
    ) -> pb.ListShadowsResponse:
        """List shadows by definition."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            size = pages.size(request.page_size)
            filters = ("shadows", namespace, request.definition_id)
            rows, last = pages.split(
                await self._shadows.page(
                    namespace,
                    after=pages.name(request.page_token, *filters),
                    definition_id=requests.definition(request.definition_id)
                    if request.definition_id
                    else None,
                    limit=size + 1,
                ),
                size,
            )
        return pb.ListShadowsResponse(
            shadows=[_message(row) for row in rows],
            next_page_token=pages.token(last.definition_id, *filters) if last else "",
        )

    async def RecordShadowDecision(
        self, request: pb.RecordShadowDecisionRequest, context: Context
    ) -> pb.RecordShadowDecisionResponse:
        """Keep what a shadow made of a run."""
        with as_statuses():
            recorded = await self._shadows.record(
                self._reader.namespace(request.namespace),
                requests.text("shadow_id", request.shadow_id),
                _decision(request.decision),
            )
        return pb.RecordShadowDecisionResponse(recorded=recorded)

    async def ListShadowDecisions(
        self, request: pb.ListShadowDecisionsRequest, context: Context
    ) -> pb.ListShadowDecisionsResponse:
        """List what a shadow decided, newest first."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            shadow_id = requests.text("shadow_id", request.shadow_id)
            size = pages.size(request.page_size)
            filters = ("shadow-decisions", namespace, shadow_id)
            rows, last = pages.split(
                await self._shadows.decisions(
                    namespace,
                    shadow_id,
                    before=pages.position(request.page_token, *filters),
                    limit=size + 1,
                ),
                size,
                weigh=lambda row: len(row.decision.decision or b""),
            )
        return pb.ListShadowDecisionsResponse(
            decisions=[_decision_message(row) for row in rows],
            next_page_token=pages.token(str(last.position), *filters) if last else "",
        )


def _asked(namespace: str, request: pb.StartShadowRequest) -> NewShadow:
    definition_id = requests.definition(request.definition_id)
    max_runs = request.max_runs or DEFAULT_SHADOW_RUNS
    if not 1 <= max_runs <= MAX_SHADOW_RUNS:
        raise InvalidRequestError(f"max_runs is {max_runs}, but has to be 1 to {MAX_SHADOW_RUNS}")
    if request.definition_version < 1:
        raise InvalidRequestError("definition_version counts from 1")
    expires_at = requests.moment("expires_at", request.expires_at)
    left = expires_at - datetime.now(UTC)
    if left > MAX_SHADOW_AGE or left.total_seconds() <= 0:
        raise InvalidRequestError(
            f"expires_at has to be in the future, by {MAX_SHADOW_AGE.days} days at most"
        )
    definition = _definition(request.content)
    if definition.spec.mode is Mode.STATEFUL:
        raise InvalidRequestError(
            f"{definition_id} is stateful, and a shadow would need instances of its own; "
            "`backbone backtest` decides the events again that were applied"
        )
    metadata = definition.metadata
    if (metadata.id, metadata.namespace) != (definition_id, namespace):
        raise InvalidRequestError(
            f"the content is {metadata.id} in {metadata.namespace}, not {definition_id} in "
            f"{namespace}"
        )
    return NewShadow(
        shadow_id=identifiers.shadow_id(
            namespace, definition_id, requests.request_id(request.request_id)
        ),
        definition_id=definition_id,
        definition_version=request.definition_version,
        content=definitions.content(definition),
        max_runs=max_runs,
        expires_at=expires_at,
        started_by=identity.current_identity().subject,
        reason=requests.text("reason", request.reason),
    )


def _definition(content: bytes) -> ActivityDefinition:
    document = requests.document("content", content, MAX_CONTENT_BYTES)
    definition = requests.model("content", ActivityDefinition, document)
    try:
        decisions.compile_definition(definition)
    except DecisionError as exc:
        raise InvalidRequestError(f"content: {exc}") from exc
    return definition


def _decision(told: pb.ShadowDecision) -> ShadowDecision:
    outcome = requests.one_of("outcome", told.outcome, _OUTCOME_OF)
    if outcome is None:
        raise InvalidRequestError("outcome is missing")
    if outcome is not ShadowOutcome.DECIDED:
        # Cut rather than refused, so that no reason goes untold.
        reason = told.reason.replace("\x00", "\ufffd")[: requests.MAX_TEXT_LENGTH]
        return ShadowDecision(requests.run_id(told.run_id), outcome, reason or outcome.value, None)
    document = requests.document("decision", told.decision, requests.MAX_DECISION_BYTES)
    requests.model("decision", Decision, document)
    return ShadowDecision(requests.run_id(told.run_id), outcome, "", canonical.render(document))


def _message(shadow: Shadow) -> pb.Shadow:
    return pb.Shadow(
        namespace=shadow.namespace,
        shadow_id=shadow.shadow_id,
        definition_id=shadow.definition_id,
        definition_version=shadow.definition_version,
        content=shadow.content,
        started_at=messages.timestamp(shadow.started_at),
        started_by=shadow.started_by,
        reason=shadow.reason,
        expires_at=messages.timestamp(shadow.expires_at),
        max_runs=shadow.max_runs,
        decided=shadow.decided,
        active=shadow.active,
        stopped_at=messages.timestamp(shadow.stopped_at),
        stopped_by=shadow.stopped_by or "",
        stop_reason=shadow.stop_reason or "",
    )


def _decision_message(row: RecordedShadowDecision) -> pb.ShadowDecision:
    decision = row.decision
    return pb.ShadowDecision(
        run_id=decision.run_id,
        outcome=_MESSAGE_OF[decision.outcome],
        reason=decision.reason,
        decision=decision.decision or b"",
        recorded_at=messages.timestamp(row.recorded_at),
    )
