"""The port behind which a consumer inbox remembers what it has seen."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol, TypeVar

from sdk.inbox.arrivals import Admission, Arrival, Refusal

EffectsT_co = TypeVar("EffectsT_co", covariant=True)


class InboxTransaction(Protocol[EffectsT_co]):
    """An open transaction: what it admits, refuses and effects stands together or not at all."""

    @property
    def effects(self) -> EffectsT_co:
        """What a handler writes its effects with."""
        ...

    async def admit(self, arrival: Arrival) -> Admission:
        """Note an event and say whether it is new.

        Two transactions that admit the same event take turns: the second one waits for the end of
        the first. A stream's version is kept for each topic, since the topics of a stream are read
        independently of one another; it only grows.
        """
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
        """
        ...

    async def refusals(self, namespace: str, group: str, *, limit: int) -> Sequence[Refusal]:
        """Return the newest refused records, the newest first."""
        ...
