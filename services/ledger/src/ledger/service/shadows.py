"""The use cases of shadows: start and stop one, and keep what it decided. Nothing else comes of it.

No event is appended and no run, task or due time is touched: a shadow's rows are read by people
only.
"""

from ledger.domain.shadows import NewShadow, Shadow, ShadowDecision
from ledger.errors import InvalidRequestError, ShadowActiveError, ShadowNotFoundError
from ledger.ports.shadows import RecordedShadowDecision, ShadowStore
from ledger.service import writing
from runtime import logs
from runtime.postgres import Postgres, Transaction

_log = logs.get_logger(__name__)


class ShadowLedger:
    """Keeps at most one shadow for each definition, with what it decided."""

    def __init__(self, *, database: Postgres, shadows: ShadowStore) -> None:
        self._database = database
        self._shadows = shadows

    async def start(self, namespace: str, asked: NewShadow) -> Shadow:
        """Let a version decide beside each run from now on; forget the shadow before.

        Raises:
            ShadowActiveError: another one decides.
            InvalidRequestError: the request id started another version.
        """

        async def work(transaction: Transaction) -> Shadow:
            standing = await self._shadows.lock(transaction, asked.definition_id)
            if standing is not None and standing.shadow_id == asked.shadow_id:
                if standing.content != asked.content:
                    raise InvalidRequestError("the request_id has started another shadow")
                return standing
            if standing is None or not standing.active:
                forgotten = None if standing is None else standing.shadow_id
                await self._shadows.replace(transaction, asked, forgotten=forgotten)
                standing = await self._shadows.lock(transaction, asked.definition_id)
            if standing is None or standing.shadow_id != asked.shadow_id:
                raise ShadowActiveError(
                    asked.definition_id,
                    version=standing.definition_version if standing is not None else 0,
                    started_by=standing.started_by if standing is not None else "somebody",
                )
            return standing

        shadow = await writing.write(self._database, "start_shadow", namespace, work)
        _log.info(
            "shadow_started",
            namespace=namespace,
            definition_id=shadow.definition_id,
            definition_version=shadow.definition_version,
            shadow_id=shadow.shadow_id,
            actor=shadow.started_by,
            reason=shadow.reason,
        )
        return shadow

    async def stop(self, namespace: str, definition_id: str, *, actor: str, reason: str) -> Shadow:
        """Let the shadow of a definition decide nothing more; its decisions stay.

        Raises:
            ShadowNotFoundError: the definition has none.
        """

        async def work(transaction: Transaction) -> Shadow:
            standing = await self._shadows.lock(transaction, definition_id)
            if standing is not None and standing.stopped_at is None:
                await self._shadows.stop(transaction, definition_id, actor=actor, reason=reason)
                standing = await self._shadows.lock(transaction, definition_id)
            if standing is None:
                raise ShadowNotFoundError(f"of {definition_id}")
            return standing

        shadow = await writing.write(self._database, "stop_shadow", namespace, work)
        _log.info(
            "shadow_stopped",
            namespace=namespace,
            definition_id=definition_id,
            shadow_id=shadow.shadow_id,
            actor=actor,
            reason=reason,
        )
        return shadow

    async def record(self, namespace: str, shadow_id: str, decision: ShadowDecision) -> bool:
        """Keep what a shadow made of a run; False if the run had one, or something is not there."""

        async def work(transaction: Transaction) -> bool:
            return await self._shadows.record(transaction, shadow_id, decision)

        return await writing.write(self._database, "record_shadow_decision", namespace, work)

    async def get(self, namespace: str, shadow_id: str) -> Shadow:
        """Return a shadow. Raises ShadowNotFoundError."""
        async with self._database.transaction(namespace) as transaction:
            found = await self._shadows.get(transaction, shadow_id)
        if found is None:
            raise ShadowNotFoundError(shadow_id)
        return found

    async def page(
        self, namespace: str, *, after: str, definition_id: str | None, limit: int
    ) -> list[Shadow]:
        """Return at most `limit` shadows by definition, without their content."""
        async with self._database.transaction(namespace) as transaction:
            return await self._shadows.page(
                transaction, after=after, definition_id=definition_id, limit=limit
            )

    async def decisions(
        self, namespace: str, shadow_id: str, *, before: int | None, limit: int
    ) -> list[RecordedShadowDecision]:
        """Return at most `limit` of what a shadow decided, newest first."""
        async with self._database.transaction(namespace) as transaction:
            return await self._shadows.decisions(transaction, shadow_id, before=before, limit=limit)
