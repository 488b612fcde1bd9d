"""`ScheduledTick`: a wake-up that asks the ledger what is due and starts it.

Temporal's Schedule only wakes; which due times run, are skipped or are compressed is the ledger's
to say. A tick that dies between is harmless: the ledger returns what was not acknowledged again.
"""

import asyncio

from temporalio import workflow
from temporalio.common import (
    SearchAttributeKey,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from orchestrator_worker.workflows import steps

with workflow.unsafe.imports_passed_through():
    from contracts.names import TemporalActivity, Workflow
    from contracts.runs import Acknowledgement, Advanced, AdvanceInput, DueRun, TickInput

_SCHEDULED_START = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


@workflow.defn(name=Workflow.SCHEDULED_TICK.value)
class ScheduledTick:
    """Advance the definition's schedule, start each run it gives, acknowledge them."""

    @workflow.run
    async def run(self, tick: TickInput) -> None:
        """Return when every due run was started by this tick or by an earlier one."""
        advanced = await steps.surely(
            TemporalActivity.ADVANCE_SCHEDULE,
            AdvanceInput(
                namespace=tick.namespace,
                definition_id=tick.definition_id,
                woken_for=workflow.info().typed_search_attributes.get(_SCHEDULED_START),
            ),
            Advanced,
        )
        if not advanced.runs:
            return
        await asyncio.gather(*(_start(due) for due in advanced.runs))
        await steps.surely(
            TemporalActivity.ACKNOWLEDGE_RUNS,
            Acknowledgement(
                namespace=tick.namespace,
                definition_id=tick.definition_id,
                run_ids=[due.run.run_id for due in advanced.runs],
            ),
            bool,
        )


async def _start(due: DueRun) -> None:
    try:
        await workflow.start_child_workflow(
            Workflow.RUN_ACTIVITY.value,
            due.run,
            id=due.run.run_id,
            task_queue=due.task_queue,
            parent_close_policy=ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    except WorkflowAlreadyStartedError:
        # An earlier tick started it and died before it could acknowledge it.
        return
