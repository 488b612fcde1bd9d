# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`RouterService`: starts by hand, dead letters, replays, what events and runs would mean."""

from typing import Any

from pydantic import ValidationError

from backbone.router.v1 import router_pb2, router_pb2_grpc
from contracts.roles import Role
from contracts.triggers import Chain
from router.adapters.dead_letter_calls import DeadLetterCalls
from router.adapters.explanation_calls import ExplanationCalls
from router.adapters.replay_calls import ReplayCalls
from router.adapters.simulation_calls import SimulationCalls
from router.errors import (
    DefinitionDisabledError,
    DefinitionUnknownError,
    DefinitionUnusableError,
    RequestIdReusedError,
    RequestInvalidError,
    RunsHaltedError,
    StartRefusedError,
    TooManyHopsError,
    TransientError,
)
from router.service.manual import ManualTrigger
from runtime import authorisation, identity, rpcerrors
from runtime.grpcserver import Service

SERVICE_NAME = "backbone.router.v1.RouterService"


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    """Serves `RouterService`."""

    def __init__(
        self,
        *,
        manual: ManualTrigger,
        dead_letters: DeadLetterCalls,
        explanations: ExplanationCalls,
        replays: ReplayCalls,
        simulations: SimulationCalls,
    ) -> None:
        self._manual = manual
        self._simulations = simulations
        self._replays = replays
        self._dead_letters = dead_letters
        self._explanations = explanations

    async def EvaluateEvent(
        self, request: router_pb2.EvaluateEventRequest, context: Any
    ) -> router_pb2.EvaluateEventResponse:
        """Say what an event means, or meant, to definitions."""
        return await self._explanations.evaluate(request)

    async def FindEvent(
        self, request: router_pb2.FindEventRequest, context: Any
    ) -> router_pb2.FindEventResponse:
        """Look for an event on the topics that are read."""
        return await self._explanations.find(request)

    async def ListDeadLetters(
        self, request: router_pb2.ListDeadLettersRequest, context: Any
    ) -> router_pb2.ListDeadLettersResponse:
        """List dead letters, the oldest first."""
        return await self._dead_letters.list(request)

    async def GetDeadLetter(
        self, request: router_pb2.GetDeadLetterRequest, context: Any
    ) -> router_pb2.GetDeadLetterResponse:
        """Tell one dead letter with the sender's record."""
        return await self._dead_letters.get(request)

    async def RedriveDeadLetters(
        self, request: router_pb2.RedriveDeadLettersRequest, context: Any
    ) -> router_pb2.RedriveDeadLettersResponse:
        """Route dead letters again, on behalf of the caller."""
        return await self._dead_letters.redrive(request)

    async def DiscardDeadLetters(
        self, request: router_pb2.DiscardDeadLettersRequest, context: Any
    ) -> router_pb2.DiscardDeadLettersResponse:
        """Give dead letters up, on behalf of the caller."""
        return await self._dead_letters.discard(request)

    async def PlanReplay(
        self, request: router_pb2.PlanReplayRequest, context: Any
    ) -> router_pb2.PlanReplayResponse:
        """Go on with the plan of a replay of events."""
        return await self._replays.plan(request)

    async def SimulateRun(
        self, request: router_pb2.SimulateRunRequest, context: Any
    ) -> router_pb2.SimulateRunResponse:
        """Say what a run would decide over what is there now."""
        return await self._simulations.simulate(request)

    async def TriggerDefinition(
        self, request: router_pb2.TriggerDefinitionRequest, context: Any
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
                chain=_chain(request),
            )
        except TooManyHopsError as exc:
            raise rpcerrors.FailedPreconditionError(str(exc), reason="TOO_MANY_HOPS") from exc
        except (RequestInvalidError, StartRefusedError) as exc:
            raise rpcerrors.InvalidArgumentError(str(exc)) from exc
        except DefinitionUnknownError as exc:
            raise rpcerrors.NotFoundError(str(exc)) from exc
        except (DefinitionDisabledError, RunsHaltedError) as exc:
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


def _chain(request: router_pb2.TriggerDefinitionRequest) -> Chain | None:
    if not request.HasField("chain"):
        return None
    given = request.chain
    try:
        return Chain(
            correlation_id=given.correlation_id,
            causation_id=given.causation_id or None,
            hops=given.hops,
        )
    except ValidationError as exc:
        raise RequestInvalidError(f"the chain is malformed: {exc.error_count()} errors") from exc


def service(
    *,
    manual: ManualTrigger,
    dead_letters: DeadLetterCalls,
    explanations: ExplanationCalls,
    replays: ReplayCalls,
    simulations: SimulationCalls,
) -> Service:
    """Return the service with who may call it."""
    return Service(
        name=SERVICE_NAME,
        add=router_pb2_grpc.add_RouterServiceServicer_to_server,
        servicer=RouterServicer(
            manual=manual,
            dead_letters=dead_letters,
            explanations=explanations,
            replays=replays,
            simulations=simulations,
        ),
        policy=authorisation.policy(
            SERVICE_NAME,
            {
                # Tasks start definitions too.
                "TriggerDefinition": {Role.OPERATOR, Role.TASK_WORKER, Role.SERVICE},
                "EvaluateEvent": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
                "FindEvent": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
                "ListDeadLetters": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
                # With the payload, which is not for everybody's eyes.
                "GetDeadLetter": {Role.OPERATOR, Role.SERVICE},
                "RedriveDeadLetters": {Role.OPERATOR},
                "DiscardDeadLetters": {Role.OPERATOR},
                "PlanReplay": {Role.OPERATOR},
                # Rules of the caller's see what connectors answer, as those of an applied
                # definition or of a shadow do: for whoever may apply one, or start the other.
                "SimulateRun": {Role.AUTHOR, Role.OPERATOR},
            },
        ),
    )
