"""Has `onFailure` called for what failed when no workflow is left to call it.

What is told of is an operation, written with the failure: once, under the key that the workflow
would have used.
"""

from collections.abc import Sequence
from datetime import datetime

from contracts.runs import FailureQuestion, TaskFailure
from eventstore.events import Cause
from ledger.domain import control as domain
from ledger.domain.control import Order
from ledger.domain.runs import Occasion, RunState, TaskState
from ledger.ports.control import ControlStore
from ledger.ports.runs import RunStore
from runtime.postgres import Transaction


class FailureTelling:
    """Writes the operations that tell of failures."""

    def __init__(self, *, runs: RunStore, control: ControlStore) -> None:
        self._runs = runs
        self._control = control

    async def of_run(
        self,
        transaction: Transaction,
        occasion: Occasion,
        failure: TaskFailure,
        *,
        actor: str,
        at: datetime,
    ) -> None:
        """Have somebody told of a run that could not decide."""
        question = FailureQuestion(
            namespace=transaction.namespace,
            run_id=occasion.run_id,
            definition_id=occasion.definition_id,
            definition_version=occasion.trigger.definition_version,
            failure=failure,
        )
        await self._tell(transaction, [question], occasion.cause, actor=actor, at=at)

    async def of_tasks(
        self,
        transaction: Transaction,
        run: RunState,
        tasks: Sequence[TaskState],
        failure: TaskFailure,
        *,
        actor: str,
        at: datetime,
    ) -> None:
        """Have somebody told of each of these automated tasks, which failed just now."""
        decided = domain.decided_tasks(await self._runs.decision_of(transaction, run.run_id))
        questions = [
            FailureQuestion(
                namespace=transaction.namespace,
                run_id=run.run_id,
                definition_id=run.definition_id,
                definition_version=run.definition_version,
                failure=failure,
                task=decided[task.task_id],
                generation=task.generation,
            )
            for task in tasks
        ]
        await self._tell(transaction, questions, run.cause, actor=actor, at=at)

    async def _tell(
        self,
        transaction: Transaction,
        questions: Sequence[FailureQuestion],
        cause: Cause,
        *,
        actor: str,
        at: datetime,
    ) -> None:
        await self._control.add_operations(
            transaction,
            [domain.telling(one, cause) for one in questions if domain.tells_of(one.failure)],
            order=Order(request_id="", actor=actor, reason=questions[0].failure.message),
            at=at,
        )
