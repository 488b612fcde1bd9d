"""`Instance`: has what waits for one correlation key applied in turn, as long as it is open.

What waits, what was applied and in which order is known to the ledger alone, which is asked for the
next. A signal only wakes this workflow: nothing is lost with it, and whoever finds it gone may
start it again.
"""

import contextlib

from temporalio import workflow
from temporalio.common import VersioningBehavior, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from orchestrator_worker.workflows import steps

with workflow.unsafe.imports_passed_through():
    from contracts.names import Signal, TemporalActivity, Workflow
    from contracts.runs import Applied, ApplyNextInput, InstanceInput, RunInput

SIGNALS_PER_EXECUTION = 1000
"""Far below the number at which Temporal refuses more: what it refused is found by asking again."""


@workflow.defn(name=Workflow.INSTANCE.value)
class Instance:
    """Apply what waits, start the runs that have work, and end with the instance.

    Temporal lets it neither end nor continue as new while a signal is there that it has not seen.
    What was recorded since it asked is signalled after that, so it asks again.
    """

    def __init__(self) -> None:
        self._woken = False
        self._signals = 0

    @workflow.signal(name=Signal.WAKE.value)
    def wake(self) -> None:
        """Look: something waits."""
        self._woken = True
        self._signals += 1

    @workflow.run
    async def run(self, instance: InstanceInput) -> None:
        """Return when no generation is open and nothing waits."""
        done, begun = 0, instance.begun
        while True:
            self._woken = False
            applied = await _apply(instance, begun)
            done += applied.events
            begun = await _begin(applied.begin) if applied.begin is not None else ""
            if self._is_long(done, instance):
                workflow.continue_as_new(instance.model_copy(update={"begun": begun}))
            if applied.more or self._woken:
                continue
            if not applied.open:
                return
            # What is due is the ledger's to say: this is only when to ask.
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(lambda: self._woken, timeout=applied.due_in)

    def _is_long(self, done: int, instance: InstanceInput) -> bool:
        return (
            done >= instance.events_per_execution
            or self._signals >= SIGNALS_PER_EXECUTION
            or workflow.info().is_continue_as_new_suggested()
        )


@workflow.defn(name=Workflow.INSTANCE.value, versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class RoutedInstance(Instance):
    """The same where builds are routed: it is open for longer than a build is kept.

    Pinned, a build would never be drained. So it moves to each new build, and its code is changed
    by patches. A worker whose builds are not routed may not say so.
    """

    @workflow.run
    async def run(self, instance: InstanceInput) -> None:
        """Do as `Instance` does."""
        await super().run(instance)


async def _apply(instance: InstanceInput, begun: str) -> Applied:
    return await steps.surely(
        TemporalActivity.APPLY_NEXT,
        ApplyNextInput(
            namespace=instance.namespace,
            definition_id=instance.definition_id,
            key_hash=instance.key_hash,
            workflow_run_id=workflow.info().first_execution_run_id,
            begun=begun,
        ),
        Applied,
    )


async def _begin(run: RunInput) -> str:
    # An execution before this one may have started it, and not have come to tell.
    with contextlib.suppress(WorkflowAlreadyStartedError):
        await workflow.start_child_workflow(
            Workflow.RUN_ACTIVITY.value,
            run,
            id=run.run_id,
            parent_close_policy=ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    return run.run_id
