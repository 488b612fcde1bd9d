"""The read models of run streams: the tables of runs and tasks follow from events alone.

Emptied and projected again, they are the same: `rebuild`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from contracts import canonical
from contracts.decisions import RunStatus, TaskStatus
from contracts.events import (
    FailureHandled,
    KillSwitchReset,
    KillSwitchThrown,
    RunCancelled,
    RunCompleted,
    RunDecided,
    RunFailed,
    RunReopened,
    RunRetried,
    SubjectErased,
    TaskCancelled,
    TaskCompleted,
    TaskCreated,
    TaskExpired,
    TaskFailed,
    TaskRetried,
)
from contracts.rejections import EventRejectedError
from contracts.runs import TaskFailure
from eventstore import sealing
from eventstore.events import Event
from eventstore.store import EventStore
from ledger.adapters.human_task_projection import HumanTaskChanges, HumanTaskProjection
from runtime import sqlfiles
from runtime.errors import RuntimeLibraryError
from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres, Transaction

_NOTHING = "DELETE 0"


class RebuildError(RuntimeLibraryError):
    """The tables cannot be made again from the events there are."""


@dataclass
class _Closing:
    """What the events of one append change in an existing run."""

    automated: int = 0
    human: int = 0
    failed: int = 0
    status: RunStatus | None = None
    at: datetime | None = None
    failure: TaskFailure | None = None
    by: str | None = None
    reason: str | None = None


@dataclass
class _Changes:
    runs: list[tuple[Any, ...]] = field(default_factory=list)
    tasks: list[tuple[Any, ...]] = field(default_factory=list)
    closed_tasks: list[tuple[Any, ...]] = field(default_factory=list)
    human: HumanTaskChanges = field(default_factory=HumanTaskChanges)
    reopened_tasks: list[tuple[Any, ...]] = field(default_factory=list)
    retries: list[tuple[Any, ...]] = field(default_factory=list)
    failure_calls: list[tuple[Any, ...]] = field(default_factory=list)
    closings: dict[str, _Closing] = field(default_factory=dict)

    @property
    def closes(self) -> bool:
        """Whether a task or a run is closed: a batch may begin between the two."""
        return bool(self.closed_tasks) or any(
            change.status is not None for change in self.closings.values()
        )

    def of(self, run_id: str) -> _Closing:
        return self.closings.setdefault(run_id, _Closing())


class RunProjection:
    """Writes the rows of runs and tasks; one round trip for each kind of change in an append."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "runs")
        self._human = HumanTaskProjection()
        self._control = sqlfiles.load("ledger", "control")

    async def __call__(self, transaction: Transaction, events: Sequence[Event]) -> None:
        """Apply `events` in their order."""
        namespace = transaction.namespace
        changes = _Changes()
        for event in events:
            if isinstance(event.payload, RunReopened | TaskRetried) and changes.closes:
                # What opens a task again comes after what closed it, also when both are of one
                # batch: otherwise what was changed is written at once.
                await self._write(transaction, changes)
                changes = _Changes()
            _collect(changes, namespace, event)
        await self._write(transaction, changes)

    async def _write(self, transaction: Transaction, changes: _Changes) -> None:
        namespace = transaction.namespace
        if changes.runs:
            await transaction.executemany(self._sql["insert_run"], changes.runs)
        if changes.tasks:
            await transaction.executemany(self._sql["insert_task"], changes.tasks)
        if changes.reopened_tasks:
            await transaction.executemany(self._sql["reopen_task"], changes.reopened_tasks)
        await self._human.write(transaction, changes.human)
        if changes.closed_tasks:
            await transaction.executemany(self._sql["close_task"], changes.closed_tasks)
        if changes.retries:
            await transaction.executemany(self._control["insert_retry"], changes.retries)
        if changes.failure_calls:
            await transaction.executemany(
                self._control["insert_failure_call"], changes.failure_calls
            )
        if changes.closings:
            await transaction.executemany(
                self._sql["count_closed"],
                [
                    (
                        namespace,
                        run_id,
                        change.automated,
                        change.human,
                        change.failed,
                        change.status,
                        change.at,
                        change.failure.type if change.failure else None,
                        change.failure.message if change.failure else None,
                        change.by,
                        change.reason,
                    )
                    for run_id, change in changes.closings.items()
                ],
            )


async def rebuild(
    postgres: Postgres, events: EventStore, namespaces: Sequence[str]
) -> dict[str, int]:
    """Empty the tables of each namespace and project its events again; return how many there were.

    Namespace by namespace, each in one transaction: runs and tasks are not written meanwhile, and
    readers see the tables as they were.

    Raises:
        RebuildError: months of events were dropped, and what they told would be lost; or the
            events do not fit together.
        DatabaseUnavailableError: somebody writes for so long that it cannot begin: try again.
    """
    sql = sqlfiles.load("ledger", "runs")

    async def again(transaction: Transaction) -> int:
        if dropped := await sealing.dropped(transaction):
            raise RebuildError(
                f"{len(dropped)} months of events were dropped (BACKBONE_EVENT_RETENTION), the "
                f"last is {max(dropped):%Y-%m}: made again from what is left, runs would be lost"
            )
        await transaction.execute(sql["hold_runs"])
        for name in (
            "empty_task_changes",
            "empty_tasks",
            "empty_run_retries",
            "empty_failure_calls",
            "empty_runs",
            "empty_instances",
        ):
            while await transaction.execute(sql[name], transaction.namespace) != _NOTHING:
                pass
        count = await events.rebuild(transaction)
        faultpoint("ledger.before_rebuild")
        return count

    counts: dict[str, int] = {}
    for namespace in namespaces:
        try:
            # Batches are found by where their rows lie, which a policy would have looked up anew.
            counts[namespace] = await postgres.retrying_across(again, namespace=namespace)
            faultpoint("ledger.after_rebuild")
        except (asyncpg.IntegrityConstraintViolationError, EventRejectedError) as exc:
            raise RebuildError(
                f"the events of {namespace} do not fit together ({exc}): nothing was changed; "
                "`backbone audit verify` says what is wrong with them"
            ) from exc
    return counts


def _collect(changes: _Changes, namespace: str, event: Event) -> None:
    payload, at = event.payload, event.envelope.occurred_at
    is_change_only = changes.human.collect(namespace, event)
    if is_change_only:
        return
    match payload:
        case RunDecided():
            changes.runs.append(_decided_run(namespace, event, payload))
        case RunFailed() if event.version == 1:
            changes.runs.append(_undecided_run(namespace, event, payload))
        case TaskCreated():
            changes.tasks.append(_created_task(namespace, event, payload))
        case TaskCompleted():
            changes.closed_tasks.append(
                (
                    namespace,
                    payload.task_id,
                    TaskStatus.COMPLETED,
                    at,
                    payload.actor,
                    canonical.render(payload.output),
                    None,
                    None,
                )
            )
            _count(changes.of(payload.run_id), payload.type)
        case TaskFailed():
            changes.closed_tasks.append(
                (
                    namespace,
                    payload.task_id,
                    TaskStatus.FAILED,
                    at,
                    None,
                    None,
                    payload.failure.type,
                    payload.failure.message,
                )
            )
            closing = changes.of(payload.run_id)
            _count(closing, payload.type)
            closing.failed += 1
        case TaskCancelled() | TaskExpired():
            status = TaskStatus.EXPIRED
            actor = None
            if isinstance(payload, TaskCancelled):
                status, actor = TaskStatus.CANCELLED, payload.actor
            changes.closed_tasks.append(
                (namespace, payload.task_id, status, at, actor, None, None, None)
            )
            _count(changes.of(payload.run_id), payload.type)
        case RunCompleted() | RunFailed():
            closing = changes.of(payload.run_id)
            closing.at = at
            if isinstance(payload, RunFailed):
                closing.status, closing.failure = RunStatus.FAILED, payload.failure
            else:
                closing.status = RunStatus.COMPLETED
        case _:
            _collect_control(changes, namespace, event)


def _collect_control(changes: _Changes, namespace: str, event: Event) -> None:
    payload, at = event.payload, event.envelope.occurred_at
    match payload:
        case TaskRetried():
            changes.reopened_tasks.append((namespace, payload.task_id, payload.generation, at))
            closing = changes.of(payload.run_id)
            closing.automated -= 1
            closing.failed -= 1
        case RunReopened():
            # Its tasks, which are of the same append, open it.
            pass
        case SubjectErased() | KillSwitchThrown() | KillSwitchReset():
            # Of no run; it is audited, and nothing of it is shown by these tables.
            pass
        case RunRetried():
            changes.retries.append(_retry(namespace, event, payload))
        case FailureHandled():
            changes.failure_calls.append(_failure_call(namespace, event, payload))
        case RunCancelled():
            closing = changes.of(payload.run_id)
            closing.status, closing.at = RunStatus.CANCELLED, at
            closing.by, closing.reason = payload.actor, payload.reason
        case _:
            raise TypeError(f"{event.envelope.type} does not belong to the stream of a run")


def _count(closing: _Closing, task_type: str) -> None:
    if task_type == "human":
        closing.human += 1
    else:
        closing.automated += 1


def _retry(namespace: str, event: Event, payload: RunRetried) -> tuple[Any, ...]:
    return (
        namespace,
        payload.root_run_id,
        payload.number,
        payload.new_run_id,
        payload.run_id,
        payload.request_id,
        payload.actor,
        payload.reason,
        event.envelope.occurred_at,
    )


def _failure_call(namespace: str, event: Event, payload: FailureHandled) -> tuple[Any, ...]:
    failure = payload.failure
    return (
        namespace,
        payload.call_id,
        payload.run_id,
        payload.task_id,
        payload.handler,
        event.envelope.occurred_at,
        failure.type if failure else None,
        failure.message if failure else None,
    )


def _decided_run(namespace: str, event: Event, payload: RunDecided) -> tuple[Any, ...]:
    completed = payload.status is RunStatus.COMPLETED
    return (
        namespace,
        payload.run_id,
        event.position,
        payload.definition_id,
        payload.definition_version,
        payload.trigger_kind,
        payload.trigger_key,
        payload.trigger_names,
        payload.trigger_sha256,
        payload.snapshot_sha256,
        payload.decision_sha256,
        payload.status,
        payload.tasks,
        payload.tasks - payload.human_tasks,
        payload.human_tasks,
        0,
        payload.workflow_run_id,
        event.envelope.occurred_at,
        event.envelope.occurred_at if completed else None,
        None,
        None,
        *_cause(event),
    )


def _undecided_run(namespace: str, event: Event, payload: RunFailed) -> tuple[Any, ...]:
    return (
        namespace,
        payload.run_id,
        event.position,
        payload.definition_id,
        payload.definition_version,
        payload.trigger_kind,
        payload.trigger_key,
        payload.trigger_names,
        payload.trigger_sha256,
        None,
        None,
        RunStatus.FAILED,
        0,
        0,
        0,
        0,
        payload.workflow_run_id,
        event.envelope.occurred_at,
        event.envelope.occurred_at,
        payload.failure.type,
        payload.failure.message,
        *_cause(event),
    )


def _created_task(namespace: str, event: Event, payload: TaskCreated) -> tuple[Any, ...]:
    assignees = payload.assignees
    return (
        namespace,
        payload.task_id,
        event.position,
        payload.run_id,
        payload.definition_id,
        payload.rule,
        payload.key,
        payload.type,
        payload.handler,
        payload.task_queue,
        payload.title,
        assignees.users if assignees else [],
        assignees.groups if assignees else [],
        canonical.render(payload.input),
        None if payload.form is None else canonical.render(payload.form),
        event.envelope.occurred_at,
        payload.due_at,
        payload.remind_at or [],
        payload.escalates_at,
        payload.escalates_to.users if payload.escalates_to else [],
        payload.escalates_to.groups if payload.escalates_to else [],
        payload.expires_at,
    )


def _cause(event: Event) -> tuple[str, str | None, str | None, int]:
    envelope = event.envelope
    return (
        envelope.correlation_id or str(envelope.subject),
        envelope.causation_id,
        envelope.traceparent,
        envelope.hops,
    )
