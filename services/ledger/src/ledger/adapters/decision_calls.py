"""The calls of `RoutingService` that are about decisions: requests in, decisions out."""

import functools
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from backbone.ledger.v1 import routing_pb2 as pb
from contracts import identifiers, names
from contracts.routing import (
    MAX_EXPLANATION_LENGTH,
    MAX_RECORDED_CANDIDATES,
    MAX_RECORDED_EVENTS,
    RoutingOutcome,
)
from ledger.adapters import messages, pages, pending_calls, requests
from ledger.adapters.requests import RequestReader
from ledger.domain.instances import InstanceEvent
from ledger.domain.pending import Arrival
from ledger.domain.routing import Candidate, DecisionFilter, Place, RoutedEvent, UnroutedRange
from ledger.errors import InvalidRequestError
from ledger.ports.routing import DecisionRow
from ledger.service.routing import RoutingLedger

T = TypeVar("T")
R = TypeVar("R")

MAX_IDENTITY_LENGTH = 256
MAX_TRIGGERS = 100
# A range's end is one more than its last offset, which has to be a bigint too.
_MAX_OFFSET = 2**62
_MAX_NUMBER = 2**63 - 1
_DIGEST_BYTES = 32

_MESSAGE_OF: dict[RoutingOutcome, "pb.RoutingOutcome.ValueType"] = {
    RoutingOutcome.STARTED: pb.ROUTING_OUTCOME_STARTED,
    RoutingOutcome.SIGNALLED: pb.ROUTING_OUTCOME_SIGNALLED,
    RoutingOutcome.DUPLICATE: pb.ROUTING_OUTCOME_DUPLICATE,
    RoutingOutcome.FILTERED: pb.ROUTING_OUTCOME_FILTERED,
    RoutingOutcome.ERRORED: pb.ROUTING_OUTCOME_ERRORED,
    RoutingOutcome.DISABLED: pb.ROUTING_OUTCOME_DISABLED,
    RoutingOutcome.HELD: pb.ROUTING_OUTCOME_HELD,
    RoutingOutcome.BATCHED: pb.ROUTING_OUTCOME_BATCHED,
    RoutingOutcome.LIMITED: pb.ROUTING_OUTCOME_LIMITED,
    RoutingOutcome.DISCARDED: pb.ROUTING_OUTCOME_DISCARDED,
}
_OUTCOME_OF = {message: outcome for outcome, message in _MESSAGE_OF.items()}
_NAMES_A_RUN = {RoutingOutcome.STARTED, RoutingOutcome.SIGNALLED}


class DecisionCalls:
    """Reads requests, calls the use cases, tells the answers."""

    def __init__(self, routing: RoutingLedger, *, reader: RequestReader) -> None:
        self._routing = routing
        self._reader = reader

    async def record(self, request: pb.RecordRoutingRequest) -> pb.RecordRoutingResponse:
        """Record a batch, and tell which events were refused."""
        namespace = self._reader.namespace(request.namespace)
        for name, told in (("events", request.events), ("unrouted", request.unrouted)):
            _at_most(name, len(told), MAX_RECORDED_EVENTS)
        candidates = sum(len(event.candidates) for event in request.events)
        _at_most("candidates of events", candidates, MAX_RECORDED_CANDIDATES)
        conflicts = await self._routing.record(
            namespace=namespace,
            events=_each("events", request.events, event),
            unrouted=_each("unrouted", request.unrouted, _range),
        )
        return pb.RecordRoutingResponse(
            verdicts=[pb.RoutingVerdict(event=index, id_conflict=True) for index in conflicts]
        )

    async def list(
        self, request: pb.ListRoutingDecisionsRequest
    ) -> pb.ListRoutingDecisionsResponse:
        """Tell decisions, newest first."""
        namespace = self._reader.namespace(request.namespace)
        size = pages.size(request.page_size)
        wanted = _filter(request)
        filters = (
            "routing-decisions",
            namespace,
            request.event_id,
            request.source,
            request.definition_id,
            str(request.outcome),
            str(wanted.decided_from),
            str(wanted.decided_to),
        )
        rows, last = pages.split(
            await self._routing.page(
                namespace=namespace,
                wanted=wanted,
                before=pages.moment_and_id(request.page_token, *filters),
                limit=size + 1,
            ),
            size,
            weigh=_weight,
        )
        after = f"{last.decided_at.isoformat()} {last.decision_id}" if last else ""
        return pb.ListRoutingDecisionsResponse(
            decisions=[_message(namespace, row) for row in rows],
            next_page_token=pages.token(after, *filters) if last else "",
        )

    async def unrouted(self, request: pb.GetUnroutedRangeRequest) -> pb.GetUnroutedRangeResponse:
        """Tell the range that a place lies in."""
        found = await self._routing.range_at(
            namespace=self._reader.namespace(request.namespace),
            place=_place(request.place),
        )
        return pb.GetUnroutedRangeResponse(
            range=pb.UnroutedRange(
                topic=found.range.topic,
                partition=found.range.partition,
                first_offset=found.range.first,
                last_offset=found.range.last,
                records=found.range.records,
                registry_revision=found.range.registry_revision,
                recorded_at=messages.timestamp(found.recorded_at),
            )
        )


def event(told: pb.RoutedEvent) -> RoutedEvent:
    """Return an event with its decisions.

    Raises:
        InvalidRequestError: it is malformed; the text begins with the field.
    """
    if not told.candidates:
        raise InvalidRequestError(
            "candidates is empty: records without a candidate are told in `unrouted`"
        )
    if len(told.digest) != _DIGEST_BYTES:
        raise InvalidRequestError(
            f"digest has {len(told.digest)} bytes, not the {_DIGEST_BYTES} of a SHA-256"
        )
    candidates = _each("candidates", told.candidates, functools.partial(_candidate, told))
    known: set[str] = set()
    for at, candidate in enumerate(candidates):
        if candidate.definition_id in known:
            raise InvalidRequestError(
                f"candidates[{at}].definition_id is {candidate.definition_id!r} once more"
            )
        known.add(candidate.definition_id)
    return RoutedEvent(
        place=_place(told.place),
        source=requests.text("source", told.source, MAX_IDENTITY_LENGTH),
        event_id=requests.text("event_id", told.event_id, MAX_IDENTITY_LENGTH),
        type=requests.text("type", told.type, MAX_IDENTITY_LENGTH),
        digest=told.digest,
        registry_revision=_number("registry_revision", told.registry_revision),
        cause=_cause(told.cause),
        candidates=candidates,
    )


def _candidate(event: pb.RoutedEvent, told: pb.RoutedCandidate) -> Candidate:
    outcome = requests.one_of("outcome", told.outcome, _OUTCOME_OF)
    if outcome is None or outcome is RoutingOutcome.DISCARDED:
        raise InvalidRequestError("outcome is missing, or none that a router decides")
    read_run = requests.text if outcome in _NAMES_A_RUN else requests.optional_text
    _at_most("trigger_names", len(told.trigger_names), MAX_TRIGGERS)
    return Candidate(
        definition_id=_definition(told.definition_id),
        definition_version=_number("definition_version", told.definition_version, at_least=1),
        outcome=outcome,
        trigger_names=[
            requests.text("trigger_names", name, MAX_IDENTITY_LENGTH) for name in told.trigger_names
        ],
        run_id=read_run("run_id", told.run_id, requests.MAX_RUN_ID_LENGTH),
        clause=_explanation(told.clause),
        seen=_explanation(told.seen),
        detail=_explanation(told.detail),
        arrival=_arrival(event, told),
        instance_event=_instance_event(event, told),
    )


def _arrival(event: pb.RoutedEvent, told: pb.RoutedCandidate) -> Arrival | None:
    if told.outcome not in pending_calls.REASONS and not told.HasField("waiting"):
        return None
    return pending_calls.arrival(event, told)


def _instance_event(event: pb.RoutedEvent, told: pb.RoutedCandidate) -> InstanceEvent | None:
    if told.outcome != pb.ROUTING_OUTCOME_SIGNALLED and not told.HasField("instance_event"):
        return None
    return pending_calls.instance_event(event, told)


def _range(told: pb.UnroutedRange) -> UnroutedRange:
    first = _number("first_offset", told.first_offset, most=_MAX_OFFSET)
    last = _number("last_offset", told.last_offset, at_least=first, most=_MAX_OFFSET)
    return UnroutedRange(
        topic=requests.text("topic", told.topic, names.MAX_TOPIC_LENGTH),
        partition=_number("partition", told.partition),
        first=first,
        last=last,
        records=_number("records", told.records, at_least=1, most=last - first + 1),
        registry_revision=_number("registry_revision", told.registry_revision),
    )


def _each(name: str, told: Iterable[T], read: Callable[[T], R]) -> list[R]:
    """Read each of a list; what is wrong is told with its place in the list."""
    found: list[R] = []
    for one in told:
        try:
            found.append(read(one))
        except InvalidRequestError as exc:
            raise InvalidRequestError(f"{name}[{len(found)}].{exc}") from exc
    return found


def _filter(request: pb.ListRoutingDecisionsRequest) -> DecisionFilter:
    if request.source and not request.event_id:
        raise InvalidRequestError("source goes with event_id")
    return DecisionFilter(
        event_id=requests.optional_text("event_id", request.event_id, MAX_IDENTITY_LENGTH) or None,
        source=requests.optional_text("source", request.source, MAX_IDENTITY_LENGTH) or None,
        definition_id=_definition(request.definition_id) if request.definition_id else None,
        outcome=requests.one_of("outcome", request.outcome, _OUTCOME_OF),
        decided_from=requests.moment("decided_from", request.decided_from)
        if request.HasField("decided_from")
        else None,
        decided_to=requests.moment("decided_to", request.decided_to)
        if request.HasField("decided_to")
        else None,
    )


def _place(told: pb.RecordPlace) -> Place:
    return Place(
        topic=requests.text("place.topic", told.topic, names.MAX_TOPIC_LENGTH),
        partition=_number("place.partition", told.partition),
        offset=_number("place.offset", told.offset, most=_MAX_OFFSET),
    )


def _definition(value: str) -> str:
    try:
        return requests.definition(value)
    except InvalidRequestError as exc:
        raise InvalidRequestError(f"definition_id: {exc}") from exc


def _cause(value: str) -> str:
    if value and not re.fullmatch(identifiers.ROUTING_CAUSE_PATTERN, value):
        raise InvalidRequestError(
            f"cause is {value!r}, but has to be empty, redrive:<request id> or replay:<replay id>"
        )
    return value


def _number(name: str, value: int, *, at_least: int = 0, most: int = _MAX_NUMBER) -> int:
    if not at_least <= value <= most:
        limit = f"from {at_least} to {most}" if most != _MAX_NUMBER else f"at least {at_least}"
        raise InvalidRequestError(f"{name} is {value}, but has to be {limit}")
    return value


def _at_most(name: str, count: int, most: int) -> None:
    if count > most:
        raise InvalidRequestError(f"{name}: {count}, more than the {most} that are taken")


def _explanation(text: str) -> str:
    """Return a text for people: cut rather than refused, since a decision has to be recorded."""
    return text.replace("\x00", "\ufffd")[:MAX_EXPLANATION_LENGTH]


def _weight(row: DecisionRow) -> int:
    """Return about how many bytes a row has in a message."""
    texts = (row.event_id, row.source, row.clause, row.seen, row.detail, *row.trigger_names)
    return 500 + 3 * sum(len(text or "") for text in texts)


def _message(namespace: str, row: DecisionRow) -> pb.RoutingDecision:
    return pb.RoutingDecision(
        namespace=namespace,
        place=pb.RecordPlace(
            topic=row.place.topic, partition=row.place.partition, offset=row.place.offset
        ),
        source=row.source,
        event_id=row.event_id,
        type=row.type,
        cause=row.cause,
        definition_id=row.definition_id,
        definition_version=row.definition_version,
        outcome=_MESSAGE_OF[row.outcome],
        trigger_names=row.trigger_names,
        run_id=row.run_id or "",
        clause=row.clause or "",
        seen=row.seen or "",
        detail=row.detail or "",
        registry_revision=row.registry_revision,
        decided_at=messages.timestamp(row.decided_at),
        settled_at=messages.timestamp(row.settled_at),
    )
