"""The calls of `RoutingService` that are about what waits to be started."""

from collections.abc import Mapping
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from backbone.ledger.v1 import routing_pb2 as pb
from contracts import identifiers
from contracts.routing import PendingOutcome
from contracts.triggers import MAX_BATCH_EVENTS, weight
from ledger.adapters import grpc_switches, messages, pages, requests
from ledger.adapters.requests import RequestReader
from ledger.domain.instances import InstanceEvent
from ledger.domain.pending import Arrival, Choice, Limits, Origin, Reason
from ledger.errors import InvalidRequestError
from ledger.ports.pending import PendingRow
from ledger.service.pending import Confirmed, Member, PendingLedger
from ledger.service.replays import ReplayLedger
from runtime import identity

MAX_KEYS = 5000
MAX_CLAIM = 1000
MAX_KEY_LENGTH = 256
LONGEST_LEASE = timedelta(minutes=10)

REASONS: Mapping[int, Reason] = {
    pb.ROUTING_OUTCOME_HELD: Reason.HELD,
    pb.ROUTING_OUTCOME_BATCHED: Reason.BATCH,
    pb.ROUTING_OUTCOME_LIMITED: Reason.LIMITED,
}
"""The outcomes with which something waits."""

_CONFIRMED: Mapping[int, PendingOutcome] = {
    pb.ROUTING_OUTCOME_UNSPECIFIED: PendingOutcome.RETURNED,
    pb.ROUTING_OUTCOME_STARTED: PendingOutcome.STARTED,
    pb.ROUTING_OUTCOME_SIGNALLED: PendingOutcome.SIGNALLED,
    pb.ROUTING_OUTCOME_DUPLICATE: PendingOutcome.DUPLICATE,
    pb.ROUTING_OUTCOME_FILTERED: PendingOutcome.FILTERED,
    pb.ROUTING_OUTCOME_ERRORED: PendingOutcome.ERRORED,
    pb.ROUTING_OUTCOME_DISABLED: PendingOutcome.DISABLED,
    pb.ROUTING_OUTCOME_HELD: PendingOutcome.HELD,
}
_CHOICES: Mapping[int, Choice] = {
    pb.HELD_CHOICE_START: Choice.START,
    pb.HELD_CHOICE_COMPRESS: Choice.COMPRESS,
    pb.HELD_CHOICE_DISCARD: Choice.DISCARD,
}


class PendingCalls:
    """Reads requests, calls the use cases, tells the answers."""

    def __init__(
        self, pending: PendingLedger, *, replays: ReplayLedger, reader: RequestReader
    ) -> None:
        self._pending = pending
        self._replays = replays
        self._reader = reader

    async def find_waiting(self, request: pb.FindWaitingRequest) -> pb.FindWaitingResponse:
        """Say of which keys events wait."""
        if len(request.keys) > MAX_KEYS:
            raise InvalidRequestError(f"{len(request.keys)} keys, more than {MAX_KEYS}")
        waiting = await self._pending.find_waiting(
            namespace=self._reader.namespace(request.namespace),
            keys=[(requests.definition(one.definition_id), _key(one.key)) for one in request.keys],
        )
        return pb.FindWaitingResponse(waiting=waiting)

    async def claim(self, request: pb.ClaimPendingStartsRequest) -> pb.ClaimPendingStartsResponse:
        """Hand out what is to be started now."""
        if not 1 <= request.limit <= MAX_CLAIM:
            raise InvalidRequestError(f"limit has to be from 1 to {MAX_CLAIM}")
        namespace = self._reader.namespace(request.namespace)
        # What a replay has next is to be started like all that waits.
        next_replay_at = await self._replays.begin(namespace=namespace)
        claimed = await self._pending.claim(
            namespace=namespace,
            holder=requests.text("holder", request.holder),
            limit=request.limit,
            lease=_duration("lease", request.lease, at_most=LONGEST_LEASE),
        )
        return pb.ClaimPendingStartsResponse(
            starts=[_start(request.namespace, row) for row in claimed.starts],
            next_due_at=messages.timestamp(
                min(
                    (at for at in (claimed.next_look, next_replay_at) if at is not None),
                    default=None,
                )
            ),
            kill_switches=[grpc_switches.message(namespace, one) for one in claimed.thrown],
            halted_definition_ids=claimed.halted,
        )

    async def confirm(
        self, request: pb.ConfirmPendingStartsRequest
    ) -> pb.ConfirmPendingStartsResponse:
        """Record what became of claimed starts."""
        if len(request.confirmations) > MAX_CLAIM:
            raise InvalidRequestError(
                f"{len(request.confirmations)} confirmations, more than {MAX_CLAIM}"
            )
        stale = await self._pending.confirm(
            namespace=self._reader.namespace(request.namespace),
            confirmed=[_confirmed(one) for one in request.confirmations],
        )
        return pb.ConfirmPendingStartsResponse(stale=stale)

    async def list(self, request: pb.ListPendingStartsRequest) -> pb.ListPendingStartsResponse:
        """List what waits, oldest first."""
        size = pages.size(request.page_size)
        filters = ("pending", request.namespace, request.definition_id, request.reason)
        if request.reason and request.reason not in list(Reason):
            raise InvalidRequestError(f"reason is one of {', '.join(Reason)}")
        rows, last = pages.split(
            await self._pending.page(
                namespace=self._reader.namespace(request.namespace),
                after=pages.position(request.page_token, *filters),
                definition_id=requests.definition(request.definition_id)
                if request.definition_id
                else None,
                reason=request.reason or None,
                limit=size + 1,
            ),
            size,
        )
        return pb.ListPendingStartsResponse(
            starts=[_start(request.namespace, row) for row in rows],
            next_page_token=pages.token(str(last.position), *filters) if last else "",
        )

    async def release(self, request: pb.ReleaseHeldEventsRequest) -> pb.ReleaseHeldEventsResponse:
        """Decide what becomes of held events."""
        choice = requests.one_of("choice", request.choice, _CHOICES)
        if choice is None:
            raise InvalidRequestError("choice is missing: start, compress or discard")
        if request.definition_revision < 1:
            raise InvalidRequestError("definition_revision counts from 1")
        requests.request_id(request.request_id)
        events = await self._pending.release(
            namespace=self._reader.namespace(request.namespace),
            definition_id=requests.definition(request.definition_id),
            choice=choice,
            revision=request.definition_revision,
            actor=requests.optional_text("actor", request.actor)
            or identity.current_identity().subject,
            reason=requests.optional_text("reason", request.reason),
        )
        return pb.ReleaseHeldEventsResponse(events=events)


def arrival(event: pb.RoutedEvent, candidate: pb.RoutedCandidate) -> Arrival:
    """Return an event that has to wait for a definition.

    Raises:
        InvalidRequestError: the candidate does not say what is needed, or its outcome is another.
    """
    reason = REASONS.get(candidate.outcome)
    waiting = candidate.waiting
    if reason is None or not candidate.HasField("waiting"):
        raise InvalidRequestError(
            "`waiting` goes with HELD, BATCHED and LIMITED, and with no other"
        )
    if waiting.kill_switch_id and reason is Reason.LIMITED:
        reason = Reason.HALTED
    if not event.envelope:
        raise InvalidRequestError("an event that waits comes with its envelope")
    gathers = waiting.batch_max_events > 0
    if reason is Reason.BATCH and not gathers:
        raise InvalidRequestError("BATCHED needs batch_max_events")
    if not 0 <= waiting.batch_max_events <= MAX_BATCH_EVENTS:
        raise InvalidRequestError(f"batch_max_events is at most {MAX_BATCH_EVENTS}")
    definition_id = requests.definition(candidate.definition_id)
    origin = Origin(event.place.topic, event.place.partition, event.place.offset, event.cause)
    rate = waiting.max_runs > 0
    return Arrival(
        pending_id=identifiers.pending_id(
            definition_id,
            topic=origin.topic,
            partition=origin.partition,
            offset=origin.offset,
            cause=origin.cause,
            event_id=event.event_id,
        ),
        origin=origin,
        reason=reason,
        definition_id=definition_id,
        definition_version=candidate.definition_version,
        definition_revision=waiting.definition_revision,
        task_queue=requests.text("task_queue", waiting.task_queue),
        key=_key(waiting.key),
        trigger_names=list(candidate.trigger_names),
        envelope=event.envelope,
        weight=weight(event.envelope),
        batch_max_events=waiting.batch_max_events,
        batch_max_wait=_duration("batch_max_wait", waiting.batch_max_wait)
        if gathers
        else timedelta(),
        not_before=requests.moment("not_before", waiting.not_before)
        if waiting.HasField("not_before")
        else None,
        limits=Limits(
            max_open_runs=max(0, waiting.max_open_runs),
            max_runs=max(0, waiting.max_runs),
            max_runs_window=_duration("max_runs_window", waiting.max_runs_window)
            if rate
            else timedelta(),
            max_waiting=max(0, waiting.max_waiting),
        ),
    )


def instance_event(event: pb.RoutedEvent, candidate: pb.RoutedCandidate) -> InstanceEvent:
    """Return an event that has to wait for its turn in an instance.

    Raises:
        InvalidRequestError: the candidate does not say what is needed, or its outcome is another.
    """
    if candidate.outcome != pb.ROUTING_OUTCOME_SIGNALLED or not candidate.HasField(
        "instance_event"
    ):
        raise InvalidRequestError("`instance_event` goes with SIGNALLED, and with no other")
    trigger, body = requests.trigger(candidate.instance_event.trigger)
    found = InstanceEvent(
        definition_id=requests.definition(candidate.definition_id),
        key_hash=requests.key_hash(candidate.instance_event.key_hash),
        trigger=trigger,
        trigger_body=body,
        origin=Origin(event.place.topic, event.place.partition, event.place.offset, event.cause),
    )
    if candidate.run_id != found.run_id:
        raise InvalidRequestError(
            f"run_id is {candidate.run_id!r}, but definition and trigger make it {found.run_id!r}"
        )
    return found


def _key(value: str) -> str:
    return requests.optional_text("key", value, MAX_KEY_LENGTH)


def _duration(name: str, value: Duration, *, at_most: timedelta | None = None) -> timedelta:
    duration = requests.any_duration(name, value)
    if duration <= timedelta() or (at_most is not None and duration > at_most):
        limit = f" and at most {at_most}" if at_most is not None else ""
        raise InvalidRequestError(f"{name} has to be longer than nothing{limit}")
    return duration


def _confirmed(one: pb.Confirmation) -> Confirmed:
    outcome = _CONFIRMED.get(one.outcome)
    if outcome is None:
        raise InvalidRequestError(f"a start cannot be confirmed as {one.outcome}")
    key_hash, trigger = "", None
    if (outcome is PendingOutcome.SIGNALLED) != one.HasField("instance_event"):
        raise InvalidRequestError("`instance_event` goes with SIGNALLED, and with no other")
    if outcome is PendingOutcome.SIGNALLED:
        key_hash = requests.key_hash(one.instance_event.key_hash)
        trigger, _ = requests.trigger(one.instance_event.trigger)
        if not one.run_id.endswith(f":{trigger.key}"):
            raise InvalidRequestError(f"the trigger is of another run than {one.run_id!r}")
    return Confirmed(
        pending_id=requests.text("pending_id", one.pending_id),
        lease=requests.text("lease", one.lease),
        outcome=outcome,
        definition_version=one.definition_version,
        definition_revision=one.definition_revision,
        run_id=requests.optional_text("run_id", one.run_id),
        clause=_cut(one.clause),
        seen=_cut(one.seen),
        detail=_cut(one.detail),
        members={member.event: _member(member) for member in one.members},
        key_hash=key_hash,
        trigger=trigger,
    )


def _member(member: pb.MemberOutcome) -> Member:
    outcome = _CONFIRMED.get(member.outcome)
    if outcome not in (PendingOutcome.FILTERED, PendingOutcome.ERRORED):
        raise InvalidRequestError("an event of a batch is left out as FILTERED or ERRORED")
    return Member(
        member.event, outcome, _cut(member.clause), _cut(member.seen), _cut(member.detail)
    )


def _cut(text: str) -> str:
    return text.replace("\x00", "\ufffd")[:2000]


def _start(namespace: str, row: PendingRow) -> pb.PendingStart:
    names = sorted({name for event in row.events for name in event.trigger_names})
    return pb.PendingStart(
        namespace=namespace,
        pending_id=row.pending_id,
        definition_id=row.definition_id,
        definition_version=row.definition_version,
        task_queue=row.task_queue,
        trigger_names=names,
        reason=row.reason,
        key=row.key,
        envelopes=[event.envelope for event in row.events],
        queued_at=messages.timestamp(row.queued_at),
        not_before=messages.timestamp(row.due_at),
        attempts=row.attempts,
        lease=row.lease or "",
        as_one_run=row.as_one_run,
        events=row.event_count,
        replay_id=_replay_id(row),
    )


def _replay_id(row: PendingRow) -> str:
    """Return which replay a start is part of; what joined others, when it was held, is of none."""
    of = {identifiers.replay_of(event.origin.cause) for event in row.events}
    return next(iter(of)) or "" if len(of) == 1 else ""
