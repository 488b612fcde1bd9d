"""`RunActivity`: one run of a definition, from its decision to the last automated task.

Human tasks wait in the ledger. For those with which time does something, `TaskTimers` is started
as a child that outlives this workflow.
"""

import asyncio
import json
from typing import Any, NamedTuple
from uuid import UUID

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError
from temporalio.workflow import ActivityCancellationType, ActivityHandle, ParentClosePolicy

from orchestrator_worker.workflows import steps

with workflow.unsafe.imports_passed_through():
    from contracts import identifiers
    from contracts.decisions import AutomatedInstance
    from contracts.names import TASK_TIMERS_TASK_QUEUE, TemporalActivity, Workflow
    from contracts.runs import (
        MAX_OUTPUT_BYTES,
        Decided,
        DecideInput,
        RecordOutcome,
        RunFailure,
        RunInput,
        RunResult,
        TaskCall,
        TaskFailure,
        TaskOutcome,
        TaskTimersInput,
    )


class _Report(NamedTuple):
    """What a handler's result says, whoever wrote the handler."""

    recorded: bool
    output: Any = None
    failure: TaskFailure | None = None


@workflow.defn(name=Workflow.RUN_ACTIVITY.value)
class RunActivity:
    """Decide, then carry out every automated task in parallel and have its outcome recorded.

    A cancellation ends handlers and waiting, never the recording: what was decided is closed in the
    ledger, the cancelled tasks as failed.
    """

    def __init__(self) -> None:
        self._cancelled = False
        self._cancellable: list[ActivityHandle[Any]] = []

    @workflow.run
    async def run(self, run: RunInput) -> RunResult:
        """Return how many tasks completed and failed, or why nothing could be decided."""
        work = asyncio.create_task(self._run(run))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._cancelled = True
            for handle in self._cancellable:
                handle.cancel()
            await work
            raise

    async def _run(self, run: RunInput) -> RunResult:
        workflow_run_id = workflow.info().first_execution_run_id
        try:
            decided = await self._decide(DecideInput(run=run, workflow_run_id=workflow_run_id))
        except (FailureError, asyncio.CancelledError) as exc:
            failure = self._failure_of(exc)
            outcome = await steps.surely(
                TemporalActivity.RECORD_RUN_FAILURE,
                RunFailure(run=run, workflow_run_id=workflow_run_id, failure=failure),
                RecordOutcome,
            )
            return RunResult(outcome=outcome, failure=failure)
        # A decision from before there were timers names no task for them: its history replays as
        # it was. The starts are awaited, since a run that ends takes what has not begun with it.
        timers = asyncio.gather(*(_start_timers(run, task_id) for task_id in decided.timed))
        done = await asyncio.gather(
            *(self._carry_out(run, task) for task in decided.tasks), return_exceptions=True
        )
        await timers
        # Only after every other task has its outcome may an unrecordable one end the run.
        for result in done:
            if isinstance(result, BaseException):
                raise result
        completed = sum(result is True for result in done)
        return RunResult(outcome=decided.outcome, completed=completed, failed=len(done) - completed)

    async def _decide(self, question: DecideInput) -> Decided:
        decided = await steps.locally(TemporalActivity.DECIDE, question, Decided)
        if decided is not None:
            return decided
        if self._cancelled:
            raise asyncio.CancelledError
        handle = steps.patiently(TemporalActivity.DECIDE, question, Decided)
        self._cancellable.append(handle)
        return await handle

    async def _carry_out(self, run: RunInput, task: AutomatedInstance) -> bool:
        report = await self._handle(run, task)
        if not report.recorded:
            await steps.surely(
                TemporalActivity.RECORD_TASK_OUTCOME,
                TaskOutcome(
                    namespace=run.namespace,
                    run_id=run.run_id,
                    task_id=task.task_id,
                    output=report.output,
                    failure=report.failure,
                ),
                bool,
            )
        return report.failure is None

    async def _handle(self, run: RunInput, task: AutomatedInstance) -> _Report:
        if self._cancelled:
            return _Report(recorded=False, failure=steps.cancelled())
        call = TaskCall(
            namespace=run.namespace,
            run_id=run.run_id,
            definition_id=run.definition_id,
            task=task,
            traceparent=run.trigger.traceparent,
        )
        # Raw: a foreign handler may return anything, and what cannot be read is that task's
        # failure, not a workflow task that fails for ever.
        handle: ActivityHandle[RawValue] = workflow.start_activity(
            task.handler,
            call,
            result_type=RawValue,
            task_queue=task.task_queue,
            start_to_close_timeout=task.timeout,
            retry_policy=RetryPolicy(
                maximum_attempts=task.retry.maximum_attempts,
                initial_interval=task.retry.initial_interval,
                backoff_coefficient=task.retry.backoff_coefficient,
                maximum_interval=max(task.retry.maximum_interval, task.retry.initial_interval),
            ),
            activity_id=str(task.task_id),
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        self._cancellable.append(handle)
        try:
            return _read_report(await handle)
        except (FailureError, asyncio.CancelledError) as exc:
            return _Report(recorded=False, failure=self._failure_of(exc))

    def _failure_of(self, exc: FailureError | asyncio.CancelledError) -> TaskFailure:
        if isinstance(exc, asyncio.CancelledError):
            return steps.cancelled()
        return steps.failure_of(exc, run_cancelled=self._cancelled)


async def _start_timers(run: RunInput, task_id: UUID) -> None:
    try:
        await workflow.start_child_workflow(
            Workflow.TASK_TIMERS.value,
            TaskTimersInput(namespace=run.namespace, task_id=task_id),
            id=identifiers.task_timers_workflow_id(task_id),
            task_queue=TASK_TIMERS_TASK_QUEUE,
            parent_close_policy=ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    except WorkflowAlreadyStartedError:
        # Another execution of this run did it.
        return


def _read_report(raw: RawValue) -> _Report:
    try:
        result: Any = workflow.payload_converter().from_payload(raw.payload)
    except Exception as exc:  # noqa: BLE001 - whatever a converter raises, the output is unreadable
        return _refused("InvalidOutput", f"the handler's output cannot be read: {exc}")
    if (
        isinstance(result, dict)
        and isinstance(result.get("recorded"), bool)
        and result.keys() <= {"recorded", "output"}
    ):
        if result["recorded"]:
            return _Report(recorded=True)
        result = result.get("output")
    try:
        size = len(
            json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        )
    except (TypeError, ValueError) as exc:
        return _refused("InvalidOutput", f"the handler's output is not JSON: {exc}")
    if size > MAX_OUTPUT_BYTES:
        return _refused(
            "OutputTooLarge",
            f"the handler's output has {size} bytes, more than the {MAX_OUTPUT_BYTES} that are "
            "kept; store it elsewhere and return a reference",
        )
    return _Report(recorded=False, output=result)


def _refused(kind: str, message: str) -> _Report:
    return _Report(recorded=False, failure=TaskFailure(type=kind, message=message[:2000]))
