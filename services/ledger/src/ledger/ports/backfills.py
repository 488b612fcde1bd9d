"""What the use cases of backfills need of the database; as in `ports`, nothing here commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ledger.domain.backfills import Found, Outcome, Planned, Question, Standing
from ledger.domain.plans import State
from runtime.postgres import Transaction


@dataclass(frozen=True)
class BackfillRow:
    """A backfill; `plan_chain` is the hash of its plan, `starts` how many due times get a run."""

    backfill_id: str
    position: int
    state: State
    question: Question
    definition_version: int
    plan_chain: bytes
    due_times: int
    starts: int
    created_at: datetime
    created_by: str
    created_reason: str
    changed_at: datetime | None
    changed_by: str | None
    changed_reason: str | None
    finished_at: datetime | None


@dataclass(frozen=True)
class BackfillTally:
    """How many due times came to an outcome; what the plan leaves alone, by how it stands."""

    outcome: Outcome
    standing: Standing | None
    due_times: int


class BackfillStore(Protocol):
    """Backfills. Who changes one or carries it out holds its row."""

    async def create(
        self,
        transaction: Transaction,
        backfill_id: str,
        question: Question,
        planned: Sequence[Planned],
        *,
        definition_version: int,
        chain: bytes,
        actor: str,
        reason: str,
    ) -> None:
        """Keep a plan, unless there is one of that id."""
        ...

    async def get(
        self, transaction: Transaction, backfill_id: str, *, lock: bool = False
    ) -> BackfillRow | None:
        """Return a backfill; `lock` holds its row until the transaction ends."""
        ...

    async def page(
        self, transaction: Transaction, *, definition_id: str, before: int | None, limit: int
    ) -> list[BackfillRow]:
        """Return backfills, of one definition if it is named, newest first, before a position."""
        ...

    async def tallies(self, transaction: Transaction, backfill_id: str) -> list[BackfillTally]:
        """Return how many due times came to what, by now."""
        ...

    async def due_times(
        self, transaction: Transaction, backfill_id: str, *, first: int, limit: int
    ) -> list[Planned]:
        """Return due times of a plan from an ordinal on, with what they came to by now."""
        ...

    async def found(
        self, transaction: Transaction, definition_id: str, instants: Sequence[datetime]
    ) -> list[Found]:
        """Return what is known of instants, in their order."""
        ...

    async def begun_by(
        self, transaction: Transaction, definition_id: str, at: datetime
    ) -> tuple[str, str] | None:
        """Return the newest backfill that has begun an instant, and the run it made of it."""
        ...

    async def change(
        self, transaction: Transaction, backfill_id: str, state: State, *, actor: str, reason: str
    ) -> None:
        """Bring a backfill into a state; what is cancelled leaves alone what was not begun."""
        ...

    async def is_due(self, transaction: Transaction) -> bool:
        """Say whether something of a backfill may be to be begun."""
        ...

    async def due(self, transaction: Transaction) -> BackfillRow | None:
        """Lock and return a backfill that is looked at now, by nobody else until the end."""
        ...

    async def settle(self, transaction: Transaction, backfill_id: str) -> int:
        """Take note of runs that are closed; return how many are open."""
        ...

    async def next(
        self, transaction: Transaction, backfill_id: str, *, limit: int
    ) -> list[Planned]:
        """Return the next due times that are planned, in order."""
        ...

    async def begun(self, transaction: Transaction, backfill_id: str, one: Planned) -> None:
        """Say that a due time is carried out, in which step and by which run."""
        ...

    async def left(
        self, transaction: Transaction, backfill_id: str, one: Planned, *, told: str
    ) -> None:
        """Say that a due time is left alone after all, and why."""
        ...

    async def look_again(
        self, transaction: Transaction, backfill_id: str, *, pause: timedelta
    ) -> None:
        """Have it looked at again after a pause."""
        ...

    async def finish(self, transaction: Transaction, backfill_id: str) -> None:
        """End a backfill of which nothing is left to do."""
        ...

    async def forget(
        self, transaction: Transaction, *, unapplied: timedelta, ended: timedelta
    ) -> None:
        """Delete plans that were not applied for so long, and what ended so long ago."""
        ...
