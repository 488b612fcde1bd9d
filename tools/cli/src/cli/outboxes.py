"""The outboxes as the commands see them: one method a call, messages out, errors as sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from backbone.outbox.v1 import outbox_pb2, outbox_pb2_grpc
from cli import paging, stamps
from cli.calls import Calls


class Owner(StrEnum):
    """A service that has an outbox."""

    LEDGER = "ledger"
    REGISTRY = "registry"


@dataclass(frozen=True)
class Range:
    """Which events to publish once more."""

    recorded_from: datetime
    recorded_to: datetime
    stream: str = ""
    types: Sequence[str] = ()


class Outbox(Calls["outbox_pb2_grpc.OutboxServiceAsyncStub"]):
    """The calls to one service's outbox for one namespace. Every method raises CliError."""

    stub = outbox_pb2_grpc.OutboxServiceStub

    async def state(self) -> outbox_pb2.GetOutboxResponse:
        """Return how full it is."""
        request = outbox_pb2.GetOutboxRequest(namespace=self._namespace)
        return await self._ask(self._stub.GetOutbox(request))

    async def republish(
        self, events: Range, *, request_id: str, reason: str
    ) -> outbox_pb2.RepublishEventsResponse:
        """Carry a republication on; call it again until the answer is complete."""
        request = self._republication(events)
        request.request_id = request_id
        request.reason = reason
        return await self._ask(self._stub.RepublishEvents(request))

    async def plan(self, events: Range) -> outbox_pb2.RepublishEventsResponse:
        """Count what a republication would do."""
        request = self._republication(events)
        request.dry_run = True
        total = outbox_pb2.RepublishEventsResponse()
        while not total.complete:
            page = await self._ask(self._stub.RepublishEvents(request))
            total.republished += page.republished
            total.pending += page.pending
            total.parked += page.parked
            total.discarded += page.discarded
            total.complete = page.complete
            request.page_token = page.next_page_token
        return total

    async def parked(self, *, limit: int) -> list[outbox_pb2.ParkedEvent]:
        """Return at most `limit` parked events, the oldest first."""
        request = outbox_pb2.ListParkedEventsRequest(
            namespace=self._namespace,
        )
        return await paging.gathered(
            request,
            lambda: self._ask(self._stub.ListParkedEvents(request)),
            items=lambda page: page.events,
            limit=limit,
        )

    async def retry(self, position: int, *, request_id: str, reason: str) -> bool:
        """Put a parked event back; return False when this request did so before."""
        request = outbox_pb2.RetryParkedEventRequest(
            namespace=self._namespace, position=position, request_id=request_id, reason=reason
        )
        return (await self._ask(self._stub.RetryParkedEvent(request))).changed

    async def discard(self, position: int, *, request_id: str, reason: str) -> bool:
        """Give a parked event up; return False when this request did so before."""
        request = outbox_pb2.DiscardParkedEventRequest(
            namespace=self._namespace, position=position, request_id=request_id, reason=reason
        )
        return (await self._ask(self._stub.DiscardParkedEvent(request))).changed

    def _republication(self, events: Range) -> outbox_pb2.RepublishEventsRequest:
        return outbox_pb2.RepublishEventsRequest(
            namespace=self._namespace,
            recorded_from=stamps.stamp(events.recorded_from),
            recorded_to=stamps.stamp(events.recorded_to),
            stream=events.stream,
            types=events.types,
        )
