"""What was changed by hand and put back, in PostgreSQL."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from contracts import canonical
from registry.domain.mending import Difference, DriftKind, Plan
from registry.ports import FoundDrift
from runtime import sqlfiles
from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres

KEPT = timedelta(days=90)
"""After that, a drift that was repaired is forgotten."""

_SQL = sqlfiles.load("registry", "schedule_drifts")


class PostgresDriftLog:
    """A row for each drift; while it is not repaired a definition has one."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def found(self, namespace: str, definition_id: str, plan: Plan, *, revision: int) -> bool:
        """Record a drift before it is repaired; False when it was recorded already."""
        differences = canonical.render([asdict(one) for one in plan.differences]).decode()
        async with self._postgres.transaction(namespace) as transaction:
            await transaction.execute(_SQL["forget"], namespace, KEPT)
            drift_id = await transaction.fetchval(
                _SQL["found"], namespace, definition_id, plan.drift, differences, revision
            )
            faultpoint("registry.before_record_drift")
        faultpoint("registry.after_record_drift")
        return drift_id is not None

    async def repaired(self, namespace: str, definition_id: str) -> bool:
        """Record that all is as it should be; False when nothing else was recorded."""
        async with self._postgres.transaction(namespace) as transaction:
            kind = await transaction.fetchval(_SQL["repaired"], namespace, definition_id)
            faultpoint("registry.before_record_repair")
        faultpoint("registry.after_record_repair")
        return kind is not None

    async def open(self, namespace: str) -> set[str]:
        """Return whose drift was found and is not known to be repaired."""
        async with self._postgres.transaction(namespace) as transaction:
            rows = await transaction.fetch(_SQL["open"], namespace)
        return {row["definition_id"] for row in rows}

    async def page(
        self, namespace: str, *, definition_id: str, before: int | None, limit: int
    ) -> Sequence[FoundDrift]:
        """Return drifts, newest first: of one definition or, for an empty id, of all."""
        async with self._postgres.transaction(namespace) as transaction:
            rows = await transaction.fetch(_SQL["page"], namespace, definition_id, before, limit)
        return [_drift(row) for row in rows]


def _drift(row: Any) -> FoundDrift:
    return FoundDrift(
        **{
            **row,
            "kind": DriftKind(row["kind"]),
            "differences": [Difference(**one) for one in json.loads(row["differences"])],
        }
    )
