"""What the use cases of people's sensitive values need of the database.

Every method works in the transaction it is given and commits nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from ledger.domain.subjects import KeyHistory, OwnedKey, Reveal, SealedValue, StoredValue, Wrapped
from runtime.postgres import Transaction


class SubjectStore(Protocol):
    """The keys of people, and what is encrypted under them."""

    async def index_key(self, transaction: Transaction) -> Wrapped | None:
        """Return the namespace's key of references; None before it has one."""
        ...

    async def add_index_key(self, transaction: Transaction, wrapped: Wrapped) -> None:
        """Write the namespace's key of references; one that is there stays."""
        ...

    async def live_keys(self, transaction: Transaction, refs: Sequence[str]) -> list[OwnedKey]:
        """Return the keys that people have now; none is destroyed until the transaction ends."""
        ...

    async def add_keys(self, transaction: Transaction, keys: Mapping[str, Wrapped]) -> None:
        """Write keys of people who have none, by their references; those who have one keep it."""
        ...

    async def add_values(self, transaction: Transaction, values: Sequence[SealedValue]) -> None:
        """Write values; one whose id is there stays as it is."""
        ...

    async def values(
        self, transaction: Transaction, blob_ids: Sequence[UUID]
    ) -> dict[UUID, StoredValue]:
        """Return what is stored under ids, with the keys there are."""
        ...

    async def keys_of(self, transaction: Transaction, subject_ref: str) -> list[KeyHistory]:
        """Return all keys that a person ever had, the oldest first."""
        ...

    async def now(self, transaction: Transaction) -> datetime:
        """Return the database's time."""
        ...

    async def erase(
        self, transaction: Transaction, subject_ref: str, *, actor: str, reason: str, at: datetime
    ) -> bool:
        """Destroy the key that a person has now; False when there is none."""
        ...

    async def wrapped_otherwise(
        self, transaction: Transaction, data_key: str, *, limit: int
    ) -> list[OwnedKey]:
        """Lock and return keys of people that are wrapped with another data key."""
        ...

    async def rewrap(
        self, transaction: Transaction, data_key: str, keys: Mapping[int, bytes]
    ) -> None:
        """Write keys of people, by their ids, as they are wrapped with a data key."""
        ...

    async def rewrap_index(self, transaction: Transaction, wrapped: Wrapped) -> None:
        """Write the key of references as it is wrapped now."""
        ...

    async def add_reveal(
        self,
        transaction: Transaction,
        blob_ids: Sequence[UUID],
        *,
        actor: str,
        reason: str,
        request_id: str,
    ) -> None:
        """Write that somebody is about to be shown values."""
        ...

    async def reveals(
        self, transaction: Transaction, *, before: int | None, limit: int
    ) -> list[Reveal]:
        """Return at most `limit` reveals before one, the newest first."""
        ...
