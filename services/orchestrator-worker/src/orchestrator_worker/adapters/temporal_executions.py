"""Workflows on Temporal: started once by their id, cancelled, and asked how they ended."""

from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import cast

from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowHistoryEventFilterType,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from contracts import identifiers
from contracts.names import Signal, Workflow
from contracts.runs import (
    CANCELLED_IN_TEMPORAL,
    InstanceInput,
    RetryTaskInput,
    RunInput,
    TaskFailure,
    TaskTimersInput,
    TellFailureInput,
    TickInput,
)
from orchestrator_worker.domain.executions import CutShort, Ended
from orchestrator_worker.errors import NeighbourUnavailableError, RefusedError
from orchestrator_worker.ports import Started
from runtime import logs
from runtime.datakeys import NotOpenedError
from runtime.faultpoints import faultpoint
from runtime.temporal import TemporalUnavailableError

_TIMEOUT = timedelta(seconds=10)
_REFUSED = frozenset({RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.OUT_OF_RANGE})
_OPEN = frozenset({WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW})
_KIND = {
    WorkflowExecutionStatus.TERMINATED: "WorkflowTerminated",
    WorkflowExecutionStatus.TIMED_OUT: "WorkflowTimedOut",
    WorkflowExecutionStatus.FAILED: "WorkflowFailed",
    WorkflowExecutionStatus.CANCELED: CANCELLED_IN_TEMPORAL,
}
_CUT_SHORT = (
    f"WorkflowType = '{Workflow.RUN_ACTIVITY.value}'"
    " AND ExecutionStatus IN ('Terminated', 'TimedOut', 'Failed', 'Canceled')"
)

_WORKFLOW: dict[type[Started], Workflow] = {
    RunInput: Workflow.RUN_ACTIVITY,
    RetryTaskInput: Workflow.RETRY_TASK,
    TellFailureInput: Workflow.TELL_FAILURE,
    TaskTimersInput: Workflow.TASK_TIMERS,
    TickInput: Workflow.SCHEDULED_TICK,
}

Connect = Callable[[], Awaitable[Client]]

_log = logs.get_logger(__name__)


class TemporalExecutions:
    """`ports.Executions` with one client for each namespace, connected when it is first used."""

    def __init__(self, connect: Mapping[str, Connect]) -> None:
        self._connect = connect
        self._clients: dict[str, Client] = {}

    async def start(
        self, namespace: str, given: Started, *, workflow_id: str, task_queue: str
    ) -> bool:
        """Start the workflow that takes this input; False when it was started before."""
        # A clock may be wound up again: it does nothing that the ledger does not say.
        again = isinstance(given, TaskTimersInput)
        with _errors():
            client = await self._client(namespace)
            try:
                faultpoint("worker.before_start_workflow")
                await client.start_workflow(
                    _WORKFLOW[type(given)].value,
                    given,
                    id=workflow_id,
                    task_queue=task_queue,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE
                    if again
                    else WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    rpc_timeout=_TIMEOUT,
                )
                faultpoint("worker.after_start_workflow")
            except WorkflowAlreadyStartedError:
                return False
        return True

    async def wake(
        self, namespace: str, definition_id: str, key_hash: str, *, task_queue: str
    ) -> None:
        """Signal an instance, with its start."""
        with _errors():
            client = await self._client(namespace)
            faultpoint("worker.before_wake_instance")
            await client.start_workflow(
                Workflow.INSTANCE.value,
                InstanceInput(namespace=namespace, definition_id=definition_id, key_hash=key_hash),
                id=identifiers.instance_workflow_id(definition_id, key_hash),
                task_queue=task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                start_signal=Signal.WAKE.value,
                rpc_timeout=_TIMEOUT,
            )
            faultpoint("worker.after_wake_instance")

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
        event = last[-1] if last else None
        return Ended(workflow_run_id, _failure(described.status, event, await _said(client, event)))

    async def cut_short(
        self, namespace: str, *, since: datetime, page_token: str, limit: int
    ) -> tuple[list[CutShort], str]:
        """Return runs whose workflow ended otherwise than by its own, and the next page's token."""
        with _errors():
            client = await self._client(namespace)
            faultpoint("worker.before_list_cut_short")
            found = client.list_workflows(
                f"{_CUT_SHORT} AND CloseTime >= '{since.isoformat()}'",
                page_size=limit,
                next_page_token=b64decode(page_token) or None,
                rpc_timeout=_TIMEOUT,
            )
            await found.fetch_next_page()
            faultpoint("worker.after_list_cut_short")
        page = [CutShort(one.id, one.run_id) for one in found.current_page or ()]
        return page, b64encode(found.next_page_token or b"").decode()

    async def began_with(self, namespace: str, one: CutShort) -> RunInput | None:
        """Return the input of the workflow of a run; None when it cannot be read any more."""
        with _errors():
            client = await self._client(namespace)
            handle = client.get_workflow_handle(one.workflow_id, run_id=one.workflow_run_id)
            faultpoint("worker.before_read_beginning")
            history = handle.fetch_history_events(page_size=1, rpc_timeout=_TIMEOUT)
            try:
                event = await anext(aiter(history))
                faultpoint("worker.after_read_beginning")
            except RPCError as exc:
                if exc.status is not RPCStatusCode.NOT_FOUND:
                    raise
                return None
        given = event.workflow_execution_started_event_attributes.input.payloads
        try:
            (run,) = await client.data_converter.decode(given, [RunInput])
        except (ValueError, RuntimeError, NotOpenedError) as exc:
            _log.error("run_unreadable", workflow_id=one.workflow_id, error=str(exc))
            return None
        return cast("RunInput", run)

    async def _client(self, namespace: str) -> Client:
        known = self._clients.get(namespace)
        if known is None:
            known = self._clients[namespace] = await self._connect[namespace]()
        return known


async def _said(client: Client, event: HistoryEvent | None) -> str:
    """Return what a workflow failed with; its message may be encrypted."""
    if event is None or not event.HasField("workflow_execution_failed_event_attributes"):
        return ""
    failure = Failure()
    failure.CopyFrom(event.workflow_execution_failed_event_attributes.failure)
    try:
        return str(await client.data_converter.decode_failure(failure))
    except NotOpenedError as exc:
        return f"what it failed with cannot be told: {exc}"


def _failure(status: WorkflowExecutionStatus, event: HistoryEvent | None, said: str) -> TaskFailure:
    kind = _KIND.get(status)
    if kind is None:
        return TaskFailure(
            type="OutcomeMissing",
            message="the workflow has ended, and nobody recorded how this task did",
        )
    return TaskFailure(type=kind, message=_told(status, event, said)[:2000])


def _told(status: WorkflowExecutionStatus, event: HistoryEvent | None, said: str) -> str:
    """Say who ended a workflow and why, as far as its last event does."""
    if event is not None and status is WorkflowExecutionStatus.TERMINATED:
        by = event.workflow_execution_terminated_event_attributes
        who = f" by {by.identity}" if by.identity else ""
        return f"the workflow was terminated in Temporal{who}: {by.reason or 'no reason given'}"
    if event is not None and status is WorkflowExecutionStatus.FAILED:
        return f"the workflow failed: {said}"
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
