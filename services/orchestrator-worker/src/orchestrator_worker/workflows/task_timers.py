"""`TaskTimers`: a clock that wakes the ledger for one human task, as long as there is need.

What is due, and whether the task is still open, is the ledger's to say at every wake-up. So nobody
has to tell this workflow that the task was done or given to others: at its next time it sees so.
"""

from temporalio import workflow

from orchestrator_worker.workflows import steps

with workflow.unsafe.imports_passed_through():
    from contracts.names import TemporalActivity, Workflow
    from contracts.runs import AdvanceTask, TaskTimersInput


@workflow.defn(name=Workflow.TASK_TIMERS.value)
class TaskTimers:
    """Wake the ledger at each of a task's times; a task has no more of them than a few dozen."""

    @workflow.run
    async def run(self, timers: TaskTimersInput) -> None:
        """Return when the task is closed, or all its times are behind."""
        await steps.until_nothing_waits(
            TemporalActivity.ADVANCE_TASK,
            lambda at: AdvanceTask(
                namespace=timers.namespace, task_id=timers.task_id, woken_for=at
            ),
        )
