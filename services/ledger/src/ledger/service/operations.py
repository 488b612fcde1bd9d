"""The use cases of operations: hand out what is to be done in Temporal, hear what became of it.

An operation was written with the state that asks for it, and stays until it is confirmed.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from ledger.ports.control import OperationRow, OperationStore
from ledger.service import writing
from runtime.postgres import Postgres, Transaction

MAX_CLAIM_BYTES = 1024 * 1024
"""Of the inputs that one claim hands out beyond the first, far below what a message may hold."""


@dataclass(frozen=True)
class Result:
    """What became of an operation: done, or why it is given back."""

    operation_id: str
    lease: str
    done: bool
    error: str = ""


class OperationLedger:
    """Keeps what is still to be done in Temporal."""

    def __init__(self, *, database: Postgres, store: OperationStore) -> None:
        self._database = database
        self._store = store

    async def claim(self, *, namespace: str, limit: int, duration: timedelta) -> list[OperationRow]:
        """Lease at most `limit` operations for `duration`, in order."""

        async def work(transaction: Transaction) -> list[OperationRow]:
            return await self._store.claim(
                transaction,
                limit=limit,
                size=MAX_CLAIM_BYTES,
                lease=secrets.token_hex(8),
                duration=duration,
            )

        return await writing.write(self._database, "claim_operations", namespace, work)

    async def confirm(self, *, namespace: str, results: Sequence[Result]) -> list[str]:
        """Take note of results; return the operations whose lease was another's by then."""

        async def work(transaction: Transaction) -> list[str]:
            stale = []
            # In one order for all, so that no two of them wait for each other.
            for one in sorted(results, key=lambda result: result.operation_id):
                if one.done:
                    known = await self._store.finish(transaction, one.operation_id, lease=one.lease)
                else:
                    known = await self._store.give_back(
                        transaction, one.operation_id, lease=one.lease, error=one.error
                    )
                if not known:
                    stale.append(one.operation_id)
            return stale

        return await writing.write(self._database, "confirm_operations", namespace, work)

    async def page(self, *, namespace: str, after: int | None, limit: int) -> list[OperationRow]:
        """Return at most `limit` operations, oldest first, from after a position."""
        async with self._database.transaction(namespace) as transaction:
            return await self._store.page(transaction, after=after, limit=limit)
