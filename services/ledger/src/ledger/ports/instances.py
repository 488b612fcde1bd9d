"""What the ledger keeps of stateful instances: rows, and the stores behind the use cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from contracts import identifiers
from contracts.events import PendingTimer
from ledger.domain.instances import InstanceEvent, Status
from ledger.domain.pending import Origin
from runtime.postgres import Transaction


@dataclass(frozen=True)
class InstanceRow:
    """One generation of an instance, as it stands."""

    namespace: str
    definition_id: str
    key_hash: str
    generation: int
    position: int
    definition_version: int
    sequence: int
    state_sha256: str
    status: Status
    last_run_id: str
    started_at: datetime
    changed_at: datetime
    ended_at: datetime | None
    timers: Sequence[PendingTimer] = ()

    @property
    def instance_id(self) -> str:
        """Its id."""
        return identifiers.instance_id(self.definition_id, self.key_hash, self.generation)


class InstanceStore(Protocol):
    """The generations of instances, and who carries out the runs of their events."""

    async def lock(self, transaction: Transaction, definition_id: str, key_hash: str) -> None:
        """Have events of one key come one after another until the transaction ends."""
        ...

    async def newest(
        self, transaction: Transaction, definition_id: str, key_hash: str
    ) -> InstanceRow | None:
        """Return the newest generation of a key; None before its first event."""
        ...

    async def get(
        self, transaction: Transaction, definition_id: str, key_hash: str, generation: int
    ) -> InstanceRow | None:
        """Return a generation."""
        ...

    async def page(
        self,
        transaction: Transaction,
        *,
        before: int | None,
        definition_id: str | None,
        status: Status | None,
        limit: int,
    ) -> Sequence[InstanceRow]:
        """Return generations from before a position, the one that began last first."""
        ...

    async def adopt(
        self, transaction: Transaction, definition_id: str, trigger_key: str, workflow_run_id: str
    ) -> str | None:
        """Have an execution carry out a run that an instance recorded, unless another one does.

        Return the one that does; None when there is no such run.
        """
        ...


@dataclass(frozen=True)
class WaitingEvent:
    """What comes first of a key; `known` says that its run is recorded, decided or failed."""

    run_id: str
    trigger: bytes
    age: timedelta
    known: bool


@dataclass(frozen=True)
class WaitingKey:
    """A correlation key of which events wait; the version is that of the first one."""

    definition_id: str
    key_hash: str
    definition_version: int
    events: int
    waiting_since: datetime


class InstanceEventStore(Protocol):
    """The events that wait for their turn in an instance."""

    async def now(self, transaction: Transaction) -> datetime:
        """Return the time."""
        ...

    async def add(self, transaction: Transaction, events: Sequence[InstanceEvent]) -> int:
        """Add those that neither wait nor were applied, in their order; return how many."""
        ...

    async def add_work(self, transaction: Transaction, timer: InstanceEvent) -> None:
        """Add a timer that was applied and whose run has work."""
        ...

    async def first(
        self, transaction: Transaction, definition_id: str, key_hash: str
    ) -> WaitingEvent | None:
        """Return what comes first of a key."""
        ...

    async def waits(self, transaction: Transaction, run_id: str) -> bool:
        """Say whether an event waits."""
        ...

    async def remove(self, transaction: Transaction, run_id: str) -> bool:
        """Let an event wait no more; False when it does not."""
        ...

    async def crowded(
        self, transaction: Transaction, events: Sequence[InstanceEvent], *, more_than: int
    ) -> list[tuple[str, str]]:
        """Return the (definition, key hash) of these events of which more than so many wait."""
        ...

    async def give_up_beyond(
        self, transaction: Transaction, definition_id: str, key_hash: str, *, keep: int
    ) -> list[Origin]:
        """Let the oldest that were not applied wait no more; the instance is locked."""
        ...

    async def give_up_old(
        self, transaction: Transaction, definition_id: str, key_hash: str, *, max_age: timedelta
    ) -> list[Origin]:
        """Let those that were not applied for so long wait no more; the instance is locked."""
        ...

    async def waiting_keys(
        self,
        transaction: Transaction,
        *,
        after: tuple[str, str],
        definition_id: str | None,
        min_age: timedelta,
        limit: int,
    ) -> list[WaitingKey]:
        """Return keys of which something waits, or is due, for so long, in their order."""
        ...

    async def backlog(self, transaction: Transaction) -> tuple[int, float]:
        """Return how many events wait, and the age in seconds of the oldest."""
        ...
