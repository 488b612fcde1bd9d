"""Shadows, and what they decided."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ledger.domain.shadows import NewShadow, Shadow, ShadowDecision
from runtime.postgres import Transaction


@dataclass(frozen=True)
class RecordedShadowDecision:
    """What a shadow made of a run, as it is shown."""

    decision: ShadowDecision
    position: int
    recorded_at: datetime


class ShadowStore(Protocol):
    """Shadows and what they decided."""

    async def lock(self, transaction: Transaction, definition_id: str) -> Shadow | None:
        """Lock the shadow of a definition until the transaction ends, and return it."""
        ...

    async def replace(
        self, transaction: Transaction, shadow: NewShadow, *, forgotten: str | None
    ) -> None:
        """Forget a shadow, and keep another of its definition unless somebody was faster."""
        ...

    async def stop(
        self, transaction: Transaction, definition_id: str, *, actor: str, reason: str
    ) -> None:
        """Let the shadow of a definition decide nothing more."""
        ...

    async def get(self, transaction: Transaction, shadow_id: str) -> Shadow | None:
        """Return a shadow."""
        ...

    async def page(
        self, transaction: Transaction, *, after: str, definition_id: str | None, limit: int
    ) -> list[Shadow]:
        """Return shadows by definition, without their content."""
        ...

    async def record(
        self, transaction: Transaction, shadow_id: str, decision: ShadowDecision
    ) -> bool:
        """Keep what a shadow made of a run, and count it.

        False if the run had one, or if there is no such run or shadow.
        """
        ...

    async def decisions(
        self, transaction: Transaction, shadow_id: str, *, before: int | None, limit: int
    ) -> list[RecordedShadowDecision]:
        """Return what a shadow decided, newest first, from before a position."""
        ...
