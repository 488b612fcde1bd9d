"""Records decisions in the ledger: one call for a batch, which is safe to make again.

What the ledger refuses as malformed would be refused for ever, and hold its partition so: then each
event is told alone, and the one that is refused is rejected instead.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import grpc

from backbone.ledger.v1 import routing_pb2, routing_pb2_grpc
from contracts.rejections import EventRejectedError, Reason
from contracts.routing import RoutingOutcome
from router.adapters import ledger_pending
from router.domain.decisions import Decision, RoutedEvent, UnroutedRange
from router.errors import RouterError, TransientError
from runtime import logs
from runtime.faultpoints import faultpoint

MAX_WEIGHT = 1_000_000
"""About how many bytes one call tells: well below what a message may hold."""
_WEIGHT_OF_ONE = 200
"""Of an event, and of a candidate, without its texts."""

_OUTCOMES = {
    RoutingOutcome.STARTED: routing_pb2.ROUTING_OUTCOME_STARTED,
    RoutingOutcome.SIGNALLED: routing_pb2.ROUTING_OUTCOME_SIGNALLED,
    RoutingOutcome.DUPLICATE: routing_pb2.ROUTING_OUTCOME_DUPLICATE,
    RoutingOutcome.FILTERED: routing_pb2.ROUTING_OUTCOME_FILTERED,
    RoutingOutcome.ERRORED: routing_pb2.ROUTING_OUTCOME_ERRORED,
    RoutingOutcome.DISABLED: routing_pb2.ROUTING_OUTCOME_DISABLED,
    RoutingOutcome.HELD: routing_pb2.ROUTING_OUTCOME_HELD,
    RoutingOutcome.BATCHED: routing_pb2.ROUTING_OUTCOME_BATCHED,
    RoutingOutcome.LIMITED: routing_pb2.ROUTING_OUTCOME_LIMITED,
}

_log = logs.get_logger(__name__)


class _RefusedError(Exception):
    """The ledger refuses the call, however often it is made."""


class LedgerDecisionLog:
    """Keeps decisions in the ledger."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout: timedelta) -> None:
        # Its async form is told by the channel; the stubs' overloads need the annotation.
        self._stub: routing_pb2_grpc.RoutingServiceAsyncStub = routing_pb2_grpc.RoutingServiceStub(
            channel
        )
        self._timeout_s = timeout.total_seconds()

    async def record(
        self, namespace: str, events: Sequence[RoutedEvent], unrouted: Sequence[UnroutedRange]
    ) -> Mapping[int, EventRejectedError]:
        """Record what became of a batch; return the rejections of events, by their index.

        Raises:
            TransientError: the ledger does not answer; the same again is safe.
        """
        rejections: dict[int, EventRejectedError] = {}
        ranges = unrouted
        for first, part in _parts(events):
            try:
                found = await self._record(namespace, part, ranges)
            except _RefusedError as exc:
                found = await self._one_by_one(namespace, part, ranges, exc)
            rejections.update((first + index, rejection) for index, rejection in found.items())
            ranges = ()
        return rejections

    async def ping(self, namespace: str) -> None:
        """Ask whether the ledger is there and takes what we tell, by telling it nothing.

        Raises:
            RouterError: it is not, or does not.
        """
        request = routing_pb2.RecordRoutingRequest(namespace=namespace)
        try:
            await self._stub.RecordRouting(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as exc:
            raise RouterError(f"{exc.code().name}: {exc.details()}") from exc

    async def _one_by_one(
        self,
        namespace: str,
        events: Sequence[RoutedEvent],
        unrouted: Sequence[UnroutedRange],
        refusal: _RefusedError,
    ) -> dict[int, EventRejectedError]:
        _log.error("decisions_refused", namespace=namespace, events=len(events), error=str(refusal))
        rejections: dict[int, EventRejectedError] = {}
        for index, event in enumerate(events):
            try:
                found = await self._record(namespace, [event], ())
            except _RefusedError as exc:
                found = {0: EventRejectedError(Reason.UNROUTABLE, f"not recorded: {exc}")}
            rejections.update((index, rejection) for rejection in found.values())
        try:
            await self._record(namespace, (), unrouted)
        except _RefusedError as exc:
            # Ranges are made of offsets alone: the fault is an installation's, and is mended there.
            raise TransientError(f"the ledger: {exc}") from exc
        return rejections

    async def _record(
        self, namespace: str, events: Sequence[RoutedEvent], unrouted: Sequence[UnroutedRange]
    ) -> dict[int, EventRejectedError]:
        if not events and not unrouted:
            return {}
        request = routing_pb2.RecordRoutingRequest(
            namespace=namespace, events=map(message, events), unrouted=map(_range, unrouted)
        )
        try:
            faultpoint("router.before_record_routing")
            response = await self._stub.RecordRouting(request, timeout=self._timeout_s)
            faultpoint("router.after_record_routing")
        except grpc.aio.AioRpcError as exc:
            told = f"{exc.code().name}: {exc.details()}"
            if exc.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise _RefusedError(told) from exc
            raise TransientError(f"the ledger: {told}") from exc
        return {
            verdict.event: EventRejectedError(
                Reason.ID_CONFLICT,
                f"source {events[verdict.event].source!r} used event id "
                f"{events[verdict.event].event_id!r} for other bytes before",
            )
            for verdict in response.verdicts
            if verdict.id_conflict
        }


def _parts(events: Sequence[RoutedEvent]) -> Iterator[tuple[int, Sequence[RoutedEvent]]]:
    """Yield the events in parts that one call can tell, each with the index of its first."""
    first = weight = 0
    for index, event in enumerate(events):
        weighs = _WEIGHT_OF_ONE + len(event.envelope) + sum(map(_weight, event.decisions))
        if weight + weighs > MAX_WEIGHT and index > first:
            yield first, events[first:index]
            first, weight = index, 0
        weight += weighs
    yield first, events[first:]


def _weight(decision: Decision) -> int:
    texts = len(decision.clause) + len(decision.seen) + len(decision.detail)
    trigger = b"" if decision.application is None else decision.application.trigger
    return _WEIGHT_OF_ONE + texts + len(trigger)


def message(event: RoutedEvent) -> routing_pb2.RoutedEvent:
    """Return an event with its decisions as the ledger is told of it."""
    record = event.record
    return routing_pb2.RoutedEvent(
        place=routing_pb2.RecordPlace(
            topic=record.topic, partition=record.partition, offset=record.offset
        ),
        source=event.source,
        event_id=event.event_id,
        type=event.type,
        digest=bytes.fromhex(event.digest),
        registry_revision=event.revision,
        cause=event.cause,
        candidates=map(_candidate, event.decisions),
        envelope=event.envelope,
    )


def _candidate(decision: Decision) -> routing_pb2.RoutedCandidate:
    return routing_pb2.RoutedCandidate(
        definition_id=decision.definition.definition_id,
        definition_version=decision.definition.version,
        outcome=_OUTCOMES[decision.outcome],
        trigger_names=decision.triggers,
        run_id=decision.run_id,
        clause=decision.clause,
        seen=decision.seen,
        detail=decision.detail,
        waiting=None if decision.wait is None else ledger_pending.waiting(decision.wait),
        instance_event=ledger_pending.instance_event(decision.application),
    )


def _range(unrouted: UnroutedRange) -> routing_pb2.UnroutedRange:
    return routing_pb2.UnroutedRange(
        topic=unrouted.topic,
        partition=unrouted.partition,
        first_offset=unrouted.first,
        last_offset=unrouted.last,
        records=unrouted.records,
        registry_revision=unrouted.revision,
    )
