"""How facts about runs are written: to the run's stream, with what follows from a run's end."""

from collections.abc import Sequence
from datetime import datetime

from contracts.triggers import TriggerKind
from eventstore import store
from eventstore.errors import EventTooLargeError
from eventstore.events import Cause, Fact
from eventstore.store import EventStore, Expected
from ledger.domain import runs as domain
from ledger.domain.runs import RunState
from ledger.errors import InvalidRequestError
from ledger.ports import ScheduleStore
from runtime.postgres import Transaction


class RunAppender:
    """Writes to the streams of runs."""

    def __init__(self, *, events: EventStore, schedules: ScheduleStore) -> None:
        self._events = events
        self._schedules = schedules

    async def append(
        self, transaction: Transaction, run: RunState, facts: Sequence[Fact], *, at: datetime
    ) -> None:
        """Write what happened to a locked run.

        Raises:
            InvalidRequestError: an event would be too large.
        """
        await self.write(transaction, run.run_id, facts, expected=store.ANY, at=at, cause=run.cause)
        if run.trigger_kind == TriggerKind.SCHEDULE and domain.closes_run(facts):
            await self._schedules.close_run(transaction, run.definition_id, run.run_id, at)

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
