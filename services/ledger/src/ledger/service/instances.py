"""The use cases of stateful instances: each event is applied once, in one transaction with its run.

An event's trigger key is the dedupe, as it is for every run. Until an execution carries out the
run's tasks, the key is held in the name of the instance. What waits is handed out one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts import canonical, identifiers
from contracts.events import InstanceStep, PendingTimer
from contracts.runs import RecordOutcome
from contracts.switches import Point
from contracts.triggers import Trigger
from ledger.domain import control
from ledger.domain import instances as domain
from ledger.domain.instances import InstanceEvent, SetTimer, Status, Turn
from ledger.domain.runs import Recording
from ledger.errors import InstanceNotFoundError, InstanceOvertakenError, RunNotFoundError
from ledger.ports.instances import (
    InstanceEventStore,
    InstanceRow,
    InstanceStore,
    WaitingEvent,
    WaitingKey,
)
from ledger.ports.runs import RunStore
from ledger.ports.switches import Halts
from ledger.service import writing
from ledger.service.instance_events import InstanceEvents
from ledger.service.runs import RunLedger
from runtime import logs
from runtime.postgres import Postgres, Transaction

HALTED_RELOOK = timedelta(seconds=5)
"""How soon an instance asks again that a kill switch stops."""
_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Application:
    """A decided event with the place it was decided for, and the state before and after it."""

    recording: Recording
    key_hash: str
    instance_id: str
    turn: Turn
    state_before: bytes
    state_after: bytes
    timers: Sequence[SetTimer] = ()


@dataclass(frozen=True)
class Next:
    """What is to be applied next, and how the instance stands before it.

    Without an `event` nothing is to be applied now, and a timer is due in `due_in`, if one is set.
    `state` is empty when a generation begins. With `halted` a kill switch stops runs, and it is to
    be asked again after `due_in`.
    """

    event: WaitingEvent | None
    turn: Turn
    state: bytes
    due_in: timedelta | None = None
    halted: bool = False


@dataclass(frozen=True)
class Adopted:
    """Whether an execution carries out a run, its decision, and whether effects are stopped."""

    outcome: RecordOutcome
    decision: bytes = b""
    effects_halted: bool = False


@dataclass(frozen=True)
class Applied:
    """What became of an application: the decision that stands, and what comes after it.

    `following` is None where the run has work that has to be begun first.
    """

    outcome: RecordOutcome
    decision: bytes
    following: Next | None = None


class InstanceLedger:
    """Applies events to instances, and answers questions about them."""

    def __init__(
        self,
        *,
        database: Postgres,
        runs: RunLedger,
        store: RunStore,
        instances: InstanceStore,
        events: InstanceEvents,
        waiting: InstanceEventStore,
        halts: Halts,
    ) -> None:
        self._halts = halts
        self._database = database
        self._runs = runs
        self._store = store
        self._instances = instances
        self._events = events
        self._waiting = waiting

    async def next(
        self, *, namespace: str, definition_id: str, key_hash: str, begun: str = ""
    ) -> Next:
        """Tell what is to be applied next; the execution of the run `begun` was started."""

        async def work(transaction: Transaction) -> Next:
            if begun:
                await self._events.begun(transaction, begun)
            return await self._next(transaction, definition_id, key_hash)

        return await writing.write(self._database, "next_application", namespace, work)

    async def apply(self, application: Application) -> Applied:
        """Record the run of an event and the state it leaves, and tell what comes after it.

        Raises:
            InstanceOvertakenError: it was decided for another place than the next one, or it does
                not wait to be applied (any more).
            InvalidRequestError: an event of the run would be too large.
        """
        recording, turn = application.recording, application.turn
        occasion = recording.occasion
        documents = [*recording.documents, application.state_before, application.state_after]

        async def work(transaction: Transaction) -> Applied:
            definition_id, key_hash = occasion.definition_id, application.key_hash
            await self._instances.lock(transaction, definition_id, key_hash)
            held = replace(occasion, workflow_run_id=application.instance_id)
            claim = await self._store.claim(transaction, held, documents)
            if claim is None:
                standing = await self._store.decision_of(transaction, occasion.run_id)
                return Applied(RecordOutcome.REPEATED, standing or b"")
            newest = await self._instances.newest(transaction, definition_id, key_hash)
            if turn != _turn(newest):
                raise InstanceOvertakenError(application.instance_id)
            timers = await self._taken(transaction, application, newest, claim.at)
            await self._runs.append_decided(
                transaction, replace(recording, instance=_step(application, timers)), at=claim.at
            )
            following = None
            if not recording.decision.has_work:
                following = await self._next(transaction, definition_id, key_hash)
            return Applied(RecordOutcome.RECORDED, recording.decision_body, following)

        applied = await writing.write(self._database, "apply_to_instance", occasion.namespace, work)
        _log.info(
            "event_applied", namespace=occasion.namespace, run_id=occasion.run_id,
            instance_id=application.instance_id, sequence=turn.sequence,
            outcome=applied.outcome.value,
        )  # fmt: skip
        return applied

    async def adopt(
        self, *, namespace: str, definition_id: str, run_id: str, workflow_run_id: str
    ) -> Adopted:
        """Have an execution carry out the run of an applied event; return its decision.

        Of a run that is closed nothing is left to carry out: it was cancelled before it began.

        Raises:
            RunNotFoundError: no instance has recorded it.
        """
        trigger_key = run_id.removeprefix(f"{definition_id}:")

        async def work(transaction: Transaction) -> Adopted:
            locked = await self._store.lock_run(transaction, run_id)
            if locked is not None and locked[0].status in control.CLOSED:
                return Adopted(RecordOutcome.DUPLICATE)
            holder = await self._instances.adopt(
                transaction, definition_id, trigger_key, workflow_run_id
            )
            if holder is None:
                raise RunNotFoundError(run_id)
            if holder != workflow_run_id:
                return Adopted(RecordOutcome.DUPLICATE)
            standing = await self._store.decision_of(transaction, run_id)
            halting = await self._halts.halting(transaction, Point.EFFECT, definition_id)
            return Adopted(
                RecordOutcome.RECORDED, standing or b"", effects_halted=halting is not None
            )

        return await writing.write(self._database, "adopt_run", namespace, work)

    async def get(
        self, *, namespace: str, definition_id: str, key_hash: str, generation: int
    ) -> tuple[InstanceRow, bytes]:
        """Return one generation and its state document.

        Raises:
            InstanceNotFoundError: there is none.
        """

        async def work(transaction: Transaction) -> tuple[InstanceRow, bytes] | None:
            row = await self._instances.get(transaction, definition_id, key_hash, generation)
            return None if row is None else (row, await self._state(transaction, row))

        found = await self._database.retrying(namespace, work)
        if found is None:
            instance_id = identifiers.instance_id(definition_id, key_hash, generation)
            raise InstanceNotFoundError(instance_id)
        return found

    async def page(
        self,
        *,
        namespace: str,
        before: int | None,
        definition_id: str | None,
        status: Status | None,
        limit: int,
    ) -> list[InstanceRow]:
        """Return generations from before a position, the one that began last first."""

        async def work(transaction: Transaction) -> list[InstanceRow]:
            return list(
                await self._instances.page(
                    transaction,
                    before=before,
                    definition_id=definition_id,
                    status=status,
                    limit=limit,
                )
            )

        return await self._database.retrying(namespace, work)

    async def waiting(
        self,
        *,
        namespace: str,
        after: tuple[str, str],
        definition_id: str | None,
        min_age: timedelta,
        limit: int,
    ) -> list[WaitingKey]:
        """Return keys of which something has waited for so long, from after one of them."""

        async def work(transaction: Transaction) -> list[WaitingKey]:
            return list(
                await self._waiting.waiting_keys(
                    transaction,
                    after=after,
                    definition_id=definition_id,
                    min_age=min_age,
                    limit=limit,
                )
            )

        return await self._database.retrying(namespace, work)

    async def _taken(
        self,
        transaction: Transaction,
        application: Application,
        newest: InstanceRow | None,
        at: datetime,
    ) -> list[PendingTimer]:
        """Let what is applied wait no more; return the timers that are set after it.

        Raises:
            InstanceOvertakenError: it does not wait, or is not due.
        """
        recording, trigger = application.recording, application.recording.occasion.trigger
        if trigger.timer is None:
            if not await self._events.applied(
                transaction, recording.occasion.run_id, decision=recording.decision
            ):
                raise InstanceOvertakenError(application.instance_id)
            return domain.timers_after_event(
                application.timers, sequence=application.turn.sequence, at=at
            )
        pending = () if newest is None else newest.timers
        if newest is None or not any(
            _timer_trigger(newest, timer).key == trigger.key for timer in domain.due(pending, at)
        ):
            raise InstanceOvertakenError(application.instance_id)
        if recording.decision.has_work:
            await self._events.work_of_timer(
                transaction,
                InstanceEvent(
                    definition_id=recording.occasion.definition_id,
                    key_hash=application.key_hash,
                    trigger=trigger,
                    trigger_body=recording.occasion.trigger_body,
                    origin=None,
                ),
            )
        return domain.timers_after_timer(application.timers, pending, fired=trigger.names[0])

    async def _due(
        self, transaction: Transaction, newest: InstanceRow
    ) -> tuple[WaitingEvent | None, timedelta | None]:
        """Return the timer that is to be applied, or how long it is until the next one."""
        now = await self._waiting.now(transaction)
        for timer in domain.due(newest.timers, now):
            trigger = _timer_trigger(newest, timer)
            run_id = identifiers.run_id(newest.definition_id, trigger.key)
            # One that could not be applied has fired all the same.
            if await self._store.get_run(transaction, run_id) is None:
                body = canonical.render(trigger)
                return WaitingEvent(run_id, body, now - timer.due_at, known=False), None
        later = [timer.due_at - now for timer in newest.timers if timer.due_at > now]
        return None, min(later, default=None)

    async def _next(self, transaction: Transaction, definition_id: str, key_hash: str) -> Next:
        if await self._halts.halting(transaction, Point.RUN, definition_id) is not None:
            newest = await self._instances.newest(transaction, definition_id, key_hash)
            return Next(None, _turn(newest), b"", HALTED_RELOOK, halted=True)
        event = await self._events.first(transaction, definition_id, key_hash)
        newest = await self._instances.newest(transaction, definition_id, key_hash)
        turn = _turn(newest)
        if newest is None or turn.begins or (event is not None and event.known):
            return Next(event, turn, b"")
        due_in = None
        if event is None:
            event, due_in = await self._due(transaction, newest)
        state = b"" if event is None else await self._state(transaction, newest)
        return Next(event, turn, state, due_in)

    async def _state(self, transaction: Transaction, row: InstanceRow) -> bytes:
        found = await self._store.documents(transaction, [row.state_sha256])
        return found[row.state_sha256]


def _step(application: Application, timers: list[PendingTimer]) -> InstanceStep | None:
    change, turn = application.recording.decision.state, application.turn
    if change is None:
        return None
    return InstanceStep(
        key_hash=application.key_hash,
        generation=turn.generation,
        sequence=turn.sequence,
        state_sha256=change.after_sha256,
        ended=change.ended,
        timers=[] if change.ended else timers,
    )


def _timer_trigger(newest: InstanceRow, timer: PendingTimer) -> Trigger:
    return domain.timer_trigger(
        timer,
        key_hash=newest.key_hash,
        generation=newest.generation,
        definition_version=newest.definition_version,
    )


def _turn(newest: InstanceRow | None) -> Turn:
    if newest is None:
        return domain.FIRST
    return domain.next_turn(Turn(newest.generation, newest.sequence), newest.status)
