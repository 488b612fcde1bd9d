"""The use cases of dead letters: record what people decided of them, and say what stands.

The records stay in Kafka, byte for byte; here is only their end, with who wanted it and why.
"""

from collections.abc import Sequence

from ledger.domain.dead_letters import Opened, Opening, Resolution, Resolved
from ledger.ports.dead_letters import DeadLetterStore
from runtime import logs
from runtime.faultpoints import faultpoint
from runtime.postgres import Postgres, Transaction

_log = logs.get_logger(__name__)


class DeadLetterLedger:
    """Keeps the resolutions of dead letters."""

    def __init__(self, *, database: Postgres, dead_letters: DeadLetterStore) -> None:
        self._database = database
        self._dead_letters = dead_letters

    async def resolve(
        self,
        *,
        namespace: str,
        topic: str,
        resolutions: Sequence[Resolution],
        actor: str,
        reason: str,
        request_id: str,
    ) -> list[Resolved]:
        """Record resolutions; return those that stand, in the same order: the first one stays."""

        async def work(transaction: Transaction) -> list[Resolved]:
            await self._dead_letters.add(
                transaction, topic, resolutions, actor=actor, reason=reason, request_id=request_id
            )
            standing = await self._dead_letters.at(
                transaction, topic, [(one.partition, one.offset) for one in resolutions]
            )
            faultpoint("ledger.before_resolve_dead_letters")
            return standing

        standing = await self._database.retrying(namespace, work)
        faultpoint("ledger.after_resolve_dead_letters")
        _log.info(
            "dead_letters_resolved",
            namespace=namespace,
            dead_letters=len(standing),
            request_id=request_id,
            actor=actor,
            reason=reason,
        )
        return standing

    async def resolutions(
        self, *, namespace: str, topic: str, partition: int, first: int, end: int, limit: int
    ) -> list[Resolved]:
        """Return at most `limit` of what stands in `[first, end)` of a partition, by offset."""
        async with self._database.transaction(namespace) as transaction:
            return await self._dead_letters.between(
                transaction, topic, partition=partition, first=first, end=end, limit=limit
            )

    async def record_opening(self, opening: Opening, *, namespace: str) -> None:
        """Record that somebody is about to be shown what is in a dead letter."""

        async def work(transaction: Transaction) -> None:
            await self._dead_letters.add_opening(transaction, opening)
            faultpoint("ledger.before_record_dead_letter_opening")

        await self._database.retrying(namespace, work)
        faultpoint("ledger.after_record_dead_letter_opening")
        _log.info(
            "dead_letter_opened",
            namespace=namespace,
            partition=opening.partition,
            offset=opening.offset,
            request_id=opening.request_id,
            actor=opening.actor,
            reason=opening.reason,
        )

    async def openings(self, *, namespace: str, before: int | None, limit: int) -> list[Opened]:
        """Return at most `limit` openings before one, the newest first."""
        async with self._database.transaction(namespace) as transaction:
            return await self._dead_letters.openings(transaction, before=before, limit=limit)
