"""The ledger over gRPC: documents go as canonical JSON, answers come back as our models."""

from datetime import UTC, datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts import canonical
from contracts.decisions import RunStatus
from contracts.definitions import RunEnd
from contracts.runs import (
    Acknowledgement,
    Advanced,
    AdvanceInput,
    AdvanceTask,
    DueRun,
    LastRun,
    RecordOutcome,
    RunFailure,
    RunInput,
    TaskFailure,
    TaskOutcome,
)
from contracts.triggers import Trigger, Window
from orchestrator_worker.adapters import grpc_errors
from orchestrator_worker.errors import NeighbourUnavailableError
from orchestrator_worker.ports import Recorded
from runtime.faultpoints import faultpoint

# Under the 5 s that a local activity has in all.
TIMEOUT_S = 4.0

_OUTCOMES: dict[int, RecordOutcome] = {
    ledger_pb2.RECORD_OUTCOME_RECORDED: RecordOutcome.RECORDED,
    ledger_pb2.RECORD_OUTCOME_REPEATED: RecordOutcome.REPEATED,
    ledger_pb2.RECORD_OUTCOME_DUPLICATE: RecordOutcome.DUPLICATE,
}

_ENDS: dict[RunEnd | None, ledger_pb2.RunStatus.ValueType] = {
    None: ledger_pb2.RUN_STATUS_UNSPECIFIED,
    RunEnd.COMPLETED: ledger_pb2.RUN_STATUS_COMPLETED,
    RunEnd.FAILED: ledger_pb2.RUN_STATUS_FAILED,
    RunEnd.CANCELLED: ledger_pb2.RUN_STATUS_CANCELLED,
}

_STATUSES: dict[int, RunStatus] = {
    ledger_pb2.RUN_STATUS_RUNNING: RunStatus.RUNNING,
    ledger_pb2.RUN_STATUS_WAITING: RunStatus.WAITING,
    ledger_pb2.RUN_STATUS_COMPLETED: RunStatus.COMPLETED,
    ledger_pb2.RUN_STATUS_FAILED: RunStatus.FAILED,
    ledger_pb2.RUN_STATUS_CANCELLED: RunStatus.CANCELLED,
}


class GrpcLedger:
    """Tells the ledger what happened, and asks it what is due (see `ports.Ledger`)."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ledger_pb2_grpc.LedgerServiceStub(channel)
        self._tasks_stub = ledger_pb2_grpc.TaskServiceStub(channel)

    async def record_run(
        self, run: RunInput, *, workflow_run_id: str, snapshot: bytes, decision: bytes
    ) -> Recorded:
        """Record a decided run."""
        request = ledger_pb2.RecordRunRequest(
            namespace=run.namespace,
            run_id=run.run_id,
            definition_id=run.definition_id,
            trigger=canonical.render(run.trigger),
            snapshot=snapshot,
            decision=decision,
            workflow_run_id=workflow_run_id,
        )
        faultpoint("worker.before_record_run")
        try:
            response = await self._stub.RecordRun(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_record_run")
        return Recorded(
            outcome(response.outcome),
            response.decision,
            response.shadow_id,
            effects_halted=response.effects_halted,
        )

    async def last_run(self, run: RunInput, *, status: RunEnd | None) -> LastRun | None:
        """Return the newest other run of the same definition, of those that ended as `status`."""
        request = ledger_pb2.GetLastRunRequest(
            namespace=run.namespace,
            definition_id=run.definition_id,
            other_than_run_id=run.run_id,
            status=_ENDS[status],
        )
        faultpoint("worker.before_get_last_run")
        try:
            response = await self._stub.GetLastRun(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_get_last_run")
        return _last_run(response) if response.HasField("run") else None

    async def record_run_failure(self, failure: RunFailure) -> RecordOutcome:
        """Record that a run could not decide."""
        run = failure.run
        request = ledger_pb2.RecordRunFailureRequest(
            namespace=run.namespace,
            run_id=run.run_id,
            definition_id=run.definition_id,
            trigger=canonical.render(run.trigger),
            workflow_run_id=failure.workflow_run_id,
            failure=_failure(failure.failure),
            unattended=failure.unattended,
        )
        faultpoint("worker.before_record_run_failure")
        try:
            response = await self._stub.RecordRunFailure(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_record_run_failure")
        return outcome(response.outcome)

    async def record_task_outcome(self, outcome: TaskOutcome) -> bool:
        """Record how a task ended; False when it was closed before."""
        request = ledger_pb2.RecordTaskOutcomeRequest(
            namespace=outcome.namespace,
            run_id=outcome.run_id,
            task_id=str(outcome.task_id),
            generation=outcome.generation,
        )
        if outcome.failure is not None:
            request.failure.CopyFrom(_failure(outcome.failure))
        else:
            request.output = canonical.render(outcome.output)
        faultpoint("worker.before_record_task_outcome")
        try:
            response = await self._stub.RecordTaskOutcome(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_record_task_outcome")
        return bool(response.recorded)

    async def advance_task(self, advance: AdvanceTask) -> datetime | None:
        """Carry out what the clock asks of a human task by now; return when to look again."""
        request = ledger_pb2.AdvanceTaskRequest(
            namespace=advance.namespace, task_id=str(advance.task_id)
        )
        if advance.woken_for is not None:
            request.woken_for.CopyFrom(_timestamp(advance.woken_for))
        faultpoint("worker.before_advance_task")
        try:
            response = await self._tasks_stub.AdvanceTask(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_advance_task")
        return response.next_at.ToDatetime(tzinfo=UTC) if response.HasField("next_at") else None

    async def advance_schedule(self, advance: AdvanceInput) -> Advanced:
        """Account for every due time up to now; return the runs to start."""
        request = ledger_pb2.AdvanceScheduleRequest(
            namespace=advance.namespace, definition_id=advance.definition_id
        )
        if advance.woken_for is not None:
            request.woken_for.CopyFrom(_timestamp(advance.woken_for))
        faultpoint("worker.before_advance_schedule")
        try:
            response = await self._stub.AdvanceSchedule(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_advance_schedule")
        return Advanced(
            runs=[
                DueRun(
                    task_queue=due.task_queue,
                    run=RunInput(
                        namespace=advance.namespace,
                        run_id=due.run_id,
                        definition_id=advance.definition_id,
                        trigger=Trigger.model_validate_json(due.trigger),
                    ),
                )
                for due in response.runs
            ],
            next_at=response.next_at.ToDatetime(tzinfo=UTC)
            if response.HasField("next_at")
            else None,
        )

    async def acknowledge_runs(self, acknowledgement: Acknowledgement) -> None:
        """Say that due runs were started."""
        request = ledger_pb2.AcknowledgeRunsRequest(
            namespace=acknowledgement.namespace,
            definition_id=acknowledgement.definition_id,
            run_ids=acknowledgement.run_ids,
        )
        faultpoint("worker.before_acknowledge_runs")
        try:
            await self._stub.AcknowledgeRuns(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_acknowledge_runs")


def outcome(value: int) -> RecordOutcome:
    """Return what a recording found; NeighbourUnavailableError for what is not known here."""
    found = _OUTCOMES.get(value)
    if found is None:
        raise NeighbourUnavailableError(f"the ledger answers with an outcome unknown here: {value}")
    return found


def _last_run(response: ledger_pb2.GetLastRunResponse) -> LastRun:
    run = response.run
    status = _STATUSES.get(run.status)
    if status is None:
        raise NeighbourUnavailableError(f"the ledger tells a status unknown here: {run.status}")
    scheduled = response.HasField("scheduled_for")
    return LastRun(
        run_id=run.run_id,
        definition_version=run.definition_version,
        status=status,
        trigger_kind=run.trigger_kind,
        scheduled_for=_moment(response.scheduled_for) if scheduled else None,
        window=Window(start=_moment(response.window_start), end=_moment(response.window_end))
        if response.HasField("window_end")
        else None,
        recorded_at=_moment(run.recorded_at),
        closed_at=_moment(run.closed_at) if run.HasField("closed_at") else None,
    )


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)


def _failure(failure: TaskFailure) -> ledger_pb2.Failure:
    return ledger_pb2.Failure(type=failure.type, message=failure.message)


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
