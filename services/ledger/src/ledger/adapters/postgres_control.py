"""Control of runs in PostgreSQL: retries, failure calls, operations, what is left open."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from contracts.decisions import TaskStatus
from contracts.runs import TaskFailure
from contracts.triggers import Window
from ledger.domain import backfills, due
from ledger.domain.control import Execution, Operation, Order
from ledger.domain.runs import TaskState
from ledger.ports.control import OperationRow
from ledger.ports.requests import RequestRow
from ledger.ports.runs import FailureCallRow, RunRetryRow
from runtime import sqlfiles
from runtime.postgres import Transaction


class PostgresControlStore:
    """`ports.control.ControlStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "control")

    async def requests(
        self, transaction: Transaction, *, before: tuple[datetime, str, str] | None, limit: int
    ) -> list[RequestRow]:
        """Return what people asked for, newest first, from before a time, method and id."""
        rows = await transaction.fetch(
            self._sql["list_requests"],
            transaction.namespace,
            *(before or (None, None, None)),
            limit,
        )
        return [RequestRow(**dict(row)) for row in rows]

    async def tasks_in(
        self, transaction: Transaction, run_id: str, status: TaskStatus
    ) -> list[TaskState]:
        """Return the tasks of a locked run that have a status."""
        rows = await transaction.fetch(
            self._sql["task_states_of"], transaction.namespace, run_id, status
        )
        return [
            TaskState(**{**row, "status": TaskStatus(row["status"])}) for row in map(dict, rows)
        ]

    async def add_operations(
        self,
        transaction: Transaction,
        operations: Sequence[Operation],
        *,
        order: Order,
        at: datetime,
    ) -> None:
        """Write what is to be done in Temporal."""
        await transaction.executemany(
            self._sql["add_operation"],
            [
                (
                    transaction.namespace,
                    one.operation_id,
                    one.kind,
                    one.workflow_id,
                    one.definition_id,
                    one.definition_version,
                    one.task_id,
                    one.generation,
                    one.input,
                    order.actor,
                    order.reason,
                    at,
                )
                for one in operations
            ],
        )

    async def withdraw_retries(self, transaction: Transaction, workflow_ids: Sequence[str]) -> None:
        """Take back retries of tasks that nobody was handed yet."""
        await transaction.execute(
            self._sql["withdraw_retries"], transaction.namespace, list(workflow_ids)
        )

    async def reopen_due_run(
        self, transaction: Transaction, definition_id: str, run_id: str
    ) -> None:
        """Say that the run of a due time is open again."""
        await transaction.execute(
            self._sql["reopen_due_run"], transaction.namespace, definition_id, run_id
        )

    async def last_retry(self, transaction: Transaction, root_run_id: str) -> int:
        """Return the highest number of a run's retries, 0 for none; the run is locked."""
        return int(
            await transaction.fetchval(self._sql["last_retry"], transaction.namespace, root_run_id)
        )

    async def retry_by_request(self, transaction: Transaction, request_id: str) -> str | None:
        """Return the run that a request made."""
        run_id: str | None = await transaction.fetchval(
            self._sql["retry_by_request"], transaction.namespace, request_id
        )
        return run_id

    async def retries_of(
        self, transaction: Transaction, run_id: str, *, limit: int
    ) -> list[RunRetryRow]:
        """Return the runs that decided a run again."""
        rows = await transaction.fetch(
            self._sql["retries_of"], transaction.namespace, run_id, limit
        )
        return [RunRetryRow(**dict(row)) for row in rows]

    async def failure_call_exists(self, transaction: Transaction, call_id: UUID) -> bool:
        """Say whether a call of a failure handler is recorded."""
        return bool(
            await transaction.fetchval(
                self._sql["failure_call_exists"], transaction.namespace, call_id
            )
        )

    async def failure_calls_of(
        self, transaction: Transaction, run_id: str, *, limit: int
    ) -> list[FailureCallRow]:
        """Return the calls of failure handlers of a run, oldest first."""
        rows = await transaction.fetch(
            self._sql["failure_calls_of"], transaction.namespace, run_id, limit
        )
        return [
            FailureCallRow(
                call_id=row["call_id"],
                task_id=row["task_id"],
                handler=row["handler"],
                handled_at=row["handled_at"],
                failure=None
                if row["failure_type"] is None
                else TaskFailure(type=row["failure_type"], message=row["failure_message"]),
            )
            for row in rows
        ]

    async def open_executions(
        self,
        transaction: Transaction,
        *,
        after: int | None,
        limit: int,
        min_age: timedelta,
    ) -> tuple[list[Execution], int | None]:
        """Return the workflows that `limit` runs wait on, and the position to go on from."""
        rows = await transaction.fetch(
            self._sql["open_executions"], transaction.namespace, after or 0, limit, min_age
        )
        found = [
            Execution(row["run_id"], row["definition_id"], row["task_id"], row["generation"])
            for row in rows
            if row["generation"] is not None
        ]
        positions = {row["position"] for row in rows}
        return found, max(positions) if len(positions) == limit else None

    async def unrecorded_due_runs(
        self, transaction: Transaction, *, min_age: timedelta, limit: int
    ) -> list[Execution]:
        """Return runs that were started for a due time and are not recorded, oldest first."""
        rows = await transaction.fetch(
            self._sql["unrecorded_due_runs"], transaction.namespace, min_age, limit
        )
        return [
            Execution(
                row["run_id"],
                row["definition_id"],
                unrecorded=due.due_trigger(
                    names=row["names"],
                    definition_version=row["definition_version"],
                    due_at=row["due_at"],
                    window=Window(start=row["window_start"], end=row["window_end"]),
                    coalesced=row["coalesced"],
                    actor=row["asked_by"],
                    reason=row["ask_reason"],
                ),
            )
            for row in rows
        ]

    async def unrecorded_backfilled(
        self, transaction: Transaction, *, min_age: timedelta, limit: int
    ) -> list[Execution]:
        """Return runs that a backfill has started and that are not recorded, oldest first."""
        rows = await transaction.fetch(
            self._sql["unrecorded_backfilled"], transaction.namespace, min_age, limit
        )
        return [
            Execution(
                row["run_id"],
                row["definition_id"],
                unrecorded=backfills.trigger(
                    row["backfill_id"],
                    names=row["names"],
                    due_at=row["due_at"],
                    window=Window(start=row["window_start"], end=row["window_end"]),
                    definition_version=row["definition_version"],
                    actor=row["created_by"],
                    reason=row["created_reason"],
                ),
            )
            for row in rows
        ]

    async def unheeded_timers(
        self, transaction: Transaction, *, min_age: timedelta, limit: int
    ) -> list[Execution]:
        """Return the clocks of open human tasks a time of which passed `min_age` ago unheeded."""
        rows = await transaction.fetch(
            self._sql["unheeded_timers"], transaction.namespace, min_age, limit
        )
        return [
            Execution(row["run_id"], row["definition_id"], row["task_id"], timers=True)
            for row in rows
        ]


class PostgresOperationStore:
    """`ports.control.OperationStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "control")

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
        rows = await transaction.fetch(
            self._sql["claim"], transaction.namespace, limit, lease, size, duration
        )
        found = [OperationRow(**dict(row)) for row in rows]
        return sorted(found, key=lambda row: row.position)

    async def finish(self, transaction: Transaction, operation_id: str, *, lease: str) -> bool:
        """Let an operation wait no more; False when the lease is another's."""
        found = await transaction.fetchval(
            self._sql["finish"], transaction.namespace, operation_id, lease
        )
        return found is not None

    async def give_back(
        self, transaction: Transaction, operation_id: str, *, lease: str, error: str
    ) -> bool:
        """Let an operation be handed out again after a pause; False when the lease is another's."""
        found = await transaction.fetchval(
            self._sql["give_back"], transaction.namespace, operation_id, lease, error
        )
        return found is not None

    async def page(
        self, transaction: Transaction, *, after: int | None, limit: int
    ) -> list[OperationRow]:
        """Return operations, oldest first, from after a position, without inputs."""
        rows = await transaction.fetch(
            self._sql["list_operations"], transaction.namespace, after or 0, limit
        )
        return [OperationRow(**dict(row)) for row in rows]
