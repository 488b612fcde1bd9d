"""The services as pages call them: their stubs, and what a failed call means to a person."""

from collections.abc import Awaitable
from http import HTTPStatus
from typing import TypeVar

import grpc
from google.rpc import error_details_pb2

from backbone.audit.v1 import audit_pb2_grpc
from backbone.ledger.v1 import (
    backfills_pb2_grpc,
    control_pb2_grpc,
    ledger_pb2_grpc,
    replay_pb2_grpc,
    routing_pb2_grpc,
    switches_pb2_grpc,
)
from backbone.ledger.v1 import schedules_pb2_grpc as ledger_schedules_pb2_grpc
from backbone.registry.v1 import registry_pb2_grpc, task_queues_pb2_grpc
from backbone.registry.v1 import schedules_pb2_grpc as registry_schedules_pb2_grpc
from backbone.router.v1 import router_pb2_grpc
from console.errors import ConsoleError, NotFoundError, ServiceError, SignedOutError
from runtime.rpcerrors import detail_of

T = TypeVar("T")

_Code = grpc.StatusCode

_STATUSES = {
    _Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    _Code.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    _Code.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    _Code.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    _Code.ABORTED: HTTPStatus.CONFLICT,
    _Code.FAILED_PRECONDITION: HTTPStatus.CONFLICT,
    _Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    _Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    _Code.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}

_SENTENCES = {
    _Code.PERMISSION_DENIED: "You may not do that: {said}. Ask for the role that it needs.",
    _Code.ABORTED: "{said}. Somebody else was faster: look again, and retry.",
    _Code.RESOURCE_EXHAUSTED: "{said}. Try again in a moment.",
    _Code.UNAVAILABLE: "The {service} cannot be reached now. Try again in a moment.",
    _Code.DEADLINE_EXCEEDED: "The {service} did not answer in time. Try again in a moment.",
    _Code.UNIMPLEMENTED: "The {service} is of an older version, which does not know this question.",
    _Code.CANCELLED: "The {service} ended the call. Try again.",
    _Code.INTERNAL: "The {service} failed: its log says of what.",
    _Code.UNKNOWN: "The {service} failed: its log says of what.",
}


class Neighbour:
    """A service, over one channel, for everybody who visits."""

    name: str

    async def ask(self, call: Awaitable[T]) -> T:
        """Return the answer to a call.

        Raises:
            NotFoundError: there is no such thing.
            SignedOutError: it does not know who is visiting.
            ServiceError: it refused, or did not answer; the message is for people.
        """
        try:
            return await call
        except grpc.aio.AioRpcError as exc:
            raise explained(exc, service=self.name) from exc


class Ledger(Neighbour):
    """The ledger."""

    name = "ledger"

    def __init__(self, channel: grpc.aio.Channel) -> None:
        # What a stub is at run time takes both kinds of channels; its types tell them apart.
        self.runs: ledger_pb2_grpc.LedgerServiceAsyncStub = ledger_pb2_grpc.LedgerServiceStub(
            channel
        )
        self.tasks: ledger_pb2_grpc.TaskServiceAsyncStub = ledger_pb2_grpc.TaskServiceStub(channel)
        self.routing: routing_pb2_grpc.RoutingServiceAsyncStub = (
            routing_pb2_grpc.RoutingServiceStub(channel)
        )
        self.control: control_pb2_grpc.ControlServiceAsyncStub = (
            control_pb2_grpc.ControlServiceStub(channel)
        )
        self.schedules: ledger_schedules_pb2_grpc.ScheduleServiceAsyncStub = (
            ledger_schedules_pb2_grpc.ScheduleServiceStub(channel)
        )
        self.backfills: backfills_pb2_grpc.BackfillServiceAsyncStub = (
            backfills_pb2_grpc.BackfillServiceStub(channel)
        )
        self.replays: replay_pb2_grpc.ReplayServiceAsyncStub = replay_pb2_grpc.ReplayServiceStub(
            channel
        )
        self.switches: switches_pb2_grpc.KillSwitchServiceAsyncStub = (
            switches_pb2_grpc.KillSwitchServiceStub(channel)
        )
        self.audit: audit_pb2_grpc.AuditServiceAsyncStub = audit_pb2_grpc.AuditServiceStub(channel)


class Registry(Neighbour):
    """The registry."""

    name = "registry"

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.resources: registry_pb2_grpc.RegistryServiceAsyncStub = (
            registry_pb2_grpc.RegistryServiceStub(channel)
        )
        self.schedules: registry_schedules_pb2_grpc.ScheduleServiceAsyncStub = (
            registry_schedules_pb2_grpc.ScheduleServiceStub(channel)
        )
        self.task_queues: task_queues_pb2_grpc.TaskQueueServiceAsyncStub = (
            task_queues_pb2_grpc.TaskQueueServiceStub(channel)
        )
        self.audit: audit_pb2_grpc.AuditServiceAsyncStub = audit_pb2_grpc.AuditServiceStub(channel)


class Router(Neighbour):
    """The router."""

    name = "router"

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.events: router_pb2_grpc.RouterServiceAsyncStub = router_pb2_grpc.RouterServiceStub(
            channel
        )


def explained(error: grpc.aio.AioRpcError, *, service: str) -> ConsoleError:
    """Return what to tell of a call to `service` that failed."""
    code = error.code()
    said = (error.details() or code.name).strip().rstrip(".")
    said = said[:1].upper() + said[1:]
    info = error_details_pb2.ErrorInfo()
    detail_of(error, info)
    if code is _Code.NOT_FOUND:
        return NotFoundError(f"{said}.", reason=info.reason)
    if code is _Code.UNAUTHENTICATED:
        return SignedOutError(
            f"The {service} does not take your token: {said}.", reason=info.reason
        )
    text = _SENTENCES.get(code, "{said}.")
    # The service itself says so with a detail; gRPC's own "nobody is there" has none.
    if code is _Code.UNAVAILABLE and detail_of(error, error_details_pb2.RetryInfo()):
        text = "{said}. Try again in a moment."
    return ServiceError(
        text.format(service=service, said=said),
        status=_STATUSES.get(code, HTTPStatus.BAD_GATEWAY),
        reason=info.reason,
        violations=_violations(error),
    )


def _violations(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """Return what is wrong with which field of the request, as far as the service says so."""
    wrong = error_details_pb2.BadRequest()
    detail_of(error, wrong)
    told: dict[str, str] = {}
    for one in wrong.field_violations:
        told[one.field] = "; ".join(filter(None, (told.get(one.field), one.description)))
    return told
