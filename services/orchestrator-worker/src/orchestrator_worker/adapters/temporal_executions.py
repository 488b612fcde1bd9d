"""Workflows on Temporal: started once by their id, cancelled, and asked how they ended."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowHistoryEventFilterType,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from contracts.names import Workflow
from contracts.runs import RetryTaskInput, RunInput, TaskFailure
from orchestrator_worker.domain.executions import Ended
from orchestrator_worker.errors import NeighbourUnavailableError, RefusedError
from runtime.faultpoints import faultpoint
from runtime.temporal import TemporalUnavailableError

_TIMEOUT = timedelta(seconds=10)
_REFUSED = frozenset({RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.OUT_OF_RANGE})
_OPEN = frozenset({WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW})
_KIND = {
    WorkflowExecutionStatus.TERMINATED: "WorkflowTerminated",
    WorkflowExecutionStatus.TIMED_OUT: "WorkflowTimedOut",
    WorkflowExecutionStatus.FAILED: "WorkflowFailed",
    WorkflowExecutionStatus.CANCELED: "WorkflowCancelled",
}

Connect = Callable[[], Awaitable[Client]]


class TemporalExecutions:
    """`ports.Executions` with one client for each namespace, connected when it is first used."""

    def __init__(self, connect: Mapping[str, Connect]) -> None:
        self._connect = connect
        self._clients: dict[str, Client] = {}

    async def start(
        self, given: RunInput | RetryTaskInput, *, workflow_id: str, task_queue: str
    ) -> None:
        """Start the workflow that takes this input, unless it was started before."""
        workflow = Workflow.RUN_ACTIVITY if isinstance(given, RunInput) else Workflow.RETRY_TASK
        with _errors():
            client = await self._client(given.namespace)
            try:
                faultpoint("worker.before_start_workflow")
                await client.start_workflow(
                    workflow.value,
                    given,
                    id=workflow_id,
                    task_queue=task_queue,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    rpc_timeout=_TIMEOUT,
                )
                faultpoint("worker.after_start_workflow")
            except WorkflowAlreadyStartedError:
                return

    async def cancel(self, namespace: str, workflow_id: str) -> None:
        """Cancel a workflow; one that has ended, or is not known, stays as it is."""
        with _errors():
            handle = (await self._client(namespace)).get_workflow_handle(workflow_id)
            try:
                faultpoint("worker.before_cancel_workflow")
                await handle.cancel(rpc_timeout=_TIMEOUT)
                faultpoint("worker.after_cancel_workflow")
            except RPCError as exc:
                if exc.status is not RPCStatusCode.NOT_FOUND:
                    raise

    async def ended(self, namespace: str, workflow_id: str) -> Ended | None:
        """Say how a workflow has ended; None while it goes on."""
        with _errors():
            client = await self._client(namespace)
            handle = client.get_workflow_handle(workflow_id)
            try:
                faultpoint("worker.before_describe_workflow")
                described = await handle.describe(rpc_timeout=_TIMEOUT)
                faultpoint("worker.after_describe_workflow")
            except RPCError as exc:
                if exc.status is not RPCStatusCode.NOT_FOUND:
                    raise
                told = f"Temporal does not know the workflow {workflow_id} any more"
                return Ended("unknown", TaskFailure(type="WorkflowLost", message=told))
            if described.status is None or described.status in _OPEN:
                return None
            workflow_run_id = str(described.run_id)
            handle = client.get_workflow_handle(workflow_id, run_id=workflow_run_id)
            faultpoint("worker.before_read_end")
            history = handle.fetch_history_events(
                event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT, rpc_timeout=_TIMEOUT
            )
            last = [event async for event in history]
            faultpoint("worker.after_read_end")
        return Ended(workflow_run_id, _failure(described.status, last[-1] if last else None))

    async def _client(self, namespace: str) -> Client:
        known = self._clients.get(namespace)
        if known is None:
            known = self._clients[namespace] = await self._connect[namespace]()
        return known


def _failure(status: WorkflowExecutionStatus, event: HistoryEvent | None) -> TaskFailure:
    kind = _KIND.get(status)
    if kind is None:
        return TaskFailure(
            type="OutcomeMissing",
            message="the workflow has ended, and nobody recorded how this task did",
        )
    return TaskFailure(type=kind, message=_told(status, event)[:2000])


def _told(status: WorkflowExecutionStatus, event: HistoryEvent | None) -> str:
    """Say who ended a workflow and why, as far as its last event does."""
    if event is not None and status is WorkflowExecutionStatus.TERMINATED:
        by = event.workflow_execution_terminated_event_attributes
        who = f" by {by.identity}" if by.identity else ""
        return f"the workflow was terminated in Temporal{who}: {by.reason or 'no reason given'}"
    if event is not None and status is WorkflowExecutionStatus.FAILED:
        failure = event.workflow_execution_failed_event_attributes.failure
        return f"the workflow failed: {failure.message}"
    return {
        WorkflowExecutionStatus.TIMED_OUT: "the workflow ran out of its time",
        WorkflowExecutionStatus.CANCELED: "the workflow was cancelled in Temporal",
    }.get(status, "the workflow was ended in Temporal")


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except RPCError as exc:
        if exc.status in _REFUSED:
            raise RefusedError(f"Temporal refuses: {exc.message}") from exc
        raise NeighbourUnavailableError(f"Temporal: {exc.status.name}: {exc.message}") from exc
    except (TemporalUnavailableError, RuntimeError) as exc:
        raise NeighbourUnavailableError(f"Temporal: {exc}") from exc
    except TimeoutError as exc:
        raise NeighbourUnavailableError("Temporal did not answer in time") from exc
