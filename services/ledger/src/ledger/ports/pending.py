"""Events that wait, and what becomes of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from contracts.routing import PendingOutcome
from ledger.domain.pending import (
    Choice,
    Claimable,
    Gathering,
    HeldStart,
    Limits,
    Origin,
    Plan,
)
from ledger.domain.rates import Taken
from runtime.postgres import Transaction


@dataclass(frozen=True)
class PendingState:
    """What is known of everything that waits of one definition, whose lock is held."""

    definition_id: str
    waiting: int
    limits: Limits
    handed_out: Taken
    released: tuple[int, Choice | None]


@dataclass(frozen=True)
class PendingEvent:
    """An event that waits."""

    origin: Origin
    trigger_names: list[str]
    envelope: bytes


@dataclass(frozen=True)
class PendingRow:
    """A start that waits, as it is shown or handed out; `events` may be left out."""

    pending_id: str
    position: int
    definition_id: str
    definition_version: int
    task_queue: str
    key: str
    reason: str
    as_one_run: bool
    event_count: int
    queued_at: datetime
    due_at: datetime | None
    attempts: int
    lease: str | None
    events: list[PendingEvent] = field(default_factory=list)


@dataclass(frozen=True)
class Aged:
    """An event that is given up if that has to be."""

    pending_id: str
    ordinal: int
    origin: Origin


class PendingStore(Protocol):
    """What waits to be started. Whoever changes something of a definition holds its lock."""

    async def now(self, transaction: Transaction) -> datetime:
        """Return the time."""
        ...

    async def lock(
        self, transaction: Transaction, definition_ids: Collection[str]
    ) -> dict[str, PendingState]:
        """Lock definitions until the transaction ends; return what is known of them."""
        ...

    async def lock_due(
        self, transaction: Transaction, *, now: datetime, limit: int
    ) -> list[PendingState]:
        """Lock definitions of which something may be due, those that nobody else has locked."""
        ...

    async def known(
        self, transaction: Transaction, definition_id: str, origins: Sequence[Origin]
    ) -> set[int]:
        """Return the indices of the origins whose events wait already."""
        ...

    async def gathering(
        self, transaction: Transaction, definition_id: str, keys: Collection[str]
    ) -> dict[str, Gathering]:
        """Return the batches of these keys that take more events."""
        ...

    async def add(
        self,
        transaction: Transaction,
        state: PendingState,
        planned: Plan,
        *,
        limits: Limits,
        at: datetime,
    ) -> None:
        """Keep what was planned, and the limits that came with it."""
        ...

    async def oldest(
        self, transaction: Transaction, definition_id: str, *, queued_before: datetime, limit: int
    ) -> list[Aged]:
        """Return the oldest events of a definition that were never handed out."""
        ...

    async def give_up(
        self, transaction: Transaction, definition_id: str, events: Sequence[Aged]
    ) -> None:
        """Let events wait no more."""
        ...

    async def overaged(self, transaction: Transaction, queued_before: datetime) -> list[str]:
        """Return definitions of which events have waited since before a time."""
        ...

    async def waiting(self, transaction: Transaction, keys: Sequence[tuple[str, str]]) -> list[int]:
        """Return the indices of the (definition, key) pairs of which something waits."""
        ...

    async def claimable(
        self, transaction: Transaction, state: PendingState, *, now: datetime, limit: int
    ) -> list[Claimable]:
        """Return what of a definition can be handed out, in order."""
        ...

    async def lease(
        self, transaction: Transaction, pending_ids: Sequence[str], *, lease: str, until: datetime
    ) -> list[PendingRow]:
        """Hand starts out until a time; return them in order, with their events."""
        ...

    async def looked_at(
        self,
        transaction: Transaction,
        definition_id: str,
        *,
        handed_out: Taken,
        again_at: datetime | None,
        behind_at: datetime,
        now: datetime,
    ) -> None:
        """Keep when to look at a definition again.

        That is at `again_at`, when something becomes due or a lease ends, and at `behind_at` where
        something is due already.
        """
        ...

    async def look_at(self, transaction: Transaction, definition_id: str, at: datetime) -> None:
        """Look at a definition again no later than that."""
        ...

    async def next_look(self, transaction: Transaction) -> datetime | None:
        """Return when to look next; None when nothing waits that could become due."""
        ...

    async def definitions_of(
        self, transaction: Transaction, pending_ids: Collection[str]
    ) -> list[str]:
        """Return whose starts these are, as far as they still wait."""
        ...

    async def starts(
        self, transaction: Transaction, pending_ids: Collection[str]
    ) -> dict[str, PendingRow]:
        """Return starts by id, with the origins of their events."""
        ...

    async def remove(
        self, transaction: Transaction, definition_id: str, starts: Sequence[PendingRow]
    ) -> None:
        """Let starts wait no more."""
        ...

    async def put_back(self, transaction: Transaction, pending_id: str, due_at: datetime) -> None:
        """End the lease of a start, which is due again at a time."""
        ...

    async def hold(self, transaction: Transaction, pending_id: str, revision: int) -> None:
        """End the lease of a start, which is held from a revision of its definition on."""
        ...

    async def add_run(
        self, transaction: Transaction, definition_id: str, key: str, run_id: str, at: datetime
    ) -> None:
        """Count a run as open until it closes."""
        ...

    async def held(
        self, transaction: Transaction, definition_id: str, *, before_revision: int
    ) -> list[HeldStart]:
        """Return what is held since before a revision, in order."""
        ...

    async def released(
        self, transaction: Transaction, definition_id: str, revision: int, choice: Choice
    ) -> None:
        """Keep which revision released what was held, and how."""
        ...

    async def release(
        self, transaction: Transaction, pending_ids: Sequence[str], due_at: datetime
    ) -> None:
        """Make held starts due."""
        ...

    async def join(
        self,
        transaction: Transaction,
        group: Sequence[HeldStart],
        *,
        all_keys: bool,
        due_at: datetime,
    ) -> None:
        """Make one start of several, in the place of the first, and make it due."""
        ...

    async def page(
        self,
        transaction: Transaction,
        *,
        after: int | None,
        definition_id: str | None,
        reason: str | None,
        limit: int,
    ) -> list[PendingRow]:
        """Return what waits, oldest first, from after a position."""
        ...


@dataclass(frozen=True)
class Settlement:
    """What became of an event that waited; `settled` is False for one that goes on waiting."""

    definition_id: str
    origin: Origin
    outcome: PendingOutcome
    settled: bool = True
    definition_version: int = 0
    run_id: str = ""
    clause: str = ""
    seen: str = ""
    detail: str = ""


class DecisionLog(Protocol):
    """The decisions that tell what became of events."""

    async def settle(
        self, transaction: Transaction, settlements: Sequence[Settlement], at: datetime
    ) -> None:
        """Tell what became of events that waited."""
        ...
