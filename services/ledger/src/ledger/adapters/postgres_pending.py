"""What waits to be started, in PostgreSQL."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from ledger.domain.pending import (
    Choice,
    Claimable,
    Gathering,
    HeldStart,
    Limits,
    Origin,
    Plan,
    Start,
)
from ledger.domain.rates import Taken
from ledger.ports.pending import Aged, PendingEvent, PendingRow, PendingState
from runtime import sqlfiles
from runtime.postgres import Transaction


class PostgresPendingStore:
    """`ports.pending.PendingStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "pending")

    async def now(self, transaction: Transaction) -> datetime:
        """Return the time."""
        now: datetime = await transaction.fetchval(self._sql["now"])
        return now

    async def lock(
        self, transaction: Transaction, definition_ids: Collection[str]
    ) -> dict[str, PendingState]:
        """Lock definitions until the transaction ends; return what is known of them."""
        wanted = (transaction.namespace, sorted(set(definition_ids)))
        await transaction.execute(self._sql["add_definitions"], *wanted)
        rows = await transaction.fetch(self._sql["lock_definitions"], *wanted)
        return {row["definition_id"]: _state(row) for row in rows}

    async def lock_due(
        self, transaction: Transaction, *, now: datetime, limit: int
    ) -> list[PendingState]:
        """Lock definitions of which something may be due, those that nobody else has locked."""
        rows = await transaction.fetch(self._sql["lock_due"], transaction.namespace, now, limit)
        return [_state(row) for row in rows]

    async def known(
        self, transaction: Transaction, definition_id: str, origins: Sequence[Origin]
    ) -> set[int]:
        """Return the indices of the origins whose events wait already."""
        rows = await transaction.fetch(
            self._sql["known_events"],
            transaction.namespace,
            definition_id,
            [origin.topic for origin in origins],
            [origin.partition for origin in origins],
            [origin.offset for origin in origins],
            [origin.cause for origin in origins],
        )
        return {row["index"] for row in rows}

    async def gathering(
        self, transaction: Transaction, definition_id: str, keys: Collection[str]
    ) -> dict[str, Gathering]:
        """Return the batches of these keys that take more events."""
        rows = await transaction.fetch(
            self._sql["gathering"], transaction.namespace, definition_id, list(keys)
        )
        return {
            row["key"]: Gathering(row["pending_id"], row["events"], row["bytes"]) for row in rows
        }

    async def add(
        self,
        transaction: Transaction,
        state: PendingState,
        planned: Plan,
        *,
        limits: Limits,
        at: datetime,
    ) -> None:
        """Keep what was planned, and the limits that came with it."""
        namespace, definition_id = transaction.namespace, state.definition_id
        starts = planned.starts.values()
        # Those that close first: one batch of a key gathers at a time.
        await transaction.executemany(
            self._sql["grow"], [_grown(namespace, start) for start in starts if not start.new]
        )
        await transaction.executemany(
            self._sql["add_start"], [_added(namespace, start, at) for start in starts if start.new]
        )
        await transaction.executemany(
            self._sql["add_event"],
            [
                (
                    namespace, pending_id, definition_id, arrival.origin.topic,
                    arrival.origin.partition, arrival.origin.offset, arrival.origin.cause,
                    list(arrival.trigger_names), arrival.envelope, at,
                )
                for pending_id, arrival in planned.events
            ],
        )  # fmt: skip
        await transaction.execute(
            self._sql["take_limits"],
            namespace,
            definition_id,
            limits.max_open_runs,
            limits.max_runs,
            limits.max_runs_window,
        )
        await self._count(transaction, definition_id, len(planned.events))
        due = [start.due_at for start in starts if start.due_at is not None]
        if due:
            await self.look_at(transaction, definition_id, min(due))

    async def oldest(
        self, transaction: Transaction, definition_id: str, *, queued_before: datetime, limit: int
    ) -> list[Aged]:
        """Return the oldest events of a definition that were never handed out."""
        rows = await transaction.fetch(
            self._sql["oldest"], transaction.namespace, definition_id, queued_before, limit
        )
        return [Aged(row["pending_id"], row["ordinal"], _origin(row)) for row in rows]

    async def give_up(
        self, transaction: Transaction, definition_id: str, events: Sequence[Aged]
    ) -> None:
        """Let events wait no more."""
        await transaction.execute(
            self._sql["give_up"],
            transaction.namespace,
            [event.pending_id for event in events],
            [event.ordinal for event in events],
        )
        await self._count(transaction, definition_id, -len(events))

    async def overaged(self, transaction: Transaction, queued_before: datetime) -> list[str]:
        """Return definitions of which events have waited since before a time."""
        rows = await transaction.fetch(self._sql["overaged"], transaction.namespace, queued_before)
        return [row["definition_id"] for row in rows]

    async def waiting(self, transaction: Transaction, keys: Sequence[tuple[str, str]]) -> list[int]:
        """Return the indices of the (definition, key) pairs of which something waits."""
        rows = await transaction.fetch(
            self._sql["waiting"],
            transaction.namespace,
            [definition_id for definition_id, _ in keys],
            [key for _, key in keys],
        )
        return [row["index"] for row in rows]

    async def claimable(
        self, transaction: Transaction, state: PendingState, *, now: datetime, limit: int
    ) -> list[Claimable]:
        """Return what of a definition can be handed out, in order."""
        if state.limits.max_open_runs:
            await transaction.execute(
                self._sql["forget_closed"], transaction.namespace, state.definition_id
            )
        rows = await transaction.fetch(
            self._sql["claimable"],
            transaction.namespace,
            state.definition_id,
            now,
            state.limits.max_open_runs,
            limit,
        )
        return [Claimable(**row) for row in rows]

    async def lease(
        self, transaction: Transaction, pending_ids: Sequence[str], *, lease: str, until: datetime
    ) -> list[PendingRow]:
        """Hand starts out until a time; return them in order, with their events."""
        rows = await transaction.fetch(
            self._sql["lease"], transaction.namespace, list(pending_ids), lease, until
        )
        return await self._with_events(transaction, rows, envelopes=True)

    async def looked_at(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        handed_out: Taken,
        again_at: datetime | None,
        behind_at: datetime,
        now: datetime,
    ) -> None:
        """Keep when to look at a definition again.

        That is at `again_at`, when something becomes due or a lease ends, and at `behind_at` where
        something is due already.
        """
        await transaction.execute(
            self._sql["looked_at"],
            transaction.namespace,
            definition_id,
            [until for until, _ in handed_out],
            [number for _, number in handed_out],
            again_at,
            now,
            behind_at,
        )

    async def look_at(self, transaction: Transaction, definition_id: str, at: datetime) -> None:
        """Look at a definition again no later than that."""
        await transaction.execute(self._sql["look_at"], transaction.namespace, definition_id, at)

    async def next_look(self, transaction: Transaction) -> datetime | None:
        """Return when to look next; None when nothing waits that could become due."""
        found: datetime | None = await transaction.fetchval(
            self._sql["next_look"], transaction.namespace
        )
        return found

    async def definitions_of(
        self, transaction: Transaction, pending_ids: Collection[str]
    ) -> list[str]:
        """Return whose starts these are, as far as they still wait."""
        rows = await transaction.fetch(
            self._sql["definitions_of"], transaction.namespace, list(pending_ids)
        )
        return [row["definition_id"] for row in rows]

    async def starts(
        self, transaction: Transaction, pending_ids: Collection[str]
    ) -> dict[str, PendingRow]:
        """Return starts by id, with the origins of their events."""
        rows = await transaction.fetch(
            self._sql["starts"], transaction.namespace, list(pending_ids)
        )
        return {
            row.pending_id: row
            for row in await self._with_events(transaction, rows, envelopes=False)
        }

    async def remove(
        self, transaction: Transaction, definition_id: str, starts: Sequence[PendingRow]
    ) -> None:
        """Let starts wait no more."""
        await transaction.execute(
            self._sql["remove"], transaction.namespace, [start.pending_id for start in starts]
        )
        await self._count(transaction, definition_id, -sum(start.event_count for start in starts))

    async def put_back(self, transaction: Transaction, pending_id: str, due_at: datetime) -> None:
        """End the lease of a start, which is due again at a time."""
        await transaction.execute(self._sql["put_back"], transaction.namespace, pending_id, due_at)

    async def hold(self, transaction: Transaction, pending_id: str, revision: int) -> None:
        """End the lease of a start, which is held from a revision of its definition on."""
        await transaction.execute(self._sql["hold"], transaction.namespace, pending_id, revision)

    async def add_run(
        self, transaction: Transaction, definition_id: str, key: str, run_id: str, at: datetime
    ) -> None:
        """Count a run as open until it closes."""
        await transaction.execute(
            self._sql["add_run"], transaction.namespace, run_id, definition_id, key, at
        )

    async def held(
        self, transaction: Transaction, definition_id: str, *, before_revision: int
    ) -> list[HeldStart]:
        """Return what is held since before a revision, in order."""
        rows = await transaction.fetch(
            self._sql["held"], transaction.namespace, definition_id, before_revision
        )
        return [HeldStart(**row) for row in rows]

    async def released(
        self, transaction: Transaction, definition_id: str, revision: int, choice: Choice
    ) -> None:
        """Keep which revision released what was held, and how."""
        await transaction.execute(
            self._sql["released"], transaction.namespace, definition_id, revision, choice.value
        )

    async def release(
        self, transaction: Transaction, pending_ids: Sequence[str], due_at: datetime
    ) -> None:
        """Make held starts due."""
        await transaction.execute(
            self._sql["release"], transaction.namespace, list(pending_ids), due_at
        )

    async def join(
        self,
        transaction: Transaction,
        group: Sequence[HeldStart],
        *,
        all_keys: bool,
        due_at: datetime,
    ) -> None:
        """Make one start of several, in the place of the first, and make it due."""
        first, *rest = group
        others = [start.pending_id for start in rest]
        if others:
            await transaction.execute(
                self._sql["move_events"], transaction.namespace, first.pending_id, others
            )
            await transaction.execute(self._sql["remove"], transaction.namespace, others)
        await transaction.execute(
            self._sql["join_starts"],
            transaction.namespace,
            first.pending_id,
            sum(start.events for start in group),
            sum(start.bytes for start in group),
            all_keys,
            due_at,
        )

    async def page(
        self,
        transaction: Transaction,
        *,
        after: int | None,
        definition_id: str | None,
        reason: str | None,
        limit: int,
    ) -> list[PendingRow]:
        """Return what waits, oldest first, from after a position."""
        rows = await transaction.fetch(
            self._sql["page"], transaction.namespace, after, definition_id, reason, limit
        )
        return [_row(row) for row in rows]

    async def _with_events(
        self, transaction: Transaction, rows: Sequence[asyncpg.Record], *, envelopes: bool
    ) -> list[PendingRow]:
        starts = {start.pending_id: start for start in map(_row, rows)}
        for event in await transaction.fetch(
            self._sql["events_of"], transaction.namespace, list(starts), envelopes
        ):
            starts[event["pending_id"]].events.append(
                PendingEvent(_origin(event), event["trigger_names"], event["envelope"])
            )
        return sorted(starts.values(), key=lambda start: start.position)

    async def _count(self, transaction: Transaction, definition_id: str, change: int) -> None:
        if change:
            await transaction.execute(
                self._sql["count_waiting"], transaction.namespace, definition_id, change
            )


def _state(row: asyncpg.Record) -> PendingState:
    choice = row["released_choice"]
    return PendingState(
        definition_id=row["definition_id"],
        waiting=row["waiting"],
        limits=Limits(row["max_open_runs"], row["max_runs"], row["max_runs_window"]),
        handed_out=list(zip(row["handed_out_until"], row["handed_out"], strict=True)),
        released=(row["released_revision"], None if choice is None else Choice(choice)),
    )


def _origin(row: asyncpg.Record) -> Origin:
    return Origin(row["topic"], row["partition"], row["record_offset"], row["cause"])


def _row(row: asyncpg.Record) -> PendingRow:
    return PendingRow(**row)


def _grown(namespace: str, start: Start) -> tuple[Any, ...]:
    latest = start.latest
    return (
        namespace,
        start.pending_id,
        start.events,
        start.bytes,
        start.gathering,
        start.due_at,
        None if latest is None else latest.definition_version,
        None if latest is None else latest.definition_revision,
        None if latest is None else latest.task_queue,
    )


def _added(namespace: str, start: Start, at: datetime) -> tuple[Any, ...]:
    latest = start.latest
    assert latest is not None, "a new start has an event"  # noqa: S101 - for the type checker
    return (
        namespace,
        start.pending_id,
        latest.definition_id,
        latest.key,
        start.reason,
        start.as_one_run,
        start.gathering,
        latest.definition_version,
        latest.definition_revision,
        latest.task_queue,
        latest.batch_max_events,
        start.events,
        start.bytes,
        at,
        start.due_at,
    )
