"""The use cases of tasks: what people do to human ones, what the clock does, and what is shown.

Whoever changes a task holds the lock of its run. So of two who do it at once the second one sees
what the first one did, and is told.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, JsonValue

from contracts import canonical
from contracts.decisions import TaskStatus
from contracts.definitions import Assignees
from contracts.events import TaskCancelled, TaskCompleted, TaskExpired
from contracts.telemetry import Attribute, Metric
from eventstore.events import Fact
from ledger.domain import due, runs
from ledger.domain import tasks as domain
from ledger.domain.runs import RunState, TaskType
from ledger.domain.tasks import HumanTask, Person
from ledger.errors import TaskNotFoundError
from ledger.ports.runs import RunStore
from ledger.ports.tasks import TaskChangeRow, TaskRow, TaskStore
from ledger.service import once, writing
from ledger.service.appending import RunAppender
from runtime import logs, telemetry
from runtime.postgres import Postgres, Transaction

_CLOSING: dict[type[BaseModel], TaskStatus] = {
    TaskCompleted: TaskStatus.COMPLETED,
    TaskCancelled: TaskStatus.CANCELLED,
    TaskExpired: TaskStatus.EXPIRED,
}
_log = logs.get_logger(__name__)


@dataclass(frozen=True)
class Request:
    """Who asks for a change of which task; `version` is the one looked at, 0 for any.

    The same `request_id` again changes nothing more.
    """

    namespace: str
    task_id: UUID
    person: Person
    request_id: str
    version: int = 0
    reason: str = ""


class TaskLedger:
    """Keeps the tasks of runs; the inbox of the human ones.

    Every change raises TaskNotFoundError, PreconditionError (the task is closed, or claimed by
    somebody else, or a handler's), StaleTaskError, NotAssignedError, and InvalidRequestError when
    its request id was used for something else.
    """

    def __init__(
        self, *, database: Postgres, tasks: TaskStore, runs: RunStore, appender: RunAppender
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._runs = runs
        self._appender = appender
        meter = telemetry.meter(__name__)
        self._closed = meter.create_counter(
            Metric.LEDGER_TASKS, description="Tasks closed, by status, definition and handler."
        )
        self._changes = meter.create_counter(
            Metric.LEDGER_TASK_CHANGES, description="Changes of human tasks, by event type."
        )

    async def claim(self, request: Request) -> TaskRow:
        """Take a task; one that the person has claimed already stays as it is."""
        return await self._change(
            "ClaimTask", request, lambda task: domain.claimed(task, request.person, request.reason)
        )

    async def release(self, request: Request) -> TaskRow:
        """Give a claimed task back; one that nobody has claimed stays as it is."""
        return await self._change(
            "ReleaseTask",
            request,
            lambda task: domain.released(task, request.person, request.reason),
        )

    async def complete(self, request: Request, *, answer: JsonValue, answer_body: bytes) -> TaskRow:
        """Complete a task with an answer.

        Raises:
            AnswerRefusedError: the answer does not fit the form.
        """
        return await self._change(
            "CompleteTask",
            request,
            lambda task: domain.completed(
                task, request.person, request.reason, answer=answer, answer_body=answer_body
            ),
            content=answer_body,
        )

    async def cancel(self, request: Request) -> TaskRow:
        """Close a task that is not wanted any more."""
        return await self._change(
            "CancelTask",
            request,
            lambda task: domain.cancelled(task, request.person, request.reason),
        )

    async def reassign(self, request: Request, *, to: Assignees) -> TaskRow:
        """Give a task to others."""
        return await self._change(
            "ReassignTask",
            request,
            lambda task: domain.reassigned(task, request.person, request.reason, to=to),
            content=canonical.render(to),
        )

    async def comment(self, request: Request, *, comment: str) -> TaskRow:
        """Write something about a task."""
        return await self._change(
            "CommentTask",
            request,
            lambda task: domain.commented(task, request.person, comment),
            content=comment.encode(),
        )

    async def advance(
        self, *, namespace: str, task_id: UUID, woken_for: datetime | None
    ) -> datetime | None:
        """Carry out what the clock asks of a human task by now; return when to look again.

        None says never: the task is closed, or all its times are behind.

        Raises:
            TaskNotFoundError: there is no such task.
        """

        async def work(transaction: Transaction) -> tuple[list[Fact], datetime | None]:
            run, task, clock = await self._lock(transaction, task_id)
            if task.type != "human" or task.status is not TaskStatus.OPEN:
                return [], None
            now = due.believed_now(clock, woken_for)
            facts = domain.advanced(task, now)
            await self._append(transaction, run, facts, at=clock)
            return facts, None if _status(facts) else task.timers.next_at(now)

        facts, next_at = await writing.write(self._database, "advance_task", namespace, work)
        self._count(namespace, facts)
        for fact in facts:
            _log.info("task_advanced", task_id=str(task_id), event_type=fact.type.value)
        return next_at

    async def get(self, *, namespace: str, task_id: UUID, person: Person) -> TaskRow:
        """Return a task. Raises TaskNotFoundError, for one too that the person may not see."""
        async with self._database.transaction(namespace) as transaction:
            return await self._visible(transaction, task_id, person)

    async def page(
        self,
        *,
        namespace: str,
        before: int | None,
        run_id: str | None,
        status: TaskStatus | None,
        task_type: TaskType | None,
        definition_id: str | None,
        due_before: datetime | None,
        whose: domain.Assignment | None,
        limit: int,
    ) -> list[TaskRow]:
        """Return at most `limit` tasks, newest first, from before a position."""
        async with self._database.transaction(namespace) as transaction:
            return await self._tasks.page(
                transaction,
                before=before,
                run_id=run_id,
                status=status,
                task_type=task_type,
                definition_id=definition_id,
                due_before=due_before,
                whose=whose,
                limit=limit,
            )

    async def changes(
        self, *, namespace: str, task_id: UUID, person: Person, after: int, limit: int
    ) -> list[TaskChangeRow]:
        """Return at most `limit` of what happened to a task, oldest first. Raises as `get`."""
        async with self._database.transaction(namespace) as transaction:
            await self._visible(transaction, task_id, person)
            return await self._tasks.changes(transaction, task_id, after=after, limit=limit)

    async def _change(
        self,
        method: str,
        request: Request,
        decide: Callable[[HumanTask], list[Fact]],
        *,
        content: bytes = b"",
    ) -> TaskRow:
        person = request.person

        async def work(transaction: Transaction) -> tuple[list[Fact], TaskRow]:
            run, task, now = await self._lock(transaction, request.task_id)
            facts: list[Fact] = []
            if await once.is_first(
                self._runs,
                transaction,
                method=method,
                request_id=request.request_id,
                content=f"{person.subject}\n{request.task_id}\n".encode() + content,
                actor=person.subject,
                reason=request.reason,
                otherwise="something else before: another task, person or content",
            ):
                self._refuse_unseen(task, person)
                domain.refuse_unless_open(task, version=request.version)
                facts = decide(task)
                await self._append(transaction, run, facts, at=now)
            row = await self._tasks.get(transaction, request.task_id)
            if row is None:
                raise TaskNotFoundError(str(request.task_id))
            return facts, row

        facts, row = await writing.write(self._database, "change_task", request.namespace, work)
        self._count(request.namespace, facts)
        for fact in facts:
            _log.info(
                "task_changed",
                namespace=request.namespace,
                task_id=str(request.task_id),
                run_id=row.run_id,
                event_type=fact.type.value,
                actor=person.subject,
            )
        return row

    async def _lock(
        self, transaction: Transaction, task_id: UUID
    ) -> tuple[RunState, HumanTask, datetime]:
        run_id = await self._tasks.run_of(transaction, task_id)
        locked = None if run_id is None else await self._runs.lock_run(transaction, run_id)
        task = await self._tasks.of_locked_run(transaction, task_id) if locked else None
        if locked is None or task is None:
            raise TaskNotFoundError(str(task_id))
        run, now = locked
        return run, task, now

    async def _append(
        self, transaction: Transaction, run: RunState, facts: list[Fact], *, at: datetime
    ) -> None:
        ending = runs.ending(run, closed=1) if _status(facts) else []
        if facts:
            await self._appender.append(transaction, run, [*facts, *ending], at=at)

    async def _visible(self, transaction: Transaction, task_id: UUID, person: Person) -> TaskRow:
        row = await self._tasks.get(transaction, task_id)
        if row is None:
            raise TaskNotFoundError(str(task_id))
        self._refuse_unseen(row, person)
        return row

    def _refuse_unseen(self, task: TaskRow | HumanTask, person: Person) -> None:
        # Who may not see a task is not told that it is there.
        if not domain.may_see(
            person,
            users=task.assigned_users,
            groups=task.assigned_groups,
            claimed_by=task.claimed_by,
        ):
            raise TaskNotFoundError(str(task.task_id))

    def _count(self, namespace: str, facts: list[Fact]) -> None:
        for fact in facts:
            self._changes.add(
                1, {Attribute.NAMESPACE: namespace, Attribute.EVENT_TYPE: fact.type.value}
            )
        status = _status(facts)
        if status is not None:
            self._closed.add(1, {Attribute.NAMESPACE: namespace, Attribute.OUTCOME: status.value})


def _status(facts: list[Fact]) -> TaskStatus | None:
    """Return the status that facts close their task with, None when it stays open."""
    return next(
        (_CLOSING[type(fact.payload)] for fact in facts if type(fact.payload) in _CLOSING), None
    )
