"""Factories of what every test of the worker needs: definitions, runs, and a ledger in memory."""

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.definitions import ActivityDefinition, ContextEntry, RunEnd
from contracts.runs import (
    Acknowledgement,
    Advanced,
    AdvanceInput,
    AdvanceTask,
    LastRun,
    RecordOutcome,
    RunFailure,
    RunInput,
    TaskOutcome,
)
from contracts.triggers import Trigger, TriggerKind
from orchestrator_worker.errors import DefinitionNotFoundError
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
    ) -> ActivityDefinition:
        return ActivityDefinition.model_validate(
            {
                "apiVersion": "backbone/v1",
                "kind": "ActivityDefinition",
                "metadata": {"id": "billing.overdue", "namespace": "dev", "owner": "billing"},
                "spec": {
                    "taskQueue": task_queue,
                    "context": context or [],
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
