"""What the use cases of replays need of the database; as in `ports`, nothing here commits."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ledger.domain.pending import Limits
from ledger.domain.plans import State
from ledger.domain.replays import Planned, Question, Standing, Start, Stretches
from ledger.domain.routing import RoutedEvent
from ledger.ports.pending import Settlement
from runtime.postgres import Transaction


@dataclass(frozen=True)
class ReplayRow:
    """A replay of events; `plan_chain` is the hash of what was planned so far."""

    replay_id: str
    position: int
    state: State
    question: Question
    stretches: Stretches
    records_total: int
    records: int
    unrouted: int
    plan_chain: bytes
    starts: int
    events: int
    bytes: int
    begun: int
    open_events: int
    created_at: datetime
    created_by: str
    created_reason: str
    changed_at: datetime | None
    changed_by: str | None
    changed_reason: str | None
    finished_at: datetime | None


@dataclass(frozen=True)
class ReplayedDefinition:
    """A definition of a plan, with the limits of its version, and how many starts it has."""

    definition_id: str
    definition_version: int
    task_queue: str
    limits: Limits
    starts: int = 0


@dataclass(frozen=True)
class Tally:
    """How many events came to an outcome, in a phase: planned, outcome, refused.

    What is refused belongs to no definition.
    """

    definition_id: str
    phase: str
    outcome: str
    events: int


@dataclass(frozen=True)
class ReplayedEvent:
    """An event of a plan. It has its envelope until its start is begun."""

    definition_id: str
    source: str
    event_id: str
    ordinal: int
    type: str
    partition: int
    offset: int
    digest: bytes
    registry_revision: int
    trigger_names: list[str]
    envelope: bytes | None


@dataclass(frozen=True)
class Addition:
    """What is added to a plan; `stretches` are what is left to be read behind it."""

    gathered: Sequence[tuple[Start, Planned]]
    definitions: Collection[ReplayedDefinition]
    tallies: Sequence[Tally]
    stretches: Stretches
    records: int
    unrouted: int
    chain: bytes


class ReplayStore(Protocol):
    """Replays of events. Who adds to one or changes it holds its row."""

    async def create(
        self,
        transaction: Transaction,
        replay_id: str,
        question: Question,
        *,
        stretches: Stretches,
        chain: bytes,
        actor: str,
        reason: str,
    ) -> None:
        """Begin a plan, unless there is one of that id."""
        ...

    async def get(
        self, transaction: Transaction, replay_id: str, *, lock: bool = False
    ) -> ReplayRow | None:
        """Return a replay; `lock` holds its row until the transaction ends."""
        ...

    async def page(
        self, transaction: Transaction, *, before: int | None, limit: int
    ) -> list[ReplayRow]:
        """Return replays, newest first, from before a position."""
        ...

    async def definitions(
        self, transaction: Transaction, replay_id: str
    ) -> list[ReplayedDefinition]:
        """Return the definitions of a plan."""
        ...

    async def tallies(self, transaction: Transaction, replay_id: str) -> list[Tally]:
        """Return how many events came to what."""
        ...

    async def known(
        self, transaction: Transaction, replay_id: str, events: Sequence[Planned]
    ) -> set[int]:
        """Return the indices of events that are part of the plan already."""
        ...

    async def digests(
        self, transaction: Transaction, event_keys: Collection[str]
    ) -> dict[str, bytes]:
        """Return the digests that stand for events, by key; none for one that is not known."""
        ...

    async def standings(
        self, transaction: Transaction, events: Sequence[tuple[str, RoutedEvent]], *, cause: str
    ) -> list[Standing]:
        """Return what events have come to for definitions (id, event), other than by `cause`."""
        ...

    async def latest_starts(
        self, transaction: Transaction, replay_id: str, keys: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Start]:
        """Return the newest start of each (definition, key) that has one."""
        ...

    async def add(self, transaction: Transaction, replay: ReplayRow, addition: Addition) -> None:
        """Add to a plan; it is complete when no stretches are left."""
        ...

    async def change(
        self, transaction: Transaction, replay_id: str, state: State, *, actor: str, reason: str
    ) -> None:
        """Bring a replay into a state; what is cancelled has no starts any more."""
        ...

    async def next_look(self, transaction: Transaction) -> tuple[datetime | None, bool]:
        """Return when to look for something to begin, and whether that time has come."""
        ...

    async def due(self, transaction: Transaction) -> ReplayRow | None:
        """Return a replay of which something is begun now, by nobody else until the end."""
        ...

    async def starts(
        self, transaction: Transaction, replay_id: str, *, first: int, limit: int
    ) -> list[Start]:
        """Return starts that were not begun, in order, from an ordinal on."""
        ...

    async def events_of(
        self, transaction: Transaction, replay_id: str, ordinals: Sequence[int]
    ) -> list[ReplayedEvent]:
        """Return the events of starts, in order."""
        ...

    async def most_waiting(self, transaction: Transaction, definition_ids: Collection[str]) -> int:
        """Return how many events wait of that definition of which most do."""
        ...

    async def begun(
        self,
        transaction: Transaction,
        replay: ReplayRow,
        ordinals: Sequence[int],
        *,
        open_events: int,
        tallies: Sequence[Tally],
        look_in: timedelta,
    ) -> bool:
        """Take starts off the plan; False when the replay was changed meanwhile."""
        ...

    async def finish(self, transaction: Transaction, replay_id: str) -> bool:
        """End a replay, if all of it was begun and has an outcome; say whether that is so."""
        ...

    async def forget(
        self, transaction: Transaction, *, unapplied: timedelta, ended: timedelta
    ) -> None:
        """Delete plans that were not applied for so long, and what ended so long ago."""
        ...


class ReplayTallies(Protocol):
    """Hears what became of what a replay has begun."""

    async def settled(self, transaction: Transaction, settlements: Sequence[Settlement]) -> None:
        """Count outcomes; those of events that no replay has begun are passed over."""
        ...
