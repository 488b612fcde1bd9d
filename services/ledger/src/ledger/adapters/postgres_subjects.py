"""The keys of people and what is encrypted under them, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from ledger.domain.subjects import KeyHistory, OwnedKey, Reveal, SealedValue, StoredValue, Wrapped
from runtime import sqlfiles
from runtime.postgres import Transaction


class PostgresSubjectStore:
    """`ports.subjects.SubjectStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "subjects")

    async def index_key(self, transaction: Transaction) -> Wrapped | None:
        """Return the namespace's key of references; None before it has one."""
        row = await transaction.fetchrow(self._sql["index_key"], transaction.namespace)
        return None if row is None else Wrapped(row["data_key"], row["wrapped"])

    async def add_index_key(self, transaction: Transaction, wrapped: Wrapped) -> None:
        """Write the namespace's key of references; one that is there stays."""
        await transaction.execute(
            self._sql["add_index_key"], transaction.namespace, wrapped.data_key, wrapped.data
        )

    async def live_keys(self, transaction: Transaction, refs: Sequence[str]) -> list[OwnedKey]:
        """Return the keys that people have now; none is destroyed until the transaction ends."""
        rows = await transaction.fetch(self._sql["live_keys"], transaction.namespace, list(refs))
        return [
            OwnedKey(row["key_id"], row["subject_ref"], Wrapped(row["data_key"], row["wrapped"]))
            for row in rows
        ]

    async def add_keys(self, transaction: Transaction, keys: Mapping[str, Wrapped]) -> None:
        """Write keys of people who have none, by their references; those who have one keep it."""
        await transaction.execute(
            self._sql["add_keys"],
            transaction.namespace,
            list(keys),
            [one.data_key for one in keys.values()],
            [one.data for one in keys.values()],
        )

    async def add_values(self, transaction: Transaction, values: Sequence[SealedValue]) -> None:
        """Write values; one whose id is there stays as it is."""
        await transaction.execute(
            self._sql["add_values"],
            transaction.namespace,
            [one.blob_id for one in values],
            [one.key_id for one in values],
            [one.hash for one in values],
            [one.sealed for one in values],
        )

    async def values(
        self, transaction: Transaction, blob_ids: Sequence[UUID]
    ) -> dict[UUID, StoredValue]:
        """Return what is stored under ids, with the keys there are."""
        rows = await transaction.fetch(self._sql["values"], transaction.namespace, list(blob_ids))
        return {
            row["blob_id"]: StoredValue(
                blob_id=row["blob_id"],
                hash=row["hash"],
                sealed=row["sealed"],
                subject_ref=row["subject_ref"],
                wrapped=None
                if row["wrapped"] is None
                else Wrapped(row["data_key"], row["wrapped"]),
            )
            for row in rows
        }

    async def keys_of(self, transaction: Transaction, subject_ref: str) -> list[KeyHistory]:
        """Return all keys that a person ever had, the oldest first."""
        rows = await transaction.fetch(self._sql["keys_of"], transaction.namespace, subject_ref)
        return [
            KeyHistory(
                created_at=row["created_at"],
                values=row["values"],
                data_key=row["data_key"],
                erased_at=row["erased_at"],
                erased_by=row["erased_by"],
                reason=row["erase_reason"],
            )
            for row in rows
        ]

    async def now(self, transaction: Transaction) -> datetime:
        """Return the database's time."""
        moment: datetime = await transaction.fetchval(self._sql["now"])
        return moment

    async def erase(
        self, transaction: Transaction, subject_ref: str, *, actor: str, reason: str, at: datetime
    ) -> bool:
        """Destroy the key that a person has now; False when there is none."""
        erased = await transaction.fetchval(
            self._sql["erase"], transaction.namespace, subject_ref, at, actor, reason
        )
        return erased is not None

    async def wrapped_otherwise(
        self, transaction: Transaction, data_key: str, *, limit: int
    ) -> list[OwnedKey]:
        """Lock and return keys of people that are wrapped with another data key."""
        rows = await transaction.fetch(
            self._sql["wrapped_otherwise"], transaction.namespace, data_key, limit
        )
        return [
            OwnedKey(row["key_id"], row["subject_ref"], Wrapped(row["data_key"], row["wrapped"]))
            for row in rows
        ]

    async def rewrap(
        self, transaction: Transaction, data_key: str, keys: Mapping[int, bytes]
    ) -> None:
        """Write keys of people, by their ids, as they are wrapped with a data key."""
        await transaction.execute(
            self._sql["rewrap"], transaction.namespace, data_key, list(keys), list(keys.values())
        )

    async def rewrap_index(self, transaction: Transaction, wrapped: Wrapped) -> None:
        """Write the key of references as it is wrapped now."""
        await transaction.execute(
            self._sql["rewrap_index"], transaction.namespace, wrapped.data_key, wrapped.data
        )

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
        await transaction.execute(
            self._sql["add_reveal"],
            transaction.namespace,
            list(blob_ids),
            actor,
            reason,
            request_id,
        )

    async def reveals(
        self, transaction: Transaction, *, before: int | None, limit: int
    ) -> list[Reveal]:
        """Return at most `limit` reveals before one, the newest first."""
        rows = await transaction.fetch(self._sql["reveals"], transaction.namespace, before, limit)
        return [Reveal(**dict(row)) for row in rows]
