"""What `Instance` calls: apply what waits for it."""

from temporalio import activity

from contracts import identifiers
from contracts.names import TemporalActivity
from contracts.runs import Applied, ApplyNextInput
from orchestrator_worker.activities.outcomes import told_to_temporal
from orchestrator_worker.service.applying import Applier


class InstanceActivities:
    """The Temporal activities of stateful instances."""

    def __init__(self, *, applier: Applier) -> None:
        self._applier = applier

    @activity.defn(name=TemporalActivity.APPLY_NEXT.value)
    async def apply_next(self, question: ApplyNextInput) -> Applied:
        """Apply what waits for an instance, in order, each once."""
        instance = identifiers.instance_workflow_id(question.definition_id, question.key_hash)
        with told_to_temporal(instance=instance):
            return await self._applier.apply(question)
