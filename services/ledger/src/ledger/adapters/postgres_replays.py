"""Replays of events in PostgreSQL: their plans, and what became of them."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import groupby

import asyncpg

from contracts import identifiers
from contracts.decisions import RunStatus
from contracts.routing import RoutingOutcome
from ledger.domain import replays
from ledger.domain.pending import Limits
from ledger.domain.plans import Mode, State
from ledger.domain.replays import Planned, Question, Standing, Start, Stretches
from ledger.domain.routing import RoutedEvent
from ledger.ports.pending import Settlement
from ledger.ports.replays import (
    Addition,
    ReplayedDefinition,
    ReplayedEvent,
    ReplayRow,
    Tally,
)
from runtime import sqlfiles
from runtime.postgres import Transaction

_RAN = frozenset({RoutingOutcome.STARTED, RoutingOutcome.SIGNALLED})


class PostgresReplayStore:
    """`ports.replays.ReplayStore` and `ReplayTallies` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "replays")

    async def create(
        self,
        transaction: Transaction,
        replay_id: str,
        question: Question,
        *,
        stretches: Stretches,
        chain: bytes,
        actor: str,
        reason: str,
    ) -> None:
        """Begin a plan, unless there is one of that id; one of no records is complete at once."""
        left = _left(stretches)
        await transaction.execute(
            self._sql["create"],
            transaction.namespace,
            replay_id,
            question.topic,
            question.since,
            question.until,
            list(question.definition_ids),
            question.mode.value,
            question.max_starts_per_second,
            _stored(left),
            sum(end - first for first, end in left.values()),
            chain,
            actor,
            reason,
            (State.PLANNING if left else State.PLANNED).value,
        )

    async def get(
        self, transaction: Transaction, replay_id: str, *, lock: bool = False
    ) -> ReplayRow | None:
        """Return a replay; `lock` holds its row until the transaction ends."""
        row = await transaction.fetchrow(
            self._sql["lock" if lock else "get"], transaction.namespace, replay_id
        )
        return None if row is None else _replay(row)

    async def page(
        self, transaction: Transaction, *, before: int | None, limit: int
    ) -> list[ReplayRow]:
        """Return replays, newest first, from before a position."""
        rows = await transaction.fetch(self._sql["page"], transaction.namespace, before, limit)
        return [_replay(row) for row in rows]

    async def definitions(
        self, transaction: Transaction, replay_id: str
    ) -> list[ReplayedDefinition]:
        """Return the definitions of a plan."""
        rows = await transaction.fetch(self._sql["definitions"], transaction.namespace, replay_id)
        return [
            ReplayedDefinition(
                row["definition_id"],
                row["definition_version"],
                row["task_queue"],
                Limits(row["max_open_runs"], row["max_runs"], row["max_runs_window"]),
                row["starts"],
            )
            for row in rows
        ]

    async def tallies(self, transaction: Transaction, replay_id: str) -> list[Tally]:
        """Return how many events came to what."""
        rows = await transaction.fetch(self._sql["tallies"], transaction.namespace, replay_id)
        return [Tally(**row) for row in rows]

    async def known(
        self, transaction: Transaction, replay_id: str, events: Sequence[Planned]
    ) -> set[int]:
        """Return the indices of events that are part of the plan already."""
        rows = await transaction.fetch(
            self._sql["known_events"],
            transaction.namespace,
            replay_id,
            [one.arrival.definition_id for one in events],
            [one.event.source for one in events],
            [one.event.event_id for one in events],
        )
        return {row["index"] for row in rows}

    async def digests(
        self, transaction: Transaction, event_keys: Collection[str]
    ) -> dict[str, bytes]:
        """Return the digests that stand for events, by key; none for one that is not known."""
        rows = await transaction.fetch(
            self._sql["digests"], transaction.namespace, list(event_keys)
        )
        return {row["event_key"]: row["digest"] for row in rows}

    async def standings(
        self, transaction: Transaction, events: Sequence[tuple[str, RoutedEvent]], *, cause: str
    ) -> list[Standing]:
        """Return what events have come to for definitions (id, event), other than by `cause`."""
        if not events:
            return []
        rows = await transaction.fetch(
            self._sql["standings"],
            transaction.namespace,
            [definition_id for definition_id, _ in events],
            [event.source for _, event in events],
            [event.event_id for _, event in events],
            [event.key for _, event in events],
            cause,
        )
        found = [Standing.NO_RUN] * len(events)
        for index, told in groupby(rows, key=lambda row: row["index"]):
            outcomes = list(told)
            found[index] = replays.standing(
                waits=any(row["outcome"] not in _RAN for row in outcomes),
                runs=[
                    None if row["status"] is None else RunStatus(row["status"]) for row in outcomes
                ],
            )
        return found

    async def latest_starts(
        self, transaction: Transaction, replay_id: str, keys: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Start]:
        """Return the newest start of each (definition, key) that has one."""
        rows = await transaction.fetch(
            self._sql["latest_starts"],
            transaction.namespace,
            replay_id,
            [definition_id for definition_id, _ in keys],
            [key for _, key in keys],
        )
        return {(row["definition_id"], row["key"]): _start(row) for row in rows}

    async def add(self, transaction: Transaction, replay: ReplayRow, addition: Addition) -> None:
        """Add to a plan; it is complete when no stretches are left."""
        namespace, replay_id = transaction.namespace, replay.replay_id
        left = _left(addition.stretches)
        for one in addition.definitions:
            await transaction.execute(
                self._sql["put_definition"],
                namespace,
                replay_id,
                one.definition_id,
                one.definition_version,
                one.task_queue,
                one.limits.max_open_runs,
                one.limits.max_runs,
                one.limits.max_runs_window,
                one.starts,
            )
        starts = {start.ordinal: start for start, _ in addition.gathered}
        await transaction.executemany(
            self._sql["put_start"],
            [
                (
                    namespace, replay_id, start.ordinal, start.pending_id, start.definition_id,
                    start.key, start.batch_max_events, start.events, start.bytes,
                )
                for start in starts.values()
            ],
        )  # fmt: skip
        # Events stand behind those that their start had before.
        places = {ordinal: start.events for ordinal, start in starts.items()}
        for start, _ in addition.gathered:
            places[start.ordinal] -= 1
        rows = []
        for start, planned in addition.gathered:
            event, arrival = planned.event, planned.arrival
            rows.append(
                (
                    namespace, replay_id, arrival.definition_id, event.source, event.event_id,
                    start.ordinal, places[start.ordinal], event.type, event.place.partition,
                    event.place.offset, event.digest, event.registry_revision,
                    list(arrival.trigger_names), arrival.envelope,
                )
            )  # fmt: skip
            places[start.ordinal] += 1
        await transaction.executemany(self._sql["add_event"], rows)
        await self._tally(transaction, replay_id, addition.tallies)
        await transaction.execute(
            self._sql["added"],
            namespace,
            replay_id,
            _stored(left),
            addition.records,
            addition.unrouted,
            addition.chain,
            sum(start.new for start in starts.values()),
            len(addition.gathered),
            sum(planned.arrival.weight for _, planned in addition.gathered),
            not left,
        )

    async def change(
        self, transaction: Transaction, replay_id: str, state: State, *, actor: str, reason: str
    ) -> None:
        """Bring a replay into a state; what is cancelled has no starts any more."""
        namespace = transaction.namespace
        await transaction.execute(
            self._sql["change"], namespace, replay_id, state.value, actor, reason
        )
        if state is State.CANCELLED:
            await transaction.execute(self._sql["drop_starts"], namespace, replay_id)
            await transaction.execute(self._sql["drop_envelopes"], namespace, replay_id)

    async def next_look(self, transaction: Transaction) -> tuple[datetime | None, bool]:
        """Return when to look for something to begin, and whether that time has come."""
        row = await transaction.fetchrow(self._sql["next_look"], transaction.namespace)
        return (None, False) if row is None else (row["at"], row["is_due"])

    async def due(self, transaction: Transaction) -> ReplayRow | None:
        """Return a replay of which something is begun now, by nobody else until the end."""
        row = await transaction.fetchrow(self._sql["due"], transaction.namespace)
        return None if row is None else _replay(row)

    async def starts(
        self, transaction: Transaction, replay_id: str, *, first: int, limit: int
    ) -> list[Start]:
        """Return starts that were not begun, in order, from an ordinal on."""
        rows = await transaction.fetch(
            self._sql["starts"], transaction.namespace, replay_id, first, limit
        )
        return [_start(row) for row in rows]

    async def events_of(
        self, transaction: Transaction, replay_id: str, ordinals: Sequence[int]
    ) -> list[ReplayedEvent]:
        """Return the events of starts, in order."""
        rows = await transaction.fetch(
            self._sql["events_of"], transaction.namespace, replay_id, list(ordinals)
        )
        return [
            ReplayedEvent(
                row["definition_id"], row["source"], row["event_id"], row["ordinal"], row["type"],
                row["partition"], row["record_offset"], row["digest"], row["registry_revision"],
                row["trigger_names"], row["envelope"],
            )
            for row in rows
        ]  # fmt: skip

    async def most_waiting(self, transaction: Transaction, definition_ids: Collection[str]) -> int:
        """Return how many events wait of that definition of which most do."""
        found: int = await transaction.fetchval(
            self._sql["waiting"], transaction.namespace, list(definition_ids)
        )
        return found

    async def begun(
        self,
        transaction: Transaction,
        replay: ReplayRow,
        ordinals: Sequence[int],
        *,
        open_events: int,
        tallies: Sequence[Tally],
        look_in: timedelta,
    ) -> bool:
        """Take starts off the plan; False when the replay was changed meanwhile."""
        namespace, replay_id = transaction.namespace, replay.replay_id
        await transaction.execute(self._sql["forget_starts"], namespace, replay_id, list(ordinals))
        await self._tally(transaction, replay_id, tallies)
        changed = await transaction.fetchval(
            self._sql["begun"],
            namespace,
            replay_id,
            replay.begun,
            len(ordinals),
            open_events,
            look_in,
        )
        return changed is not None

    async def finish(self, transaction: Transaction, replay_id: str) -> bool:
        """End a replay, if all of it was begun and has an outcome; say whether that is so."""
        ended = await transaction.fetchval(self._sql["finish"], transaction.namespace, replay_id)
        return ended is not None

    async def forget(
        self, transaction: Transaction, *, unapplied: timedelta, ended: timedelta
    ) -> None:
        """Delete plans that were not applied for so long, and what ended so long ago."""
        await transaction.execute(self._sql["forget"], transaction.namespace, unapplied, ended)

    async def settled(self, transaction: Transaction, settlements: Sequence[Settlement]) -> None:
        """Count outcomes; those of events that no replay has begun are passed over."""
        counts: dict[str, Counter[tuple[str, str]]] = {}
        for one in settlements:
            replay_id = identifiers.replay_of(one.origin.cause)
            if replay_id is not None and one.settled:
                counted = counts.setdefault(replay_id, Counter())
                counted[one.definition_id, one.outcome.value] += 1
        if not counts:
            return
        for replay_id in sorted(counts):
            await self._tally(
                transaction,
                replay_id,
                [Tally(d, "outcome", outcome, n) for (d, outcome), n in counts[replay_id].items()],
            )
        await transaction.execute(
            self._sql["settled"],
            transaction.namespace,
            list(counts),
            [counted.total() for counted in counts.values()],
        )

    async def _tally(
        self, transaction: Transaction, replay_id: str, tallies: Sequence[Tally]
    ) -> None:
        if tallies:
            await transaction.execute(
                self._sql["tally"],
                transaction.namespace,
                [replay_id] * len(tallies),
                [one.definition_id for one in tallies],
                [one.phase for one in tallies],
                [one.outcome for one in tallies],
                [one.events for one in tallies],
            )


def _left(stretches: Stretches) -> dict[int, tuple[int, int]]:
    """Return the stretches that hold something."""
    return {p: (first, end) for p, (first, end) in stretches.items() if first < end}


def _stored(stretches: Stretches) -> str:
    return json.dumps({str(partition): bounds for partition, bounds in stretches.items()})


def _start(row: asyncpg.Record) -> Start:
    return Start(**row, new=False)


def _replay(row: asyncpg.Record) -> ReplayRow:
    return ReplayRow(
        replay_id=row["replay_id"],
        position=row["position"],
        state=State(row["state"]),
        question=Question(
            topic=row["topic"],
            since=row["from_at"],
            until=row["to_at"],
            definition_ids=row["definition_ids"],
            mode=Mode(row["mode"]),
            max_starts_per_second=row["max_starts_per_second"],
        ),
        stretches={
            int(partition): (first, end)
            for partition, (first, end) in json.loads(row["stretches"]).items()
        },
        records_total=row["records_total"],
        records=row["records"],
        unrouted=row["unrouted"],
        plan_chain=row["plan_chain"],
        starts=row["starts"],
        events=row["events"],
        bytes=row["bytes"],
        begun=row["begun"],
        open_events=row["open_events"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        created_reason=row["created_reason"],
        changed_at=row["changed_at"],
        changed_by=row["changed_by"],
        changed_reason=row["changed_reason"],
        finished_at=row["finished_at"],
    )
