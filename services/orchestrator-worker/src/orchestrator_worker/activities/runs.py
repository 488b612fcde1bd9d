"""What `RunActivity` calls: decide, and record how it went."""

from temporalio import activity

from contracts.names import TemporalActivity
from contracts.runs import Decided, DecideInput, RecordOutcome, RunFailure, TaskOutcome
from orchestrator_worker.activities.outcomes import told_to_temporal
from orchestrator_worker.service.runs import Decider, Recorder


class RunActivities:
    """The Temporal activities of a task queue that runs are served on."""

    def __init__(self, *, decider: Decider, recorder: Recorder) -> None:
        self._decider = decider
        self._recorder = recorder

    @activity.defn(name=TemporalActivity.DECIDE.value)
    async def decide(self, question: DecideInput) -> Decided:
        """Decide a run and record it."""
        with told_to_temporal(run_id=question.run.run_id):
            return await self._decider.decide(question)

    @activity.defn(name=TemporalActivity.RECORD_RUN_FAILURE.value)
    async def record_run_failure(self, failure: RunFailure) -> RecordOutcome:
        """Record that a run could not decide."""
        with told_to_temporal(run_id=failure.run.run_id):
            return await self._recorder.run_failed(failure)

    @activity.defn(name=TemporalActivity.RECORD_TASK_OUTCOME.value)
    async def record_task_outcome(self, outcome: TaskOutcome) -> bool:
        """Record how a task ended; False when it was closed before."""
        with told_to_temporal(run_id=outcome.run_id, task_id=str(outcome.task_id)):
            return await self._recorder.task_ended(outcome)
