"""`RunActivity`: one run of a definition, from its decision to the last automated task."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import FailureError

from orchestrator_worker.workflows import steps
from orchestrator_worker.workflows.carrying import Carrier

with workflow.unsafe.imports_passed_through():
    from contracts.decisions import AutomatedInstance
    from contracts.names import TemporalActivity, Workflow
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
        done = await asyncio.gather(
            *(self._carry_out(run, task) for task in decided.tasks), return_exceptions=True
        )
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
            ),
            definition_version=run.trigger.definition_version,
        )
