"""What `ScheduledTick` calls: start what is due."""

from temporalio import activity

from contracts.names import TemporalActivity
from contracts.runs import AdvanceInput, NextLook
from orchestrator_worker.activities.outcomes import told_to_temporal
from orchestrator_worker.service.ticking import Ticker


class TickActivities:
    """The Temporal activities of the ticks' task queue."""

    def __init__(self, *, ticker: Ticker) -> None:
        self._ticker = ticker

    @activity.defn(name=TemporalActivity.ADVANCE_SCHEDULE.value)
    async def advance_schedule(self, advance: AdvanceInput) -> NextLook:
        """Account for every due time up to now, and start the runs that this asks for."""
        with told_to_temporal(definition_id=advance.definition_id):
            return NextLook(next_at=await self._ticker.tick(advance))
