"""The queue of what waits on a database, with a clock of its own and a plain log of decisions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts import identifiers
from contracts.routing import PendingOutcome
from ledger.adapters.postgres_instances import PostgresInstanceEventStore, PostgresInstanceStore
from ledger.adapters.postgres_pending import PostgresPendingStore
from ledger.adapters.postgres_replays import PostgresReplayStore
from ledger.adapters.postgres_runs import PostgresRunStore
from ledger.adapters.postgres_switches import PostgresKillSwitchStore
from ledger.domain.pending import Arrival, Limits, Origin, Reason
from ledger.ports.pending import PendingRow, Settlement
from ledger.service.instance_events import InstanceEvents
from ledger.service.pending import Confirmed, PendingLedger
from runtime.postgres import Postgres, Transaction

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)
DEFINITION = "billing.gathered"


@dataclass
class Log:
    """Decisions as they were told last, by definition and origin."""

    told: dict[tuple[str, Origin], Settlement] = field(default_factory=dict)

    async def settle(
        self, transaction: Transaction, settlements: Sequence[Settlement], at: datetime
    ) -> None:
        for settlement in settlements:
            self.told[settlement.definition_id, settlement.origin] = settlement

    def outcomes(self) -> dict[int, PendingOutcome]:
        """Return the outcomes by offset."""
        return {origin.offset: told.outcome for (_, origin), told in self.told.items()}


class ClockedStore(PostgresPendingStore):
    """The store at the time that the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.time = START

    async def now(self, transaction: Transaction) -> datetime:
        return self.time


class Queue:
    """Events by their offsets, and a dispatcher's part in one call each."""

    def __init__(
        self,
        postgres: Postgres,
        *,
        max_age: timedelta = timedelta(days=7),
        store: ClockedStore | None = None,
    ) -> None:
        self.store = store or ClockedStore()
        self.log = Log()
        self._postgres = postgres
        self.ledger = PendingLedger(
            database=postgres,
            store=self.store,
            decisions=self.log,
            replays=PostgresReplayStore(),
            instance_events=InstanceEvents(
                store=PostgresInstanceEventStore(),
                instances=PostgresInstanceStore(),
                runs=PostgresRunStore(),
                decisions=self.log,
                max_waiting=10,
                max_age=max_age,
            ),
            switches=PostgresKillSwitchStore(),
            max_age=max_age,
        )

    def passes(self, duration: timedelta) -> None:
        self.store.time += duration

    async def arrive(self, *arrivals: Arrival) -> None:
        async with self._postgres.transaction("dev") as transaction:
            await self.ledger.queue(transaction, arrivals)

    async def claim(self, limit: int = 100) -> list[PendingRow]:
        claimed = await self.ledger.claim(namespace="dev", holder="test", limit=limit, lease=LEASE)
        return list(claimed.starts)

    async def next_look(self) -> datetime | None:
        claimed = await self.ledger.claim(namespace="dev", holder="test", limit=1, lease=LEASE)
        return claimed.next_look

    async def confirm(
        self,
        rows: Sequence[PendingRow],
        outcome: PendingOutcome = PendingOutcome.STARTED,
        **fields: Any,
    ) -> list[str]:
        return await self.ledger.confirm(
            namespace="dev",
            confirmed=[
                Confirmed(
                    row.pending_id,
                    row.lease or "",
                    outcome,
                    **{
                        "run_id": run_id(row) if outcome is PendingOutcome.STARTED else "",
                        **fields,
                    },
                )
                for row in rows
            ],
        )

    async def started(self, limit: int = 100) -> list[list[int]]:
        """Start all that is due; return the offsets of the events of each run, in order."""
        runs = []
        while rows := await self.claim(limit):
            await self.confirm(rows)
            runs += [offsets(row) for row in rows]
        return runs


def offsets(row: PendingRow) -> list[int]:
    return [event.origin.offset for event in row.events]


def run_id(row: PendingRow) -> str:
    return identifiers.run_id(row.definition_id, identifiers.batch_trigger_key(row.pending_id))


def arrival(
    offset: int,
    reason: Reason = Reason.LIMITED,
    key: str = "k",
    *,
    definition_id: str = DEFINITION,
    revision: int = 1,
    size: int = 10,
    gathers: tuple[int, timedelta] | None = None,
    limits: Limits | None = None,
    **fields: Any,
) -> Arrival:
    most, wait = gathers or (0, timedelta())
    return Arrival(
        pending_id=identifiers.pending_id(
            definition_id, topic="dev.events", partition=0, offset=offset, cause="", event_id="e"
        ),
        origin=Origin("dev.events", 0, offset),
        reason=reason,
        definition_id=definition_id,
        definition_version=revision,
        definition_revision=revision,
        task_queue="test-tq",
        key=key,
        trigger_names=["t0"],
        envelope=b"x" * size,
        weight=size,
        batch_max_events=most,
        batch_max_wait=wait,
        limits=limits or Limits(),
        **fields,
    )
