"""The read model of instances: the table follows from the events of their runs alone."""

import json
from collections.abc import Sequence

from contracts.events import RunDecided, RunFailed
from contracts.triggers import TimerOf
from eventstore.events import Event
from ledger.domain.instances import Status
from runtime import sqlfiles
from runtime.postgres import Transaction


class InstanceProjection:
    """Writes how a generation stands after each event and timer that was applied to it."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "instances")

    async def __call__(self, transaction: Transaction, events: Sequence[Event]) -> None:
        """Apply `events` in their order; those of other runs are none of its own."""
        for event in events:
            if isinstance(event.payload, RunDecided) and event.payload.instance is not None:
                await self._step(transaction, event, event.payload)
            elif isinstance(event.payload, RunFailed) and event.payload.timer is not None:
                await self._drop_timer(transaction, event.payload, event.payload.timer)

    async def _step(self, transaction: Transaction, event: Event, run: RunDecided) -> None:
        step, at = run.instance, event.envelope.occurred_at
        if step is None:
            return
        await transaction.execute(
            self._sql["put_instance"],
            transaction.namespace,
            run.definition_id,
            step.key_hash,
            step.generation,
            event.position,
            run.definition_version,
            step.sequence,
            step.state_sha256,
            Status.ENDED if step.ended else Status.OPEN,
            run.run_id,
            at,
            at if step.ended else None,
            json.dumps([timer.model_dump(mode="json") for timer in step.timers]),
            min((timer.due_at for timer in step.timers), default=None),
        )

    async def _drop_timer(self, transaction: Transaction, run: RunFailed, timer: TimerOf) -> None:
        await transaction.execute(
            self._sql["drop_timer"],
            transaction.namespace,
            run.definition_id,
            timer.key_hash,
            timer.generation,
            run.trigger_names[0],
            timer.sequence,
        )
