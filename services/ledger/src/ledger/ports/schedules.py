"""Due times, and up to where they are accounted for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ledger.domain.control import Order
from ledger.domain.due import DueRow, Epoch, LeasedRun, OpenRun
from ledger.domain.stretches import Pause
from rules.policy import DueOutcome, Waiting
from runtime.postgres import Transaction


@dataclass(frozen=True)
class DueTimeRow:
    """An accounted due time as it is shown."""

    due_at: datetime
    names: list[str]
    outcome: DueOutcome
    reason: str
    run_id: str | None
    decided_at: datetime
    acknowledged_at: datetime | None
    last_due_at: datetime | None = None
    count: int = 1


@dataclass(frozen=True)
class Cursor:
    """Up to where due times are accounted for, as it is locked at `now`."""

    covered_until: datetime
    now: datetime
    paused: bool
    has_skips: bool


@dataclass(frozen=True)
class Coverage:
    """Up to where due times are accounted for, and when the next one is taken up, if any."""

    covered_until: datetime
    next_at: datetime | None
    now: datetime


@dataclass(frozen=True)
class SkipRow:
    """A due time that somebody does not want to run."""

    due_at: datetime
    actor: str
    reason: str


@dataclass(frozen=True)
class OverdueRow:
    """A definition whose schedules nobody has looked after since an instant."""

    definition_id: str
    since: datetime


class ScheduleStore(Protocol):
    """Epochs of schedules, the cursor of a definition, and its due times."""

    async def begin(
        self, transaction: Transaction, definition_id: str, effective_from: datetime
    ) -> None:
        """Make the definition's cursor, at `effective_from`, unless it has one; lock it."""
        ...

    async def lock_cursor(self, transaction: Transaction, definition_id: str) -> Cursor | None:
        """Lock the cursor until the transaction ends; return it as it then is."""
        ...

    async def move_cursor(
        self,
        transaction: Transaction,
        definition_id: str,
        covered_until: datetime,
        *,
        next_at: datetime | None,
    ) -> None:
        """Say that due times up to `covered_until` are accounted for, and when the next comes."""
        ...

    async def latest_epoch(self, transaction: Transaction, definition_id: str) -> Epoch | None:
        """Return the newest epoch."""
        ...

    async def epochs_since(
        self, transaction: Transaction, definition_id: str, cursor: datetime
    ) -> list[Epoch]:
        """Return the epochs that are in force anywhere after `cursor`, oldest first."""
        ...

    async def add_epoch(
        self, transaction: Transaction, definition_id: str, epoch: Epoch, *, reason: str, actor: str
    ) -> None:
        """Write a new epoch."""
        ...

    async def open_runs(self, transaction: Transaction, definition_id: str) -> list[OpenRun]:
        """Return the runs that due times asked for and that are not closed, oldest first."""
        ...

    async def await_open_runs(self, transaction: Transaction, definition_id: str) -> bool:
        """Have the end of open runs ask for a tick; False when none is open any more."""
        ...

    async def waiting(
        self, transaction: Transaction, definition_id: str, *, limit: int
    ) -> list[Waiting]:
        """Return the due times that wait for an open run, oldest first."""
        ...

    async def count_waiting(self, transaction: Transaction, definition_id: str) -> dict[str, int]:
        """Return how many due times wait for an open run, by trigger."""
        ...

    async def add_due_times(
        self,
        transaction: Transaction,
        definition_id: str,
        rows: Sequence[DueRow],
        *,
        decided_at: datetime,
    ) -> None:
        """Write due times; one that is accounted for stays as it is, unless it waits."""
        ...

    async def lease(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        now: datetime,
        until: datetime,
        woken_for: datetime | None,
    ) -> list[LeasedRun]:
        """Lease the runs to start: new ones, those of this wake-up, those whose lease is over."""
        ...

    async def acknowledge(
        self, transaction: Transaction, definition_id: str, run_ids: Sequence[str]
    ) -> None:
        """Say that runs were started."""
        ...

    async def close_run(
        self, transaction: Transaction, definition_id: str, run_id: str, closed_at: datetime
    ) -> bool:
        """Say that the run a due time asked for is closed; True when another one waits for it."""
        ...

    async def list_due_times(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        before: datetime | None,
        since: datetime | None,
        limit: int,
    ) -> list[DueTimeRow]:
        """Return due times, newest first, from before an instant back to another."""
        ...

    async def due_time_at(
        self, transaction: Transaction, definition_id: str, at: datetime
    ) -> DueTimeRow | None:
        """Return the row that holds an instant."""
        ...

    async def due_time_by_request(
        self, transaction: Transaction, definition_id: str, request_id: str
    ) -> DueTimeRow | None:
        """Return the due time that a request asked for."""
        ...

    async def coverage(self, transaction: Transaction, definition_id: str) -> Coverage | None:
        """Return how far a definition's due times are accounted for."""
        ...

    async def pauses_since(
        self, transaction: Transaction, definition_id: str, since: datetime
    ) -> list[Pause]:
        """Return the pauses that were not over at an instant, oldest first."""
        ...

    async def pause(
        self, transaction: Transaction, definition_id: str, *, at: datetime, order: Order
    ) -> None:
        """Begin a pause; none is open."""
        ...

    async def resume(
        self, transaction: Transaction, definition_id: str, *, at: datetime, order: Order
    ) -> None:
        """End the pause that is open."""
        ...

    async def skips_after(
        self, transaction: Transaction, definition_id: str, after: datetime
    ) -> list[SkipRow]:
        """Return the due times that nobody wants, oldest first."""
        ...

    async def skip(
        self,
        transaction: Transaction,
        definition_id: str,
        due_at: datetime,
        *,
        order: Order,
        at: datetime,
    ) -> None:
        """Let a due time not run."""
        ...

    async def skip_by_request(
        self, transaction: Transaction, definition_id: str, request_id: str
    ) -> datetime | None:
        """Return the due time that a request has skipped."""
        ...

    async def overdue(
        self, transaction: Transaction, *, min_age: timedelta, limit: int
    ) -> list[OverdueRow]:
        """Return the definitions whose schedules nobody looks after, the longest first."""
        ...
