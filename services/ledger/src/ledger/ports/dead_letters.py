"""What people decided of dead letters."""

from collections.abc import Sequence
from typing import Protocol

from ledger.domain.dead_letters import Opened, Opening, Resolution, Resolved
from runtime.postgres import Transaction


class DeadLetterStore(Protocol):
    """What people decided of dead letters, by place in their topic."""

    async def add(
        self,
        transaction: Transaction,
        topic: str,
        resolutions: Sequence[Resolution],
        *,
        actor: str,
        reason: str,
        request_id: str,
    ) -> None:
        """Write resolutions; a dead letter that has one keeps it."""
        ...

    async def at(
        self, transaction: Transaction, topic: str, places: Sequence[tuple[int, int]]
    ) -> list[Resolved]:
        """Return what stands at places (partition, offset), in their order; nothing where none."""
        ...

    async def between(
        self,
        transaction: Transaction,
        topic: str,
        *,
        partition: int,
        first: int,
        end: int,
        limit: int,
    ) -> list[Resolved]:
        """Return at most `limit` of what stands in `[first, end)` of a partition, by offset."""
        ...

    async def add_opening(self, transaction: Transaction, opening: Opening) -> None:
        """Write that a dead letter is opened; of the same request again, nothing."""
        ...

    async def openings(
        self, transaction: Transaction, *, before: int | None, limit: int
    ) -> list[Opened]:
        """Return at most `limit` openings before one, the newest first."""
        ...
