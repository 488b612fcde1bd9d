"""Where the next read of an outbox begins, so that no event that commits late is passed over.

The truth is the *set* of pending rows. To read all of it each time would cost a walk over whatever
was deleted and cannot be vacuumed while some transaction, in any database of the cluster, is open.
So each read continues after the last one, and goes back exactly when it has to:

A row at or before `tail` can become visible later only if the transaction that wrote it was in
progress at an earlier read. Those transactions are in that read's snapshot. A transaction that a
snapshot shows for the first time took its positions after the snapshot before, so all of them are
greater than the tail at that time: its *floor*. Once it has ended, the next read begins at its
floor; until then it can be left alone, be it open for minutes. What was read before and is still on
its way to the broker comes again, and is known.

An append takes its transaction id (by the lock of the stream's head) before its positions, which is
what makes this true; see `eventstore/sql/events.sql`. Rows that are put back under their old
position (retried, republished) come with a rewind, and as a safety net the relay rewinds now and
then of its own accord.

The algebra of snapshots: https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT
"""

from collections.abc import Collection, Mapping


def running(snapshot: str) -> frozenset[int]:
    """Return the transactions in progress in a `pg_snapshot`, written `xmin:xmax:xip,xip,…`."""
    _, _, xids = snapshot.split(":")
    return frozenset(int(xid) for xid in xids.split(",") if xid)


class Horizon:
    """How far an outbox was read; it begins before the first row."""

    def __init__(self) -> None:
        self._tail = 0
        self._floors: dict[int, int] = {}

    @property
    def tail(self) -> int:
        """The position after which reading goes on, unless a transaction has ended meanwhile."""
        return self._tail

    @property
    def floors(self) -> Mapping[int, int]:
        """The transactions that were in progress at the last read, each with its floor.

        A read begins at the lowest floor of those that have ended in its own snapshot.
        """
        return self._floors

    def read(self, *, running: Collection[int], last: int | None, complete: bool) -> None:
        """Note a read that began where `tail` and `floors` say.

        Args:
            running: The transactions in progress in its snapshot.
            last: The position of its last row, None without any.
            complete: Nothing more was visible behind that row.
        """
        before = self._tail
        if complete:
            self._tail = max(before, last or 0)
        elif last is not None:
            # It may have gone back and ended before the old tail: then reading goes on from there.
            self._tail = last
        self._floors = {xid: self._floors.get(xid, min(before, self._tail)) for xid in running}

    def rewind(self, position: int = 0) -> None:
        """Read again what comes after `position`."""
        self._tail = min(self._tail, position)
