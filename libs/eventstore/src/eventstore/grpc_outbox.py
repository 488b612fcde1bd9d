# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.outbox.v1.OutboxService`, the same for every service that has an outbox."""

import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from backbone.outbox.v1 import outbox_pb2 as pb
from backbone.outbox.v1 import outbox_pb2_grpc as pb_grpc
from contracts.roles import Role
from eventstore import outbox, outbox_requests
from eventstore.errors import NotParkedError, RequestIdReusedError
from eventstore.outbox import Asked, ParkedEvent, Progress, Selection
from runtime import authorisation, identity, logs, rpcerrors
from runtime.faultpoints import faultpoint
from runtime.grpcserver import Service
from runtime.postgres import Postgres, Transaction

Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["OutboxService"].full_name

POLICY = authorisation.policy(
    NAME,
    {
        "RepublishEvents": {Role.OPERATOR},
        "RetryParkedEvent": {Role.OPERATOR},
        "DiscardParkedEvent": {Role.OPERATOR},
        "ListParkedEvents": {Role.VIEWER, Role.OPERATOR},
        "GetOutbox": {Role.VIEWER, Role.OPERATOR},
    },
)

_BUDGET_S = 3.0  # of one call: well below its caller's deadline

_log = logs.get_logger(__name__)


class OutboxServicer(pb_grpc.OutboxServiceServicer):
    """One outbox, as operators and viewers call it."""

    def __init__(
        self,
        database: Postgres,
        *,
        namespaces: Collection[str],
        batch: int = outbox.BATCH,
        most_copies: int = outbox.MOST_COPIES,
    ) -> None:
        self._database = database
        self._namespaces = frozenset(namespaces)
        self._batch = batch
        self._most_copies = most_copies

    async def RepublishEvents(
        self, request: pb.RepublishEventsRequest, context: Context
    ) -> pb.RepublishEventsResponse:
        """Carry a republication on for some seconds, or count what it would do."""
        namespace = self._namespace(request.namespace)
        chosen = outbox_requests.selection(request)
        if request.dry_run:
            after = outbox_requests.plan_after(request, chosen)
            planned = await self._plan(namespace, chosen, after)
            response = _republished(planned)
            if not planned.complete:
                response.next_page_token = outbox_requests.plan_token(request, chosen, planned)
            return response
        asked = outbox_requests.asked(request, actor=identity.current_identity().subject)
        with _told():
            progress = await self._republish(namespace, chosen, asked)
        _log.info(
            "events_republished",
            namespace=namespace,
            request_id=asked.request_id,
            actor=asked.actor,
            republished=progress.republished,
            complete=progress.complete,
        )
        return _republished(progress)

    async def ListParkedEvents(
        self, request: pb.ListParkedEventsRequest, context: Context
    ) -> pb.ListParkedEventsResponse:
        """List parked events, the oldest first."""
        namespace = self._namespace(request.namespace)
        size = outbox_requests.page_size(request)
        after = outbox_requests.position_after(request)
        async with self._database.transaction(namespace) as transaction:
            found = await outbox.parked(transaction, after=after, limit=size + 1)
        response = pb.ListParkedEventsResponse(events=map(_parked, found[:size]))
        if len(found) > size:
            response.next_page_token = outbox_requests.position_token(
                namespace, found[size - 1].position
            )
        return response

    async def RetryParkedEvent(
        self, request: pb.RetryParkedEventRequest, context: Context
    ) -> pb.RetryParkedEventResponse:
        """Put a parked event back into the outbox."""
        return pb.RetryParkedEventResponse(
            changed=await self._settle(request, outbox.retry, "parked_event_retried")
        )

    async def DiscardParkedEvent(
        self, request: pb.DiscardParkedEventRequest, context: Context
    ) -> pb.DiscardParkedEventResponse:
        """Give a parked event up."""
        return pb.DiscardParkedEventResponse(
            changed=await self._settle(request, outbox.discard, "parked_event_discarded")
        )

    async def GetOutbox(
        self, request: pb.GetOutboxRequest, context: Context
    ) -> pb.GetOutboxResponse:
        """Tell how full the outbox is."""
        namespace = self._namespace(request.namespace)
        async with self._database.transaction(namespace) as transaction:
            found = await outbox.state(transaction)
        return pb.GetOutboxResponse(
            pending=found.pending,
            copies=found.copies,
            more=not found.counted_all,
            oldest_queued_at=_stamp(found.oldest_queued_at),
            parked=found.parked,
            waiting_streams=found.waiting,
            discarded=found.discarded,
        )

    def _namespace(self, namespace: str) -> str:
        if namespace not in self._namespaces:
            raise rpcerrors.InvalidArgumentError(
                f"the namespace {namespace!r} is not served here", reason="NAMESPACE_NOT_SERVED"
            )
        return namespace

    async def _plan(self, namespace: str, chosen: Selection, progress: Progress | None) -> Progress:
        until = time.monotonic() + _BUDGET_S
        while progress is None or not progress.complete:
            async with self._database.transaction(namespace) as transaction:
                progress = await outbox.plan(transaction, chosen, after=progress, limit=self._batch)
            if time.monotonic() >= until:
                break
        return progress

    async def _republish(self, namespace: str, chosen: Selection, asked: Asked) -> Progress:
        async def batch(transaction: Transaction) -> Progress:
            progress = await outbox.republish(
                transaction,
                chosen,
                asked=asked,
                limit=self._batch,
                most_copies=self._most_copies,
            )
            faultpoint("eventstore.before_republish")
            return progress

        until = time.monotonic() + _BUDGET_S
        while True:
            progress = await self._database.retrying(namespace, batch)
            faultpoint("eventstore.after_republish")
            if progress.complete or progress.throttled or time.monotonic() >= until:
                return progress

    async def _settle(
        self,
        request: pb.RetryParkedEventRequest | pb.DiscardParkedEventRequest,
        change: Callable[..., Awaitable[bool]],
        event: str,
    ) -> bool:
        namespace = self._namespace(request.namespace)
        asked = outbox_requests.asked(request, actor=identity.current_identity().subject)

        async def work(transaction: Transaction) -> bool:
            changed = await change(transaction, request.position, asked=asked)
            faultpoint("eventstore.before_settle_parked")
            return changed

        with _told():
            changed = await self._database.retrying(namespace, work)
            faultpoint("eventstore.after_settle_parked")
        if changed:
            _log.info(
                event,
                namespace=namespace,
                position=request.position,
                request_id=asked.request_id,
                actor=asked.actor,
            )
        return changed


def grpc_service(database: Postgres, *, namespaces: Collection[str]) -> Service:
    """Return the service of the outbox in `database`, for the `namespaces` that are served."""
    return Service(
        name=NAME,
        add=pb_grpc.add_OutboxServiceServicer_to_server,
        servicer=OutboxServicer(database, namespaces=namespaces),
        policy=POLICY,
    )


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the outbox refuses into the error that the RPC tells."""
    try:
        yield
    except NotParkedError as exc:
        raise rpcerrors.NotFoundError(str(exc), reason="NOT_PARKED") from exc
    except RequestIdReusedError as exc:
        raise rpcerrors.AlreadyExistsError(str(exc), reason="REQUEST_ID_REUSED") from exc


def _republished(progress: Progress) -> pb.RepublishEventsResponse:
    return pb.RepublishEventsResponse(
        republished=progress.republished,
        pending=progress.pending,
        parked=progress.parked,
        discarded=progress.discarded,
        complete=progress.complete,
        throttled=progress.throttled,
    )


def _parked(event: ParkedEvent) -> pb.ParkedEvent:
    return pb.ParkedEvent(
        position=event.position,
        stream=event.stream,
        stream_version=event.version,
        event_id=event.event_id,
        type=event.type,
        topic=event.topic,
        key=event.key,
        size=event.size,
        recorded_at=_stamp(event.recorded_at),
        parked_at=_stamp(event.parked_at),
        reason=event.reason,
        waits=event.waits,
        republish_id=event.republish_id or "",
    )


def _stamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
