"""What a tick does: ask the ledger what is due, start it, say that it was started.

Every step may be done again. The ledger gives whoever asks again for the same wake-up what was not
acknowledged, and a run's id starts once.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from contracts.runs import Acknowledgement, AdvanceInput, DueRun
from orchestrator_worker.errors import WorkerError
from orchestrator_worker.ports import Executions, Ledger

_AT_ONCE = 20
"""Runs that are started, and acknowledged, at a time: what a tick that dies has done is kept."""


class Ticker:
    """Starts what falls due."""

    def __init__(self, *, ledger: Ledger, executions: Executions) -> None:
        self._ledger = ledger
        self._executions = executions

    async def tick(self, advance: AdvanceInput) -> datetime | None:
        """Start what is due by now; return when to look again, None when nothing waits.

        A run that cannot be started holds up none of the others.

        Raises:
            NeighbourUnavailableError: the ledger or Temporal is away, or was for one of the runs.
            RefusedError: the ledger refuses, or Temporal one of the runs.
        """
        advanced = await self._ledger.advance_schedule(advance)
        errors: list[WorkerError] = []
        for first in range(0, len(advanced.runs), _AT_ONCE):
            errors += await self._start(advance, advanced.runs[first : first + _AT_ONCE])
        if errors:
            raise errors[0]
        return advanced.next_at

    async def _start(self, advance: AdvanceInput, runs: Sequence[DueRun]) -> list[WorkerError]:
        """Start some runs and acknowledge them; return what kept others from it."""
        ended = await asyncio.gather(*(self._start_one(due) for due in runs))
        started = [due.run.run_id for due, error in zip(runs, ended, strict=True) if error is None]
        if started:
            await self._ledger.acknowledge_runs(
                Acknowledgement(
                    namespace=advance.namespace,
                    definition_id=advance.definition_id,
                    run_ids=started,
                )
            )
        return [error for error in ended if error is not None]

    async def _start_one(self, due: DueRun) -> WorkerError | None:
        try:
            # One that was started before was so by a tick that died before it could tell of it.
            await self._executions.start(
                due.run.namespace, due.run, workflow_id=due.run.run_id, task_queue=due.task_queue
            )
        except WorkerError as exc:
            return exc
        return None
