"""The ledger over gRPC: documents go as canonical JSON, answers come back as our models."""

from datetime import datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from backbone.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from contracts import canonical
from contracts.runs import (
    Acknowledgement,
    Advanced,
    AdvanceInput,
    DueRun,
    RecordOutcome,
    RunFailure,
    RunInput,
    TaskFailure,
    TaskOutcome,
)
from contracts.triggers import Trigger
from orchestrator_worker.adapters import grpc_errors
from orchestrator_worker.errors import NeighbourUnavailableError
from runtime.faultpoints import faultpoint

# Under the 5 s that a local activity has in all.
_TIMEOUT_S = 4.0

_OUTCOMES: dict[int, RecordOutcome] = {
    ledger_pb2.RECORD_OUTCOME_RECORDED: RecordOutcome.RECORDED,
    ledger_pb2.RECORD_OUTCOME_REPEATED: RecordOutcome.REPEATED,
    ledger_pb2.RECORD_OUTCOME_DUPLICATE: RecordOutcome.DUPLICATE,
}


class GrpcLedger:
    """Tells the ledger what happened, and asks it what is due (see `ports.Ledger`)."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ledger_pb2_grpc.LedgerServiceStub(channel)

    async def record_run(
        self, run: RunInput, *, workflow_run_id: str, snapshot: bytes, decision: bytes
    ) -> tuple[RecordOutcome, bytes]:
        """Record a decided run; return the outcome and the decision that stands."""
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
            response = await self._stub.RecordRun(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_record_run")
        return _outcome(response.outcome), response.decision

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
        )
        faultpoint("worker.before_record_run_failure")
        try:
            response = await self._stub.RecordRunFailure(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_record_run_failure")
        return _outcome(response.outcome)

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
            response = await self._stub.RecordTaskOutcome(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_record_task_outcome")
        return bool(response.recorded)

    async def advance_schedule(self, advance: AdvanceInput) -> Advanced:
        """Account for every due time up to now; return the runs to start."""
        request = ledger_pb2.AdvanceScheduleRequest(
            namespace=advance.namespace, definition_id=advance.definition_id
        )
        if advance.woken_for is not None:
            request.woken_for.CopyFrom(_timestamp(advance.woken_for))
        faultpoint("worker.before_advance_schedule")
        try:
            response = await self._stub.AdvanceSchedule(request, timeout=_TIMEOUT_S)
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
            ]
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
            await self._stub.AcknowledgeRuns(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_acknowledge_runs")


def _outcome(value: int) -> RecordOutcome:
    outcome = _OUTCOMES.get(value)
    if outcome is None:
        raise NeighbourUnavailableError(f"the ledger answers with an outcome unknown here: {value}")
    return outcome


def _failure(failure: TaskFailure) -> ledger_pb2.Failure:
    return ledger_pb2.Failure(type=failure.type, message=failure.message)


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
