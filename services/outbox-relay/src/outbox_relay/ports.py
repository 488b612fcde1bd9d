"""What the relay needs: an outbox to empty and a broker to fill."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from outbox_relay.domain.horizon import Horizon
from outbox_relay.domain.rows import PendingRow, StreamKey
from outbox_relay.domain.shares import Change
from outbox_relay.domain.window import Flight


@dataclass(frozen=True, slots=True)
class Lead:
    """Which shards the members of an outbox lead."""

    members: int
    mine: frozenset[int]
    others: frozenset[int]


@dataclass(frozen=True, slots=True)
class Lag:
    """How far behind an outbox is: pending and parked rows, seconds since the oldest was queued."""

    rows: int
    seconds: float
    parked: int


class OutboxSession(Protocol):
    """One relay's session with one outbox; the lead of its shards ends with it.

    Every method raises OutboxUnavailableError when the session is gone or does not answer; then
    `close` and begin anew.
    """

    async def open(self, wake: Callable[[bool], None]) -> None:
        """Begin. `wake` is called when something was queued; with True, under an old position."""
        ...

    async def lead(self) -> Lead:
        """Return who leads which shards."""
        ...

    async def change(self, change: Change) -> frozenset[int]:
        """Give up and take shards; return those that were taken."""
        ...

    async def read(
        self, horizon: Horizon, *, shards: Collection[int], rows: int, size: int
    ) -> tuple[list[PendingRow], bool]:
        """Read on, at most `rows` rows of together about `size` bytes, and tell `horizon`.

        Returns the rows in the order of their positions, and whether nothing is behind them.
        """
        ...

    async def delete(self, positions: Sequence[int]) -> None:
        """Remove published rows; positions that are gone already are no error."""
        ...

    async def park(self, position: int, *, reason: str, waits: bool) -> None:
        """Move a refused row out of the outbox; its stream waits behind it if `waits`."""
        ...

    async def waiting_streams(self) -> frozenset[StreamKey]:
        """Return the streams that wait behind a parked row."""
        ...

    async def lag(self) -> Lag:
        """Return how far behind the outbox is."""
        ...

    async def close(self) -> None:
        """End the session and with it the lead; never raises."""
        ...


class Publisher(Protocol):
    """A broker that acknowledges what it has stored, in order."""

    async def missing(self, topics: Collection[str]) -> dict[str, str]:
        """Return those of `topics` that records cannot be sent to now, each with the reason.

        Raises:
            PublishingError: no broker answers.
        """
        ...

    def send(self, rows: Sequence[PendingRow], *, more: bool) -> Flight:
        """Begin to send rows, in order, behind what was sent before; return what is on its way.

        `more` rows are about to follow: these need not hurry. A row that is refused at once ends
        the flight before it, and is to be sent again, alone.

        Raises:
            PublishingError: the first row is refused, or the producer is of no more use.
        """
        ...

    def landed(self) -> list[Flight]:
        """Return the oldest flights that are acknowledged as a whole, each of them once.

        Raises:
            PublishingError: a record failed; call `reset`.
        """
        ...

    async def reset(self) -> None:
        """Forget what is in flight: it may or may not arrive. The next `send` begins anew."""
        ...

    async def close(self) -> None:
        """Release everything; what is in flight may or may not arrive."""
        ...
