"""What `ScheduledTick` calls: ask what is due, say what was started."""

from temporalio import activity

from contracts.names import TemporalActivity
from contracts.runs import Acknowledgement, Advanced, AdvanceInput
from orchestrator_worker.activities.outcomes import told_to_temporal
from orchestrator_worker.ports import Ledger


class TickActivities:
    """The Temporal activities of the ticks' task queue."""

    def __init__(self, *, ledger: Ledger) -> None:
        self._ledger = ledger

    @activity.defn(name=TemporalActivity.ADVANCE_SCHEDULE.value)
    async def advance_schedule(self, advance: AdvanceInput) -> Advanced:
        """Account for every due time up to now; return the runs to start."""
        with told_to_temporal(definition_id=advance.definition_id):
            return await self._ledger.advance_schedule(advance)

    @activity.defn(name=TemporalActivity.ACKNOWLEDGE_RUNS.value)
    async def acknowledge_runs(self, acknowledgement: Acknowledgement) -> bool:
        """Say that due runs were started; always True."""
        with told_to_temporal(definition_id=acknowledgement.definition_id):
            await self._ledger.acknowledge_runs(acknowledgement)
        return True
