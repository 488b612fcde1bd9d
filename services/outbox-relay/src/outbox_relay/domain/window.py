"""What is on its way from the outbox to the broker, and how much may be."""

from collections.abc import Sequence
from dataclasses import dataclass

from outbox_relay.domain.rows import PendingRow

_SPLIT = 8
"""How much smaller a batch is than the one before, in which a record was refused."""


@dataclass(slots=True)
class Flight:
    """Rows that were sent together."""

    rows: Sequence[PendingRow]
    started: float
    """Seconds of the monotonic clock."""
    acknowledged: int = 0

    @property
    def has_landed(self) -> bool:
        """Whether the broker has acknowledged every row."""
        return self.acknowledged == len(self.rows)


class Window:
    """What was read and not sent yet, and what the broker has not acknowledged yet.

    What is in flight is bounded by bytes; what is read ahead, by one read.
    When a record is refused in company, nobody knows which one it is: batches shrink and fly alone
    until it does, and grow again with each that lands.
    """

    def __init__(self, *, size: int, rows: int) -> None:
        """Let about `size` bytes be in flight, read at most `rows` rows at once."""
        self.limit = rows
        self._rows = rows
        self._size = size
        self._suspects = 0
        self._flying: dict[int, PendingRow] = {}
        self._bytes = 0
        self._ahead: Sequence[PendingRow] = ()

    @property
    def has_room(self) -> bool:
        """Whether more may be sent now."""
        return self._bytes < self._size and not (self._suspects and self._flying)

    @property
    def read_size(self) -> int:
        """How many bytes to read at once: so few that reading and flying take place together."""
        return self._size // 2

    @property
    def flying(self) -> Sequence[PendingRow]:
        """The rows in flight."""
        return list(self._flying.values())

    def __bool__(self) -> bool:
        """Return whether anything is on its way."""
        return bool(self._flying or self._ahead)

    def read(self, rows: Sequence[PendingRow]) -> None:
        """Take in what is to be sent next; of `rows`, what is in flight already is known."""
        self._ahead = [row for row in rows if row.position not in self._flying]

    def take(self) -> Sequence[PendingRow]:
        """Take out what is to be sent next."""
        ahead, self._ahead = self._ahead, ()
        return ahead

    def start(self, flight: Flight) -> None:
        """Count a flight in."""
        for row in flight.rows:
            self._flying[row.position] = row
            self._bytes += len(row.body)

    def land(self, flight: Flight) -> None:
        """Count a flight out: all of it is at the broker, and no longer in the outbox."""
        for row in flight.rows:
            del self._flying[row.position]
            self._bytes -= len(row.body)
        self._suspects = max(0, self._suspects - len(flight.rows))
        self.limit = min(self.limit * _SPLIT, self._rows) if self._suspects else self._rows

    def lose(self) -> None:
        """Forget what is in flight: it is in the outbox still, and may be at the broker."""
        self._flying.clear()
        self._bytes = 0

    def suspect(self) -> None:
        """Have what is in flight come again in smaller batches, one after the other."""
        self._suspects = max(self._suspects, len(self._flying))
        self.limit = max(1, min(self.limit, len(self._flying)) // _SPLIT)
