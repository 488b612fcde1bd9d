"""What control adds to runs, and what is to be done in Temporal."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from contracts.decisions import TaskStatus
from ledger.domain.control import Execution, Operation, OperationKind, Order
from ledger.domain.runs import TaskState
from ledger.ports.requests import RequestRow
from ledger.ports.runs import FailureCallRow, RunRetryRow
from runtime.postgres import Transaction


@dataclass(frozen=True)
class OperationRow:
    """Something that is to be done in Temporal, as it is shown or handed out."""

    operation_id: str
    position: int
    kind: OperationKind
    workflow_id: str
    definition_id: str
    definition_version: int
    input: bytes
    actor: str
    reason: str
    queued_at: datetime
    attempts: int
    lease: str | None
    last_error: str


class ControlStore(Protocol):
    """What control adds to runs, beside their events: retries, calls, what is left behind."""

    async def requests(
        self, transaction: Transaction, *, before: tuple[datetime, str, str] | None, limit: int
    ) -> list[RequestRow]:
        """Return what people asked for, newest first, from before a time, method and id."""
        ...

    async def tasks_in(
        self, transaction: Transaction, run_id: str, status: TaskStatus
    ) -> list[TaskState]:
        """Return the tasks of a locked run that have a status."""
        ...

    async def add_operations(
        self,
        transaction: Transaction,
        operations: Sequence[Operation],
        *,
        order: Order,
        at: datetime,
    ) -> None:
        """Write what is to be done in Temporal."""
        ...

    async def withdraw_retries(self, transaction: Transaction, workflow_ids: Sequence[str]) -> None:
        """Take back retries of tasks that nobody was handed yet."""
        ...

    async def reopen_due_run(
        self, transaction: Transaction, definition_id: str, run_id: str
    ) -> None:
        """Say that the run of a due time is open again."""
        ...

    async def last_retry(self, transaction: Transaction, root_run_id: str) -> int:
        """Return the highest number of a run's retries, 0 for none; the run is locked."""
        ...

    async def retry_by_request(self, transaction: Transaction, request_id: str) -> str | None:
        """Return the run that a request made."""
        ...

    async def retries_of(
        self, transaction: Transaction, run_id: str, *, limit: int
    ) -> list[RunRetryRow]:
        """Return the runs that decided a run again."""
        ...

    async def failure_call_exists(self, transaction: Transaction, call_id: UUID) -> bool:
        """Say whether a call of a failure handler is recorded."""
        ...

    async def failure_calls_of(
        self, transaction: Transaction, run_id: str, *, limit: int
    ) -> list[FailureCallRow]:
        """Return the calls of failure handlers of a run, oldest first."""
        ...

    async def open_executions(
        self,
        transaction: Transaction,
        *,
        after: int | None,
        limit: int,
        min_age: timedelta,
    ) -> tuple[list[Execution], int | None]:
        """Return the workflows that `limit` runs wait on, and the position to go on from."""
        ...

    async def unrecorded_due_runs(
        self, transaction: Transaction, *, min_age: timedelta, limit: int
    ) -> list[Execution]:
        """Return runs that were started for a due time and are not recorded, oldest first."""
        ...

    async def unrecorded_backfilled(
        self, transaction: Transaction, *, min_age: timedelta, limit: int
    ) -> list[Execution]:
        """Return runs that a backfill has started and that are not recorded, oldest first."""
        ...

    async def unheeded_timers(
        self, transaction: Transaction, *, min_age: timedelta, limit: int
    ) -> list[Execution]:
        """Return the clocks of open human tasks a time of which passed `min_age` ago unheeded."""
        ...


class OperationStore(Protocol):
    """What is to be done in Temporal, handed out by lease."""

    async def claim(
        self,
        transaction: Transaction,
        *,
        limit: int,
        size: int,
        lease: str,
        duration: timedelta,
    ) -> list[OperationRow]:
        """Hand out what is due, in order, at most `size` bytes of input beyond the first."""
        ...

    async def finish(self, transaction: Transaction, operation_id: str, *, lease: str) -> bool:
        """Let an operation wait no more; False when the lease is another's."""
        ...

    async def give_back(
        self, transaction: Transaction, operation_id: str, *, lease: str, error: str
    ) -> bool:
        """Let an operation be handed out again after a pause; False when the lease is another's."""
        ...

    async def page(
        self, transaction: Transaction, *, after: int | None, limit: int
    ) -> list[OperationRow]:
        """Return operations, oldest first, from after a position, without inputs."""
        ...
