"""The figures of the overview, counted in PostgreSQL."""

from datetime import datetime

from contracts.decisions import RunStatus
from ledger.ports.overview import OpenTasks, Overview
from runtime import sqlfiles
from runtime.postgres import Transaction

MOST = 10_000
"""So many of each are counted at most: by an index, whatever else is kept."""
MOST_RECENT = 5_000
"""Runs are looked at one by one: how they stand is in no index, which each change would rewrite."""


class PostgresOverviewStore:
    """`ports.overview.OverviewStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "overview")

    async def look(
        self,
        transaction: Transaction,
        *,
        at: datetime,
        since: datetime,
        overdue_definitions: int,
    ) -> Overview:
        """Return the figures."""
        namespace = transaction.namespace
        recent = await transaction.fetch(self._sql["recent_runs"], namespace, since, MOST_RECENT)
        tasks = await transaction.fetchrow(self._sql["open_tasks"], namespace, MOST)
        assert tasks is not None  # noqa: S101 - it has no table to be empty of
        waiting = await transaction.fetch(self._sql["pending_starts"], namespace, MOST)
        return Overview(
            at=at,
            since=since,
            recent_runs={RunStatus(row["status"]): row["runs"] for row in recent},
            more_recent_runs=any(row["more"] for row in recent),
            open_runs=await transaction.fetchval(self._sql["open_runs"], namespace, MOST),
            human_tasks=OpenTasks(
                tasks=tasks["human"],
                # Two counts that each end somewhere: what is beyond is claimed or not, who knows.
                unclaimed=max(0, tasks["human"] - tasks["claimed"]),
                overdue=tasks["overdue"],
                oldest_at=tasks["human_oldest_at"],
            ),
            automated_tasks=OpenTasks(
                tasks=tasks["automated"],
                unclaimed=0,
                overdue=0,
                oldest_at=tasks["automated_oldest_at"],
            ),
            pending_starts=[(row["reason"], row["starts"], row["oldest_at"]) for row in waiting],
            failed_runs=await transaction.fetchval(
                self._sql["failed_runs"], namespace, since, MOST
            ),
            failed_tasks=await transaction.fetchval(
                self._sql["failed_tasks"], namespace, since, MOST
            ),
            overdue_definitions=overdue_definitions,
        )
