"""`RunActivity`: one run of a definition, from its decision to the last automated task.

Human tasks wait in the ledger. For those with which time does something, `TaskTimers` is started
as a child that outlives this workflow.
"""

import asyncio
from uuid import UUID

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from orchestrator_worker.workflows import steps
from orchestrator_worker.workflows.carrying import Carrier

with workflow.unsafe.imports_passed_through():
    from contracts import identifiers
    from contracts.decisions import AutomatedInstance
    from contracts.names import TASK_TIMERS_TASK_QUEUE, TemporalActivity, Workflow
    from contracts.runs import (
        Decided,
        DecideInput,
        FailureQuestion,
        RecordOutcome,
        RunFailure,
        RunInput,
        RunResult,
        TaskCall,
        TaskFailure,
        TaskTimersInput,
    )


@workflow.defn(name=Workflow.RUN_ACTIVITY.value)
class RunActivity:
    """Decide, then carry out every automated task in parallel and have its outcome recorded.

    A cancellation ends handlers and waiting, never the recording: what was decided is closed in the
    ledger, the cancelled tasks as failed unless the ledger has cancelled them itself.
    """

    def __init__(self) -> None:
        self._carrier = Carrier()

    @workflow.run
    async def run(self, run: RunInput) -> RunResult:
        """Return how many tasks completed and failed, or why nothing could be decided."""
        work = asyncio.create_task(self._run(run))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._carrier.cancel()
            await work
            raise

    async def _run(self, run: RunInput) -> RunResult:
        workflow_run_id = workflow.info().first_execution_run_id
        try:
            decided = await self._decide(DecideInput(run=run, workflow_run_id=workflow_run_id))
        except (FailureError, asyncio.CancelledError) as exc:
            return await self._failed(run, workflow_run_id, self._carrier.failure_of(exc))
        # A decision from before there were timers names no task for them: its history replays as
        # it was. The starts are awaited, since a run that ends takes what has not begun with it.
        timers = asyncio.gather(*(_start_timers(run, task_id) for task_id in decided.timed))
        if decided.effects_halted and decided.tasks:
            # Never said of a decision from before there were kill switches, whose history replays.
            await self._carrier.effects(run.namespace, run.definition_id)
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
        if self._carrier.cancelled:
            raise asyncio.CancelledError
        handle = steps.patiently(TemporalActivity.DECIDE, question, Decided)
        result: Decided = await self._carrier.cancellable(handle)
        return result

    async def _failed(self, run: RunInput, workflow_run_id: str, failure: TaskFailure) -> RunResult:
        outcome = await steps.surely(
            TemporalActivity.RECORD_RUN_FAILURE,
            RunFailure(run=run, workflow_run_id=workflow_run_id, failure=failure),
            RecordOutcome,
        )
        if outcome is not RecordOutcome.DUPLICATE:
            await self._carrier.tell_of(
                FailureQuestion(
                    namespace=run.namespace,
                    run_id=run.run_id,
                    definition_id=run.definition_id,
                    definition_version=run.trigger.definition_version,
                    failure=failure,
                ),
                traceparent=run.trigger.traceparent,
                chain=run.trigger.chain_of(run.run_id),
            )
        return RunResult(outcome=outcome, failure=failure)

    async def _carry_out(self, run: RunInput, task: AutomatedInstance) -> bool:
        return await self._carrier.carry_out(
            TaskCall(
                namespace=run.namespace,
                run_id=run.run_id,
                definition_id=run.definition_id,
                task=task,
                traceparent=run.trigger.traceparent,
                chain=run.trigger.chain_of(run.run_id),
            ),
            definition_version=run.trigger.definition_version,
        )


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
