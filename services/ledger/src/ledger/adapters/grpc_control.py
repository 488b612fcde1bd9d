# ruff: noqa: ARG002, N802 - the names and arguments that gRPC gives
"""`backbone.ledger.v1.ControlService`: cancel, retry, and what is to be done of it in Temporal."""

from datetime import timedelta
from typing import Any

import grpc

from backbone.ledger.v1 import control_pb2 as pb
from backbone.ledger.v1 import control_pb2_grpc as pb_grpc
from contracts import canonical
from contracts.roles import Role
from contracts.runs import FailureHandling
from ledger.adapters import messages, pages, requests
from ledger.adapters.grpc_errors import as_statuses
from ledger.adapters.requests import RequestReader
from ledger.domain.control import Execution, OperationKind, Order
from ledger.errors import InvalidRequestError
from ledger.ports.control import OperationRow
from ledger.service.backfills import BackfillLedger
from ledger.service.control import ControlLedger
from ledger.service.operations import OperationLedger, Result
from runtime import authorisation, identity

Context = grpc.aio.ServicerContext[Any, Any]

NAME = pb.DESCRIPTOR.services_by_name["ControlService"].full_name

POLICY = authorisation.policy(
    NAME,
    {
        "CancelRun": {Role.OPERATOR},
        "RetryRun": {Role.OPERATOR},
        "RetryTask": {Role.OPERATOR},
        "ClaimOperations": {Role.SERVICE},
        "ConfirmOperations": {Role.SERVICE},
        "ListOperations": {Role.VIEWER, Role.OPERATOR, Role.SERVICE},
        "ListRequests": {Role.VIEWER, Role.OPERATOR},
        "ListOpenExecutions": {Role.SERVICE},
        "CloseExecution": {Role.SERVICE},
        "RecordFailureHandled": {Role.SERVICE},
    },
)

MAX_CLAIMED = 100
MAX_LEASE = timedelta(minutes=5)
MAX_AGE = timedelta(days=30)

_KIND: dict[OperationKind, pb.OperationKind.ValueType] = {
    "start_run": pb.OPERATION_KIND_START_RUN,
    "retry_task": pb.OPERATION_KIND_RETRY_TASK,
    "cancel": pb.OPERATION_KIND_CANCEL,
    "tell_failure": pb.OPERATION_KIND_TELL_FAILURE,
    "tick": pb.OPERATION_KIND_TICK,
}


class ControlServicer(pb_grpc.ControlServiceServicer):
    """Control, as people and the workers call it."""

    def __init__(
        self,
        *,
        control: ControlLedger,
        operations: OperationLedger,
        backfills: BackfillLedger,
        reader: RequestReader,
    ) -> None:
        self._control = control
        self._operations = operations
        self._backfills = backfills
        self._reader = reader

    async def CancelRun(
        self, request: pb.CancelRunRequest, context: Context
    ) -> pb.CancelRunResponse:
        """Cancel an open run."""
        with as_statuses():
            row = await self._control.cancel_run(
                namespace=self._reader.namespace(request.namespace),
                run_id=requests.run_id(request.run_id),
                order=_order(request),
            )
        return pb.CancelRunResponse(run=messages.run(row))

    async def RetryRun(self, request: pb.RetryRunRequest, context: Context) -> pb.RetryRunResponse:
        """Retry a run that failed or was cancelled."""
        with as_statuses():
            retried = await self._control.retry_run(
                namespace=self._reader.namespace(request.namespace),
                run_id=requests.run_id(request.run_id),
                order=_order(request),
            )
        return pb.RetryRunResponse(
            run_id=retried.run_id, task_ids=[str(task_id) for task_id in retried.task_ids]
        )

    async def RetryTask(
        self, request: pb.RetryTaskRequest, context: Context
    ) -> pb.RetryTaskResponse:
        """Have a failed task carried out again."""
        with as_statuses():
            row = await self._control.retry_task(
                namespace=self._reader.namespace(request.namespace),
                task_id=requests.task_id(request.task_id),
                order=_order(request),
            )
        return pb.RetryTaskResponse(task=messages.task(row))

    async def ClaimOperations(
        self, request: pb.ClaimOperationsRequest, context: Context
    ) -> pb.ClaimOperationsResponse:
        """Lease what is to be done in Temporal, once running backfills have said their part."""
        with as_statuses():
            if not 1 <= request.limit <= MAX_CLAIMED:
                raise InvalidRequestError(f"limit has to be from 1 to {MAX_CLAIMED}")
            namespace = self._reader.namespace(request.namespace)
            await self._backfills.begin(namespace=namespace)
            rows = await self._operations.claim(
                namespace=namespace,
                limit=request.limit,
                duration=requests.duration("lease", request.lease, timedelta(seconds=1), MAX_LEASE),
            )
        return pb.ClaimOperationsResponse(
            operations=[_operation(namespace, row, input=row.input) for row in rows]
        )

    async def ConfirmOperations(
        self, request: pb.ConfirmOperationsRequest, context: Context
    ) -> pb.ConfirmOperationsResponse:
        """Take note of what became of operations."""
        with as_statuses():
            if len(request.results) > MAX_CLAIMED:
                raise InvalidRequestError(f"more than {MAX_CLAIMED} results")
            stale = await self._operations.confirm(
                namespace=self._reader.namespace(request.namespace),
                results=[
                    Result(
                        operation_id=requests.text("operation_id", one.operation_id),
                        lease=requests.text("lease", one.lease),
                        done=one.done,
                        error=one.error.replace("\x00", "\ufffd")[:2000],
                    )
                    for one in request.results
                ],
            )
        return pb.ConfirmOperationsResponse(stale=stale)

    async def ListOperations(
        self, request: pb.ListOperationsRequest, context: Context
    ) -> pb.ListOperationsResponse:
        """List what is still to be done, oldest first."""
        with as_statuses():
            size = pages.size(request.page_size)
            namespace = self._reader.namespace(request.namespace)
            filters = ("operations", namespace)
            rows, last = pages.split(
                await self._operations.page(
                    namespace=namespace,
                    after=pages.position(request.page_token, *filters),
                    limit=size + 1,
                ),
                size,
                weigh=lambda row: 4 * (len(row.reason) + len(row.last_error)) + 500,
            )
        return pb.ListOperationsResponse(
            operations=[_operation(namespace, row) for row in rows],
            next_page_token=pages.token(str(last.position), *filters) if last else "",
        )

    async def ListRequests(
        self, request: pb.ListRequestsRequest, context: Context
    ) -> pb.ListRequestsResponse:
        """List what people asked for, newest first."""
        with as_statuses():
            size = pages.size(request.page_size)
            namespace = self._reader.namespace(request.namespace)
            filters = ("requests", namespace)
            rows, last = pages.split(
                await self._control.requests(
                    namespace=namespace,
                    before=pages.moment_and_names(request.page_token, *filters),
                    limit=size + 1,
                ),
                size,
                weigh=lambda row: 4 * len(row.reason) + 500,
            )
        after = f"{last.recorded_at.isoformat()} {last.method} {last.request_id}" if last else ""
        return pb.ListRequestsResponse(
            requests=[
                pb.PersonalRequest(
                    method=row.method,
                    request_id=row.request_id,
                    actor=row.actor,
                    reason=row.reason,
                    recorded_at=messages.timestamp(row.recorded_at),
                )
                for row in rows
            ],
            next_page_token=pages.token(after, *filters) if after else "",
        )

    async def ListOpenExecutions(
        self, request: pb.ListOpenExecutionsRequest, context: Context
    ) -> pb.ListOpenExecutionsResponse:
        """List the workflows on which something waits."""
        with as_statuses():
            namespace = self._reader.namespace(request.namespace)
            filters = ("executions", namespace)
            found, last = await self._control.open_executions(
                namespace=namespace,
                after=pages.position(request.page_token, *filters),
                limit=pages.size(request.page_size),
                min_age=requests.duration("min_age", request.min_age, timedelta(0), MAX_AGE),
            )
        return pb.ListOpenExecutionsResponse(
            executions=[_execution(one) for one in found],
            next_page_token=pages.token(str(last), *filters) if last is not None else "",
        )

    async def CloseExecution(
        self, request: pb.CloseExecutionRequest, context: Context
    ) -> pb.CloseExecutionResponse:
        """Close what a workflow left open."""
        with as_statuses():
            if not request.HasField("failure"):
                raise InvalidRequestError("failure is missing")
            closed, status = await self._control.close_execution(
                namespace=self._reader.namespace(request.namespace),
                execution=Execution(
                    run_id=requests.run_id(request.run_id),
                    definition_id="",
                    task_id=requests.task_id(request.task_id) if request.task_id else None,
                    generation=request.generation,
                ),
                failure=requests.failure(request.failure),
                actor=identity.current_identity().subject,
            )
        return pb.CloseExecutionResponse(
            closed_tasks=closed, run_status=messages.RUN_STATUS[status]
        )

    async def RecordFailureHandled(
        self, request: pb.RecordFailureHandledRequest, context: Context
    ) -> pb.RecordFailureHandledResponse:
        """Record that `onFailure`'s handler was called."""
        with as_statuses():
            recorded = await self._control.record_failure_handled(
                FailureHandling(
                    namespace=self._reader.namespace(request.namespace),
                    run_id=requests.run_id(request.run_id),
                    call_id=requests.task_id(request.call_id),
                    task_id=requests.task_id(request.task_id) if request.task_id else None,
                    handler=requests.text("handler", request.handler),
                    failure=requests.failure(request.failure)
                    if request.HasField("failure")
                    else None,
                )
            )
        return pb.RecordFailureHandledResponse(recorded=recorded)


def _order(request: pb.CancelRunRequest | pb.RetryRunRequest | pb.RetryTaskRequest) -> Order:
    return Order(
        request_id=requests.request_id(request.request_id),
        actor=identity.current_identity().subject,
        reason=requests.text("reason", request.reason),
    )


def _operation(namespace: str, row: OperationRow, *, input: bytes = b"") -> pb.Operation:  # noqa: A002 - the field's name
    return pb.Operation(
        namespace=namespace,
        operation_id=row.operation_id,
        kind=_KIND[row.kind],
        workflow_id=row.workflow_id,
        definition_id=row.definition_id,
        definition_version=row.definition_version,
        input=input,
        actor=row.actor,
        reason=row.reason,
        queued_at=messages.timestamp(row.queued_at),
        attempts=row.attempts,
        lease=row.lease or "",
        last_error=row.last_error,
    )


def _execution(one: Execution) -> pb.OpenExecution:
    return pb.OpenExecution(
        run_id=one.run_id,
        definition_id=one.definition_id,
        workflow_id=one.workflow_id,
        task_id=str(one.task_id or ""),
        generation=one.generation,
        unrecorded_trigger=b"" if one.unrecorded is None else canonical.render(one.unrecorded),
        timers=one.timers,
    )
