"""Figures of what there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from contracts.decisions import RunStatus
from runtime.postgres import Transaction


@dataclass(frozen=True)
class OpenTasks:
    """Open tasks of a type; `unclaimed` and `overdue` are of people's."""

    tasks: int
    unclaimed: int
    overdue: int
    oldest_at: datetime | None


@dataclass(frozen=True)
class Overview:
    """What ran and failed since a time, and what waits and is late; each is counted to a limit."""

    at: datetime
    since: datetime
    recent_runs: Mapping[RunStatus, int]
    more_recent_runs: bool
    open_runs: int
    human_tasks: OpenTasks
    automated_tasks: OpenTasks
    pending_starts: Sequence[tuple[str, int, datetime]]
    """Why they wait, how many, and since when the oldest."""
    failed_runs: int
    failed_tasks: int
    overdue_definitions: int


class OverviewStore(Protocol):
    """Counts what there is."""

    async def look(
        self,
        transaction: Transaction,
        *,
        at: datetime,
        since: datetime,
        overdue_definitions: int,
    ) -> Overview:
        """Return the figures."""
        ...
