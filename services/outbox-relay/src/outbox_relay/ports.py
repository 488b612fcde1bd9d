"""What the relay needs: an outbox to empty and a broker to fill."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from outbox_relay.domain.batches import PendingRow, StreamKey


class OutboxStore(Protocol):
    """The pending rows of one outbox, seen by its one leader."""

    async def lead(self) -> bool:
        """Return True while this process leads the outbox, False while another one does.

        Raises:
            OutboxUnavailableError: it cannot be told.
        """
        ...

    async def pending(self, *, limit: int, without: Collection[StreamKey]) -> list[PendingRow]:
        """Return up to `limit` rows by position, leaving out the streams in `without`.

        Raises:
            OutboxUnavailableError: they cannot be read.
        """
        ...

    async def delete(self, positions: Sequence[int]) -> None:
        """Remove published rows; positions that are gone already are no error.

        Raises:
            OutboxUnavailableError: they may or may not be removed.
        """
        ...


class RecordPublisher(Protocol):
    """A broker that acknowledges what it has stored."""

    async def publish(self, rows: Sequence[PendingRow]) -> Mapping[int, str]:
        """Publish rows in order and return why some were not taken, by position; empty is success.

        Raises:
            PublisherUnavailableError: the broker took none of them.
        """
        ...
