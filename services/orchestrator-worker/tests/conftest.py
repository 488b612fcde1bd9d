"""Factories of what every test of the worker needs: definitions, runs, and a ledger in memory."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.definitions import ActivityDefinition, ContextEntry, RunEnd
from contracts.runs import (
    Acknowledgement,
    Advanced,
    AdvanceInput,
    AdvanceTask,
    FailureHandling,
    LastRun,
    RecordOutcome,
    RunFailure,
    RunInput,
    TaskFailure,
    TaskOutcome,
)
from contracts.triggers import Trigger, TriggerKind
from orchestrator_worker.domain.executions import OpenExecution, Operation, OperationResult
from orchestrator_worker.errors import DefinitionNotFoundError, NeighbourUnavailableError
from orchestrator_worker.ports import Answer, Recorded


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


class FakeLedger:
    """The ledger's promises in memory: the first decision stands, an outcome counts once."""

    def __init__(self) -> None:
        self.runs: dict[str, tuple[str, bytes]] = {}
        self.snapshots: dict[str, bytes] = {}
        self.shadow_id = ""
        self.failures: dict[str, RunFailure] = {}
        self.outcomes: dict[uuid.UUID, TaskOutcome] = {}
        self.advances: list[AdvanceTask] = []
        self.next_at: dict[uuid.UUID, list[datetime]] = {}
        self.last: LastRun | None = None
        self.asked_last: list[tuple[str, RunEnd | None]] = []

    async def record_run(
        self, run: RunInput, *, workflow_run_id: str, snapshot: bytes, decision: bytes
    ) -> Recorded:
        if run.run_id not in self.runs:
            self.runs[run.run_id] = (workflow_run_id, decision)
            self.snapshots[run.run_id] = snapshot
            return Recorded(RecordOutcome.RECORDED, decision, self.shadow_id)
        owner, standing = self.runs[run.run_id]
        same = owner == workflow_run_id
        return Recorded(RecordOutcome.REPEATED if same else RecordOutcome.DUPLICATE, standing)

    async def last_run(self, run: RunInput, *, status: RunEnd | None) -> LastRun | None:
        self.asked_last.append((run.run_id, status))
        return self.last

    async def record_run_failure(self, failure: RunFailure) -> RecordOutcome:
        self.failures[failure.run.run_id] = failure
        return RecordOutcome.RECORDED

    async def record_task_outcome(self, outcome: TaskOutcome) -> bool:
        return self.outcomes.setdefault(outcome.task_id, outcome) is outcome

    async def advance_task(self, advance: AdvanceTask) -> datetime | None:
        self.advances.append(advance)
        times = self.next_at.get(advance.task_id, [])
        now = datetime.now(UTC)
        return next((at for at in times if at > max(now, advance.woken_for or now)), None)

    async def advance_schedule(self, _advance: AdvanceInput) -> Advanced:
        return Advanced()

    async def acknowledge_runs(self, _acknowledgement: Acknowledgement) -> None:
        return None


class FakeControl:
    """The ledger's control in memory: operations until done, what is open, what was told."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.results: list[OperationResult] = []
        self.open: list[OpenExecution] = []
        self.closed: dict[str, TaskFailure] = {}
        self.handled: dict[uuid.UUID, FailureHandling] = {}
        self.pages = 0
        self.away = False

    async def claim_operations(
        self, namespace: str, *, limit: int, lease: timedelta
    ) -> list[Operation]:
        del lease
        self._answer()
        return [one for one in self.operations if one.namespace == namespace][:limit]

    async def confirm_operations(self, namespace: str, results: Sequence[OperationResult]) -> None:
        del namespace
        self._answer()
        self.results += results
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
        return self.closed.setdefault(execution.workflow_id, failure) is failure

    async def record_failure_handled(self, handling: FailureHandling) -> bool:
        self._answer()
        return self.handled.setdefault(handling.call_id, handling) is handling

    def _answer(self) -> None:
        if self.away:
            raise NeighbourUnavailableError("the ledger is away")


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
def ledger() -> FakeLedger:
    return FakeLedger()


@pytest.fixture
def make_definition() -> Callable[..., ActivityDefinition]:
    """Make a definition with one rule per given (handler, items) or with explicit rules."""

    def make(
        *,
        rules: list[dict[str, Any]] | None = None,
        context: list[dict[str, Any]] | None = None,
        task_queue: str = "billing-tq",
        on_failure: dict[str, Any] | None = None,
    ) -> ActivityDefinition:
        return ActivityDefinition.model_validate(
            {
                "apiVersion": "backbone/v1",
                "kind": "ActivityDefinition",
                "metadata": {"id": "billing.overdue", "namespace": "dev", "owner": "billing"},
                "spec": {
                    "taskQueue": task_queue,
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
