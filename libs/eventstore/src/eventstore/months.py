"""A table of one row a fact that is partitioned by month, so that old months go at once."""

from datetime import timedelta

from runtime import sqlfiles
from runtime.postgres import Transaction


class MonthlyTable:
    """A table that is partitioned by the time in `column`; its default partition is the safety net.

    See `eventstore.partitions` for who keeps it.
    """

    def __init__(self, table: str, *, column: str) -> None:
        self._table = table
        self._column = column
        self._sql = sqlfiles.load("eventstore", "months")

    async def ensure_partitions(self, transaction: Transaction, *, months: int) -> list[str]:
        """Make the partitions of this month and `months` more; return the names of the new ones."""
        rows = await transaction.fetch(self._sql["ensure"], self._table, months)
        return [row["name"] for row in rows]

    async def drop_month(self, transaction: Transaction, *, older_than: timedelta) -> str | None:
        """Drop the oldest month that has been over for so long; return its name, None without one.

        Writers wait until the transaction ends.
        """
        name: str | None = await transaction.fetchval(self._sql["drop"], self._table, older_than)
        return name

    async def clear_default(
        self, transaction: Transaction, *, older_than: timedelta, most: int = 10_000
    ) -> int:
        """Delete at most `most` rows of such months from the default partition."""
        return int(
            await transaction.fetchval(
                self._sql["clear_default"], self._table, self._column, older_than, most
            )
        )
