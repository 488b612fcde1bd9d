"""The ledger's control over gRPC: what it wants done in Temporal, and what it waits on."""

from collections.abc import Sequence
from datetime import UTC, timedelta

import grpc
from google.protobuf.duration_pb2 import Duration

from backbone.ledger.v1 import (
    control_pb2,
    control_pb2_grpc,
    ledger_pb2,
    schedules_pb2,
    schedules_pb2_grpc,
    switches_pb2,
    switches_pb2_grpc,
)
from contracts.runs import FailureHandling, TaskFailure
from contracts.switches import KillSwitch, Point
from contracts.triggers import Trigger
from orchestrator_worker.adapters import grpc_errors
from orchestrator_worker.domain.executions import (
    OpenExecution,
    Operation,
    OperationKind,
    OperationResult,
    OverdueSchedule,
)
from runtime.faultpoints import faultpoint

# Under the 5 s that a local activity has in all.
_TIMEOUT_S = 4.0

_KINDS: dict[int, OperationKind] = {
    control_pb2.OPERATION_KIND_START_RUN: "start_run",
    control_pb2.OPERATION_KIND_RETRY_TASK: "retry_task",
    control_pb2.OPERATION_KIND_CANCEL: "cancel",
    control_pb2.OPERATION_KIND_TELL_FAILURE: "tell_failure",
    control_pb2.OPERATION_KIND_TICK: "tick",
}


class GrpcControl:
    """`ports.Control` over a channel to the ledger."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = control_pb2_grpc.ControlServiceStub(channel)
        self._schedules = schedules_pb2_grpc.ScheduleServiceStub(channel)
        self._switches = switches_pb2_grpc.KillSwitchServiceStub(channel)

    async def claim_operations(
        self, namespace: str, *, limit: int, lease: timedelta
    ) -> list[Operation]:
        """Lease operations, in order."""
        request = control_pb2.ClaimOperationsRequest(
            namespace=namespace, limit=limit, lease=_duration(lease)
        )
        faultpoint("worker.before_claim_operations")
        try:
            response = await self._stub.ClaimOperations(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_claim_operations")
        return [
            Operation(
                namespace=namespace,
                operation_id=one.operation_id,
                lease=one.lease,
                kind=_KINDS[one.kind],
                workflow_id=one.workflow_id,
                definition_id=one.definition_id,
                definition_version=one.definition_version,
                input=one.input,
                attempts=one.attempts,
            )
            # Of a later ledger's kinds this build knows nothing: they are handed out again.
            for one in response.operations
            if one.kind in _KINDS
        ]

    async def confirm_operations(self, namespace: str, results: Sequence[OperationResult]) -> None:
        """Say what became of operations."""
        request = control_pb2.ConfirmOperationsRequest(
            namespace=namespace,
            results=[
                control_pb2.OperationResult(
                    operation_id=one.operation.operation_id,
                    lease=one.operation.lease,
                    done=one.error is None,
                    error=one.error or "",
                )
                for one in results
            ],
        )
        faultpoint("worker.before_confirm_operations")
        try:
            await self._stub.ConfirmOperations(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_confirm_operations")

    async def open_executions(
        self, namespace: str, *, page_token: str, limit: int, min_age: timedelta
    ) -> tuple[list[OpenExecution], str]:
        """Return a page of the workflows that something waits on, and the token of the next."""
        request = control_pb2.ListOpenExecutionsRequest(
            namespace=namespace,
            page_size=limit,
            page_token=page_token,
            min_age=_duration(min_age),
        )
        faultpoint("worker.before_list_executions")
        try:
            response = await self._stub.ListOpenExecutions(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_list_executions")
        found = [
            OpenExecution(
                run_id=one.run_id,
                definition_id=one.definition_id,
                workflow_id=one.workflow_id,
                task_id=one.task_id,
                generation=one.generation,
                unrecorded=Trigger.model_validate_json(one.unrecorded_trigger)
                if one.unrecorded_trigger
                else None,
                timers=one.timers,
            )
            for one in response.executions
        ]
        return found, response.next_page_token

    async def close_execution(
        self, namespace: str, execution: OpenExecution, failure: TaskFailure
    ) -> bool:
        """Close what a workflow left open; False when there was nothing."""
        request = control_pb2.CloseExecutionRequest(
            namespace=namespace,
            run_id=execution.run_id,
            task_id=execution.task_id,
            generation=execution.generation,
            failure=_failure(failure),
        )
        faultpoint("worker.before_close_execution")
        try:
            response = await self._stub.CloseExecution(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_close_execution")
        return response.closed_tasks > 0

    async def overdue_schedules(
        self, namespace: str, *, limit: int, min_age: timedelta
    ) -> list[OverdueSchedule]:
        """Return definitions that a tick is owed, the longest first."""
        request = schedules_pb2.ListOverdueSchedulesRequest(
            namespace=namespace, page_size=limit, min_age=_duration(min_age)
        )
        faultpoint("worker.before_list_overdue")
        try:
            response = await self._schedules.ListOverdueSchedules(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_list_overdue")
        return [
            OverdueSchedule(one.definition_id, one.since.ToDatetime(tzinfo=UTC))
            for one in response.schedules
        ]

    async def effects_halted(self, namespace: str, definition_id: str) -> str | None:
        """Return by which kill switch effects of a definition are stopped, in a sentence."""
        request = switches_pb2.FindKillSwitchRequest(
            namespace=namespace,
            point=switches_pb2.KILL_SWITCH_POINT_EFFECT,
            definition_id=definition_id,
        )
        faultpoint("worker.before_find_kill_switch")
        try:
            response = await self._switches.FindKillSwitch(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_find_kill_switch")
        if not response.HasField("kill_switch"):
            return None
        found = response.kill_switch
        return KillSwitch(
            found.switch_id, Point.EFFECT, thrown_by=found.thrown_by, reason=found.reason
        ).told

    async def record_failure_handled(self, handling: FailureHandling) -> bool:
        """Record that a failure handler was called; False when that was recorded before."""
        request = control_pb2.RecordFailureHandledRequest(
            namespace=handling.namespace,
            run_id=handling.run_id,
            call_id=str(handling.call_id),
            task_id=str(handling.task_id or ""),
            handler=handling.handler,
            failure=None if handling.failure is None else _failure(handling.failure),
        )
        faultpoint("worker.before_record_failure_handled")
        try:
            response = await self._stub.RecordFailureHandled(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as exc:
            raise grpc_errors.translated("ledger", exc) from exc
        faultpoint("worker.after_record_failure_handled")
        return bool(response.recorded)


def _failure(failure: TaskFailure) -> ledger_pb2.Failure:
    return ledger_pb2.Failure(type=failure.type, message=failure.message)


def _duration(value: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(value)
    return duration
