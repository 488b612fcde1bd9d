"""Factories of what every test of the worker needs: definitions, runs, and a ledger in memory."""

import json
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.decisions import Decision
from contracts.definitions import ActivityDefinition, ContextEntry, RunEnd
from contracts.runs import (
    Acknowledgement,
    Advanced,
    AdvanceInput,
    AdvanceTask,
    ApplyNextInput,
    DueRun,
    FailureHandling,
    LastRun,
    RecordOutcome,
    RunFailure,
    RunInput,
    TaskFailure,
    TaskOutcome,
)
from contracts.sensitive import Reference
from contracts.triggers import TimerOf, Trigger, TriggerKind
from orchestrator_worker.domain.executions import (
    CutShort,
    Ended,
    OpenExecution,
    Operation,
    OperationResult,
    OverdueSchedule,
    WaitingInstance,
)
from orchestrator_worker.errors import (
    DefinitionNotFoundError,
    NeighbourUnavailableError,
    RefusedError,
)
from orchestrator_worker.ports import Answer, Next, Place, Recorded
from rules.instances import Step


class FakeDefinitions:
    """Definitions by version, and how often each was asked for."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str, int], ActivityDefinition] = {}
        self.asked: list[int] = []

    async def get(self, namespace: str, definition_id: str, version: int) -> ActivityDefinition:
        self.asked.append(version)
        found = self.known.get((namespace, definition_id, version))
        if found is None:
            raise DefinitionNotFoundError(f"no version {version} of {definition_id}")
        return found


class FakeSensitiveValues:
    """Sensitive values by their references' ids; what is not there is erased."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}
        self.asked = 0
        self.away = False

    async def resolve(self, namespace: str, references: Collection[Reference]) -> dict[str, Any]:
        self.asked += 1
        if self.away:
            raise NeighbourUnavailableError(f"no values of {namespace} now")
        return {
            one.blob_id: self.known[one.blob_id] for one in references if one.blob_id in self.known
        }


class FakeContext:
    """Answers from a dictionary, or raises what a test put there; calls what can be called."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.redact: list[str] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def look(self, entry: ContextEntry, parameters: Mapping[str, Any]) -> Answer:
        self.asked.append((entry.name, dict(parameters)))
        answer = self.answers[entry.name]
        if callable(answer):
            answer = await answer()
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer, redact=self.redact)


class FakeInstances:
    """The ledger's promises for instances in memory: what waits is applied once, in its place."""

    def __init__(self) -> None:
        self.queues: dict[str, list[RunInput]] = {}
        self.states: dict[str, list[bytes]] = {}
        self.timers: dict[str, dict[str, datetime]] = {}
        self.ended: list[int] = []
        self.runs: dict[str, bytes] = {}
        self.failed: set[str] = set()
        self.adopted: dict[str, str] = {}
        self.asked = 0
        self.stale = 0

    def put(self, key_hash: str, run: RunInput) -> None:
        """Let an event wait, unless it does or was applied."""
        queue = self.queues.setdefault(key_hash, [])
        if run not in queue and run.run_id not in self.runs and run.run_id not in self.failed:
            queue.append(run)

    async def next(self, question: ApplyNextInput) -> Next:
        self.asked += 1
        queue = self.queues.setdefault(question.key_hash, [])
        queue[:] = [
            run
            for run in queue
            if run.run_id not in self.failed
            and run.run_id != question.begun
            and (run.run_id not in self.runs or self._has_work(run.run_id))
        ]
        states = self.states.setdefault(question.key_hash, [])
        place = Place(
            generation=len(self.ended) + 1,
            sequence=len(states) + 1,
            state=states[-1] if states else b"",
        )
        run = queue[0] if queue else None
        if run is not None:
            return Next(place, run, applied=run.run_id in self.runs)
        return self._timer(question, place)

    def _timer(self, question: ApplyNextInput, place: Place) -> Next:
        """Return the timer that is due, or when one is."""
        now, pending = datetime.now(UTC), self.timers.get(question.key_hash, {})
        due = {name: at for name, at in pending.items() if at <= now}
        if not due:
            return Next(place, due_in=min((at - now for at in pending.values()), default=None))
        name = min(due, key=lambda one: due[one])
        trigger = Trigger(
            kind=TriggerKind.TIMER,
            names=[name],
            definition_version=1,
            timer=TimerOf(key_hash=question.key_hash, generation=1, sequence=place.sequence),
            scheduled_for=due[name],
        )
        definition_id = question.definition_id
        run = RunInput(
            namespace="dev",
            run_id=f"{definition_id}:{trigger.key}",
            definition_id=definition_id,
            trigger=trigger,
        )
        return Next(place, run)

    async def apply(
        self,
        question: ApplyNextInput,
        found: Next,
        *,
        step: Step,
        snapshot: bytes,
        decision: bytes,
    ) -> Next | None:
        assert json.loads(snapshot) is not None
        assert found.run is not None
        run_id, states = found.run.run_id, self.states.setdefault(question.key_hash, [])
        if run_id in self.runs:
            return None
        if found.place.sequence != len(states) + 1:
            self.stale += 1
            raise NeighbourUnavailableError("the instance has gone on")
        states.append(step.after)
        self.runs[run_id] = decision
        pending = self.timers.setdefault(question.key_hash, {})
        if ":timer:" in run_id:
            pending.pop(run_id.rpartition(":")[2])
        else:
            pending.clear()
            pending.update({one.name: datetime.now(UTC) + one.after for one in step.timers})
        if step.ended:
            self.ended.append(len(states))
            states.clear()
        if self._has_work(run_id):
            return None
        return await self.next(question.model_copy(update={"begun": ""}))

    async def waiting(
        self, namespace: str, *, page_token: str, limit: int, min_age: timedelta
    ) -> tuple[list[WaitingInstance], str]:
        del namespace, min_age
        first = int(page_token or 0)
        keys = [(key, queue) for key, queue in sorted(self.queues.items()) if queue]
        more = str(first + limit) if first + limit < len(keys) else ""
        return [
            WaitingInstance(queue[0].definition_id, key, queue[0].trigger.definition_version)
            for key, queue in keys[first : first + limit]
        ], more

    def _has_work(self, run_id: str) -> bool:
        return Decision.model_validate_json(self.runs[run_id]).has_work

    async def adopt_run(self, run: RunInput, *, workflow_run_id: str) -> Recorded:
        holder = self.adopted.setdefault(run.run_id, workflow_run_id)
        if holder != workflow_run_id:
            return Recorded(RecordOutcome.DUPLICATE, b"")
        return Recorded(RecordOutcome.RECORDED, self.runs[run.run_id])


class FakeLedger:
    """The ledger's promises in memory: the first decision stands, an outcome counts once."""

    def __init__(self, instances: FakeInstances) -> None:
        self._instances = instances
        self.runs: dict[str, tuple[str, bytes]] = {}
        self.snapshots: dict[str, bytes] = {}
        self.shadow_id = ""
        self.effects_halted = False
        self.failures: dict[str, RunFailure] = {}
        self.outcomes: dict[uuid.UUID, TaskOutcome] = {}
        self.advances: list[AdvanceTask] = []
        self.next_at: dict[uuid.UUID, list[datetime]] = {}
        self.last: LastRun | None = None
        self.asked_last: list[tuple[str, RunEnd | None]] = []
        self.due: list[DueRun] = []
        self.waits_until: datetime | None = None
        self.acknowledged: list[Acknowledgement] = []

    async def record_run(
        self, run: RunInput, *, workflow_run_id: str, snapshot: bytes, decision: bytes
    ) -> Recorded:
        if run.run_id not in self.runs:
            self.runs[run.run_id] = (workflow_run_id, decision)
            self.snapshots[run.run_id] = snapshot
            return Recorded(
                RecordOutcome.RECORDED,
                decision,
                self.shadow_id,
                effects_halted=self.effects_halted,
            )
        owner, standing = self.runs[run.run_id]
        same = owner == workflow_run_id
        return Recorded(RecordOutcome.REPEATED if same else RecordOutcome.DUPLICATE, standing)

    async def last_run(self, run: RunInput, *, status: RunEnd | None) -> LastRun | None:
        self.asked_last.append((run.run_id, status))
        return self.last

    async def record_run_failure(self, failure: RunFailure) -> RecordOutcome:
        if failure.run.run_id in {*self.runs, *self.failures}:
            return RecordOutcome.REPEATED
        self.failures[failure.run.run_id] = failure
        self._instances.failed.add(failure.run.run_id)
        return RecordOutcome.RECORDED

    async def record_task_outcome(self, outcome: TaskOutcome) -> bool:
        return self.outcomes.setdefault(outcome.task_id, outcome) is outcome

    async def advance_task(self, advance: AdvanceTask) -> datetime | None:
        self.advances.append(advance)
        times = self.next_at.get(advance.task_id, [])
        now = datetime.now(UTC)
        return next((at for at in times if at > max(now, advance.woken_for or now)), None)

    async def advance_schedule(self, _advance: AdvanceInput) -> Advanced:
        told = {run_id for one in self.acknowledged for run_id in one.run_ids}
        return Advanced(
            runs=[due for due in self.due if due.run.run_id not in told], next_at=self.waits_until
        )

    async def acknowledge_runs(self, acknowledgement: Acknowledgement) -> None:
        self.acknowledged.append(acknowledgement)


class FakeControl:
    """The ledger's control in memory: operations until done, what is open, what was told.

    It has to pass `integration/test_control_port.py`, as the adapter does.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.results: list[OperationResult] = []
        self.open: list[OpenExecution] = []
        self.overdue: list[OverdueSchedule] = []
        self.closed: dict[str, TaskFailure] = {}
        self.handled: dict[uuid.UUID, FailureHandling] = {}
        self.pages = 0
        self.away = False
        self.halted: str | None = None
        self._leased_until: dict[str, float] = {}

    async def effects_halted(self, namespace: str, definition_id: str) -> str | None:
        del namespace, definition_id
        self._answer()
        return self.halted

    async def claim_operations(
        self, namespace: str, *, limit: int, lease: timedelta
    ) -> list[Operation]:
        self._answer()
        now = time.monotonic()
        claimed = [
            one
            for one in self.operations
            if one.namespace == namespace and self._leased_until.get(one.operation_id, 0.0) <= now
        ][:limit]
        for one in claimed:
            self._leased_until[one.operation_id] = now + lease.total_seconds()
        return claimed

    async def confirm_operations(self, namespace: str, results: Sequence[OperationResult]) -> None:
        del namespace
        self._answer()
        self.results += results
        for one in results:
            self._leased_until.pop(one.operation.operation_id, None)
        done = {one.operation.operation_id for one in results if one.error is None}
        self.operations = [one for one in self.operations if one.operation_id not in done]

    async def open_executions(
        self, namespace: str, *, page_token: str, limit: int, min_age: timedelta
    ) -> tuple[list[OpenExecution], str]:
        del namespace, min_age
        self._answer()
        self.pages += 1
        first = int(page_token or 0)
        more = str(first + limit) if first + limit < len(self.open) else ""
        return self.open[first : first + limit], more

    async def close_execution(
        self, namespace: str, execution: OpenExecution, failure: TaskFailure
    ) -> bool:
        del namespace
        self._answer()
        if execution.workflow_id in self.closed:
            return False
        self.closed[execution.workflow_id] = failure
        return True

    async def overdue_schedules(
        self, namespace: str, *, limit: int, min_age: timedelta
    ) -> list[OverdueSchedule]:
        del namespace, min_age
        self._answer()
        return self.overdue[:limit]

    async def record_failure_handled(self, handling: FailureHandling) -> bool:
        self._answer()
        if handling.call_id in self.handled:
            return False
        self.handled[handling.call_id] = handling
        return True

    def _answer(self) -> None:
        if self.away:
            raise NeighbourUnavailableError("the ledger is away")


class FakeExecutions:
    """Temporal in memory: what was started, cancelled and has ended."""

    def __init__(self) -> None:
        self.started: list[tuple[str, str, Any]] = []
        self.cancelled: list[str] = []
        self.woken: list[tuple[str, str, str]] = []
        self.ends: dict[str, Ended] = {}
        self.inputs: dict[CutShort, RunInput | None] = {}
        self.looked_back: datetime | None = None
        self.error: Exception | None = None
        self.refused: set[str] = set()

    async def start(self, namespace: str, given: Any, *, workflow_id: str, task_queue: str) -> bool:
        del namespace
        self._answer()
        if workflow_id in self.refused:
            raise RefusedError(f"Temporal refuses: {workflow_id}")
        self.started.append((workflow_id, task_queue, given))
        return True

    async def wake(
        self, namespace: str, definition_id: str, key_hash: str, *, task_queue: str
    ) -> None:
        del namespace
        self._answer()
        self.woken.append((definition_id, key_hash, task_queue))

    async def cancel(self, namespace: str, workflow_id: str) -> None:
        del namespace
        self._answer()
        self.cancelled.append(workflow_id)

    async def ended(self, namespace: str, workflow_id: str) -> Ended | None:
        del namespace
        self._answer()
        return self.ends.get(workflow_id)

    async def cut_short(
        self, namespace: str, *, since: datetime, page_token: str, limit: int
    ) -> tuple[list[CutShort], str]:
        del namespace
        self._answer()
        self.looked_back = since
        at = int(page_token or 0)
        page = [*self.inputs][at : at + limit]
        return page, str(at + limit) if at + limit < len(self.inputs) else ""

    async def began_with(self, namespace: str, one: CutShort) -> RunInput | None:
        del namespace
        self._answer()
        return self.inputs[one]

    def _answer(self) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture
def executions() -> FakeExecutions:
    return FakeExecutions()


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
def definitions() -> FakeDefinitions:
    return FakeDefinitions()


@pytest.fixture
def context() -> FakeContext:
    return FakeContext()


@pytest.fixture
def sensitive_values() -> FakeSensitiveValues:
    return FakeSensitiveValues()


@pytest.fixture
def instances() -> FakeInstances:
    return FakeInstances()


@pytest.fixture
def ledger(instances: FakeInstances) -> FakeLedger:
    return FakeLedger(instances)


@pytest.fixture
def make_definition() -> Callable[..., ActivityDefinition]:
    """Make a definition with one rule per given (handler, items) or with explicit rules."""

    def make(
        *,
        rules: list[dict[str, Any]] | None = None,
        context: list[dict[str, Any]] | None = None,
        task_queue: str = "billing-tq",
        on_failure: dict[str, Any] | None = None,
        **spec: Any,
    ) -> ActivityDefinition:
        return ActivityDefinition.model_validate(
            {
                "apiVersion": "backbone/v1",
                "kind": "ActivityDefinition",
                "metadata": {"id": "billing.overdue", "namespace": "dev", "owner": "billing"},
                "spec": {
                    "taskQueue": task_queue,
                    **spec,
                    "context": context or [],
                    "onFailure": on_failure,
                    "rules": rules
                    or [
                        {
                            "name": "remind",
                            "task": {
                                "type": "automated",
                                "handler": "send_reminder",
                                "taskQueue": "notifications-tq",
                            },
                        }
                    ],
                },
            }
        )

    return make


@pytest.fixture
def make_run() -> Callable[..., RunInput]:
    """Make the input of a run started by hand, by a fresh request."""

    def make(*, version: int = 1, **trigger: Any) -> RunInput:
        made = Trigger(
            kind=TriggerKind.MANUAL,
            definition_version=version,
            request_id=uuid.uuid4().hex,
            **trigger,
        )
        return RunInput(
            namespace="dev",
            run_id=f"billing.overdue:{made.key}",
            definition_id="billing.overdue",
            trigger=made,
        )

    return make
