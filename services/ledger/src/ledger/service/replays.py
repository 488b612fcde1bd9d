"""The use cases of replays of events: plan, carry out, pause, cancel, tell.

A plan grows by pages, each with how far the records were read, in one transaction; complete, it
does not change any more. It is carried out by whoever asks for what is to be started: its next
starts join what waits, no more at a time than its rate and the room for them allow, and go the same
way from there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts import identifiers
from contracts.rejections import Reason
from contracts.routing import RoutingOutcome
from contracts.triggers import weight
from ledger.domain import pending, plans, replays
from ledger.domain.pending import Arrival, Origin
from ledger.domain.plans import Mode, State
from ledger.domain.replays import Planned, Question, Start, Stretches
from ledger.domain.routing import Candidate, Place, RoutedEvent
from ledger.errors import (
    PreconditionError,
    ReplayExistsError,
    ReplayNotFoundError,
    ReplayOvertakenError,
)
from ledger.ports.replays import (
    Addition,
    ReplayedDefinition,
    ReplayedEvent,
    ReplayRow,
    ReplayStore,
    Tally,
)
from ledger.ports.requests import RequestLog
from ledger.service import plans as plan_changes
from ledger.service.plans import Change
from ledger.service.routing import RoutingLedger
from runtime import logs
from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres, Transaction

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Page:
    """What the router found in a stretch of records; `refused` counts by reason code."""

    before: Stretches
    after: Stretches
    records: int
    unrouted: int
    refused: Mapping[str, int]
    events: Sequence[RoutedEvent]


@dataclass(frozen=True)
class ReplayView:
    """A replay with all that is told of it."""

    replay: ReplayRow
    definitions: Sequence[ReplayedDefinition] = ()
    tallies: Sequence[Tally] = ()


@dataclass(frozen=True)
class StartView:
    """A start of a plan that was not begun, with its events."""

    start: Start
    run_id: str
    events: Sequence[ReplayedEvent]


class _OvertakenError(Exception):
    """A replay was changed while something of it was to be begun: nothing is."""


class ReplayLedger:
    """Keeps replays of events."""

    def __init__(
        self,
        *,
        database: Postgres,
        store: ReplayStore,
        routing: RoutingLedger,
        requests: RequestLog,
        keep: timedelta,
    ) -> None:
        """`keep` is how long a replay that ended is told of."""
        self._database = database
        self._store = store
        self._routing = routing
        self._requests = requests
        self._keep = keep

    async def create(
        self,
        *,
        namespace: str,
        replay_id: str,
        question: Question,
        stretches: Stretches,
        actor: str,
        reason: str,
    ) -> ReplayView:
        """Begin a plan; the same question again returns it as it is.

        Raises:
            ReplayExistsError: the id stands for another question.
        """

        async def work(transaction: Transaction) -> ReplayView:
            await self._store.forget(
                transaction, unapplied=plan_changes.KEEP_UNAPPLIED, ended=self._keep
            )
            await self._store.create(
                transaction,
                replay_id,
                question,
                stretches=stretches,
                chain=replays.first_link(question, replay_id, stretches),
                actor=actor,
                reason=reason,
            )
            view = await self._view(transaction, replay_id)
            if view.replay.question != question:
                raise ReplayExistsError(replay_id)
            faultpoint("ledger.before_create_replay")
            return view

        view = await self._database.retrying(namespace, work)
        faultpoint("ledger.after_create_replay")
        return view

    async def add(self, *, namespace: str, replay_id: str, page: Page) -> ReplayView:
        """Add what a stretch of records means to a plan.

        Raises:
            ReplayNotFoundError: there is no such replay.
            ReplayOvertakenError: somebody else has read on.
            PreconditionError: it is not being planned, a definition has another version than
                before, or the plan becomes too large.
        """

        async def work(transaction: Transaction) -> ReplayView:
            replay = await self._locked(transaction, replay_id)
            if replay.state is not State.PLANNING:
                raise PreconditionError(f"the replay {replay_id} is {replay.state}, not planning")
            if dict(replay.stretches) != dict(page.before):
                raise ReplayOvertakenError(replay_id)
            addition = await self._planned(transaction, replay, page)
            await self._store.add(transaction, replay, addition)
            faultpoint("ledger.before_add_to_replay")
            return await self._view(transaction, replay_id)

        view = await self._database.retrying(namespace, work)
        faultpoint("ledger.after_add_to_replay")
        return view

    async def change(self, *, namespace: str, replay_id: str, change: Change) -> ReplayView:
        """Apply, pause, resume or cancel a replay; the same request again changes nothing.

        Raises:
            ReplayNotFoundError: there is no such replay.
            PreconditionError: its state does not allow it, or its plan is another one.
            InvalidRequestError: the request id was used for something else.
        """

        async def work(transaction: Transaction) -> ReplayView:
            replay = await self._locked(transaction, replay_id)
            if await plan_changes.is_to_be_done(
                self._requests,
                transaction,
                change,
                kind="replay",
                plan_id=replay_id,
                state=replay.state,
                chain=replay.plan_chain,
            ):
                await self._store.change(
                    transaction,
                    replay_id,
                    plans.TO[change.action],
                    actor=change.actor,
                    reason=change.reason,
                )
            faultpoint("ledger.before_change_replay")
            return await self._view(transaction, replay_id)

        view = await self._database.retrying(namespace, work)
        faultpoint("ledger.after_change_replay")
        _log.info(
            "replay_changed", namespace=namespace, replay_id=replay_id,
            action=change.action.value, actor=change.actor,
        )  # fmt: skip
        return view

    async def get(self, *, namespace: str, replay_id: str) -> ReplayView:
        """Return a replay. Raises ReplayNotFoundError."""
        async with self._database.transaction(namespace) as transaction:
            return await self._view(transaction, replay_id)

    async def page(self, *, namespace: str, before: int | None, limit: int) -> list[ReplayRow]:
        """Return at most `limit` replays, newest first, from before a position."""
        async with self._database.transaction(namespace) as transaction:
            return await self._store.page(transaction, before=before, limit=limit)

    async def starts(
        self, *, namespace: str, replay_id: str, first: int, limit: int
    ) -> list[StartView]:
        """Return what was not begun of a plan, in order. Raises ReplayNotFoundError."""
        async with self._database.transaction(namespace) as transaction:
            if await self._store.get(transaction, replay_id) is None:
                raise ReplayNotFoundError(replay_id)
            starts = await self._store.starts(transaction, replay_id, first=first, limit=limit)
            events = await self._events_of(transaction, replay_id, starts)
        return [
            StartView(start, _run_id(start, events[start.ordinal][0], replay_id), found)
            for start in starts
            if (found := events.get(start.ordinal))
        ]

    async def begin(self, *, namespace: str) -> datetime | None:
        """Let the next starts of a replay wait for a dispatcher; return when to look again."""
        async with self._database.transaction(namespace) as transaction:
            look_at, is_due = await self._store.next_look(transaction)
        if not is_due:
            return look_at

        async def work(transaction: Transaction) -> datetime | None:
            replay = await self._store.due(transaction)
            if replay is not None:
                await self._begin(transaction, replay)
            faultpoint("ledger.before_begin_replay")
            look_at, _ = await self._store.next_look(transaction)
            return look_at

        try:
            look_at = await self._database.retrying(namespace, work)
        except _OvertakenError:
            return look_at
        faultpoint("ledger.after_begin_replay")
        return look_at

    async def _planned(self, transaction: Transaction, replay: ReplayRow, page: Page) -> Addition:
        """Return what a page adds to a plan."""
        refused = Counter(page.refused)
        tallies: Counter[tuple[str, str]] = Counter()
        standing = await self._store.digests(transaction, [event.key for event in page.events])
        wanted: list[Planned] = []
        for event in page.events:
            if standing.get(event.key, event.digest) != event.digest:
                refused[Reason.ID_CONFLICT] += 1
                continue
            for candidate in event.candidates:
                if candidate.arrival is None:
                    tallies[candidate.definition_id, candidate.outcome.value] += 1
                else:
                    wanted.append(Planned(event, candidate.arrival))
        fresh = await self._fresh(transaction, replay, wanted, tallies)
        found = await self._store.standings(
            transaction,
            [(one.arrival.definition_id, one.event) for one in fresh],
            cause=identifiers.replay_cause(replay.replay_id),
        )
        mode = replay.question.mode
        chosen: list[Planned] = []
        for one, has in zip(fresh, found, strict=True):
            if replays.is_wanted(mode, has):
                chosen.append(one)
                tallies[one.arrival.definition_id, replays.START] += 1
            else:
                tallies[one.arrival.definition_id, replays.left_alone(mode, has)] += 1
        keys = {(one.arrival.definition_id, one.arrival.key) for one in chosen}
        gathered = replays.gather(
            chosen,
            await self._store.latest_starts(transaction, replay.replay_id, keys),
            next_ordinal=replay.starts,
        )
        _refuse_excess(replay, chosen)
        return Addition(
            gathered=gathered,
            definitions=await self._definitions(transaction, replay, page, gathered),
            tallies=[Tally(d, "planned", outcome, n) for (d, outcome), n in tallies.items()]
            + [Tally("", "refused", str(code), n) for code, n in refused.items()],
            stretches=page.after,
            records=page.records,
            unrouted=page.unrouted,
            chain=replays.next_link(replay.plan_chain, gathered),
        )

    async def _fresh(
        self,
        transaction: Transaction,
        replay: ReplayRow,
        wanted: Sequence[Planned],
        tallies: Counter[tuple[str, str]],
    ) -> list[Planned]:
        """Return the first copy of each event; the others are counted."""
        known = await self._store.known(transaction, replay.replay_id, wanted)
        seen: set[tuple[str, str]] = set()
        fresh: list[Planned] = []
        for index, one in enumerate(wanted):
            copy_of = one.arrival.definition_id, one.event.key
            if index in known or copy_of in seen:
                tallies[one.arrival.definition_id, replays.DUPLICATE] += 1
            else:
                seen.add(copy_of)
                fresh.append(one)
        return fresh

    async def _definitions(
        self,
        transaction: Transaction,
        replay: ReplayRow,
        page: Page,
        gathered: Sequence[tuple[Start, Planned]],
    ) -> list[ReplayedDefinition]:
        """Return the definitions of a page with their new starts.

        Raises:
            PreconditionError: one has changed since the plan began.
        """
        known = {
            one.definition_id: one.definition_version
            for one in await self._store.definitions(transaction, replay.replay_id)
        }
        for event in page.events:
            for candidate in event.candidates:
                before = known.setdefault(candidate.definition_id, candidate.definition_version)
                if before != candidate.definition_version:
                    raise PreconditionError(
                        f"{candidate.definition_id} was version {before} when the plan began and "
                        f"is version {candidate.definition_version} now: plan again, under "
                        "another id"
                    )
        starts = Counter(
            start.definition_id for start in {id(s): s for s, _ in gathered if s.new}.values()
        )
        arrivals = {planned.arrival.definition_id: planned.arrival for _, planned in gathered}
        return [
            ReplayedDefinition(
                definition_id,
                arrival.definition_version,
                arrival.task_queue,
                arrival.limits,
                starts[definition_id],
            )
            for definition_id, arrival in arrivals.items()
        ]

    async def _begin(self, transaction: Transaction, replay: ReplayRow) -> None:
        count, pause = replays.lot(replay.question.max_starts_per_second)
        starts = await self._store.starts(transaction, replay.replay_id, first=0, limit=count)
        if not starts and await self._store.finish(transaction, replay.replay_id):
            return
        lot = replays.begun_now(starts, open_events=replay.open_events)
        definition_ids = {start.definition_id for start in lot}
        if (
            not lot
            or await self._store.most_waiting(transaction, definition_ids) > replays.MOST_WAITING
        ):
            lot, pause = [], replays.RELOOK
        events = await self._events_of(transaction, replay.replay_id, lot)
        arrivals, left = await self._standing_now(transaction, replay, lot, events)
        definitions = {
            one.definition_id: one
            for one in await self._store.definitions(transaction, replay.replay_id)
        }
        begun = await self._routing.record_in(
            transaction,
            [_routed(replay, definitions[s.definition_id], s, event) for s, event in arrivals],
        )
        conflicts = Counter(arrivals[index][0].definition_id for index in begun.conflicts)
        if not await self._store.begun(
            transaction,
            replay,
            [start.ordinal for start in lot],
            open_events=len(begun.waiting),
            tallies=[Tally(d, "outcome", replays.LEFT, n) for d, n in left.items()]
            + [Tally(d, "outcome", RoutingOutcome.ERRORED, n) for d, n in conflicts.items()],
            look_in=pause,
        ):
            raise _OvertakenError

    async def _standing_now(
        self,
        transaction: Transaction,
        replay: ReplayRow,
        lot: Sequence[Start],
        events: Mapping[int, Sequence[ReplayedEvent]],
    ) -> tuple[list[tuple[Start, ReplayedEvent]], Counter[str]]:
        """Return the events of a lot that are to be started as before, and how many are not."""
        planned = [(start, event) for start in lot for event in events.get(start.ordinal, ())]
        left: Counter[str] = Counter()
        mode = replay.question.mode
        if mode is Mode.ALL or not planned:
            return planned, left
        found = await self._store.standings(
            transaction,
            [(start.definition_id, _event(replay, event)) for start, event in planned],
            cause=identifiers.replay_cause(replay.replay_id),
        )
        wanted = []
        for (start, event), has in zip(planned, found, strict=True):
            if replays.is_wanted(mode, has):
                wanted.append((start, event))
            else:
                left[start.definition_id] += 1
        return wanted, left

    async def _events_of(
        self, transaction: Transaction, replay_id: str, starts: Sequence[Start]
    ) -> dict[int, list[ReplayedEvent]]:
        found: dict[int, list[ReplayedEvent]] = {}
        ordinals = [start.ordinal for start in starts]
        for event in await self._store.events_of(transaction, replay_id, ordinals):
            found.setdefault(event.ordinal, []).append(event)
        return found

    async def _locked(self, transaction: Transaction, replay_id: str) -> ReplayRow:
        replay = await self._store.get(transaction, replay_id, lock=True)
        if replay is None:
            raise ReplayNotFoundError(replay_id)
        return replay

    async def _view(self, transaction: Transaction, replay_id: str) -> ReplayView:
        replay = await self._store.get(transaction, replay_id)
        if replay is None:
            raise ReplayNotFoundError(replay_id)
        return ReplayView(
            replay,
            await self._store.definitions(transaction, replay_id),
            await self._store.tallies(transaction, replay_id),
        )


def _refuse_excess(replay: ReplayRow, chosen: Sequence[Planned]) -> None:
    events = replay.events + len(chosen)
    size = replay.bytes + sum(one.arrival.weight for one in chosen)
    if events > replays.MAX_EVENTS or size > replays.MAX_BYTES:
        raise PreconditionError(
            f"the plan has more than {replays.MAX_EVENTS} events to start, or more than "
            f"{replays.MAX_BYTES // 1024**2} MiB of them: plan shorter stretches of time, or name "
            "definitions"
        )


def _event(replay: ReplayRow, event: ReplayedEvent) -> RoutedEvent:
    return RoutedEvent(
        place=Place(replay.question.topic, event.partition, event.offset),
        source=event.source,
        event_id=event.event_id,
        type=event.type,
        digest=event.digest,
        registry_revision=event.registry_revision,
        cause=identifiers.replay_cause(replay.replay_id),
        candidates=(),
    )


def _routed(
    replay: ReplayRow, definition: ReplayedDefinition, start: Start, event: ReplayedEvent
) -> RoutedEvent:
    """Return an event of a plan as it is recorded and queued."""
    bare = _event(replay, event)
    envelope = event.envelope or b""
    arrival = Arrival(
        pending_id=start.pending_id,
        origin=Origin(bare.place.topic, event.partition, event.offset, bare.cause),
        reason=pending.Reason.REPLAY,
        definition_id=start.definition_id,
        definition_version=definition.definition_version,
        definition_revision=0,
        task_queue=definition.task_queue,
        key=start.key,
        trigger_names=event.trigger_names,
        envelope=envelope,
        weight=weight(envelope),
        batch_max_events=start.batch_max_events,
        limits=definition.limits,
    )
    candidate = Candidate(
        definition_id=start.definition_id,
        definition_version=definition.definition_version,
        outcome=RoutingOutcome.LIMITED,
        trigger_names=event.trigger_names,
        arrival=arrival,
    )
    return replace(bare, candidates=(candidate,))


def _run_id(start: Start, first: ReplayedEvent, replay_id: str) -> str:
    key = (
        identifiers.batch_trigger_key(start.pending_id)
        if start.batch_max_events
        else identifiers.event_trigger_key(first.source, first.event_id)
    )
    return identifiers.run_id(start.definition_id, identifiers.replayed(key, replay_id))
