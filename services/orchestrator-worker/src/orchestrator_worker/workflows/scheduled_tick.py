"""`ScheduledTick`: a wake-up that has what is due started.

Temporal's Schedule only wakes; which due times run, are skipped or are compressed is the ledger's
to say. A due time with jitter is waited for here, on a timer of Temporal. A tick that dies between
is harmless: the ledger returns what was not acknowledged again.
"""

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from orchestrator_worker.workflows import steps

with workflow.unsafe.imports_passed_through():
    from contracts.names import TemporalActivity, Workflow
    from contracts.runs import AdvanceInput, TickInput

_SCHEDULED_START = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


@workflow.defn(name=Workflow.SCHEDULED_TICK.value)
class ScheduledTick:
    """Advance the definition's schedule until nothing of it waits for its jitter."""

    @workflow.run
    async def run(self, tick: TickInput) -> None:
        """Return when every due run was started by this tick or by an earlier one."""
        info = workflow.info()
        # Whoever asks a second time for the same wake-up is given what the first one was: an answer
        # that got lost, or a worker that died with it, holds nothing up.
        woken_for = info.typed_search_attributes.get(_SCHEDULED_START) or info.workflow_start_time
        await steps.until_nothing_waits(
            TemporalActivity.ADVANCE_SCHEDULE,
            lambda at: AdvanceInput(
                namespace=tick.namespace, definition_id=tick.definition_id, woken_for=at
            ),
            woken_for=woken_for,
        )
