# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.ledger.v1.BackfillService`: reads a request, calls a use case, tells the answer."""

import re
from collections.abc import Mapping
from typing import Any, Protocol

import grpc

from backbone.ledger.v1 import backfills_pb2 as pb
from backbone.ledger.v1 import backfills_pb2_grpc as pb_grpc
from contracts import identifiers
from contracts.definitions import CatchUpOrder
from contracts.roles import Role
from ledger.adapters import messages, pages, requests
from ledger.adapters.grpc_errors import as_statuses
from ledger.adapters.requests import RequestReader
from ledger.domain import backfills
from ledger.domain.backfills import Planned, Question
from ledger.domain.plans import Action, Mode, State
from ledger.errors import InvalidRequestError
from ledger.service.backfills import BackfillLedger, BackfillView
from ledger.service.plans import Change
from runtime import authorisation, identity

Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["BackfillService"].full_name

_READERS = {Role.VIEWER, Role.OPERATOR, Role.SERVICE}

POLICY = authorisation.policy(
    NAME,
    {
        "PlanBackfill": {Role.OPERATOR},
        "GetBackfill": _READERS,
        "ListBackfills": _READERS,
        "ListBackfillDueTimes": _READERS,
        "ApplyBackfill": {Role.OPERATOR},
        "PauseBackfill": {Role.OPERATOR},
        "ResumeBackfill": {Role.OPERATOR},
        "CancelBackfill": {Role.OPERATOR},
    },
)

_MODES: Mapping["pb.BackfillMode.ValueType", Mode] = {
    pb.BACKFILL_MODE_MISSING: Mode.MISSING,
    pb.BACKFILL_MODE_FAILED: Mode.FAILED,
    pb.BACKFILL_MODE_ALL: Mode.ALL,
}
_MODE_OF = {mode: message for message, mode in _MODES.items()}
_ORDERS: Mapping["pb.BackfillOrder.ValueType", CatchUpOrder] = {
    pb.BACKFILL_ORDER_OLDEST_FIRST: CatchUpOrder.OLDEST_FIRST,
    pb.BACKFILL_ORDER_NEWEST_FIRST: CatchUpOrder.NEWEST_FIRST,
}
_ORDER_OF = {order: message for message, order in _ORDERS.items()}
_STATE_OF: Mapping[State, "pb.BackfillState.ValueType"] = {
    State.PLANNED: pb.BACKFILL_STATE_PLANNED,
    State.RUNNING: pb.BACKFILL_STATE_RUNNING,
    State.PAUSED: pb.BACKFILL_STATE_PAUSED,
    State.FINISHED: pb.BACKFILL_STATE_FINISHED,
    State.CANCELLED: pb.BACKFILL_STATE_CANCELLED,
}
_DUE_TIME_BYTES = 1500


class _Asked(Protocol):
    """What the requests that change a backfill have in common."""

    namespace: str
    backfill_id: str
    request_id: str
    reason: str


class BackfillServicer(pb_grpc.BackfillServiceServicer):
    """Backfills, as operators call them."""

    def __init__(self, ledger: BackfillLedger, *, reader: RequestReader) -> None:
        self._ledger = ledger
        self._reader = reader

    async def PlanBackfill(
        self, request: pb.PlanBackfillRequest, context: Context
    ) -> pb.PlanBackfillResponse:
        """Make a plan."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            view = await self._ledger.plan(
                namespace=namespace,
                backfill_id=_backfill_id(request.backfill_id),
                question=_question(request),
                actor=identity.current_identity().subject,
                reason=requests.text("reason", request.reason),
            )
        return pb.PlanBackfillResponse(backfill=_message(namespace, view))

    async def GetBackfill(
        self, request: pb.GetBackfillRequest, context: Context
    ) -> pb.GetBackfillResponse:
        """Tell a backfill."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            view = await self._ledger.get(
                namespace=namespace, backfill_id=_backfill_id(request.backfill_id)
            )
        return pb.GetBackfillResponse(backfill=_message(namespace, view))

    async def ListBackfills(
        self, request: pb.ListBackfillsRequest, context: Context
    ) -> pb.ListBackfillsResponse:
        """List backfills, newest first."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            definition_id = request.definition_id and requests.definition(request.definition_id)
            size = pages.size(request.page_size)
            filters = ("backfills", namespace, definition_id)
            rows, last = pages.split(
                await self._ledger.page(
                    namespace=namespace,
                    definition_id=definition_id,
                    before=pages.position(request.page_token, *filters),
                    limit=size + 1,
                ),
                size,
            )
        return pb.ListBackfillsResponse(
            backfills=[_message(namespace, BackfillView(row)) for row in rows],
            next_page_token=pages.token(str(last.position), *filters) if last else "",
        )

    async def ListBackfillDueTimes(
        self, request: pb.ListBackfillDueTimesRequest, context: Context
    ) -> pb.ListBackfillDueTimesResponse:
        """List the due times of a plan, in its order."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            backfill_id = _backfill_id(request.backfill_id)
            size = pages.size(request.page_size)
            filters = ("backfill-due-times", namespace, backfill_id)
            after = pages.position(request.page_token, *filters)
            found, last = pages.split(
                await self._ledger.due_times(
                    namespace=namespace,
                    backfill_id=backfill_id,
                    first=0 if after is None else after + 1,
                    limit=size + 1,
                ),
                size,
                weigh=lambda _: _DUE_TIME_BYTES,
            )
        return pb.ListBackfillDueTimesResponse(
            due_times=[_due_time(one) for one in found],
            next_page_token=pages.token(str(last.ordinal), *filters) if last else "",
        )

    async def ApplyBackfill(
        self, request: pb.ApplyBackfillRequest, context: Context
    ) -> pb.ApplyBackfillResponse:
        """Carry a plan out."""
        with as_statuses():
            plan_hash = requests.text("plan_hash", request.plan_hash)
            backfill = await self._change(request, Action.APPLY, plan_hash=plan_hash)
            return pb.ApplyBackfillResponse(backfill=backfill)

    async def PauseBackfill(
        self, request: pb.PauseBackfillRequest, context: Context
    ) -> pb.PauseBackfillResponse:
        """Begin nothing more for now."""
        with as_statuses():
            return pb.PauseBackfillResponse(backfill=await self._change(request, Action.PAUSE))

    async def ResumeBackfill(
        self, request: pb.ResumeBackfillRequest, context: Context
    ) -> pb.ResumeBackfillResponse:
        """Go on."""
        with as_statuses():
            return pb.ResumeBackfillResponse(backfill=await self._change(request, Action.RESUME))

    async def CancelBackfill(
        self, request: pb.CancelBackfillRequest, context: Context
    ) -> pb.CancelBackfillResponse:
        """Give up what was not begun."""
        with as_statuses():
            return pb.CancelBackfillResponse(backfill=await self._change(request, Action.CANCEL))

    async def _change(self, request: _Asked, action: Action, *, plan_hash: str = "") -> pb.Backfill:
        namespace = self._reader.namespace(request.namespace)
        view = await self._ledger.change(
            namespace=namespace,
            backfill_id=_backfill_id(request.backfill_id),
            change=Change(
                action=action,
                request_id=requests.request_id(request.request_id),
                actor=identity.current_identity().subject,
                reason=requests.text("reason", request.reason),
                plan_hash=plan_hash,
            ),
        )
        return _message(namespace, view)


def _backfill_id(value: str) -> str:
    if not re.fullmatch(identifiers.REQUEST_ID_PATTERN, value):
        raise InvalidRequestError(f"not a backfill_id: {value!r}")
    return value


def _question(request: pb.PlanBackfillRequest) -> Question:
    mode = requests.one_of("mode", request.mode, _MODES)
    if mode is None:
        raise InvalidRequestError("mode is missing: missing, failed or all")
    order = requests.one_of("order", request.order, _ORDERS)
    since = requests.moment("due_from", request.due_from)
    until = requests.moment("due_to", request.due_to)
    if since >= until:
        raise InvalidRequestError("due_from is before due_to")
    if not 1 <= request.concurrency <= backfills.MAX_CONCURRENCY:
        raise InvalidRequestError(f"concurrency is from 1 to {backfills.MAX_CONCURRENCY}")
    return Question(
        definition_id=requests.definition(request.definition_id),
        since=since,
        until=until,
        mode=mode,
        order=order or CatchUpOrder.OLDEST_FIRST,
        concurrency=request.concurrency,
    )


def _message(namespace: str, view: BackfillView) -> pb.Backfill:
    backfill = view.backfill
    question = backfill.question
    return pb.Backfill(
        namespace=namespace,
        backfill_id=backfill.backfill_id,
        state=_STATE_OF[backfill.state],
        definition_id=question.definition_id,
        definition_version=backfill.definition_version,
        due_from=messages.timestamp(question.since),
        due_to=messages.timestamp(question.until),
        mode=_MODE_OF[question.mode],
        order=_ORDER_OF[question.order],
        concurrency=question.concurrency,
        plan_hash=backfill.plan_chain.hex(),
        due_times=backfill.due_times,
        starts=backfill.starts,
        tallies=[
            pb.BackfillTally(
                outcome=one.outcome, standing=one.standing or "", due_times=one.due_times
            )
            for one in view.tallies
        ],
        created_at=messages.timestamp(backfill.created_at),
        created_by=backfill.created_by,
        created_reason=backfill.created_reason,
        changed_at=messages.timestamp(backfill.changed_at),
        changed_by=backfill.changed_by or "",
        changed_reason=backfill.changed_reason or "",
        finished_at=messages.timestamp(backfill.finished_at),
    )


def _due_time(one: Planned) -> pb.BackfillDueTime:
    return pb.BackfillDueTime(
        ordinal=one.ordinal,
        due_at=messages.timestamp(one.due_at),
        trigger_names=one.names,
        window_start=messages.timestamp(one.window.start),
        standing=one.standing,
        step=one.step,
        run_id=one.run_id,
        outcome=one.outcome,
        told=one.told,
    )
