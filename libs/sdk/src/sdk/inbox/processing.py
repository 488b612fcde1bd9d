"""One record through a consumer inbox: note it, run the handler, commit, all in one transaction."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Generic, TypeVar

from contracts.envelope import Envelope
from contracts.names import Header
from contracts.rejections import Reason
from runtime import logs, telemetry
from runtime.faultpoints import faultpoint
from sdk.errors import PermanentError
from sdk.inbox.arrivals import (
    Admission,
    Arrival,
    InboxReason,
    Record,
    RecordRefusedError,
    Refusal,
    read,
)
from sdk.inbox.store import InboxStore, InboxTransaction

EffectsT = TypeVar("EffectsT")
Handler = Callable[[Envelope, EffectsT], Awaitable[None]]
"""What a consumer writes: it takes the event and the open transaction."""

_LONGEST_DETAIL = 2_000

_log = logs.get_logger(__name__)


class OutOfOrder(StrEnum):
    """What becomes of an event that comes first after a later version of its stream has come.

    The relay publishes a stream in order; when the broker fails it in the middle of a batch, or
    when partitions are added to a topic, a version can still overtake another.
    """

    REFUSE = "refuse"
    """Keep it as refused: the handler never sees a stream go back."""
    HANDLE = "handle"
    """Run the handler: for effects that do not depend on order, as a count does not."""


class Outcome(StrEnum):
    """What became of a record."""

    HANDLED = "handled"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


class Processor(Generic[EffectsT]):
    """Settles records for one consumer group of one namespace."""

    def __init__(
        self,
        store: InboxStore[EffectsT],
        handler: Handler[EffectsT],
        *,
        namespace: str,
        group: str,
        out_of_order: OutOfOrder = OutOfOrder.REFUSE,
    ) -> None:
        self._store = store
        self._handler = handler
        self._namespace = namespace
        self._group = group
        self._out_of_order = out_of_order

    async def process(self, record: Record) -> Outcome:
        """Return what became of a record, once that is committed.

        Raises:
            Exception: nothing is committed, whatever the reason; the same record may work later.
        """
        refusal: Refusal | None = None
        async with self._store.transaction(self._namespace, self._group) as transaction:
            try:
                outcome = await self._settle(record, transaction)
            except RecordRefusedError as exc:
                refusal = _refusal(record, exc)
                outcome = Outcome.REFUSED
                await transaction.refuse(refusal)
            faultpoint("sdk.after_effect.before_inbox_commit")
        faultpoint("sdk.after_inbox_commit")
        if refusal is not None:
            _log.error(
                "record_refused",
                namespace=self._namespace,
                group=self._group,
                topic=refusal.topic,
                partition=refusal.partition,
                offset=refusal.offset,
                source=refusal.source,
                event_id=refusal.event_id,
                reason=refusal.reason,
                detail=refusal.detail[:500],
            )
        return outcome

    async def _settle(self, record: Record, transaction: InboxTransaction[EffectsT]) -> Outcome:
        arrival = read(record, namespace=self._namespace)
        event = arrival.event
        admission = await transaction.admit(arrival)
        if admission is Admission.DUPLICATE:
            return Outcome.DUPLICATE
        if admission is Admission.CONFLICT:
            raise _EventRefusedError(
                event,
                Reason.ID_CONFLICT,
                f"source {event.source!r} used event id {event.event_id!r} for other bytes before",
            )
        if admission is Admission.OUT_OF_ORDER and self._out_of_order is OutOfOrder.REFUSE:
            raise _EventRefusedError(
                event,
                InboxReason.OUT_OF_ORDER,
                f"version {arrival.version} of {arrival.stream!r} came after a later one",
            )
        with telemetry.attached(_traceparent(arrival, record)):
            try:
                async with transaction.savepoint():
                    await self._handler(event, transaction.effects)
            except PermanentError as exc:
                raise _EventRefusedError(
                    event, InboxReason.PERMANENT_ERROR, f"{type(exc).__name__}: {exc}"
                ) from exc
        return Outcome.HANDLED


class _EventRefusedError(RecordRefusedError):
    """A record that is an event."""

    def __init__(self, event: Envelope, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.event = event


def _refusal(record: Record, exc: RecordRefusedError) -> Refusal:
    event = exc.event if isinstance(exc, _EventRefusedError) else None
    return Refusal(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=str(exc.reason),
        detail=exc.detail[:_LONGEST_DETAIL],
        body=record.value or b"",
        source=None if event is None else event.source,
        event_id=None if event is None else event.event_id,
    )


def _traceparent(arrival: Arrival, record: Record) -> str | None:
    if arrival.event.traceparent is not None:
        return arrival.event.traceparent
    for name, value in record.headers or ():
        if name == Header.TRACEPARENT and value is not None:
            return value.decode("ascii", errors="replace")
    return None
