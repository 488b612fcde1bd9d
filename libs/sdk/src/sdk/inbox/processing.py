"""One record through a consumer inbox: note it, run the handler, commit, all in one transaction."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from contracts.envelope import Envelope
from contracts.rejections import Reason
from contracts.telemetry import Attribute, Metric
from runtime import kafkaspans, logs, telemetry
from runtime.faultpoints import faultpoint
from sdk.errors import HandlerFailedError, PermanentError
from sdk.inbox.arrivals import (
    Admission,
    Arrival,
    InboxReason,
    RecordRefusedError,
    Refusal,
    read,
)
from sdk.inbox.authentication import Authentication
from sdk.inbox.records import Record
from sdk.inbox.store import InboxStore, InboxTransaction

EffectsT = TypeVar("EffectsT")
Handler = Callable[[Envelope, EffectsT], Awaitable[None]]
"""What a consumer writes: it takes the event and the open transaction."""

_LONGEST_DETAIL = 2_000

_log = logs.get_logger(__name__)
_at_work: ContextVar[Arrival] = ContextVar("arrival")


class Order(StrEnum):
    """In which order a handler sees the events of a stream."""

    MONOTONIC = "monotonic"
    """Never back: an event that first comes after a later one of its stream on its topic is kept as
    refused. Versions may be left out."""
    GAPLESS = "gapless"
    """Each version right after the one before it. An event that comes early waits, and with it the
    rest of its stream, until what is missing comes or people give it up."""
    ANY = "any"
    """As they come: for effects that do not depend on order, as a count does not."""


class Outcome(StrEnum):
    """What became of a record."""

    HANDLED = "handled"
    DUPLICATE = "duplicate"
    WAITING = "waiting"
    REFUSED = "refused"


_Stream = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Settled:
    outcome: Outcome
    refusal: Refusal | None = None
    next_waits: _Stream | None = None
    """The source and stream in which the event that waits has its turn now."""


_SettledT = TypeVar("_SettledT", "_Settled", "_Settled | None")


def arrival() -> Arrival:
    """Return what the handler that calls this was called for: topic, stream, version and so on.

    Raises:
        LookupError: no handler is at work here.
    """
    return _at_work.get()


class Processor(Generic[EffectsT]):
    """Settles the records of some topics for one consumer group of one namespace."""

    def __init__(
        self,
        store: InboxStore[EffectsT],
        handler: Handler[EffectsT],
        *,
        namespace: str,
        group: str,
        topics: Collection[str] = (),
        order: Order = Order.MONOTONIC,
        republished: bool = False,
        authentication: Authentication | None = None,
    ) -> None:
        """With `republished`, the handler is run again for copies that were republished.

        `authentication` is asked who signed what arrives; None asks nobody.
        """
        self._authentication = authentication
        self._store = store
        self._handler = handler
        self._namespace = namespace
        self._group = group
        self._topics = frozenset(topics)
        self._order = order
        self._republished = republished
        self._records = telemetry.meter(__name__).create_counter(
            Metric.INBOX_RECORDS, description="Records that were settled, by outcome and reason."
        )

    async def process(self, record: Record) -> Outcome:
        """Return what became of a record, once that is committed.

        In a gapless order, events that waited for this one are handled too, whether it is new or a
        copy, so that one which fails is tried again with it.

        Raises:
            HandlerFailedError: the handler has failed; its event is as if it had not come.
            Exception: the store has failed; whether it committed is unknown. Either way the same
                record may work later.
        """
        settled = await self._commit(functools.partial(self._settle, record))
        if settled.next_waits is not None:
            await self._release(*settled.next_waits)
        return settled.outcome

    async def release(self, *, within: timedelta) -> None:
        """Handle the events that wait although their turn has come; what fails is told.

        Each stream has the time `within`; what it does not come to is left for the next time.

        Raises:
            DatabaseUnavailableError: the store cannot say what waits.
        """
        for source, stream in await self._store.ready(self._namespace, self._group, self._topics):
            try:
                async with asyncio.timeout(within.total_seconds()):
                    await self._release(source, stream)
            except Exception as exc:  # noqa: BLE001 - the other streams go on
                _log.warning(
                    "stream_held",
                    group=self._group,
                    source=source,
                    stream=stream,
                    error=str(exc) or type(exc).__name__,
                )

    async def _release(self, source: str, stream: str) -> None:
        next_waits: _Stream | None = (source, stream)
        while next_waits is not None:
            settled = await self._commit(functools.partial(self._settle_next, *next_waits))
            next_waits = None if settled is None else settled.next_waits

    async def _commit(
        self, settle: Callable[[InboxTransaction[EffectsT]], Awaitable[_SettledT]]
    ) -> _SettledT:
        async with self._store.transaction(self._namespace, self._group) as transaction:
            settled = await settle(transaction)
            faultpoint("sdk.before_inbox_commit")
        faultpoint("sdk.after_inbox_commit")
        if settled is not None:
            self._tell(settled)
        return settled

    async def _settle(self, record: Record, transaction: InboxTransaction[EffectsT]) -> _Settled:
        try:
            arrived = read(record, namespace=self._namespace, authenticated=self._authentication)
        except RecordRefusedError as exc:
            return _Settled(Outcome.REFUSED, await _refuse(record, exc, transaction))
        return await self._settled(arrived, record, transaction, self._admit)

    async def _settle_next(
        self, source: str, stream: str, transaction: InboxTransaction[EffectsT]
    ) -> _Settled | None:
        record = await transaction.take_next(source, stream, self._topics)
        if record is None:
            return None
        # Who signed it was asked when it was put aside: what is kept of it is not the signature.
        arrived = read(record, namespace=self._namespace)
        return await self._settled(arrived, record, transaction, self._handle)

    async def _settled(
        self,
        arrived: Arrival,
        record: Record,
        transaction: InboxTransaction[EffectsT],
        work: Callable[[Arrival, Record, InboxTransaction[EffectsT]], Awaitable[Outcome]],
    ) -> _Settled:
        refusal: Refusal | None = None
        try:
            outcome = await work(arrived, record, transaction)
        except RecordRefusedError as exc:
            outcome, refusal = Outcome.REFUSED, await _refuse(record, exc, transaction, arrived)
        stream: _Stream | None = None
        if self._order is Order.GAPLESS and arrived.stream is not None:
            stream = (arrived.event.source, arrived.stream)
            if not await transaction.next_waits(*stream):
                stream = None
        return _Settled(outcome, refusal, stream)

    async def _admit(
        self, arrived: Arrival, record: Record, transaction: InboxTransaction[EffectsT]
    ) -> Outcome:
        event = arrived.event
        gapless = self._order is Order.GAPLESS
        admission = await transaction.admit(arrived, gapless=gapless)
        if admission is Admission.DUPLICATE:
            if not self._republished or arrived.republish_id is None:
                return Outcome.DUPLICATE
            if await transaction.admit_copy(arrived) is Admission.DUPLICATE:
                return Outcome.DUPLICATE
        elif admission is Admission.CONFLICT:
            raise RecordRefusedError(
                Reason.ID_CONFLICT,
                f"source {event.source!r} used event id {event.event_id!r} for other bytes before",
            )
        elif admission is Admission.OUT_OF_ORDER and self._order is not Order.ANY:
            raise RecordRefusedError(
                InboxReason.OUT_OF_ORDER,
                f"version {arrived.version} of {arrived.stream!r} came after a later one",
            )
        elif admission is Admission.EARLY:
            if await transaction.put_aside(arrived, record):
                return Outcome.WAITING
            raise RecordRefusedError(
                InboxReason.OUT_OF_ORDER,
                f"another event waits as version {arrived.version} of {arrived.stream!r}",
            )
        return await self._handle(arrived, record, transaction)

    async def _handle(
        self, arrived: Arrival, record: Record, transaction: InboxTransaction[EffectsT]
    ) -> Outcome:
        token = _at_work.set(arrived)
        try:
            with (
                logs.bound(
                    namespace=self._namespace,
                    group=self._group,
                    event_id=arrived.event.event_id,
                ),
                kafkaspans.processed(
                    record.topic,
                    event_id=arrived.event.event_id,
                    parent=telemetry.nearer(arrived.event.traceparent, record.traceparent),
                    namespace=self._namespace,
                    group=self._group,
                ),
            ):
                async with transaction.savepoint():
                    await self._handler(arrived.event, transaction.effects)
        except PermanentError as exc:
            raise RecordRefusedError(InboxReason.PERMANENT_ERROR, _named(exc)) from exc
        except Exception as exc:
            # Under a name of its own: else a store takes a handler's `OSError` for its own.
            raise HandlerFailedError(_named(exc)) from exc
        finally:
            _at_work.reset(token)
        return Outcome.HANDLED

    def _tell(self, settled: _Settled) -> None:
        attributes: dict[str, str] = {
            Attribute.NAMESPACE: self._namespace,
            Attribute.CONSUMER_GROUP: self._group,
            Attribute.OUTCOME: settled.outcome,
        }
        refusal = settled.refusal
        if refusal is None:
            self._records.add(1, attributes)
            return
        self._records.add(1, attributes | {Attribute.REASON: refusal.reason})
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


def _named(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"


async def _refuse(
    record: Record,
    exc: RecordRefusedError,
    transaction: InboxTransaction[EffectsT],
    arrived: Arrival | None = None,
) -> Refusal:
    refusal = Refusal(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=str(exc.reason),
        detail=exc.detail[:_LONGEST_DETAIL],
        body=record.value or b"",
        source=None if arrived is None else arrived.event.source,
        event_id=None if arrived is None else arrived.event.event_id,
    )
    await transaction.refuse(refusal)
    return refusal
