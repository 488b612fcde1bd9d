"""Kill switches in PostgreSQL."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import asyncpg

from contracts.switches import KillSwitch, Point
from ledger.domain.switches import SwitchState
from runtime import sqlfiles
from runtime.postgres import Transaction

_NEWEST = 2**63 - 1


class PostgresKillSwitchStore:
    """`ports.switches.KillSwitchStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "kill_switches")

    async def lock(self, transaction: Transaction) -> datetime:
        """Change switches of the namespace after all others do; return the time."""
        await transaction.execute(self._sql["lock"], transaction.namespace)
        now: datetime = await transaction.fetchval(self._sql["now"])
        return now

    async def halting(
        self, transaction: Transaction, point: Point, definition_id: str
    ) -> KillSwitch | None:
        """Return the switch that stops a definition at a point; None when nothing does."""
        row = await transaction.fetchrow(
            self._sql["halting"], transaction.namespace, point.value, definition_id
        )
        if row is None:
            return None
        return KillSwitch(
            switch_id=row["switch_id"],
            point=Point(row["point"]),
            labels=json.loads(row["labels"]),
            thrown_by=row["thrown_by"],
            reason=row["reason"],
        )

    async def thrown(self, transaction: Transaction) -> list[SwitchState]:
        """Return the switches that are thrown, the oldest first."""
        rows = await transaction.fetch(self._sql["thrown"], transaction.namespace)
        return [_state(row) for row in rows]

    async def get(self, transaction: Transaction, switch_id: str) -> SwitchState | None:
        """Return a switch, thrown or reset."""
        row = await transaction.fetchrow(self._sql["get"], transaction.namespace, switch_id)
        return None if row is None else _state(row)

    async def page(
        self, transaction: Transaction, *, before: int | None, with_reset: bool, limit: int
    ) -> list[SwitchState]:
        """Return at most `limit` switches from before a position, the newest first."""
        rows = await transaction.fetch(
            self._sql["page"],
            transaction.namespace,
            _NEWEST if before is None else before,
            with_reset,
            limit,
        )
        return [_state(row) for row in rows]

    async def add(
        self,
        transaction: Transaction,
        switch_id: str,
        *,
        point: Point,
        labels: Mapping[str, str],
        at: datetime,
        actor: str,
        reason: str,
    ) -> None:
        """Write a switch that is thrown."""
        await transaction.execute(
            self._sql["add"],
            transaction.namespace,
            switch_id,
            point.value,
            json.dumps(dict(labels)),
            at,
            actor,
            reason,
        )

    async def reset(
        self, transaction: Transaction, switch_id: str, *, at: datetime, actor: str, reason: str
    ) -> None:
        """Write that a switch is reset."""
        await transaction.execute(
            self._sql["reset"], transaction.namespace, switch_id, at, actor, reason
        )

    async def halt(
        self,
        transaction: Transaction,
        switch_id: str,
        *,
        point: Point,
        definition_ids: Collection[str],
    ) -> None:
        """Stop definitions; `*` stands for all."""
        await transaction.execute(
            self._sql["halt"],
            transaction.namespace,
            point.value,
            switch_id,
            sorted(definition_ids),
        )

    async def release(
        self, transaction: Transaction, switch_id: str, *, all_but: Collection[str] = ()
    ) -> list[str]:
        """Let a switch stop no definitions `all_but` these; return those that it did."""
        rows = await transaction.fetch(
            self._sql["release"], transaction.namespace, switch_id, sorted(all_but)
        )
        return [row["definition_id"] for row in rows]

    async def selected(self, transaction: Transaction, switch_id: str, *, revision: int) -> None:
        """Write of which revision of the registry it was told what a switch selects."""
        await transaction.execute(self._sql["selected"], transaction.namespace, switch_id, revision)

    async def halted_waiting(self, transaction: Transaction, *, limit: int) -> Sequence[str]:
        """Return definitions of which events wait that a switch had wait."""
        rows = await transaction.fetch(self._sql["halted_waiting"], transaction.namespace, limit)
        return [row["definition_id"] for row in rows]

    async def look_again(
        self, transaction: Transaction, definition_ids: Collection[str] | None
    ) -> None:
        """Have what waits of definitions looked at now; None for all."""
        await transaction.execute(
            self._sql["look_again"],
            transaction.namespace,
            None if definition_ids is None else sorted(definition_ids),
        )


def _state(row: asyncpg.Record) -> SwitchState:
    return SwitchState(
        switch_id=row["switch_id"],
        position=row["position"],
        point=Point(row["point"]),
        labels=json.loads(row["labels"]),
        thrown_at=row["thrown_at"],
        thrown_by=row["thrown_by"],
        reason=row["reason"],
        # What stops everything is one row, and no number of definitions.
        definitions=row["definitions"] if row["labels"] != "{}" else 0,
        selected_revision=row["selected_revision"],
        reset_at=row["reset_at"],
        reset_by=row["reset_by"],
        reset_reason=row["reset_reason"],
    )
