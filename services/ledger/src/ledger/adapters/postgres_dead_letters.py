"""Resolutions of dead letters in PostgreSQL."""

from collections.abc import Sequence

import asyncpg

from ledger.domain.dead_letters import Opened, Opening, Resolution, Resolved
from runtime import sqlfiles
from runtime.postgres import Transaction


class PostgresDeadLetterStore:
    """`ports.dead_letters.DeadLetterStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "dead_letters")

    async def add(
        self,
        transaction: Transaction,
        topic: str,
        resolutions: Sequence[Resolution],
        *,
        actor: str,
        reason: str,
        request_id: str,
    ) -> None:
        """Write resolutions; a dead letter that has one keeps it."""
        await transaction.execute(
            self._sql["add_resolutions"],
            transaction.namespace,
            topic,
            actor,
            reason,
            request_id,
            [one.partition for one in resolutions],
            [one.offset for one in resolutions],
            [one.state for one in resolutions],
            [one.detail for one in resolutions],
        )

    async def at(
        self, transaction: Transaction, topic: str, places: Sequence[tuple[int, int]]
    ) -> list[Resolved]:
        """Return what stands at places (partition, offset), in their order; nothing where none."""
        rows = await transaction.fetch(
            self._sql["resolutions_at"],
            transaction.namespace,
            topic,
            [partition for partition, _ in places],
            [offset for _, offset in places],
        )
        return [_resolved(row) for row in rows]

    async def between(
        self,
        transaction: Transaction,
        topic: str,
        *,
        partition: int,
        first: int,
        end: int,
        limit: int,
    ) -> list[Resolved]:
        """Return at most `limit` of what stands in `[first, end)` of a partition, by offset."""
        rows = await transaction.fetch(
            self._sql["resolutions_between"],
            transaction.namespace,
            topic,
            partition,
            first,
            end,
            limit,
        )
        return [_resolved(row) for row in rows]

    async def add_opening(self, transaction: Transaction, opening: Opening) -> None:
        """Write that a dead letter is opened; of the same request again, nothing."""
        await transaction.execute(
            self._sql["add_opening"],
            transaction.namespace,
            opening.topic,
            opening.partition,
            opening.offset,
            opening.actor,
            opening.reason,
            opening.request_id,
        )

    async def openings(
        self, transaction: Transaction, *, before: int | None, limit: int
    ) -> list[Opened]:
        """Return at most `limit` openings before one, the newest first."""
        rows = await transaction.fetch(self._sql["openings"], transaction.namespace, before, limit)
        return [_opened(row) for row in rows]


def _opened(row: asyncpg.Record) -> Opened:
    return Opened(
        opening_id=row["opening_id"],
        opening=Opening(
            topic=row["topic"],
            partition=row["partition"],
            offset=row["record_offset"],
            actor=row["actor"],
            reason=row["reason"],
            request_id=row["request_id"],
        ),
        opened_at=row["opened_at"],
    )


def _resolved(row: asyncpg.Record) -> Resolved:
    return Resolved(
        topic=row["topic"],
        resolution=Resolution(
            partition=row["partition"],
            offset=row["record_offset"],
            state=row["state"],
            detail=row["detail"],
        ),
        actor=row["actor"],
        reason=row["reason"],
        request_id=row["request_id"],
        resolved_at=row["resolved_at"],
    )
