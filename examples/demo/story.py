"""What the demo shows: definitions, an event, a due time, and what becomes of them."""

import asyncio
import contextlib
import queue
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from composed import ComposedStack
from local import Stack
from records import Records
from screen import Screen

from backbone.ledger.v1 import ledger_pb2
from cli import documents, kafka, sources, starts
from cli.clients import Clients
from cli.errors import CliError, InvalidDocumentsError, NotFoundError, UnavailableError
from cli.inboxes import TaskFilter, TaskKind, TaskRequest
from cli.kinds import Kind
from cli.registry import Change
from cli.settings import Settings
from contracts import identifiers
from contracts.decisions import RunStatus, TaskStatus
from contracts.envelope import Envelope
from contracts.names import EventType

T = TypeVar("T")

EXAMPLES = Path(__file__).resolve().parents[1]
TOPIC = "dev.events"
BY_SCHEDULE = "billing.overdue-invoices"
BY_EVENT = "billing.large-payment"

_WITHIN_S = 120.0  # enough for a killed service to come back, and for Kafka to give it its part
_LOOK_S = 0.2
_ANSWERS: dict[str, bytes] = {
    "review": b'{"approved": true, "note": "answered by the demo"}',
    "call-the-customer": b'{"outcome": "will-pay", "note": "answered by the demo"}',
}


class WaitError(Exception):
    """Something did not happen in time; `service` is the one to look at."""

    def __init__(self, what: str, service: str, detail: str) -> None:
        super().__init__(f"waited {_WITHIN_S:.0f} s in vain for {what}{detail}")
        self.service = service


class Story:
    """One telling, on a stack that is up."""

    def __init__(
        self,
        *,
        screen: Screen,
        stack: Stack | ComposedStack,
        settings: Settings,
        troubles: "queue.SimpleQueue[str]",
        began: datetime,
    ) -> None:
        """Tell on `screen`; `troubles` brings the names of processes that crashed."""
        self._screen = screen
        self._stack = stack
        self._settings = settings
        self._troubles = troubles
        self._down: list[str] = []
        self._began = began
        self._watched: list[str] = []
        self._printed: set[str] = set()
        self.crashes = 0

    async def tell(self) -> list[str]:
        """Show everything; return the ids of the runs that were shown.

        Raises:
            WaitError: something did not happen in time.
            CliError: something was refused.
        """
        async with Clients(self._settings, actor="demo") as clients:
            self._clients = clients
            self._records = Records(kafka.bootstrap(self._settings), clients.namespace)
            try:
                await self._apply()
                await self._end_what_earlier_demos_left()
                event_run = await self._by_event()
                due_run = await self._by_schedule()
                await self._people([event_run, due_run])
                await self._settled()
            finally:
                self._records.close()
        return [event_run, due_run]

    async def _apply(self) -> None:
        self._screen.step("Three definitions are applied, with their event type and its producer")
        registry = self._clients.registry
        change = Change(
            sources.load([str(EXAMPLES / "definitions")]), namespace=self._clients.namespace
        )
        request_id = str(uuid.uuid4())
        answer = await self._until(
            "the definitions to be applied",
            "registry",
            lambda: registry.apply(
                change, plan_sha256="", request_id=request_id, reason="the demo"
            ),
        )
        for result in map(documents.apply_result, answer.results):
            kind, resource_id = Kind(result["kind"]), result["resource_id"]
            said = f"{resource_id} version {result['version']}"
            if kind is Kind.DEFINITION:
                stored = await self._until(
                    f"{resource_id} to be read back",
                    "registry",
                    lambda resource_id=resource_id: registry.resource(Kind.DEFINITION, resource_id),  # type: ignore[misc]
                )
                triggers = documents.resource(stored)["content"]["spec"]["triggers"]
                said += f": starts {', '.join(map(_trigger, triggers))}"
            else:
                said += f" ({kind})"
            changed = result["action"] != "unchanged"
            self._screen.line("applied" if changed else "unchanged", said)

    async def _end_what_earlier_demos_left(self) -> None:
        """Answer open tasks of earlier demos: a run that waits keeps its schedule waiting."""
        open_tasks = await self._until(
            "the list of open tasks",
            "ledger",
            lambda: self._listed(TaskStatus.OPEN),
        )
        for task in open_tasks:
            if task.rule in _ANSWERS and task.created_at.ToDatetime(tzinfo=UTC) < self._began:
                await self._answer(task)
                self._screen.note(f"answered {task.title!r}, left open by an earlier demo")

    async def _by_event(self) -> str:
        self._screen.step(f"An event is published to Kafka ({TOPIC})")
        ((event, content),) = starts.envelopes((EXAMPLES / "payment.json").read_bytes(), fill=True)

        async def publish() -> list[kafka.Published]:
            servers = kafka.bootstrap(self._settings)
            return await kafka.publish(servers, TOPIC, [(event, content)])

        (at,) = await self._until("Kafka to take the event", "kafka", publish)
        self._screen.line("event", f"{event.type} {event.event_id}")
        self._screen.value("payload", event.payload)
        self._screen.line("kafka", f"partition {at.partition}, offset {at.offset}")
        run_id = _run_of(event)
        run = await self._recorded(run_id, "router")
        self._screen.line(
            "route", f"{run['definition_id']} version {run['definition_version']} matches"
        )
        await self._show_run(run)
        return run_id

    async def _by_schedule(self) -> str:
        self._screen.step("A due time comes (every 10 s)")
        due = await self._until(f"a due time of {BY_SCHEDULE}", "orchestrator-worker", self._due)
        self._screen.line(
            "due", f"{documents.moment(due, 'due_at')} ({', '.join(due.trigger_names)})"
        )
        run = await self._recorded(due.run_id, "orchestrator-worker")
        await self._show_run(run)
        return due.run_id

    async def _people(self, run_ids: list[str]) -> None:
        self._screen.step("The human tasks are answered, and the runs end")
        for run_id in run_ids:
            run = await self._recorded(run_id, "ledger")
            for task in run["task_list"]:
                if task["type"] == TaskKind.HUMAN:
                    message = await self._until(
                        f"task {task['task_id']}",
                        "ledger",
                        lambda task_id=task["task_id"]: self._clients.inbox.task(task_id),  # type: ignore[misc]
                    )
                    done = documents.task(await self._answer(message))
                    self._screen.line(
                        "task", f"{done['title']}: {done['status']} by {done['closed_by']}"
                    )
                    self._screen.value("answer", done["output"])
        for run_id in run_ids:
            await self._until(
                f"run {run_id} to end",
                "ledger",
                lambda run_id=run_id: self._ended(run_id),  # type: ignore[misc]
            )
            await self._on_kafka(run_id)
            self._screen.line("run", f"{run_id} completed")

    async def _settled(self) -> None:
        """Wait until what was killed meanwhile runs again."""
        for name in list(self._down):
            await self._until(f"{name} to run again", name, lambda: _async(not self._down))

    async def _show_run(self, run: dict[str, Any]) -> None:
        self._screen.line("run", run["run_id"])
        for name, value in sorted((run["snapshot"] or {}).items()):
            rows = value if isinstance(value, list) else [value]
            for row in rows:
                self._screen.value("context", {name: row})
        for trace in run["decision"]["rules"]:
            items = "" if trace.get("items") is None else f", {_count(trace['items'], 'item')}"
            self._screen.line(
                "decision",
                f"rule {trace['rule']}: when is {str(trace['when']).lower()}{items} "
                f"→ {_count(len(trace['tasks']), 'task')}",
            )
        self._watch(run["run_id"])
        for task in (await self._automated_done(run["run_id"]))["task_list"]:
            what = task["title"] or f"{task['handler']} {task['key']}".strip()
            self._screen.line("task", f"{task['type']}, {what}: {task['status']}")
            if task["output"] is not None:
                self._screen.value("output", task["output"])
        await self._on_kafka(run["run_id"])

    async def _recorded(self, run_id: str, service: str) -> dict[str, Any]:
        async def look() -> dict[str, Any]:
            run = documents.run_in_full(await self._clients.run(run_id))
            if run["decision"] is None:
                raise CliError(f"run {run_id} could not decide: {run['failure']}")
            return run

        return await self._until(f"run {run_id} to be recorded", service, look)

    async def _automated_done(self, run_id: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            run = await self._recorded(run_id, "ledger")
            failed = [task for task in run["task_list"] if task["status"] == TaskStatus.FAILED]
            if failed:
                raise CliError(f"task {failed[0]['task_id']} failed: {failed[0]['failure']}")
            done = all(
                task["status"] == TaskStatus.COMPLETED or task["type"] == TaskKind.HUMAN
                for task in run["task_list"]
            )
            return run if done else None

        return await self._until(f"the automated tasks of {run_id}", "task-worker", look)

    async def _due(self) -> ledger_pb2.DueTime | None:
        for due in await self._clients.due_times(BY_SCHEDULE, limit=50):
            decided = due.decided_at.ToDatetime(tzinfo=UTC)
            if due.outcome == ledger_pb2.DUE_OUTCOME_RUN and decided >= self._began:
                return due
        return None

    async def _ended(self, run_id: str) -> bool:
        run = documents.run_in_full(await self._clients.run(run_id))
        if run["status"] == RunStatus.FAILED:
            raise CliError(f"run {run_id} failed: {run['failure']}")
        return bool(run["status"] == RunStatus.COMPLETED)

    async def _on_kafka(self, run_id: str) -> None:
        """Wait until what the run's tasks are now has been read back from Kafka."""

        async def look() -> bool:
            tasks = [documents.task(one) for one in (await self._clients.run(run_id)).tasks]
            completed = {one["task_id"] for one in tasks if one["status"] == TaskStatus.COMPLETED}
            records = self._records.of_run(run_id)
            return (
                _task_ids(records, EventType.TASK_CREATED) == {one["task_id"] for one in tasks}
                and _task_ids(records, EventType.TASK_COMPLETED) == completed
            )

        await self._until(f"the records of run {run_id} on Kafka", "outbox-relay", look)

    async def _listed(self, status: TaskStatus) -> list[ledger_pb2.Task]:
        wanted = TaskFilter(status=status, kind=TaskKind.HUMAN)
        return await self._clients.inbox.tasks(wanted, limit=1000)

    async def _answer(self, task: ledger_pb2.Task) -> ledger_pb2.Task:
        # One request id for all tries: an answer that got lost is not a second one.
        asked = TaskRequest(task.task_id, str(uuid.uuid4()), reason="answered by the demo")
        return await self._until(
            f"the answer to task {task.task_id}",
            "ledger",
            lambda: self._clients.inbox.complete(asked, answer=_ANSWERS[task.rule]),
        )

    async def _until(self, what: str, service: str, look: Callable[[], Awaitable[T | None]]) -> T:
        """Ask `look` until it gives something, showing meanwhile what comes; None, False: not yet.

        Raises:
            WaitError: it gave nothing in time.
            CliError: it was refused.
        """
        deadline = time.monotonic() + _WITHIN_S
        while True:
            detail = ""
            try:
                found = await look()
                self._show_arrived()
                if found is not None and found is not False:
                    return found
            except InvalidDocumentsError as exc:
                problems = "; ".join(
                    f"{one.document}: {one.path}: {one.message}" for one in exc.problems
                )
                raise CliError(f"{exc}: {problems}") from exc
            except (UnavailableError, NotFoundError) as exc:
                detail = f" ({exc})"
            if time.monotonic() > deadline:
                raise WaitError(what, service, detail)
            await asyncio.sleep(_LOOK_S)

    def _watch(self, run_id: str) -> None:
        self._watched.append(run_id)
        for envelope in self._records.of_run(run_id):
            self._show_record(envelope)

    def _show_arrived(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._down.append(self._troubles.get_nowait())
                self.crashes += 1
        for name in [name for name in self._down if self._stack.runs(name)]:
            self._down.remove(name)
            self._screen.trouble(f"{name} was restarted and is ready again")
        for envelope in self._records.arrived():
            if envelope["payload"].get("run_id") in self._watched:
                self._show_record(envelope)

    def _show_record(self, envelope: dict[str, Any]) -> None:
        if envelope["event_id"] in self._printed:
            return
        self._printed.add(envelope["event_id"])
        payload = envelope["payload"]
        about = "".join(f"  {payload[name]}" for name in ("rule", "key") if payload.get(name))
        self._screen.line("record", f"{envelope['topic']}  {envelope['type']}{about}")


def _run_of(event: Envelope) -> str:
    key = identifiers.event_trigger_key(event.source, event.event_id)
    return identifiers.run_id(BY_EVENT, key)


def _trigger(trigger: dict[str, Any]) -> str:
    schedule = trigger.get("schedule")
    if schedule is None:
        return f"on {trigger['event']['type']}"
    return f"every {schedule['every']}" if "every" in schedule else f"at {schedule['cron']}"


def _task_ids(records: Iterable[dict[str, Any]], kind: EventType) -> set[str]:
    return {one["payload"]["task_id"] for one in records if one["type"] == kind}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


async def _async(value: T) -> T:
    return value
