"""How facts about runs are written: to the run's stream, with what follows from a run's end."""

from collections.abc import Sequence
from datetime import datetime

from contracts import identifiers
from contracts.triggers import TriggerKind
from eventstore import store
from eventstore.errors import EventTooLargeError
from eventstore.events import Cause, Fact
from eventstore.store import EventStore, Expected
from ledger.domain import control
from ledger.domain import runs as domain
from ledger.domain.control import Order
from ledger.domain.runs import Occasion, RunState
from ledger.errors import InvalidRequestError
from ledger.ports.control import ControlStore
from ledger.ports.schedules import ScheduleStore
from runtime import telemetry
from runtime.postgres import Transaction

WAKER = "backbone/ledger"
"""Who asks for what follows from something else."""


class RunAppender:
    """Writes to the streams of runs."""

    def __init__(
        self, *, events: EventStore, schedules: ScheduleStore, control: ControlStore
    ) -> None:
        self._events = events
        self._schedules = schedules
        self._control = control

    async def append(
        self, transaction: Transaction, run: RunState, facts: Sequence[Fact], *, at: datetime
    ) -> None:
        """Write what happened to a locked run.

        Raises:
            InvalidRequestError: an event would be too large.
        """
        await self.write(transaction, run.run_id, facts, expected=store.ANY, at=at, cause=run.cause)
        if run.trigger_kind == TriggerKind.SCHEDULE and domain.closes_run(facts):
            await self._close_due_run(
                transaction, run.definition_id, run.run_id, version=run.definition_version, at=at
            )

    async def begin(
        self, transaction: Transaction, occasion: Occasion, facts: Sequence[Fact], *, at: datetime
    ) -> None:
        """Write the first that happened to a run. Raises as `append`."""
        cause = occasion.cause
        if cause.traceparent is None:
            cause = Cause(
                correlation_id=cause.correlation_id,
                causation_id=cause.causation_id,
                traceparent=telemetry.traceparent(),
                hops=cause.hops,
            )
        await self.write(
            transaction, occasion.run_id, facts, expected=store.NEW, at=at, cause=cause
        )
        if occasion.trigger.kind is TriggerKind.SCHEDULE and domain.closes_run(facts):
            await self._close_due_run(
                transaction,
                occasion.definition_id,
                occasion.run_id,
                version=occasion.trigger.definition_version,
                at=at,
            )

    async def _close_due_run(
        self,
        transaction: Transaction,
        definition_id: str,
        run_id: str,
        *,
        version: int,
        at: datetime,
    ) -> None:
        awaited = await self._schedules.close_run(transaction, definition_id, run_id, at)
        if awaited:
            tick = control.tick(
                transaction.namespace,
                definition_id,
                version=version,
                asked_by=(run_id, identifiers.instant(at)),
            )
            order = Order(request_id="", actor=WAKER, reason=f"the run {run_id} is closed")
            await self._control.add_operations(transaction, [tick], order=order, at=at)

    async def write(
        self,
        transaction: Transaction,
        run_id: str,
        facts: Sequence[Fact],
        *,
        expected: Expected,
        at: datetime,
        cause: Cause,
    ) -> None:
        """Write to the stream of a run, and nothing else. Raises as `append`."""
        try:
            await self._events.append(
                transaction,
                stream=store.run_stream(run_id),
                facts=facts,
                expected=expected,
                occurred_at=at,
                cause=cause,
            )
        except EventTooLargeError as exc:
            raise InvalidRequestError(
                f"{exc}; keep large values elsewhere and pass a reference"
            ) from exc
