"""Backfills in PostgreSQL: their plans, and what became of each due time."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from contracts import identifiers
from contracts.decisions import RunStatus
from contracts.definitions import CatchUpOrder
from contracts.triggers import Window
from ledger.domain import due
from ledger.domain.backfills import Found, Outcome, Planned, Question, Standing, Step
from ledger.domain.plans import Mode, State
from ledger.ports.backfills import BackfillRow, BackfillTally
from rules.policy import DueOutcome
from runtime import sqlfiles
from runtime.postgres import Transaction

CANCELLED = "the backfill was cancelled before its turn"


class PostgresBackfillStore:
    """`ports.backfills.BackfillStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "backfills")

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
        namespace = transaction.namespace
        created = await transaction.fetchval(
            self._sql["create"],
            namespace,
            backfill_id,
            question.definition_id,
            definition_version,
            question.since,
            question.until,
            question.mode.value,
            question.order.value,
            question.concurrency,
            chain,
            len(planned),
            sum(one.step is not Step.LEAVE for one in planned),
            actor,
            reason,
        )
        if created is None:
            return
        await transaction.executemany(
            self._sql["add_due_time"],
            [
                (
                    namespace, backfill_id, one.ordinal, question.definition_id, one.due_at,
                    list(one.names), one.window.start, one.window.end, one.standing.value,
                    one.step.value, one.run_id, one.outcome.value, one.told,
                )
                for one in planned
            ],
        )  # fmt: skip

    async def get(
        self, transaction: Transaction, backfill_id: str, *, lock: bool = False
    ) -> BackfillRow | None:
        """Return a backfill; `lock` holds its row until the transaction ends."""
        row = await transaction.fetchrow(
            self._sql["lock" if lock else "get"], transaction.namespace, backfill_id
        )
        return None if row is None else _backfill(row)

    async def page(
        self, transaction: Transaction, *, definition_id: str, before: int | None, limit: int
    ) -> list[BackfillRow]:
        """Return backfills, of one definition if it is named, newest first, before a position."""
        rows = await transaction.fetch(
            self._sql["page"], transaction.namespace, before, definition_id, limit
        )
        return [_backfill(row) for row in rows]

    async def tallies(self, transaction: Transaction, backfill_id: str) -> list[BackfillTally]:
        """Return how many due times came to what, by now."""
        rows = await transaction.fetch(self._sql["tallies"], transaction.namespace, backfill_id)
        return [
            BackfillTally(
                Outcome(row["outcome"]),
                Standing(row["standing"]) if row["standing"] else None,
                row["due_times"],
            )
            for row in rows
        ]

    async def due_times(
        self, transaction: Transaction, backfill_id: str, *, first: int, limit: int
    ) -> list[Planned]:
        """Return due times of a plan from an ordinal on, with what they came to by now."""
        rows = await transaction.fetch(
            self._sql["due_times"], transaction.namespace, backfill_id, first, limit
        )
        return [_planned(row) for row in rows]

    async def found(
        self, transaction: Transaction, definition_id: str, instants: Sequence[datetime]
    ) -> list[Found]:
        """Return what is known of instants, in their order."""
        rows = await transaction.fetch(
            self._sql["found"],
            transaction.namespace,
            definition_id,
            list(instants),
            [identifiers.schedule_trigger_key(at) for at in instants],
            [due.due_run_id(definition_id, at) for at in instants],
        )
        return [
            Found(
                outcome=None if row["outcome"] is None else DueOutcome(row["outcome"]),
                run_id=row["run_id"],
                status=None if row["status"] is None else RunStatus(row["status"]),
                claimed=row["claimed"],
                started=row["started"],
            )
            for row in rows
        ]

    async def begun_by(
        self, transaction: Transaction, definition_id: str, at: datetime
    ) -> tuple[str, str] | None:
        """Return the newest backfill that has begun an instant, and the run it made of it."""
        row = await transaction.fetchrow(
            self._sql["begun_by"], transaction.namespace, definition_id, at
        )
        return None if row is None else (row["backfill_id"], row["run_id"])

    async def change(
        self, transaction: Transaction, backfill_id: str, state: State, *, actor: str, reason: str
    ) -> None:
        """Bring a backfill into a state; what is cancelled leaves alone what was not begun."""
        await transaction.execute(
            self._sql["change"], transaction.namespace, backfill_id, state.value, actor, reason
        )
        if state is State.CANCELLED:
            await transaction.execute(
                self._sql["give_up"], transaction.namespace, backfill_id, CANCELLED
            )

    async def is_due(self, transaction: Transaction) -> bool:
        """Say whether something of a backfill may be to be begun."""
        return bool(await transaction.fetchval(self._sql["is_due"], transaction.namespace))

    async def due(self, transaction: Transaction) -> BackfillRow | None:
        """Lock and return a backfill that is looked at now, by nobody else until the end."""
        row = await transaction.fetchrow(self._sql["due"], transaction.namespace)
        return None if row is None else _backfill(row)

    async def settle(self, transaction: Transaction, backfill_id: str) -> int:
        """Take note of runs that are closed; return how many are open."""
        await transaction.execute(self._sql["settle"], transaction.namespace, backfill_id)
        left: int = await transaction.fetchval(
            self._sql["open"], transaction.namespace, backfill_id
        )
        return left

    async def next(
        self, transaction: Transaction, backfill_id: str, *, limit: int
    ) -> list[Planned]:
        """Return the next due times that are planned, in order."""
        rows = await transaction.fetch(self._sql["next"], transaction.namespace, backfill_id, limit)
        return [_planned(row) for row in rows]

    async def begun(self, transaction: Transaction, backfill_id: str, one: Planned) -> None:
        """Say that a due time is carried out, in which step and by which run."""
        await transaction.execute(
            self._sql["begun"],
            transaction.namespace,
            backfill_id,
            one.ordinal,
            one.run_id,
            one.step.value,
        )

    async def left(
        self, transaction: Transaction, backfill_id: str, one: Planned, *, told: str
    ) -> None:
        """Say that a due time is left alone after all, and why."""
        await transaction.execute(
            self._sql["left"], transaction.namespace, backfill_id, one.ordinal, told
        )

    async def look_again(
        self, transaction: Transaction, backfill_id: str, *, pause: timedelta
    ) -> None:
        """Have it looked at again after a pause."""
        await transaction.execute(
            self._sql["look_again"], transaction.namespace, backfill_id, pause
        )

    async def finish(self, transaction: Transaction, backfill_id: str) -> None:
        """End a backfill of which nothing is left to do."""
        await transaction.execute(self._sql["finish"], transaction.namespace, backfill_id)

    async def forget(
        self, transaction: Transaction, *, unapplied: timedelta, ended: timedelta
    ) -> None:
        """Delete plans that were not applied for so long, and what ended so long ago."""
        await transaction.execute(self._sql["forget"], transaction.namespace, unapplied, ended)


def _planned(row: asyncpg.Record) -> Planned:
    return Planned(
        ordinal=row["ordinal"],
        due_at=row["due_at"],
        names=tuple(row["names"]),
        window=Window(start=row["window_start"], end=row["window_end"]),
        standing=Standing(row["standing"]),
        step=Step(row["step"]),
        run_id=row["run_id"],
        outcome=Outcome(row["outcome"]),
        told=row["told"],
    )


def _backfill(row: asyncpg.Record) -> BackfillRow:
    return BackfillRow(
        backfill_id=row["backfill_id"],
        position=row["position"],
        state=State(row["state"]),
        question=Question(
            definition_id=row["definition_id"],
            since=row["from_at"],
            until=row["to_at"],
            mode=Mode(row["mode"]),
            order=CatchUpOrder(row["start_order"]),
            concurrency=row["concurrency"],
        ),
        definition_version=row["definition_version"],
        plan_chain=row["plan_chain"],
        due_times=row["due_times"],
        starts=row["starts"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        created_reason=row["created_reason"],
        changed_at=row["changed_at"],
        changed_by=row["changed_by"],
        changed_reason=row["changed_reason"],
        finished_at=row["finished_at"],
    )
