"""The worker on a real Temporal, with a ledger and a registry in memory behind real gRPC."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.client import Client

from backbone.ledger.v1 import (
    control_pb2,
    control_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
)
from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from contracts import definitions as contract
from contracts.catalogue import Catalogue
from contracts.runs import (
    AdvanceTask,
    DueRun,
    FailureHandling,
    RecordOutcome,
    RunFailure,
    RunInput,
    TaskFailure,
    TaskOutcome,
)
from contracts.triggers import Trigger
from orchestrator_worker import app
from orchestrator_worker.domain.executions import OperationResult
from orchestrator_worker.errors import DefinitionNotFoundError
from orchestrator_worker.settings import Settings
from runtime import temporal
from runtime.lifecycle import Component

OUTCOMES = {
    RecordOutcome.RECORDED: ledger_pb2.RECORD_OUTCOME_RECORDED,
    RecordOutcome.REPEATED: ledger_pb2.RECORD_OUTCOME_REPEATED,
    RecordOutcome.DUPLICATE: ledger_pb2.RECORD_OUTCOME_DUPLICATE,
}


class LedgerServicer(ledger_pb2_grpc.LedgerServiceServicer, ledger_pb2_grpc.TaskServiceServicer):
    """Serves the ledger in memory, and what a test says is due."""

    def __init__(self, ledger: Any) -> None:
        self.ledger = ledger
        self.due: list[DueRun] = []
        self.woken_for: list[Timestamp | None] = []
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
        outcome, standing, _ = await self.ledger.record_run(
            run,
            workflow_run_id=request.workflow_run_id,
            snapshot=request.snapshot,
            decision=request.decision,
        )
        return ledger_pb2.RecordRunResponse(outcome=OUTCOMES[outcome], decision=standing)

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

    async def AdvanceSchedule(self, request: Any, _context: Any) -> Any:
        self.woken_for.append(request.woken_for if request.HasField("woken_for") else None)
        return ledger_pb2.AdvanceScheduleResponse(
            runs=[
                ledger_pb2.DueRun(
                    run_id=due.run.run_id,
                    task_queue=due.task_queue,
                    trigger=due.run.trigger.model_dump_json().encode(),
                )
                for due in self.due
            ]
        )

    async def AcknowledgeRuns(self, request: Any, _context: Any) -> Any:
        self.acknowledged.extend(request.run_ids)
        return ledger_pb2.AcknowledgeRunsResponse()

    async def GetLastRun(self, request: Any, _context: Any) -> Any:
        self.asked_last.append((request.definition_id, request.other_than_run_id, request.status))
        return self.last


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
async def ledger_service(ledger: Any) -> LedgerServicer:
    return LedgerServicer(ledger)  # type: ignore[abstract]  # the rest is not called


@pytest.fixture
async def ledger_server(ledger_service: LedgerServicer, control: Any) -> AsyncIterator[Neighbour]:
    def add(made: grpc.aio.Server) -> None:
        ledger_pb2_grpc.add_LedgerServiceServicer_to_server(ledger_service, made)
        ledger_pb2_grpc.add_TaskServiceServicer_to_server(ledger_service, made)
        control_pb2_grpc.add_ControlServiceServicer_to_server(
            ControlServicer(control),  # type: ignore[abstract]  # the rest is not called
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
