"""The calls of `ReplayService`: requests in, replays out."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from backbone.ledger.v1 import replay_pb2 as pb
from backbone.ledger.v1 import routing_pb2
from contracts import identifiers, names
from contracts.routing import MAX_RECORDED_CANDIDATES, MAX_RECORDED_EVENTS
from ledger.adapters import decision_calls, messages, pages, requests
from ledger.adapters.requests import RequestReader
from ledger.domain.plans import Action, Mode, State
from ledger.domain.replays import Question, Stretches
from ledger.errors import InvalidRequestError
from ledger.ports.replays import ReplayedDefinition, ReplayedEvent, Tally
from ledger.service.plans import Change
from ledger.service.replays import Page, ReplayLedger, ReplayView, StartView
from runtime import identity

MAX_PARTITIONS = 10_000
MAX_DEFINITIONS = 1000
_MAX_OFFSET = 2**62
_EVENTS_OF_A_START = 600  # bytes that one event has in a message, about

_MODES: Mapping["pb.ReplayMode.ValueType", Mode] = {
    pb.REPLAY_MODE_MISSING: Mode.MISSING,
    pb.REPLAY_MODE_FAILED: Mode.FAILED,
    pb.REPLAY_MODE_ALL: Mode.ALL,
}
_MODE_OF = {mode: message for message, mode in _MODES.items()}
_STATE_OF: Mapping[State, "pb.ReplayState.ValueType"] = {
    State.PLANNING: pb.REPLAY_STATE_PLANNING,
    State.PLANNED: pb.REPLAY_STATE_PLANNED,
    State.RUNNING: pb.REPLAY_STATE_RUNNING,
    State.PAUSED: pb.REPLAY_STATE_PAUSED,
    State.FINISHED: pb.REPLAY_STATE_FINISHED,
    State.CANCELLED: pb.REPLAY_STATE_CANCELLED,
}


class _Asked(Protocol):
    """What the requests that change a replay have in common."""

    namespace: str
    replay_id: str
    request_id: str
    reason: str


class ReplayCalls:
    """Reads requests, calls the use cases, tells the answers."""

    def __init__(self, replays: ReplayLedger, *, reader: RequestReader) -> None:
        self._replays = replays
        self._reader = reader

    async def create(self, request: pb.CreateReplayRequest) -> pb.Replay:
        """Begin a plan."""
        namespace = self._reader.namespace(request.namespace)
        view = await self._replays.create(
            namespace=namespace,
            replay_id=_replay_id(request.replay_id),
            question=_question(request),
            stretches=_stretches("stretches", request.stretches),
            actor=requests.text("actor", request.actor),
            reason=requests.text("reason", request.reason),
        )
        return _message(namespace, view)

    async def add(self, request: pb.AddToReplayRequest) -> pb.Replay:
        """Add a page to a plan."""
        namespace = self._reader.namespace(request.namespace)
        replay_id = _replay_id(request.replay_id)
        candidates = sum(len(event.candidates) for event in request.events)
        if len(request.events) > MAX_RECORDED_EVENTS or candidates > MAX_RECORDED_CANDIDATES:
            raise InvalidRequestError(
                f"one call takes {MAX_RECORDED_EVENTS} events and {MAX_RECORDED_CANDIDATES} "
                "candidates at most"
            )
        if min(request.records, request.unrouted) < 0:
            raise InvalidRequestError("records and unrouted are counts")
        for event in request.events:
            event.cause = identifiers.replay_cause(replay_id)
        view = await self._replays.add(
            namespace=namespace,
            replay_id=replay_id,
            page=Page(
                before=_stretches("before", request.before),
                after=_stretches("after", request.after),
                records=request.records,
                unrouted=request.unrouted,
                refused=_refused(request.refused),
                events=[decision_calls.event(event) for event in request.events],
            ),
        )
        return _message(namespace, view)

    async def get(self, request: pb.GetReplayRequest) -> pb.Replay:
        """Tell a replay."""
        namespace = self._reader.namespace(request.namespace)
        return _message(
            namespace,
            await self._replays.get(namespace=namespace, replay_id=_replay_id(request.replay_id)),
        )

    async def list(self, request: pb.ListReplaysRequest) -> pb.ListReplaysResponse:
        """List replays, newest first."""
        namespace = self._reader.namespace(request.namespace)
        size = pages.size(request.page_size)
        filters = ("replays", namespace)
        rows, last = pages.split(
            await self._replays.page(
                namespace=namespace,
                before=pages.position(request.page_token, *filters),
                limit=size + 1,
            ),
            size,
        )
        return pb.ListReplaysResponse(
            replays=[_message(namespace, ReplayView(row)) for row in rows],
            next_page_token=pages.token(str(last.position), *filters) if last else "",
        )

    async def starts(self, request: pb.ListReplayStartsRequest) -> pb.ListReplayStartsResponse:
        """List what is to be started, in order."""
        namespace = self._reader.namespace(request.namespace)
        size = pages.size(request.page_size)
        replay_id = _replay_id(request.replay_id)
        filters = ("replay-starts", namespace, replay_id)
        after = pages.position(request.page_token, *filters)
        found, last = pages.split(
            await self._replays.starts(
                namespace=namespace,
                replay_id=replay_id,
                first=0 if after is None else after + 1,
                limit=size + 1,
            ),
            size,
            weigh=lambda one: _EVENTS_OF_A_START * len(one.events),
        )
        return pb.ListReplayStartsResponse(
            starts=[_start(one) for one in found],
            next_page_token=pages.token(str(last.start.ordinal), *filters) if last else "",
        )

    async def change(self, request: _Asked, action: Action, *, plan_hash: str = "") -> pb.Replay:
        """Apply, pause, resume or cancel a replay, on behalf of the caller."""
        namespace = self._reader.namespace(request.namespace)
        if action is Action.APPLY:
            requests.text("plan_hash", plan_hash)
        view = await self._replays.change(
            namespace=namespace,
            replay_id=_replay_id(request.replay_id),
            change=Change(
                action=action,
                request_id=requests.request_id(request.request_id),
                actor=identity.current_identity().subject,
                reason=requests.text("reason", request.reason),
                plan_hash=plan_hash,
            ),
        )
        return _message(namespace, view)


def _replay_id(value: str) -> str:
    if not re.fullmatch(identifiers.REQUEST_ID_PATTERN, value):
        raise InvalidRequestError(f"not a replay_id: {value!r}")
    return value


def _question(request: pb.CreateReplayRequest) -> Question:
    mode = requests.one_of("mode", request.mode, _MODES)
    if mode is None:
        raise InvalidRequestError("mode is missing: missing, failed or all")
    since = requests.moment("records_from", request.records_from)
    until = requests.moment("records_to", request.records_to)
    if since >= until:
        raise InvalidRequestError("records_from is before records_to")
    if not 1 <= request.max_starts_per_second <= 1000:
        raise InvalidRequestError("max_starts_per_second is from 1 to 1000")
    if len(request.definition_ids) > MAX_DEFINITIONS:
        raise InvalidRequestError(f"at most {MAX_DEFINITIONS} definitions can be named")
    return Question(
        topic=requests.text("topic", request.topic, names.MAX_TOPIC_LENGTH),
        since=since,
        until=until,
        definition_ids=sorted({requests.definition(one) for one in request.definition_ids}),
        mode=mode,
        max_starts_per_second=request.max_starts_per_second,
    )


def _stretches(name: str, told: Iterable[pb.ReplayStretch]) -> Stretches:
    found: dict[int, tuple[int, int]] = {}
    for one in told:
        if one.partition < 0 or not 0 <= one.next_offset <= one.end_offset <= _MAX_OFFSET:
            raise InvalidRequestError(f"{name} holds a stretch that is none")
        if one.partition in found or len(found) >= MAX_PARTITIONS:
            raise InvalidRequestError(f"{name} holds a partition twice, or too many")
        found[one.partition] = one.next_offset, one.end_offset
    return found


def _refused(told: Iterable[pb.ReplayTally]) -> Mapping[str, int]:
    counts: Counter[str] = Counter()
    for one in told:
        if one.events < 1:
            raise InvalidRequestError("refused holds counts")
        counts[requests.text("refused.outcome", one.outcome, 100)] += one.events
    return counts


def _message(namespace: str, view: ReplayView) -> pb.Replay:
    replay = view.replay
    question = replay.question
    refused = [one for one in view.tallies if one.phase == "refused"]
    return pb.Replay(
        namespace=namespace,
        replay_id=replay.replay_id,
        state=_STATE_OF[replay.state],
        topic=question.topic,
        records_from=messages.timestamp(question.since),
        records_to=messages.timestamp(question.until),
        definition_ids=question.definition_ids,
        mode=_MODE_OF[question.mode],
        max_starts_per_second=question.max_starts_per_second,
        left=[
            pb.ReplayStretch(partition=partition, next_offset=first, end_offset=end)
            for partition, (first, end) in sorted(replay.stretches.items())
        ],
        records=replay.records,
        records_total=replay.records_total,
        unrouted=replay.unrouted,
        refused=[pb.ReplayTally(outcome=one.outcome, events=one.events) for one in refused],
        definitions=_definitions(view.definitions, view.tallies),
        plan_hash="" if replay.state is State.PLANNING else replay.plan_chain.hex(),
        starts=replay.starts,
        begun=replay.begun,
        open_events=replay.open_events,
        created_at=messages.timestamp(replay.created_at),
        created_by=replay.created_by,
        created_reason=replay.created_reason,
        changed_at=messages.timestamp(replay.changed_at),
        changed_by=replay.changed_by or "",
        changed_reason=replay.changed_reason or "",
        finished_at=messages.timestamp(replay.finished_at),
    )


def _definitions(
    definitions: Iterable[ReplayedDefinition], tallies: Iterable[Tally]
) -> list[pb.ReplayedDefinition]:
    """Return the definitions of a plan; those without a start have no version."""
    known = {
        one.definition_id: pb.ReplayedDefinition(
            definition_id=one.definition_id,
            definition_version=one.definition_version,
            starts=one.starts,
        )
        for one in definitions
    }
    for tally in tallies:
        if tally.phase == "refused":
            continue
        message = known.setdefault(
            tally.definition_id, pb.ReplayedDefinition(definition_id=tally.definition_id)
        )
        told = message.planned if tally.phase == "planned" else message.outcomes
        told.add(outcome=tally.outcome, events=tally.events)
    return [known[definition_id] for definition_id in sorted(known)]


def _start(view: StartView) -> pb.ReplayStart:
    return pb.ReplayStart(
        ordinal=view.start.ordinal,
        definition_id=view.start.definition_id,
        key=view.start.key,
        run_id=view.run_id,
        events=[_event(one) for one in view.events],
    )


def _event(event: ReplayedEvent) -> pb.ReplayedEvent:
    return pb.ReplayedEvent(
        place=routing_pb2.RecordPlace(partition=event.partition, offset=event.offset),
        source=event.source,
        event_id=event.event_id,
        type=event.type,
    )
