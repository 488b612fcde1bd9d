"""The use cases of what waits: queue it, hand it out, hear what became of it, release it.

Everything that waits of one definition is changed under that definition's lock, so that for each it
is as if one thing happened after another.
"""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby

from contracts import canonical
from contracts.routing import PendingOutcome
from contracts.switches import KillSwitch
from contracts.telemetry import Attribute, Metric
from contracts.triggers import MAX_BATCH_EVENTS, Trigger
from ledger.domain import pending as domain
from ledger.domain.instances import InstanceEvent
from ledger.domain.pending import (
    DEFAULT_MAX_WAITING,
    RELOOK,
    Arrival,
    Choice,
    HeldStart,
    Origin,
)
from ledger.domain.rates import Rate
from ledger.ports.pending import (
    Aged,
    DecisionLog,
    PendingRow,
    PendingState,
    PendingStore,
    Settlement,
)
from ledger.ports.replays import ReplayTallies
from ledger.ports.switches import KillSwitchStore
from ledger.service import writing
from ledger.service.instance_events import InstanceEvents
from runtime import logs, telemetry
from runtime.postgres import Postgres, Transaction

MAX_CLAIM_BYTES = 2 * 1024 * 1024
"""Of the events that one claim hands out together, far below what one gRPC message may hold."""
_DEFINITIONS_PER_CLAIM = 20
_GIVEN_UP_PER_CLAIM = 1000
_FOREVER = timedelta(days=365_000)
_HALTED_TOLD = 10_000

_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Claimed:
    """What is handed out, and when to look again.

    `thrown` are the kill switches of the namespace, `halted` the definitions of which events wait
    that one of them had wait, or one that is reset by now.
    """

    starts: Sequence[PendingRow]
    next_look: datetime | None
    thrown: Sequence[KillSwitch]
    halted: Sequence[str]


@dataclass(frozen=True)
class Member:
    """What became of one event that was not started with the others; `event` is its index."""

    event: int
    outcome: PendingOutcome
    clause: str = ""
    seen: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Confirmed:
    """What a dispatcher says of a start that it was handed.

    With SIGNALLED, `trigger` is to be applied to the instance of `key_hash`.
    """

    pending_id: str
    lease: str
    outcome: PendingOutcome
    definition_version: int = 0
    definition_revision: int = 0
    run_id: str = ""
    clause: str = ""
    seen: str = ""
    detail: str = ""
    members: Mapping[int, Member] = field(default_factory=dict)
    key_hash: str = ""
    trigger: Trigger | None = None


class PendingLedger:
    """Keeps what waits to be started."""

    def __init__(
        self,
        *,
        database: Postgres,
        store: PendingStore,
        decisions: DecisionLog,
        replays: ReplayTallies,
        instance_events: InstanceEvents,
        switches: KillSwitchStore,
        max_age: timedelta,
    ) -> None:
        """`max_age` is how long an event waits at most."""
        self._database = database
        self._instance_events = instance_events
        self._store = store
        self._switches = switches
        self._decisions = decisions
        self._replays = replays
        self._max_age = max_age
        self._counter = telemetry.meter(__name__).create_counter(
            Metric.LEDGER_PENDING, description="Events that waited, by what became of them."
        )

    async def queue(self, transaction: Transaction, arrivals: Sequence[Arrival]) -> None:
        """Let events wait, in the transaction that records the decisions about them.

        `arrivals` are in the order in which they are to be started. One that waits already is left.
        """
        by_definition: dict[str, list[Arrival]] = {}
        for arrival in arrivals:
            by_definition.setdefault(arrival.definition_id, []).append(arrival)
        if not by_definition:
            return
        states = await self._store.lock(transaction, by_definition)
        at = await self._store.now(transaction)
        for definition_id in sorted(by_definition):
            await self._queue(transaction, states[definition_id], by_definition[definition_id], at)

    async def find_waiting(self, *, namespace: str, keys: Sequence[tuple[str, str]]) -> list[int]:
        """Return the indices of the (definition, key) pairs of which something waits."""
        async with self._database.transaction(namespace) as transaction:
            return await self._store.waiting(transaction, keys)

    async def claim(self, *, namespace: str, holder: str, limit: int, lease: timedelta) -> Claimed:
        """Hand out at most `limit` starts until `lease` is over; say when to look again.

        Starts of one key come in order and together: each is to be started after the one before it.
        Of what a kill switch stops none is handed out.
        """

        async def work(transaction: Transaction) -> Claimed:
            now = await self._store.now(transaction)
            await self._give_up_old(transaction, now)
            claimed: list[PendingRow] = []
            size = 0
            for state in await self._store.lock_due(
                transaction, now=now, limit=_DEFINITIONS_PER_CLAIM
            ):
                if len(claimed) >= limit or size >= MAX_CLAIM_BYTES:
                    break
                rows = await self._claim(
                    transaction,
                    state,
                    limit=limit - len(claimed),
                    size=MAX_CLAIM_BYTES - size,
                    until=now + lease,
                    now=now,
                )
                size += sum(len(event.envelope) for row in rows for event in row.events)
                claimed.extend(rows)
            return Claimed(
                claimed,
                await self._store.next_look(transaction),
                [state.switch for state in await self._switches.thrown(transaction)],
                await self._switches.halted_waiting(transaction, limit=_HALTED_TOLD),
            )

        found = await writing.write(self._database, "claim_pending", namespace, work)
        if found.starts:
            _log.info(
                "pending_claimed", namespace=namespace, holder=holder, starts=len(found.starts)
            )
        return found

    async def confirm(self, *, namespace: str, confirmed: Sequence[Confirmed]) -> list[str]:
        """Record what became of claimed starts, and tell the decisions; return the stale ones.

        A stale one was handed out again in the meantime, or is gone: nothing is changed for it.
        """
        by_id = {one.pending_id: one for one in confirmed}

        async def work(transaction: Transaction) -> list[str]:
            states = await self._store.lock(
                transaction, await self._store.definitions_of(transaction, by_id)
            )
            now = await self._store.now(transaction)
            starts = await self._store.starts(transaction, by_id)
            settlements: list[Settlement] = []
            for definition_id, rows in groupby(
                sorted(starts.values(), key=lambda row: (row.definition_id, row.position)),
                key=lambda row: row.definition_id,
            ):
                held = [row for row in rows if row.lease == by_id[row.pending_id].lease]
                settlements += await self._confirm(
                    transaction, states[definition_id], held, by_id, now
                )
            await self._settle(transaction, settlements, now)
            return [
                one.pending_id
                for one in by_id.values()
                if one.pending_id not in starts or starts[one.pending_id].lease != one.lease
            ]

        stale = await writing.write(self._database, "confirm_pending", namespace, work)
        if stale:
            _log.warning("pending_stale", namespace=namespace, starts=len(stale))
        return stale

    async def release(
        self,
        *,
        namespace: str,
        definition_id: str,
        choice: Choice,
        revision: int,
        actor: str,
        reason: str,
    ) -> int:
        """Decide what becomes of what was held before a revision of a definition; return how many.

        Counted in events. A revision that released before, or an older one, changes nothing.
        """

        async def work(transaction: Transaction) -> int:
            state = (await self._store.lock(transaction, [definition_id]))[definition_id]
            if revision <= state.released[0]:
                return 0
            now = await self._store.now(transaction)
            await self._store.released(transaction, definition_id, revision, choice)
            held = await self._store.held(transaction, definition_id, before_revision=revision)
            if choice is Choice.DISCARD:
                why = f"discarded when the definition was enabled by {actor}"
                detail = f"{why}: {reason}" if reason else why
                await self._discard(transaction, state, held, detail, now)
            else:
                await self._release(transaction, choice, held, now)
                await self._store.look_at(transaction, definition_id, now)
            return sum(start.events for start in held)

        events = await writing.write(self._database, "release_held", namespace, work)
        _log.info(
            "held_released", namespace=namespace, definition_id=definition_id,
            choice=choice.value, events=events, actor=actor,
        )  # fmt: skip
        return events

    async def page(
        self,
        *,
        namespace: str,
        after: int | None,
        definition_id: str | None,
        reason: str | None,
        limit: int,
    ) -> list[PendingRow]:
        """Return at most `limit` starts that wait, oldest first, from after a position."""
        async with self._database.transaction(namespace) as transaction:
            return await self._store.page(
                transaction,
                after=after,
                definition_id=definition_id,
                reason=reason,
                limit=limit,
            )

    async def _queue(
        self,
        transaction: Transaction,
        state: PendingState,
        arrivals: Sequence[Arrival],
        at: datetime,
    ) -> None:
        origins = [arrival.origin for arrival in arrivals]
        known = await self._store.known(transaction, state.definition_id, origins)
        fresh = [arrival for index, arrival in enumerate(arrivals) if index not in known]
        if not fresh:
            return
        gathering = await self._store.gathering(
            transaction, state.definition_id, {arrival.key for arrival in fresh}
        )
        planned = domain.plan(fresh, gathering, released=state.released, at=at)
        limits = fresh[-1].limits
        await self._store.add(transaction, state, planned, limits=limits, at=at)
        if planned.discarded:
            await self._settle(
                transaction,
                [
                    Settlement(
                        state.definition_id,
                        arrival.origin,
                        PendingOutcome.DISCARDED,
                        detail="it came late for the release at which what was held was discarded",
                    )
                    for arrival in planned.discarded
                ],
                at,
            )
        most = limits.max_waiting or DEFAULT_MAX_WAITING
        excess = state.waiting + len(planned.events) - most
        if excess > 0:
            old = await self._store.oldest(
                transaction, state.definition_id, queued_before=at + _FOREVER, limit=excess
            )
            detail = f"more than {most} events of the definition waited"
            await self._give_up(transaction, state.definition_id, old, detail, at)

    async def _claim(
        self,
        transaction: Transaction,
        state: PendingState,
        *,
        limit: int,
        size: int,
        until: datetime,
        now: datetime,
    ) -> list[PendingRow]:
        claimable = await self._store.claimable(transaction, state, now=now, limit=limit)
        limits, taken = state.limits, state.handed_out
        rate = Rate(limits.max_runs, limits.max_runs_window) if limits.max_runs else None
        chosen = domain.handed_out(
            claimable,
            max_open_runs=limits.max_open_runs,
            starts_left=limit if rate is None else rate.left(taken, now),
            limit=limit,
            bytes_limit=size,
        )
        if rate is not None:
            taken = rate.take(taken, sum(start.attempts == 0 for start in chosen), now)
        rows: list[PendingRow] = []
        if chosen:
            rows = await self._store.lease(
                transaction,
                [start.pending_id for start in chosen],
                lease=secrets.token_hex(8),
                until=until,
            )
        more = bool(chosen) and (len(chosen) < len(claimable) or len(claimable) == limit)
        behind_at = now + RELOOK
        if claimable and not chosen and rate is not None:
            behind_at = max(behind_at, rate.left_again(taken, now))
        await self._store.looked_at(
            transaction,
            state.definition_id,
            handed_out=taken,
            again_at=now if more else None,
            behind_at=behind_at,
            now=now,
        )
        return rows

    async def _confirm(
        self,
        transaction: Transaction,
        state: PendingState,
        rows: Sequence[PendingRow],
        by_id: Mapping[str, Confirmed],
        now: datetime,
    ) -> list[Settlement]:
        settlements: list[Settlement] = []
        gone: list[PendingRow] = []
        signalled: list[InstanceEvent] = []
        again_at = now
        for row in rows:
            one = by_id[row.pending_id]
            if one.outcome is PendingOutcome.RETURNED:
                again_at = domain.retry_at(row.attempts, now)
                await self._store.put_back(transaction, row.pending_id, again_at)
                continue
            if one.outcome is PendingOutcome.HELD:
                if one.definition_revision < state.released[0]:
                    # The dispatcher has not heard yet that it was enabled.
                    await self._store.put_back(transaction, row.pending_id, now + RELOOK)
                else:
                    await self._store.hold(transaction, row.pending_id, one.definition_revision)
                    settlements += _settlements(row, one, settled=False)
                continue
            if one.run_id and state.limits.max_open_runs:
                await self._store.add_run(
                    transaction, state.definition_id, row.key, one.run_id, now
                )
            if one.trigger is not None:
                signalled.append(_instance_event(row, one.key_hash, one.trigger))
            settlements += _settlements(row, one)
            gone.append(row)
        await self._instance_events.queue(transaction, signalled)
        if gone:
            await self._store.remove(transaction, state.definition_id, gone)
        if rows:
            await self._store.look_at(transaction, state.definition_id, again_at)
        return settlements

    async def _release(
        self,
        transaction: Transaction,
        choice: Choice,
        held: Sequence[HeldStart],
        now: datetime,
    ) -> None:
        if choice is Choice.COMPRESS:
            for group in domain.together(
                held, by=lambda start: start.behind, at_most=MAX_BATCH_EVENTS
            ):
                await self._store.join(transaction, group, all_keys=True, due_at=now)
            return
        alone = [start.pending_id for start in held if not start.batch_max_events]
        await self._store.release(transaction, alone, now)
        gathered = (start for start in held if start.batch_max_events)
        for group in domain.together(gathered, by=lambda start: (start.key, start.behind_of_key)):
            await self._store.join(transaction, group, all_keys=False, due_at=now)

    async def _discard(
        self,
        transaction: Transaction,
        state: PendingState,
        held: Sequence[HeldStart],
        detail: str,
        now: datetime,
    ) -> None:
        starts = await self._store.starts(transaction, [start.pending_id for start in held])
        await self._store.remove(transaction, state.definition_id, list(starts.values()))
        origins = [event.origin for row in starts.values() for event in row.events]
        await self._settle(transaction, _discarded(state.definition_id, origins, detail), now)

    async def _give_up_old(self, transaction: Transaction, now: datetime) -> None:
        """Discard what has waited for too long."""
        before = now - self._max_age
        definition_ids = await self._store.overaged(transaction, before)
        if not definition_ids:
            return
        for definition_id in await self._store.lock(transaction, definition_ids):
            old = await self._store.oldest(
                transaction, definition_id, queued_before=before, limit=_GIVEN_UP_PER_CLAIM
            )
            detail = f"it waited for longer than {self._max_age.days} days"
            await self._give_up(transaction, definition_id, old, detail, now)

    async def _give_up(
        self,
        transaction: Transaction,
        definition_id: str,
        old: Sequence[Aged],
        detail: str,
        now: datetime,
    ) -> None:
        if not old:
            return
        await self._store.give_up(transaction, definition_id, old)
        origins = [event.origin for event in old]
        await self._settle(transaction, _discarded(definition_id, origins, detail), now)

    async def _settle(
        self, transaction: Transaction, settlements: Sequence[Settlement], now: datetime
    ) -> None:
        if not settlements:
            return
        await self._decisions.settle(transaction, settlements, now)
        await self._replays.settled(transaction, settlements)
        counts: dict[PendingOutcome, int] = {}
        for settlement in settlements:
            counts[settlement.outcome] = counts.get(settlement.outcome, 0) + 1

        def count() -> None:
            for outcome, number in counts.items():
                self._counter.add(
                    number,
                    {Attribute.NAMESPACE: transaction.namespace, Attribute.OUTCOME: outcome.value},
                )

        transaction.after_commit(count)


def _instance_event(row: PendingRow, key_hash: str, trigger: Trigger) -> InstanceEvent:
    return InstanceEvent(
        definition_id=row.definition_id,
        key_hash=key_hash,
        trigger=trigger,
        trigger_body=canonical.render(trigger),
        origin=row.events[0].origin,
    )


def _settlements(row: PendingRow, one: Confirmed, *, settled: bool = True) -> Iterable[Settlement]:
    for index, event in enumerate(row.events):
        member = one.members.get(index)
        told = Settlement(
            row.definition_id,
            event.origin,
            one.outcome,
            settled=settled,
            definition_version=one.definition_version,
            run_id=one.run_id,
            clause=one.clause,
            seen=one.seen,
            detail=one.detail,
        )
        if member is not None:
            told = replace(
                told,
                outcome=member.outcome,
                run_id="",
                clause=member.clause,
                seen=member.seen,
                detail=member.detail,
            )
        yield told


def _discarded(definition_id: str, origins: Collection[Origin], detail: str) -> list[Settlement]:
    return [
        Settlement(definition_id, origin, PendingOutcome.DISCARDED, detail=detail)
        for origin in origins
    ]
