"""The port behind which a consumer inbox remembers what it has seen."""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol, TypeVar

from sdk.inbox.arrivals import Admission, Arrival, Gap, Refusal
from sdk.inbox.records import Record

EffectsT_co = TypeVar("EffectsT_co", covariant=True)


class InboxTransaction(Protocol[EffectsT_co]):
    """An open transaction: what it admits, refuses and effects stands together or not at all."""

    @property
    def effects(self) -> EffectsT_co:
        """What a handler writes its effects with."""
        ...

    async def admit(self, arrival: Arrival, *, gapless: bool) -> Admission:
        """Note an event and say whether it is new.

        Two transactions that admit the same event take turns: the second one waits for the end of
        the first. A stream's version only grows. Unless `gapless`, it is kept for each topic, since
        the topics of a stream are read independently of one another. With `gapless` it is kept for
        all topics together and grows by one; what is `EARLY` has to be put aside.
        """
        ...

    async def admit_copy(self, arrival: Arrival) -> Admission:
        """Note a republished copy of an event that is known: new once for each republish id.

        A copy of an event that still waits is a duplicate.
        """
        ...

    async def put_aside(self, arrival: Arrival, record: Record) -> bool:
        """Let an early event wait for its turn; False when another event has that place."""
        ...

    async def take_next(self, source: str, stream: str, topics: Collection[str]) -> Record | None:
        """Take the waiting event whose turn it is and move its stream on; None when there is none.

        Only events that came from one of `topics`.
        """
        ...

    async def next_waits(self, source: str, stream: str) -> bool:
        """Whether an event waits in the stream whose turn it is now."""
        ...

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Undo the effects of the block, and nothing before it, when the block raises."""
        ...

    async def refuse(self, refusal: Refusal) -> None:
        """Keep a refused record; the same record again changes nothing."""
        ...


class InboxStore(Protocol[EffectsT_co]):
    """Remembers, for each namespace and consumer group, the events that were processed."""

    def transaction(
        self, namespace: str, group: str
    ) -> AbstractAsyncContextManager[InboxTransaction[EffectsT_co]]:
        """Open a transaction; leaving the block commits, an exception undoes everything."""
        ...

    async def forget(self, namespace: str, group: str, *, older_than: timedelta) -> int:
        """Forget the ids of events that arrived longer ago, and return how many.

        Versions of streams stay, so that such an event of a stream is still known as a duplicate.
        Events that wait stay too.
        """
        ...

    async def ready(
        self, namespace: str, group: str, topics: Collection[str]
    ) -> Sequence[tuple[str, str]]:
        """Return some streams (source, stream) where an event from `topics` waits in vain.

        Its turn has come: what it waited for was skipped, or whoever handled that has died since.
        """
        ...

    async def gaps(self, namespace: str, group: str, *, limit: int) -> Sequence[Gap]:
        """Return the streams that wait for missing versions, those that wait longest first."""
        ...

    async def skip(self, namespace: str, group: str, gap: Gap) -> bool:
        """Give up the missing versions of a gap: what waits for them is handled within seconds.

        Returns False, having changed nothing, when the stream has moved on since.
        """
        ...

    async def refusals(self, namespace: str, group: str, *, limit: int) -> Sequence[Refusal]:
        """Return the newest refused records, the newest first."""
        ...
