"""Shadows and what they decided, in PostgreSQL."""

from contracts.shadows import ShadowOutcome
from ledger.domain.shadows import NewShadow, Shadow, ShadowDecision
from ledger.ports.shadows import RecordedShadowDecision
from runtime import sqlfiles
from runtime.postgres import Transaction


class PostgresShadowStore:
    """`ports.shadows.ShadowStore` in the service's schema."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "shadows")

    async def lock(self, transaction: Transaction, definition_id: str) -> Shadow | None:
        """Lock the shadow of a definition until the transaction ends, and return it."""
        row = await transaction.fetchrow(
            self._sql["lock_shadow"], transaction.namespace, definition_id
        )
        return None if row is None else Shadow(**row)

    async def replace(
        self, transaction: Transaction, shadow: NewShadow, *, forgotten: str | None
    ) -> None:
        """Forget a shadow, and keep another of its definition unless somebody was faster."""
        await transaction.execute(self._sql["forget_shadow"], transaction.namespace, forgotten)
        await transaction.execute(
            self._sql["insert_shadow"],
            transaction.namespace,
            shadow.shadow_id,
            shadow.definition_id,
            shadow.definition_version,
            shadow.content,
            shadow.max_runs,
            shadow.started_by,
            shadow.reason,
            shadow.expires_at,
        )

    async def stop(
        self, transaction: Transaction, definition_id: str, *, actor: str, reason: str
    ) -> None:
        """Let the shadow of a definition decide nothing more."""
        await transaction.execute(
            self._sql["stop_shadow"], transaction.namespace, definition_id, actor, reason
        )

    async def get(self, transaction: Transaction, shadow_id: str) -> Shadow | None:
        """Return a shadow."""
        row = await transaction.fetchrow(self._sql["get_shadow"], transaction.namespace, shadow_id)
        return None if row is None else Shadow(**row)

    async def page(
        self, transaction: Transaction, *, after: str, definition_id: str | None, limit: int
    ) -> list[Shadow]:
        """Return shadows by definition, without their content."""
        rows = await transaction.fetch(
            self._sql["list_shadows"], transaction.namespace, after, definition_id, limit
        )
        return [Shadow(**row) for row in rows]

    async def record(
        self, transaction: Transaction, shadow_id: str, decision: ShadowDecision
    ) -> bool:
        """Keep what a shadow made of a run, and count it."""
        recorded = await transaction.fetchval(
            self._sql["record_decision"],
            transaction.namespace,
            shadow_id,
            decision.run_id,
            decision.outcome,
            decision.reason,
            decision.decision,
        )
        return recorded is not None

    async def decisions(
        self, transaction: Transaction, shadow_id: str, *, before: int | None, limit: int
    ) -> list[RecordedShadowDecision]:
        """Return what a shadow decided, newest first, from before a position."""
        rows = await transaction.fetch(
            self._sql["list_decisions"], transaction.namespace, shadow_id, before, limit
        )
        return [
            RecordedShadowDecision(
                decision=ShadowDecision(
                    run_id=row["run_id"],
                    outcome=ShadowOutcome(row["outcome"]),
                    reason=row["reason"],
                    decision=row["decision"],
                ),
                position=row["position"],
                recorded_at=row["recorded_at"],
            )
            for row in rows
        ]
