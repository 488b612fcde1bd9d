"""Routing decisions and unrouted ranges in PostgreSQL, and their months."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from contracts import identifiers
from contracts.routing import RoutingOutcome
from eventstore.months import MonthlyTable
from ledger.domain import routing
from ledger.domain.routing import (
    Decision,
    DecisionFilter,
    Place,
    Recorded,
    RoutedEvent,
    UnroutedRange,
)
from ledger.ports.pending import Settlement
from ledger.ports.routing import DecisionRow, UnroutedRow
from runtime import sqlfiles
from runtime.postgres import Transaction

_COMMON = frozenset({RoutingOutcome.STARTED, RoutingOutcome.DUPLICATE, RoutingOutcome.FILTERED})
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_LAST_ID = 2**63 - 1


class PostgresRoutingStore:
    """`ports.routing.RoutingStore` and `ports.pending.DecisionLog` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "routing")

    async def known(
        self, transaction: Transaction, events: Sequence[RoutedEvent]
    ) -> tuple[dict[str, bytes], list[Recorded]]:
        """Lock events until the transaction ends; return their digests, and what stands of them."""
        told = routing.first_digests(events)
        rows = await transaction.fetch(
            self._sql["know_events"], transaction.namespace, list(told), list(told.values())
        )
        digests: dict[str, bytes] = {row["event_key"]: row["digest"] for row in rows}
        before = {row["event_key"]: row["first_at"] for row in rows if row["recordings"] > 1}
        if not before:
            return digests, []
        again = [event for event in events if event.key in before]
        identities = list({(event.source, event.event_id) for event in again})
        places = list({event.place for event in again})
        rows = await transaction.fetch(
            self._sql["known_decisions"],
            transaction.namespace,
            [source for source, _ in identities],
            [event_id for _, event_id in identities],
            min(before.values()),
            [place.topic for place in places],
            [place.partition for place in places],
            [place.offset for place in places],
        )
        return digests, [_recorded(row) for row in rows]

    async def add(self, transaction: Transaction, decisions: Sequence[Decision]) -> None:
        """Write decisions."""
        events = [decision.event for decision in decisions]
        candidates = [decision.candidate for decision in decisions]
        await transaction.execute(
            self._sql["add_decisions"],
            transaction.namespace,
            [event.place.topic for event in events],
            [event.place.partition for event in events],
            [event.place.offset for event in events],
            [event.cause for event in events],
            [event.source for event in events],
            [event.event_id for event in events],
            [event.type for event in events],
            [candidate.definition_id for candidate in candidates],
            [candidate.definition_version for candidate in candidates],
            [candidate.outcome for candidate in candidates],
            [json.dumps(list(candidate.trigger_names)) for candidate in candidates],
            [candidate.run_id for candidate in candidates],
            [candidate.clause for candidate in candidates],
            [candidate.seen for candidate in candidates],
            [candidate.detail for candidate in candidates],
            [event.registry_revision for event in events],
        )

    async def settle(
        self, transaction: Transaction, settlements: Sequence[Settlement], at: datetime
    ) -> None:
        """Tell what became of events that waited."""
        await transaction.execute(
            self._sql["settle"],
            transaction.namespace,
            [one.definition_id for one in settlements],
            [one.origin.topic for one in settlements],
            [one.origin.partition for one in settlements],
            [one.origin.offset for one in settlements],
            [one.origin.cause for one in settlements],
            [one.outcome.value for one in settlements],
            [one.definition_version for one in settlements],
            [one.run_id for one in settlements],
            [one.clause for one in settlements],
            [one.seen for one in settlements],
            [one.settled for one in settlements],
            at,
            [one.detail for one in settlements],
        )

    async def add_ranges(self, transaction: Transaction, ranges: Sequence[UnroutedRange]) -> None:
        """Write ranges; one that is there already stays."""
        await transaction.execute(
            self._sql["add_ranges"],
            transaction.namespace,
            [one.topic for one in ranges],
            [one.partition for one in ranges],
            [one.first for one in ranges],
            [one.last for one in ranges],
            [one.records for one in ranges],
            [one.registry_revision for one in ranges],
        )

    async def range_at(self, transaction: Transaction, place: Place) -> UnroutedRow | None:
        """Return the newest range that a place lies in."""
        row = await transaction.fetchrow(
            self._sql["range_at"],
            transaction.namespace,
            place.topic,
            place.partition,
            place.offset,
        )
        if row is None:
            return None
        return UnroutedRow(
            range=UnroutedRange(
                topic=row["topic"],
                partition=row["partition"],
                first=row["first_offset"],
                last=row["last_offset"],
                records=row["records"],
                registry_revision=row["registry_revision"],
            ),
            recorded_at=row["recorded_at"],
        )

    async def page(
        self,
        transaction: Transaction,
        wanted: DecisionFilter,
        *,
        before: tuple[datetime, int] | None,
        limit: int,
    ) -> list[DecisionRow]:
        """Return decisions, newest first, from before a time and id."""
        at, decision_id = before or (_LATEST, _LAST_ID)
        arguments: list[object] = [
            transaction.namespace,
            wanted.definition_id,
            wanted.outcome,
            wanted.decided_from or _EARLIEST,
            wanted.decided_to or _LATEST,
            at,
            decision_id,
            limit,
        ]
        if wanted.event_id is not None:
            block = "decisions_of_event"
            arguments += [wanted.event_id, wanted.source]
        elif wanted.outcome is not None and wanted.outcome not in _COMMON:
            block = "decisions_of_rare_outcome"
        elif wanted.definition_id is not None:
            block = "decisions_of_definition"
        else:
            block = "decisions"
        return [_row(row) for row in await transaction.fetch(self._sql[block], *arguments)]


class RoutingMonths:
    """`eventstore.partitions.Months` of the decision log."""

    def __init__(self) -> None:
        self._tables = (
            MonthlyTable("routing_decisions", column="decided_at"),
            MonthlyTable("unrouted_ranges", column="recorded_at"),
        )
        self._sql = sqlfiles.load("ledger", "routing")

    async def ensure_partitions(self, transaction: Transaction, *, months: int) -> list[str]:
        """Make the partitions of this month and `months` more; return the names of the new ones."""
        return [
            name
            for table in self._tables
            for name in await table.ensure_partitions(transaction, months=months)
        ]

    async def drop_month(self, transaction: Transaction, *, older_than: timedelta) -> str | None:
        """Drop a month that has been over for so long; return its name, None without one."""
        for table in self._tables:
            dropped = await table.drop_month(transaction, older_than=older_than)
            if dropped is not None:
                return dropped
        return None

    async def clear_default(
        self, transaction: Transaction, *, older_than: timedelta, most: int = 10_000
    ) -> int:
        """Delete a batch of rows of such months, and of the events of which nothing is left."""
        for table in self._tables:
            deleted = await table.clear_default(transaction, older_than=older_than, most=most)
            if deleted:
                return deleted
        tag = await transaction.execute(self._sql["forget_events"], older_than, most)
        return int(tag.rpartition(" ")[2])


def _recorded(row: asyncpg.Record) -> Recorded:
    return Recorded(
        event_key=identifiers.event_trigger_key(row["source"], row["event_id"]),
        place=Place(row["topic"], row["partition"], row["record_offset"]),
        cause=row["cause"],
        definition_id=row["definition_id"],
        outcome=RoutingOutcome(row["outcome"]),
        run_id=row["run_id"] or "",
        settled=row["settled"],
    )


def _row(row: asyncpg.Record) -> DecisionRow:
    values = dict(row)
    place = Place(values.pop("topic"), values.pop("partition"), values.pop("record_offset"))
    return DecisionRow(**{**values, "place": place, "outcome": RoutingOutcome(row["outcome"])})
