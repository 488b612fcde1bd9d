"""What came of handing schedules on, in PostgreSQL."""

from collections.abc import Collection

from registry.ports import Materialisation
from runtime import sqlfiles
from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres

_SQL = sqlfiles.load("registry", "materialisations")


class PostgresMaterialisations:
    """What came of handing schedules on, in a table for people to look at."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def record(
        self, namespace: str, definition_id: str, *, revision: int, error: str | None
    ) -> None:
        """Record a success or an error, unless that is what stands there."""
        async with self._postgres.transaction(namespace) as transaction:
            await transaction.execute(
                _SQL["record_materialisation"], namespace, definition_id, revision, error
            )
            faultpoint("registry.before_record_materialisation")
        faultpoint("registry.after_record_materialisation")

    async def all(self, namespace: str) -> list[Materialisation]:
        """Return the last attempt for every definition, by id."""
        async with self._postgres.transaction(namespace) as transaction:
            rows = await transaction.fetch(_SQL["materialisations"], namespace)
        return [Materialisation(**row) for row in rows]

    async def of(self, namespace: str, definition_ids: Collection[str]) -> list[Materialisation]:
        """Return the last attempt for each of these definitions."""
        async with self._postgres.transaction(namespace) as transaction:
            rows = await transaction.fetch(
                _SQL["materialisations_of"], namespace, list(definition_ids)
            )
        return [Materialisation(**row) for row in rows]
