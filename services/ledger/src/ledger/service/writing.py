"""Writes in one transaction, with a fault point on each side of its commit."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres, Transaction

T = TypeVar("T")


async def write(
    database: Postgres, name: str, namespace: str, work: Callable[[Transaction], Awaitable[T]]
) -> T:
    """Do the `work` of what is called `name`, again where it met another's; return its answer."""

    async def with_fault_point(transaction: Transaction) -> T:
        result = await work(transaction)
        faultpoint(f"ledger.before_{name}")
        return result

    result = await database.retrying(namespace, with_fault_point)
    faultpoint(f"ledger.after_{name}")
    return result
