"""Runs, tasks and documents in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts import canonical
from contracts.decisions import RunStatus, TaskStatus
from eventstore.events import Cause
from ledger.adapters.postgres_tasks import failure, task_row
from ledger.domain.runs import Occasion, RunState, TaskState
from ledger.ports.runs import Claim, RunRow
from ledger.ports.tasks import TaskRow
from runtime import sqlfiles
from runtime.postgres import Transaction


class PostgresRunStore:
    """`ports.runs.RunStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "runs")

    async def claim(
        self, transaction: Transaction, occasion: Occasion, documents: Sequence[bytes]
    ) -> Claim | None:
        """Take the trigger key for this execution and keep `documents`."""
        unique = {canonical.digest(body): body for body in documents}
        claimed = await transaction.fetchrow(
            self._sql["claim"],
            transaction.namespace,
            occasion.definition_id,
            occasion.trigger.key,
            occasion.run_id,
            occasion.workflow_run_id,
            list(unique),
            list(unique.values()),
            occasion.subjects,
        )
        if claimed is None:
            return None
        return Claim(claimed["recorded_at"], claimed["shadow_id"], claimed["effects_halted"])

    async def claimed_by(self, transaction: Transaction, occasion: Occasion) -> str:
        """Return the workflow run id that holds the trigger key."""
        return str(
            await transaction.fetchval(
                self._sql["claimed_by"],
                transaction.namespace,
                occasion.definition_id,
                occasion.trigger.key,
            )
        )

    async def decision_of(self, transaction: Transaction, run_id: str) -> bytes | None:
        """Return the decision that stands; None when the run failed to decide."""
        body: bytes | None = await transaction.fetchval(
            self._sql["decision_of"], transaction.namespace, run_id
        )
        return body

    async def lock_run(
        self, transaction: Transaction, run_id: str
    ) -> tuple[RunState, datetime] | None:
        """Lock a run until the transaction ends; return it as it then is, and the time."""
        row = await transaction.fetchrow(self._sql["lock_run"], transaction.namespace, run_id)
        if row is None:
            return None
        fields = dict(row)
        now = fields.pop("now")
        cause = Cause(
            correlation_id=fields.pop("correlation_id"),
            causation_id=fields.pop("causation_id"),
            traceparent=fields.pop("traceparent"),
            # The row has what the run's own events carry, one more than their cause.
            hops=fields.pop("hops") - 1,
        )
        status = RunStatus(fields.pop("status"))
        return RunState(**fields, status=status, cause=cause), now

    async def task_of(
        self, transaction: Transaction, run_id: str, task_id: UUID
    ) -> TaskState | None:
        """Return a task of a locked run."""
        states = await self._states(transaction, run_id, task_id)
        return states[0] if states else None

    async def open_automated(self, transaction: Transaction, run_id: str) -> list[TaskState]:
        """Return the automated tasks of a locked run that are open."""
        return await self._states(transaction, run_id, None)

    async def _states(
        self, transaction: Transaction, run_id: str, task_id: UUID | None
    ) -> list[TaskState]:
        rows = await transaction.fetch(
            self._sql["task_states"], transaction.namespace, run_id, task_id
        )
        return [
            TaskState(**{**row, "status": TaskStatus(row["status"])}) for row in map(dict, rows)
        ]

    async def get_run(self, transaction: Transaction, run_id: str) -> RunRow | None:
        """Return a run."""
        row = await transaction.fetchrow(self._sql["get_run"], transaction.namespace, run_id)
        return None if row is None else _run(dict(row))

    async def last_run(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        other_than: str,
        status: RunStatus | None,
    ) -> tuple[RunRow, bytes | None] | None:
        """Return the newest other run among the last 1,000, with the trigger of a schedule."""
        row = await transaction.fetchrow(
            self._sql["last_run"], transaction.namespace, definition_id, other_than, status
        )
        if row is None:
            return None
        fields = dict(row)
        trigger: bytes | None = fields.pop("trigger_body")
        return _run(fields), trigger

    async def documents(self, transaction: Transaction, sha256: Sequence[str]) -> dict[str, bytes]:
        """Return documents by their hash."""
        rows = await transaction.fetch(self._sql["documents"], transaction.namespace, list(sha256))
        return {row["sha256"]: row["body"] for row in rows}

    async def lock_document(self, transaction: Transaction, sha256: str) -> bytes | None:
        """Lock a document until the transaction ends; return it as it then is."""
        body: bytes | None = await transaction.fetchval(
            self._sql["lock_document"], transaction.namespace, sha256
        )
        return body

    async def redact_document(
        self, transaction: Transaction, sha256: str, body: bytes, *, actor: str, reason: str
    ) -> None:
        """Replace the body of a document, whose hash stays."""
        await transaction.execute(
            self._sql["redact_document"], transaction.namespace, sha256, body, actor, reason
        )

    async def list_runs(
        self,
        transaction: Transaction,
        *,
        before: int | None,
        definition_id: str | None,
        status: RunStatus | None,
        correlation_id: str | None = None,
        subject: str | None = None,
        limit: int,
    ) -> list[RunRow]:
        """Return runs, newest first, from before a position."""
        arguments = (transaction.namespace, before, definition_id, status, limit)
        if correlation_id is not None:
            rows = await transaction.fetch(
                self._sql["list_runs_of_chain"], *arguments, correlation_id
            )
        elif subject is not None:
            rows = await transaction.fetch(self._sql["list_runs_of_subject"], *arguments, subject)
        else:
            rows = await transaction.fetch(self._sql["list_runs"], *arguments)
        return [_run(dict(row)) for row in rows]

    async def tasks_of_run(self, transaction: Transaction, run_id: str) -> list[TaskRow]:
        """Return the tasks of a run in the order of the decision."""
        rows = await transaction.fetch(self._sql["tasks_of_run"], transaction.namespace, run_id)
        return [task_row(row) for row in rows]

    async def claim_request(
        self,
        transaction: Transaction,
        *,
        method: str,
        request_id: str,
        fingerprint: str,
        actor: str,
        reason: str,
    ) -> str | None:
        """Take a request id; return None, or the fingerprint of the request that has it."""
        claimed = await transaction.fetchval(
            self._sql["claim_request"],
            transaction.namespace,
            method,
            request_id,
            fingerprint,
            actor,
            reason,
        )
        if claimed is not None:
            return None
        return str(
            await transaction.fetchval(
                self._sql["request_fingerprint"], transaction.namespace, method, request_id
            )
        )


def _run(fields: dict[str, Any]) -> RunRow:
    failed = failure(fields)
    status = RunStatus(fields.pop("status"))
    return RunRow(**fields, status=status, failure=failed)
