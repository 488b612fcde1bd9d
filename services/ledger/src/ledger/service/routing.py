"""The use cases of the decision log: record what the router decided of a batch, and tell of it.

A batch is one transaction, under the locks of its events: of two routers that record copies of one
event at once, one is first.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from contracts.telemetry import Attribute, Metric
from ledger.domain import routing
from ledger.domain.routing import Decided, DecisionFilter, Place, RoutedEvent, UnroutedRange
from ledger.errors import UnroutedRangeNotFoundError
from ledger.ports.routing import DecisionRow, RoutingStore, UnroutedRow
from ledger.service.instance_events import InstanceEvents
from ledger.service.pending import PendingLedger
from runtime import logs, telemetry
from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres, Transaction

_log = logs.get_logger(__name__)


class RoutingLedger:
    """Keeps the decision log."""

    def __init__(
        self,
        *,
        database: Postgres,
        routing: RoutingStore,
        pending: PendingLedger,
        instance_events: InstanceEvents,
    ) -> None:
        self._database = database
        self._routing = routing
        self._pending = pending
        self._instance_events = instance_events
        self._counter = telemetry.meter(__name__).create_counter(
            Metric.LEDGER_ROUTING_DECISIONS, description="Routing decisions recorded, by outcome."
        )

    async def record(
        self, *, namespace: str, events: Sequence[RoutedEvent], unrouted: Sequence[UnroutedRange]
    ) -> Sequence[int]:
        """Record what became of the records of a batch; the same again changes nothing.

        Returns the indices of the events whose identity was used for other bytes before: nothing
        is recorded of these.
        """
        if not events and not unrouted:
            return []

        async def work(transaction: Transaction) -> Decided:
            decided = await self.record_in(transaction, events)
            if unrouted:
                await self._routing.add_ranges(transaction, unrouted)
            faultpoint("ledger.before_record_routing")
            return decided

        decided = await self._database.retrying(namespace, work)
        faultpoint("ledger.after_record_routing")
        return decided.conflicts

    async def record_in(self, transaction: Transaction, events: Sequence[RoutedEvent]) -> Decided:
        """Record what became of events, in a transaction that does more than that."""
        if not events:
            return Decided((), ())
        digests, known = await self._routing.known(transaction, events)
        decided = routing.decide(events, digests=digests, known=known)
        if decided.decisions:
            await self._routing.add(transaction, decided.decisions)
            await self._pending.queue(transaction, decided.waiting)
            await self._instance_events.queue(transaction, decided.instance_events)
        transaction.after_commit(lambda: self._tell(transaction.namespace, decided))
        return decided

    async def page(
        self,
        *,
        namespace: str,
        wanted: DecisionFilter,
        before: tuple[datetime, int] | None,
        limit: int,
    ) -> list[DecisionRow]:
        """Return at most `limit` decisions, newest first, from before a time and id."""
        async with self._database.transaction(namespace) as transaction:
            return await self._routing.page(transaction, wanted, before=before, limit=limit)

    async def range_at(self, *, namespace: str, place: Place) -> UnroutedRow:
        """Return the newest unrouted range that a place lies in.

        Raises:
            UnroutedRangeNotFoundError: it lies in none.
        """
        async with self._database.transaction(namespace) as transaction:
            found = await self._routing.range_at(transaction, place)
        if found is None:
            raise UnroutedRangeNotFoundError(place.topic, place.partition, place.offset)
        return found

    def _tell(self, namespace: str, decided: Decided) -> None:
        outcomes = Counter(decision.candidate.outcome for decision in decided.decisions)
        for outcome, count in outcomes.items():
            self._counter.add(count, {Attribute.NAMESPACE: namespace, Attribute.OUTCOME: outcome})
        if decided.conflicts:
            _log.warning("id_conflicts", namespace=namespace, events=len(decided.conflicts))
