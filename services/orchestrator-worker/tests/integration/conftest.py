"""The worker on a real Temporal, with a ledger and a registry in memory behind real gRPC."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.client import Client, WorkflowHandle

from backbone.ledger.v1 import (
    control_pb2,
    control_pb2_grpc,
    instances_pb2,
    instances_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    schedules_pb2,
    schedules_pb2_grpc,
    switches_pb2,
    switches_pb2_grpc,
)
from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from contracts import definitions as contract
from contracts.catalogue import Catalogue
from contracts.names import Workflow
from contracts.runs import (
    AdvanceTask,
    ApplyNextInput,
    DueRun,
    FailureHandling,
    RecordOutcome,
    RunFailure,
    RunInput,
    RunResult,
    TaskFailure,
    TaskOutcome,
)
from contracts.triggers import Trigger
from orchestrator_worker import app
from orchestrator_worker.domain.executions import OperationResult
from orchestrator_worker.errors import DefinitionNotFoundError, NeighbourUnavailableError
from orchestrator_worker.ports import Next, Place
from orchestrator_worker.settings import Settings
from rules.instances import SetTimer, Step
from runtime import temporal
from runtime.lifecycle import Component

OUTCOMES = {
    RecordOutcome.RECORDED: ledger_pb2.RECORD_OUTCOME_RECORDED,
    RecordOutcome.REPEATED: ledger_pb2.RECORD_OUTCOME_REPEATED,
    RecordOutcome.DUPLICATE: ledger_pb2.RECORD_OUTCOME_DUPLICATE,
}


class LedgerServicer(ledger_pb2_grpc.LedgerServiceServicer, ledger_pb2_grpc.TaskServiceServicer):
    """Serves the ledger in memory, and what a test says is due.

    Ticks of definitions whose ids do not begin with the test's `prefix` come from wake-ups that an
    earlier test left open on the shared server: nothing is due for them.
    """

    def __init__(self, ledger: Any, prefix: str) -> None:
        self.ledger = ledger
        self.prefix = prefix
        self.due: list[DueRun] = []
        self.woken_for: list[Timestamp | None] = []
        self.waits_until: datetime | None = None
        self.lost = 0
        self.acknowledged: list[str] = []
        self.asked_last: list[tuple[str, str, int]] = []
        self.last = ledger_pb2.GetLastRunResponse()

    async def RecordRun(self, request: Any, _context: Any) -> Any:
        run = RunInput(
            namespace=request.namespace,
            run_id=request.run_id,
            definition_id=request.definition_id,
            trigger=Trigger.model_validate_json(request.trigger),
        )
        recorded = await self.ledger.record_run(
            run,
            workflow_run_id=request.workflow_run_id,
            snapshot=request.snapshot,
            decision=request.decision,
        )
        return ledger_pb2.RecordRunResponse(
            outcome=OUTCOMES[recorded.outcome],
            decision=recorded.decision,
            effects_halted=recorded.effects_halted,
        )

    async def RecordRunFailure(self, request: Any, _context: Any) -> Any:
        run = RunInput(
            namespace=request.namespace,
            run_id=request.run_id,
            definition_id=request.definition_id,
            trigger=Trigger.model_validate_json(request.trigger),
        )
        outcome = await self.ledger.record_run_failure(
            RunFailure(
                run=run,
                workflow_run_id=request.workflow_run_id,
                failure=TaskFailure(type=request.failure.type, message=request.failure.message),
                unattended=request.unattended,
            )
        )
        return ledger_pb2.RecordRunFailureResponse(outcome=OUTCOMES[outcome])

    async def RecordTaskOutcome(self, request: Any, _context: Any) -> Any:
        failure = None
        if request.HasField("failure"):
            failure = TaskFailure(type=request.failure.type, message=request.failure.message)
        recorded = await self.ledger.record_task_outcome(
            TaskOutcome(
                namespace=request.namespace,
                run_id=request.run_id,
                task_id=UUID(request.task_id),
                output=None if failure else json.loads(request.output),
                failure=failure,
                generation=request.generation,
            )
        )
        return ledger_pb2.RecordTaskOutcomeResponse(recorded=recorded)

    async def AdvanceTask(self, request: Any, _context: Any) -> Any:
        woken_for = request.woken_for.ToDatetime(tzinfo=UTC)
        next_at = await self.ledger.advance_task(
            AdvanceTask(
                namespace=request.namespace,
                task_id=UUID(request.task_id),
                woken_for=woken_for if request.HasField("woken_for") else None,
            )
        )
        response = ledger_pb2.AdvanceTaskResponse()
        if next_at is not None:
            response.next_at.FromDatetime(next_at)
        return response

    async def AdvanceSchedule(self, request: Any, context: Any) -> Any:
        if not request.definition_id.startswith(self.prefix):
            return ledger_pb2.AdvanceScheduleResponse()
        self.woken_for.append(request.woken_for if request.HasField("woken_for") else None)
        if self.lost:
            self.lost -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer got lost")
        response = ledger_pb2.AdvanceScheduleResponse(
            runs=[
                ledger_pb2.DueRun(
                    run_id=due.run.run_id,
                    task_queue=due.task_queue,
                    trigger=due.run.trigger.model_dump_json().encode(),
                )
                for due in self.due
            ]
        )
        now = datetime.now(UTC)
        if self.waits_until is not None and self.waits_until > now:
            response.runs.clear()
            response.next_at.FromDatetime(self.waits_until)
        return response

    async def AcknowledgeRuns(self, request: Any, _context: Any) -> Any:
        self.acknowledged.extend(request.run_ids)
        return ledger_pb2.AcknowledgeRunsResponse()

    async def GetLastRun(self, request: Any, _context: Any) -> Any:
        self.asked_last.append((request.definition_id, request.other_than_run_id, request.status))
        return self.last


class InstanceServicer(instances_pb2_grpc.InstanceServiceServicer):
    """Serves the ledger's instances in memory."""

    def __init__(self, instances: Any) -> None:
        self.instances = instances

    async def GetNextApplication(self, request: Any, _context: Any) -> Any:
        question = ApplyNextInput.model_construct(
            definition_id=request.definition_id,
            key_hash=request.key_hash,
            begun=request.begun_run_id,
        )
        return instances_pb2.GetNextApplicationResponse(
            next=_next(await self.instances.next(question))
        )

    async def ApplyToInstance(self, request: Any, context: Any) -> Any:
        question = ApplyNextInput.model_construct(
            definition_id=request.definition_id, key_hash=request.key_hash
        )
        place = Place(generation=request.generation, sequence=request.sequence, state=b"")
        found = Next(place, RunInput.model_construct(run_id=request.run_id))
        change = json.loads(request.decision)["state"]
        step = Step(
            request.state_before,
            request.state_after,
            {},
            ended=change["ended"],
            timers=tuple(SetTimer(one.name, one.after.ToTimedelta()) for one in request.timers),
        )
        try:
            following = await self.instances.apply(
                question, found, step=step, snapshot=request.snapshot, decision=request.decision
            )
        except NeighbourUnavailableError as exc:
            await context.abort(grpc.StatusCode.ABORTED, str(exc))
        return instances_pb2.ApplyToInstanceResponse(
            outcome=ledger_pb2.RECORD_OUTCOME_RECORDED,
            decision=request.decision,
            next=None if following is None else _next(following),
        )

    async def ListWaitingInstances(self, request: Any, _context: Any) -> Any:
        found, token = await self.instances.waiting(
            request.namespace,
            page_token=request.page_token,
            limit=request.page_size,
            min_age=request.min_age.ToTimedelta(),
        )
        return instances_pb2.ListWaitingInstancesResponse(
            instances=[
                instances_pb2.WaitingInstance(
                    definition_id=one.definition_id,
                    key_hash=one.key_hash,
                    definition_version=one.definition_version,
                )
                for one in found
            ],
            next_page_token=token,
        )

    async def AdoptRun(self, request: Any, _context: Any) -> Any:
        adopted = await self.instances.adopt_run(
            RunInput.model_construct(run_id=request.run_id),
            workflow_run_id=request.workflow_run_id,
        )
        return instances_pb2.AdoptRunResponse(
            outcome=OUTCOMES[adopted.outcome],
            decision=adopted.decision,
            effects_halted=adopted.effects_halted,
        )


def _next(found: Next) -> instances_pb2.NextApplication:
    place = found.place
    told = instances_pb2.NextApplication(
        generation=place.generation, sequence=place.sequence, state=place.state
    )
    if found.run is not None:
        told.run_id, told.applied = found.run.run_id, found.applied
        told.trigger = found.run.trigger.model_dump_json().encode()
    if found.due_in is not None:
        told.due_in.FromTimedelta(found.due_in)
    return told


class ControlServicer(control_pb2_grpc.ControlServiceServicer):
    """Serves the ledger's control in memory."""

    def __init__(self, control: Any) -> None:
        self.control = control

    async def ClaimOperations(self, request: Any, _context: Any) -> Any:
        found = await self.control.claim_operations(
            request.namespace, limit=request.limit, lease=request.lease.ToTimedelta()
        )
        return control_pb2.ClaimOperationsResponse(
            operations=[
                control_pb2.Operation(
                    namespace=one.namespace,
                    operation_id=one.operation_id,
                    kind=control_pb2.OperationKind.Value(f"OPERATION_KIND_{one.kind.upper()}"),
                    workflow_id=one.workflow_id,
                    definition_id=one.definition_id,
                    definition_version=one.definition_version,
                    input=one.input,
                    attempts=one.attempts,
                    lease=one.lease,
                )
                for one in found
            ]
        )

    async def ConfirmOperations(self, request: Any, _context: Any) -> Any:
        known = {one.operation_id: one for one in self.control.operations}
        await self.control.confirm_operations(
            request.namespace,
            [
                OperationResult(known[one.operation_id], None if one.done else one.error)
                for one in request.results
            ],
        )
        return control_pb2.ConfirmOperationsResponse()

    async def ListOpenExecutions(self, request: Any, _context: Any) -> Any:
        found, token = await self.control.open_executions(
            request.namespace,
            page_token=request.page_token,
            limit=request.page_size,
            min_age=request.min_age.ToTimedelta(),
        )
        return control_pb2.ListOpenExecutionsResponse(
            executions=[
                control_pb2.OpenExecution(
                    run_id=one.run_id,
                    definition_id=one.definition_id,
                    workflow_id=one.workflow_id,
                    task_id=one.task_id,
                    generation=one.generation,
                    unrecorded_trigger=one.unrecorded.model_dump_json().encode()
                    if one.unrecorded
                    else b"",
                    timers=one.timers,
                )
                for one in found
            ],
            next_page_token=token,
        )

    async def CloseExecution(self, request: Any, _context: Any) -> Any:
        [execution] = [
            one
            for one in self.control.open
            if (one.run_id, one.task_id) == (request.run_id, request.task_id)
        ]
        failure = TaskFailure(type=request.failure.type, message=request.failure.message)
        closed = await self.control.close_execution(request.namespace, execution, failure)
        return control_pb2.CloseExecutionResponse(closed_tasks=int(closed))

    async def RecordFailureHandled(self, request: Any, _context: Any) -> Any:
        failure = None
        if request.HasField("failure"):
            failure = TaskFailure(type=request.failure.type, message=request.failure.message)
        recorded = await self.control.record_failure_handled(
            FailureHandling(
                namespace=request.namespace,
                run_id=request.run_id,
                call_id=UUID(request.call_id),
                task_id=UUID(request.task_id) if request.task_id else None,
                handler=request.handler,
                failure=failure,
            )
        )
        return control_pb2.RecordFailureHandledResponse(recorded=recorded)


class ScheduleServicer(schedules_pb2_grpc.ScheduleServiceServicer):
    """Serves what a tick is owed, from memory; the rest is for people."""

    PauseSchedule: Any = None
    ResumeSchedule: Any = None
    TriggerSchedule: Any = None
    SkipNextDueTime: Any = None
    GetSchedule: Any = None
    ExplainDueTime: Any = None

    def __init__(self, control: Any) -> None:
        self.control = control

    async def ListOverdueSchedules(self, request: Any, _context: Any) -> Any:
        response = schedules_pb2.ListOverdueSchedulesResponse()
        for one in await self.control.overdue_schedules(
            request.namespace, limit=request.page_size, min_age=request.min_age.ToTimedelta()
        ):
            response.schedules.add(definition_id=one.definition_id).since.FromDatetime(one.since)
        return response


class KillSwitchServicer(switches_pb2_grpc.KillSwitchServiceServicer):
    """Serves what stops effects, from memory."""

    def __init__(self, control: Any) -> None:
        self.control = control

    async def FindKillSwitch(self, request: Any, _context: Any) -> Any:
        assert request.point == switches_pb2.KILL_SWITCH_POINT_EFFECT
        found = await self.control.effects_halted(request.namespace, request.definition_id)
        response = switches_pb2.FindKillSwitchResponse()
        if found is not None:
            response.kill_switch.reason = found
        return response


class RegistryServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Serves definitions from memory."""

    def __init__(self, definitions: Any) -> None:
        self.definitions = definitions

    async def GetResource(self, request: Any, context: Any) -> Any:
        assert request.kind == registry_pb2.RESOURCE_KIND_ACTIVITY_DEFINITION
        try:
            found = await self.definitions.get(
                request.namespace, request.resource_id, request.version
            )
        except DefinitionNotFoundError as exc:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(exc))
        return registry_pb2.GetResourceResponse(
            resource=registry_pb2.Resource(content=contract.content(found))
        )


class Neighbour:
    """A gRPC server that can go away and come back at the same address."""

    def __init__(self, add: Callable[[grpc.aio.Server], None]) -> None:
        self._add = add
        self._server: grpc.aio.Server | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server()
        self._add(self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        assert self.port, "the port was taken in the meantime"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


@pytest.fixture
async def ledger_service(ledger: Any, unique_name: str) -> LedgerServicer:
    return LedgerServicer(ledger, unique_name)  # type: ignore[abstract]  # the rest is not called


@pytest.fixture
async def ledger_server(
    ledger_service: LedgerServicer, control: Any, instances: Any
) -> AsyncIterator[Neighbour]:
    def add(made: grpc.aio.Server) -> None:
        ledger_pb2_grpc.add_LedgerServiceServicer_to_server(ledger_service, made)
        ledger_pb2_grpc.add_TaskServiceServicer_to_server(ledger_service, made)
        control_pb2_grpc.add_ControlServiceServicer_to_server(
            ControlServicer(control),  # type: ignore[abstract]  # the rest is not called
            made,
        )
        schedules_pb2_grpc.add_ScheduleServiceServicer_to_server(ScheduleServicer(control), made)
        switches_pb2_grpc.add_KillSwitchServiceServicer_to_server(
            KillSwitchServicer(control),  # type: ignore[abstract]  # the rest is not called
            made,
        )
        instances_pb2_grpc.add_InstanceServiceServicer_to_server(
            InstanceServicer(instances),  # type: ignore[abstract]  # the rest is not called
            made,
        )

    server = Neighbour(add)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def registry_server(definitions: Any) -> AsyncIterator[Neighbour]:
    server = Neighbour(
        lambda made: registry_pb2_grpc.add_RegistryServiceServicer_to_server(
            RegistryServicer(definitions),  # type: ignore[abstract]  # the rest is not called
            made,
        )
    )
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(temporal_address: str) -> Client:
    return await temporal.connect(temporal_address, namespace="dev", identity="test")


@pytest.fixture
def task_queue(unique_name: str) -> str:
    return f"{unique_name}-tq"


@pytest.fixture
def handlers_queue(unique_name: str) -> str:
    return f"{unique_name}-handlers-tq"


Serving = Callable[..., Awaitable[None]]


@pytest.fixture
def catalogue() -> Catalogue:
    """What the worker may look at: nothing, unless a test says so."""
    return Catalogue()


@pytest.fixture
async def serving(
    temporal_address: str,
    ledger_server: Neighbour,
    registry_server: Neighbour,
    task_queue: str,
    *,
    catalogue: Catalogue,
) -> AsyncIterator[Settings]:
    """The worker, serving `task_queue` and the ticks' queue, composed as in production."""
    settings = Settings(
        environment="local",
        temporal_address=temporal_address,
        ledger_address=ledger_server.address,
        registry_address=registry_server.address,
        namespaces=("dev",),
        task_queues=(task_queue,),
        operations_poll=timedelta(milliseconds=100),
        # A test sweeps when it wants to; the schedule is not to come between.
        sweep_interval=timedelta(hours=12),
        sweep_min_age=timedelta(0),
    )
    async with contextlib.AsyncExitStack() as stack:
        for component in app.composed(settings, catalogue):
            await component.start()
            stack.push_async_callback(_stopped, component)
        yield settings


async def _stopped(component: Component) -> None:
    async with asyncio.timeout(30):
        await component.stop()


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Wait until a condition holds, at most 30 s."""

    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(30):
            while not await condition():  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.05)

    return wait


MakeRun = Callable[..., RunInput]
MakeDefinition = Callable[..., contract.ActivityDefinition]


@pytest.fixture
def define(
    definitions: Any, make_definition: MakeDefinition, handlers_queue: str
) -> Callable[..., None]:
    """Let version 1 decide one task for each named handler."""

    def apply(*handlers: str, timeout: str = "30s", attempts: int = 5) -> None:
        definitions.known["dev", "billing.overdue", 1] = make_definition(
            rules=[
                {
                    "name": name.replace("_", "-"),
                    "task": {
                        "type": "automated",
                        "handler": name,
                        "taskQueue": handlers_queue,
                        "key": "'one'",
                        "input": {"kind": "trigger.kind"},
                        "timeout": timeout,
                        "retry": {"maximumAttempts": attempts},
                    },
                }
                for name in handlers
            ]
        )

    return apply


@pytest.fixture
def start(
    client: Client, task_queue: str, make_run: MakeRun
) -> Callable[..., Awaitable[WorkflowHandle[Any, RunResult]]]:
    """Start a run, of version 1 by hand unless it is given."""

    async def start_run(run: RunInput | None = None) -> WorkflowHandle[Any, RunResult]:
        run = run or make_run()
        return await client.start_workflow(
            Workflow.RUN_ACTIVITY.value,
            run,
            id=run.run_id,
            task_queue=task_queue,
            result_type=RunResult,
        )

    return start_run
