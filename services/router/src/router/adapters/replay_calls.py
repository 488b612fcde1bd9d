"""The call of `RouterService` that plans replays of events."""

import re
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from backbone.router.v1 import router_pb2 as pb
from contracts import identifiers
from router.domain.replaying import Mode, Order, Question
from router.errors import (
    ReplayExistsError,
    ReplayRefusedError,
    RequestInvalidError,
    TransientError,
)
from router.service.replaying import ReplayPlanner
from runtime import identity, rpcerrors

DEFAULT_RATE = 20
MAX_RATE = 1000
MAX_REASON = 1000
"""Characters."""


class ReplayCalls:
    """Reads requests, calls the use case, tells the answers."""

    def __init__(self, planner: ReplayPlanner) -> None:
        self._planner = planner

    async def plan(self, request: pb.PlanReplayRequest) -> pb.PlanReplayResponse:
        """Go on with a plan, on behalf of the caller."""
        try:
            plan = await self._planner.plan(_order(request))
        except RequestInvalidError as exc:
            raise rpcerrors.InvalidArgumentError(str(exc)) from exc
        except ReplayExistsError as exc:
            raise rpcerrors.AlreadyExistsError(str(exc)) from exc
        except ReplayRefusedError as exc:
            raise rpcerrors.FailedPreconditionError(str(exc)) from exc
        except TransientError as exc:
            raise rpcerrors.UnavailableError(str(exc)) from exc
        return pb.PlanReplayResponse(
            complete=plan.complete, records=plan.records, records_total=plan.records_total
        )


def _order(request: pb.PlanReplayRequest) -> Order:
    if not re.fullmatch(identifiers.REQUEST_ID_PATTERN, request.replay_id):
        raise RequestInvalidError(f"not a replay_id: {request.replay_id!r}")
    if request.mode not in set(Mode):
        raise RequestInvalidError(f"mode is one of {', '.join(Mode)}")
    if not 0 <= request.max_starts_per_second <= MAX_RATE:
        raise RequestInvalidError(f"max_starts_per_second is from 1 to {MAX_RATE}")
    if not request.reason or len(request.reason) > MAX_REASON or "\x00" in request.reason:
        raise RequestInvalidError(
            f"reason: say why, in at most {MAX_REASON} characters and without a NUL"
        )
    since = _moment("records_from", request.records_from)
    until = _moment("records_to", request.records_to)
    if since >= until:
        raise RequestInvalidError("records_from is before records_to")
    return Order(
        namespace=request.namespace,
        replay_id=request.replay_id,
        question=Question(
            topic=request.topic,
            since=since,
            until=until,
            definition_ids=frozenset(request.definition_ids),
            mode=Mode(request.mode),
            max_starts_per_second=request.max_starts_per_second or DEFAULT_RATE,
        ),
        actor=identity.current_identity().subject,
        reason=request.reason,
    )


def _moment(name: str, told: Timestamp) -> datetime:
    if not told.seconds and not told.nanos:
        raise RequestInvalidError(f"{name} is missing")
    try:
        return told.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as exc:
        raise RequestInvalidError(f"{name} is not a time") from exc
