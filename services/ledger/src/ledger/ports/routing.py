"""What the router decided of events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from contracts.routing import RoutingOutcome
from ledger.domain.routing import (
    Decision,
    DecisionFilter,
    Place,
    Recorded,
    RoutedEvent,
    UnroutedRange,
)
from runtime.postgres import Transaction


@dataclass(frozen=True)
class DecisionRow:
    """A routing decision as it is shown; `decision_id` gives those of one time their order."""

    decision_id: int
    decided_at: datetime
    place: Place
    cause: str
    source: str
    event_id: str
    type: str
    definition_id: str
    definition_version: int
    outcome: RoutingOutcome
    trigger_names: list[str]
    run_id: str | None
    clause: str | None
    seen: str | None
    detail: str | None
    registry_revision: int
    settled_at: datetime | None


@dataclass(frozen=True)
class UnroutedRow:
    """An unrouted range as it is shown."""

    range: UnroutedRange
    recorded_at: datetime


class RoutingStore(Protocol):
    """What the router decided of events, and the ranges of records that nothing wanted."""

    async def known(
        self, transaction: Transaction, events: Sequence[RoutedEvent]
    ) -> tuple[dict[str, bytes], list[Recorded]]:
        """Lock events until the transaction ends; return what stands of them.

        That is the digest of each by its key (the first in `events` for one that was not known),
        and the decisions at the places of the events or with the events' effects.
        """
        ...

    async def add(self, transaction: Transaction, decisions: Sequence[Decision]) -> None:
        """Write decisions."""
        ...

    async def add_ranges(self, transaction: Transaction, ranges: Sequence[UnroutedRange]) -> None:
        """Write ranges; one that is there already stays."""
        ...

    async def range_at(self, transaction: Transaction, place: Place) -> UnroutedRow | None:
        """Return the newest range that a place lies in."""
        ...

    async def page(
        self,
        transaction: Transaction,
        wanted: DecisionFilter,
        *,
        before: tuple[datetime, int] | None,
        limit: int,
    ) -> list[DecisionRow]:
        """Return decisions, newest first, from before a time and id."""
        ...
