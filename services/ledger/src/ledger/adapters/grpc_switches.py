# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.ledger.v1.KillSwitchService`: reads a request, calls a use case, tells the answer."""

from collections.abc import Mapping
from typing import Any

import grpc

from backbone.ledger.v1 import switches_pb2 as pb
from backbone.ledger.v1 import switches_pb2_grpc as pb_grpc
from contracts import switches
from contracts.roles import Role
from contracts.switches import KillSwitch, Point
from ledger.adapters import pages, requests
from ledger.adapters.grpc_errors import as_statuses
from ledger.adapters.requests import RequestReader
from ledger.domain.control import Order
from ledger.domain.switches import SwitchState
from ledger.errors import InvalidRequestError
from ledger.service.switches import SwitchLedger
from runtime import authorisation, identity

Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["KillSwitchService"].full_name

POLICY = authorisation.policy(
    NAME,
    {
        "ThrowKillSwitch": {Role.OPERATOR},
        "ResetKillSwitch": {Role.OPERATOR},
        "ListKillSwitches": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "ListServedNamespaces": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "SelectDefinitions": {Role.SERVICE},
        "FindKillSwitch": {Role.SERVICE},
    },
)
MAX_SELECTED = 100_000

_POINT: Mapping[Point, pb.KillSwitchPoint.ValueType] = {
    Point.INGRESS: pb.KILL_SWITCH_POINT_INGRESS,
    Point.RUN: pb.KILL_SWITCH_POINT_RUN,
    Point.EFFECT: pb.KILL_SWITCH_POINT_EFFECT,
}
_POINT_OF: Mapping[int, Point] = {value: point for point, value in _POINT.items()}


class KillSwitchServicer(pb_grpc.KillSwitchServiceServicer):
    """Kill switches, as operators and services call them."""

    def __init__(self, switches: SwitchLedger, *, reader: RequestReader) -> None:
        self._switches = switches
        self._reader = reader

    async def ThrowKillSwitch(
        self, request: pb.ThrowKillSwitchRequest, context: Context
    ) -> pb.ThrowKillSwitchResponse:
        """Stop a namespace, or some of its definitions."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            point, labels = _point(request.point), dict(request.labels)
            if problem := switches.problem(point, labels):
                raise InvalidRequestError(problem)
            state = await self._switches.throw(
                namespace=namespace, point=point, labels=labels, order=_order(request)
            )
        return pb.ThrowKillSwitchResponse(kill_switch=_state(namespace, state))

    async def ResetKillSwitch(
        self, request: pb.ResetKillSwitchRequest, context: Context
    ) -> pb.ResetKillSwitchResponse:
        """Let what a switch stopped go on."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            state = await self._switches.reset(
                namespace=namespace,
                switch_id=requests.text("switch_id", request.switch_id),
                order=_order(request),
            )
        return pb.ResetKillSwitchResponse(kill_switch=_state(namespace, state))

    async def ListKillSwitches(
        self, request: pb.ListKillSwitchesRequest, context: Context
    ) -> pb.ListKillSwitchesResponse:
        """List switches, the newest first."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            size = pages.size(request.page_size)
            filters = ("kill-switches", namespace, str(request.with_reset))
            rows, last = pages.split(
                await self._switches.page(
                    namespace=namespace,
                    before=pages.position(request.page_token, *filters),
                    with_reset=request.with_reset,
                    limit=size + 1,
                ),
                size,
            )
        return pb.ListKillSwitchesResponse(
            kill_switches=[_state(namespace, row) for row in rows],
            next_page_token=pages.token(str(last.position), *filters) if last else "",
        )

    async def ListServedNamespaces(
        self, request: pb.ListServedNamespacesRequest, context: Context
    ) -> pb.ListServedNamespacesResponse:
        """Tell which of the namespaces that are served here the caller may ask for."""
        with as_statuses():
            self._reader.namespace(request.namespace)
        own = identity.current_identity().namespaces
        return pb.ListServedNamespacesResponse(
            namespaces=[one for one in self._reader.namespaces if own is None or one in own]
        )

    async def SelectDefinitions(
        self, request: pb.SelectDefinitionsRequest, context: Context
    ) -> pb.SelectDefinitionsResponse:
        """Take note of which definitions switches select."""
        with as_statuses():
            if sum(len(one.definition_ids) for one in request.selections) > MAX_SELECTED:
                raise InvalidRequestError(f"more than {MAX_SELECTED} definitions")
            await self._switches.select(
                namespace=self._reader.namespace(request.namespace),
                revision=request.registry_revision,
                selections={
                    one.switch_id: {requests.definition(each) for each in one.definition_ids}
                    for one in request.selections
                },
            )
        return pb.SelectDefinitionsResponse()

    async def FindKillSwitch(
        self, request: pb.FindKillSwitchRequest, context: Context
    ) -> pb.FindKillSwitchResponse:
        """Tell what stops a definition."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            found = await self._switches.halting(
                namespace=namespace,
                point=_point(request.point),
                definition_id=requests.definition(request.definition_id),
            )
        return pb.FindKillSwitchResponse(
            kill_switch=None if found is None else message(namespace, found)
        )


def message(namespace: str, switch: KillSwitch) -> pb.KillSwitch:
    """Return a thrown switch as it is told."""
    return pb.KillSwitch(
        namespace=namespace,
        switch_id=switch.switch_id,
        point=_POINT[switch.point],
        labels=dict(switch.labels),
        thrown_by=switch.thrown_by,
        reason=switch.reason,
    )


def _state(namespace: str, state: SwitchState) -> pb.KillSwitch:
    told = message(namespace, state.switch)
    told.thrown_at.FromDatetime(state.thrown_at)
    if state.reset_at is not None:
        told.reset_at.FromDatetime(state.reset_at)
        told.reset_by, told.reset_reason = state.reset_by or "", state.reset_reason or ""
    told.definitions = state.definitions
    told.selected = bool(state.labels) and state.selected_revision is not None
    return told


def _point(value: int) -> Point:
    point = _POINT_OF.get(value)
    if point is None:
        raise InvalidRequestError(f"point is missing: {', '.join(Point)}")
    return point


def _order(request: pb.ThrowKillSwitchRequest | pb.ResetKillSwitchRequest) -> Order:
    return Order(
        request_id=requests.request_id(request.request_id),
        actor=identity.current_identity().subject,
        reason=requests.text("reason", request.reason),
    )
