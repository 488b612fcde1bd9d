"""What waits for its turn in a stateful instance: queued with the decision that says so, in order.

An event waits until it was applied, could not be, or was given up for want of room or time, which
its decision tells then. One whose run has work stays until somebody has begun that.
"""

from collections.abc import Sequence
from datetime import timedelta

from contracts.decisions import Decision
from contracts.routing import PendingOutcome
from contracts.telemetry import Attribute, Metric
from ledger.domain.instances import InstanceEvent
from ledger.domain.pending import Origin
from ledger.ports.instances import InstanceEventStore, InstanceStore, WaitingEvent
from ledger.ports.pending import DecisionLog, Settlement
from ledger.ports.runs import RunStore
from runtime import telemetry
from runtime.postgres import Transaction


class InstanceEvents:
    """Keeps what waits to be applied; every call is part of somebody's transaction."""

    def __init__(
        self,
        *,
        store: InstanceEventStore,
        instances: InstanceStore,
        runs: RunStore,
        decisions: DecisionLog,
        max_waiting: int,
        max_age: timedelta,
    ) -> None:
        """Of one key `max_waiting` events wait at most, each for `max_age` at most."""
        self._store = store
        self._instances = instances
        self._runs = runs
        self._decisions = decisions
        self._max_waiting = max_waiting
        self._max_age = max_age
        self._counter = telemetry.meter(__name__).create_counter(
            Metric.LEDGER_INSTANCE_EVENTS,
            description="Events for stateful instances that were queued, applied, or given up.",
        )

    async def queue(self, transaction: Transaction, events: Sequence[InstanceEvent]) -> None:
        """Let events wait, in their order; what waits or was applied already is left as it is."""
        if not events:
            return
        self._count(transaction, "queued", await self._store.add(transaction, events))
        for definition_id, key_hash in await self._store.crowded(
            transaction, events, more_than=self._max_waiting
        ):
            await self._instances.lock(transaction, definition_id, key_hash)
            gone = await self._store.give_up_beyond(
                transaction, definition_id, key_hash, keep=self._max_waiting
            )
            detail = f"more than {self._max_waiting} events waited for the instance"
            await self._tell(transaction, definition_id, gone, detail)

    async def first(
        self, transaction: Transaction, definition_id: str, key_hash: str
    ) -> WaitingEvent | None:
        """Return what is to be applied next, or was applied and nobody has begun its work."""
        while True:
            event = await self._store.first(transaction, definition_id, key_hash)
            if event is None:
                return None
            if event.known:
                if await self._has_work(transaction, event.run_id):
                    return event
                await self._store.remove(transaction, event.run_id)
            elif event.age > self._max_age:
                await self._instances.lock(transaction, definition_id, key_hash)
                gone = await self._store.give_up_old(
                    transaction, definition_id, key_hash, max_age=self._max_age
                )
                detail = f"it waited for its instance for longer than {self._max_age.days} days"
                await self._tell(transaction, definition_id, gone, detail)
            else:
                return event

    async def applied(self, transaction: Transaction, run_id: str, *, decision: Decision) -> bool:
        """Let an event wait no more, or only for its work; False when it does not wait.

        The caller holds the instance's lock.
        """
        if decision.has_work:
            waits = await self._store.waits(transaction, run_id)
        else:
            waits = await self._store.remove(transaction, run_id)
        if waits:
            self._count(transaction, "applied", 1)
        return waits

    async def work_of_timer(self, transaction: Transaction, timer: InstanceEvent) -> None:
        """Let the work of a timer that was applied wait for somebody who begins it."""
        await self._store.add_work(transaction, timer)

    async def begun(self, transaction: Transaction, run_id: str) -> None:
        """Let a run's work wait no more: its execution was started."""
        await self._store.remove(transaction, run_id)

    async def _has_work(self, transaction: Transaction, run_id: str) -> bool:
        body = await self._runs.decision_of(transaction, run_id)
        return bool(body) and Decision.model_validate_json(body or b"").has_work

    async def _tell(
        self, transaction: Transaction, definition_id: str, gone: Sequence[Origin], detail: str
    ) -> None:
        if not gone:
            return
        at = await self._store.now(transaction)
        await self._decisions.settle(
            transaction,
            [
                Settlement(definition_id, origin, PendingOutcome.DISCARDED, detail=detail)
                for origin in gone
            ],
            at,
        )
        self._count(transaction, PendingOutcome.DISCARDED.value, len(gone))

    def _count(self, transaction: Transaction, outcome: str, number: int) -> None:
        attributes: dict[str, str] = {
            Attribute.NAMESPACE: transaction.namespace,
            Attribute.OUTCOME: outcome,
        }
        transaction.after_commit(lambda: self._counter.add(number, attributes))
