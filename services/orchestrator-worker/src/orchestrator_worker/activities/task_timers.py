"""What `TaskTimers` calls: have the ledger carry out what the clock asks of a human task."""

from temporalio import activity

from contracts.names import TemporalActivity
from contracts.runs import AdvanceTask, NextLook
from orchestrator_worker.activities.outcomes import told_to_temporal
from orchestrator_worker.ports import Ledger


class TaskTimerActivities:
    """The Temporal activities of the task timers' queue."""

    def __init__(self, *, ledger: Ledger) -> None:
        self._ledger = ledger

    @activity.defn(name=TemporalActivity.ADVANCE_TASK.value)
    async def advance_task(self, advance: AdvanceTask) -> NextLook:
        """Carry out what is due of a task; return when to look again."""
        with told_to_temporal(task_id=str(advance.task_id)):
            return NextLook(next_at=await self._ledger.advance_task(advance))
