"""Runs, as they are kept and shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from contracts.decisions import RunStatus
from contracts.runs import TaskFailure
from ledger.domain.runs import Occasion, RunState, TaskState
from ledger.ports.requests import RequestLog
from ledger.ports.tasks import TaskRow
from runtime.postgres import Transaction


@dataclass(frozen=True)
class RunRow:
    """A run as it is shown."""

    namespace: str
    run_id: str
    position: int
    definition_id: str
    definition_version: int
    trigger_kind: str
    trigger_key: str
    trigger_names: list[str]
    trigger_sha256: str
    snapshot_sha256: str | None
    decision_sha256: str | None
    status: RunStatus
    tasks: int
    workflow_run_id: str
    recorded_at: datetime
    closed_at: datetime | None
    failure: TaskFailure | None
    closed_by: str | None
    close_reason: str | None


@dataclass(frozen=True)
class FailureCallRow:
    """A call of the handler of `onFailure`, as it is shown."""

    call_id: UUID
    task_id: UUID | None
    handler: str
    handled_at: datetime
    failure: TaskFailure | None


@dataclass(frozen=True)
class RunRetryRow:
    """A run that decided another one again, as it is shown."""

    run_id: str
    retried_run_id: str
    actor: str
    reason: str
    retried_at: datetime


@dataclass(frozen=True)
class Claim:
    """That an execution took a trigger key, when, and the shadow that is to decide beside it.

    With `effects_halted` a kill switch stops what the run would do.
    """

    at: datetime
    shadow_id: str | None
    effects_halted: bool


class RunStore(RequestLog, Protocol):
    """Runs, their documents and the keys that make requests idempotent."""

    async def claim(
        self, transaction: Transaction, occasion: Occasion, documents: Sequence[bytes]
    ) -> Claim | None:
        """Take the trigger key for this execution and keep `documents`.

        None when it was taken before; a concurrent claim is waited for.
        """
        ...

    async def claimed_by(self, transaction: Transaction, occasion: Occasion) -> str:
        """Return the workflow run id that holds the trigger key."""
        ...

    async def decision_of(self, transaction: Transaction, run_id: str) -> bytes | None:
        """Return the decision that stands; None when the run failed to decide."""
        ...

    async def lock_run(
        self, transaction: Transaction, run_id: str
    ) -> tuple[RunState, datetime] | None:
        """Lock a run until the transaction ends; return it as it then is, and the time."""
        ...

    async def task_of(
        self, transaction: Transaction, run_id: str, task_id: UUID
    ) -> TaskState | None:
        """Return a task of a locked run."""
        ...

    async def open_automated(self, transaction: Transaction, run_id: str) -> list[TaskState]:
        """Return the automated tasks of a locked run that are open."""
        ...

    async def get_run(self, transaction: Transaction, run_id: str) -> RunRow | None:
        """Return a run."""
        ...

    async def last_run(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        other_than: str,
        status: RunStatus | None,
    ) -> tuple[RunRow, bytes | None] | None:
        """Return the newest other run among the last 1,000, with the trigger of a schedule."""
        ...

    async def documents(self, transaction: Transaction, sha256: Sequence[str]) -> dict[str, bytes]:
        """Return documents by their hash."""
        ...

    async def lock_document(self, transaction: Transaction, sha256: str) -> bytes | None:
        """Lock a document until the transaction ends; return it as it then is."""
        ...

    async def redact_document(
        self, transaction: Transaction, sha256: str, body: bytes, *, actor: str, reason: str
    ) -> None:
        """Replace the body of a document, whose hash stays."""
        ...

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
        """Return runs, newest first, from before a position.

        Only those of a correlation, or that events of a subject started: at most one of the two.
        """
        ...

    async def tasks_of_run(self, transaction: Transaction, run_id: str) -> list[TaskRow]:
        """Return the tasks of a run in the order of the decision."""
        ...
