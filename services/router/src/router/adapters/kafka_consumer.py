"""Reads topics with FastStream and settles every record: committed when durable, or read again.

FastStream supplies the subscription, its life and its middleware; offsets are ours. A partition's
commit moves over records that are settled, in order, and no further. What cannot be settled now
makes its partition go back and rest, while polling goes on and the others flow. Whatever escapes
parser, middleware or handler, which FastStream would swallow, sends its partitions back too.
"""

import asyncio
import contextlib
import operator
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol

from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from faststream import AckPolicy, BaseMiddleware
from faststream.confluent import ConfluentConfig, KafkaBroker
from faststream.message import StreamMessage

from contracts.telemetry import Attribute, Metric
from router.domain.progress import Progress, Settlement
from router.domain.records import RawHeaders, Record
from runtime import logs, telemetry
from runtime.faultpoints import faultpoint

POLL_S = 0.01
BATCH_BUDGET_S = 30.0
"""No record of a batch is begun later than this, so that the group is polled well within
`max.poll.interval.ms` (5 minutes)."""

Place = tuple[str, int]
Batch = tuple[Message, ...]

_log = logs.get_logger(__name__)
_read_headers = operator.methodcaller("headers")


class Settle(Protocol):
    """Settles one record: returns when its outcome is durable, raises when it has none."""

    def __call__(self, record: Record, *, attempts: int) -> Awaitable[object]:
        """Settle `record`, which is tried for the time `attempts`, counted from 1."""
        ...


class KafkaConsumer:
    """Consumes the topics of one namespace, from `start` to `stop`, in one consumer group."""

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        topics: Sequence[str],
        group: str,
        settle: Settle,
        concurrency: int,
        batch_records: int,
        drain: timedelta,
    ) -> None:
        """`drain` bounds how long records in work may take to end at `stop`."""
        self._settle = settle
        self._slots = asyncio.Semaphore(concurrency)
        self._owned: dict[Place, Progress] = {}
        self._rests: dict[Place, asyncio.Task[None]] = {}
        self._stopping = False
        self._holds = telemetry.meter(__name__).create_counter(
            Metric.ROUTER_HOLDS, description="Times a partition went back and rested."
        )
        config: ConfluentConfig = {"log_level": 3, "error_cb": _note_error}
        self._broker = KafkaBroker(
            bootstrap_servers,
            client_id=group,
            apply_types=False,
            parser=_parse,
            decoder=_decode,
            middlewares=[self._guard],
            allow_auto_create_topics=False,
            graceful_timeout=drain.total_seconds(),
            logger=None,
            config=config,
        )
        self._subscriber = self._broker.subscriber(
            *topics,
            group_id=group,
            batch=True,
            max_records=batch_records,
            polling_interval=POLL_S,
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            auto_offset_reset="earliest",
            partition_assignment_strategy=["cooperative-sticky"],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._revoked,
        )
        self._subscriber(self._handle)

    async def start(self) -> None:
        """Join the group and begin to read."""
        await self._broker.start()

    async def stop(self) -> None:
        """Begin no more records, end those in work, commit them and leave the group."""
        self._stopping = True
        for rest in list(self._rests.values()):
            rest.cancel()
        await asyncio.gather(*self._rests.values(), return_exceptions=True)
        await self._broker.stop()

    async def _handle(self, records: Batch) -> None:
        faultpoint("router.after_poll")
        by_place: dict[Place, list[Message]] = {}
        for record in records:
            by_place.setdefault(_place(record), []).append(record)
        deadline = asyncio.get_running_loop().time() + BATCH_BUDGET_S
        settlements = await asyncio.gather(
            *(self._partition(place, batch, deadline) for place, batch in by_place.items())
        )
        settled = dict(zip(by_place, settlements, strict=True))
        committed = await self._commit(
            {place: s.commit for place, s in settled.items() if s.commit is not None}
        )
        if not committed:
            settled = {
                place: self._again(place, by_place[place], settled[place]) for place in settled
            }
        for place, settlement in settled.items():
            if settlement.rewind is not None:
                await self._hold(place, settlement.rewind, settlement.pause_s)
        # FastStream polls between two batches.
        faultpoint("router.before_poll")

    def _again(self, place: Place, batch: Sequence[Message], settlement: Settlement) -> Settlement:
        """Return the settlement of a batch whose commit was refused."""
        progress = self._owned.get(place)
        if progress is None or settlement.rewind is not None:
            return settlement
        # Until another record comes nobody would commit it: the partition would stay behind.
        return progress.uncommitted([_offset(message) for message in batch])

    async def _partition(
        self, place: Place, batch: Sequence[Message], deadline: float
    ) -> Settlement:
        progress = self._owned.get(place)
        if progress is None:  # Revoked since it was fetched: somebody else reads it.
            return Settlement()
        offsets = [_offset(message) for message in batch]
        intake = progress.take(offsets)
        if intake.gone is not None:
            _log.error(
                "record_gone", topic=place[0], partition=place[1], offset=intake.gone,
                next_offset=offsets[0],
            )  # fmt: skip
        if intake.rewind is not None:
            return Settlement(rewind=intake.rewind)
        work = set(intake.work)
        lanes: dict[object, list[Record]] = {}
        for message in batch:
            record = read(message)
            if record.offset in work:
                # Records of one key are settled in their order; those without a key have none.
                lane = record.key if record.key is not None else record.offset
                lanes.setdefault(lane, []).append(record)
        done: set[int] = set()
        failed: dict[int, BaseException] = {}
        await asyncio.gather(
            *(self._lane(lane, progress, done, failed, deadline) for lane in lanes.values())
        )
        settlement = progress.settle(offsets, done=done, failed=failed)
        if settlement.rewind in failed:
            _log.warning(
                "partition_held",
                topic=place[0],
                partition=place[1],
                offset=settlement.rewind,
                attempts=progress.attempts(settlement.rewind) - 1,
                pause_s=settlement.pause_s,
                error=str(failed[settlement.rewind]),
            )
        return settlement

    async def _lane(
        self,
        records: Sequence[Record],
        progress: Progress,
        done: set[int],
        failed: dict[int, BaseException],
        deadline: float,
    ) -> None:
        clock = asyncio.get_running_loop().time
        for record in records:
            async with self._slots:
                # One failure ends the batch of its partition: the rest would be tried in vain.
                if self._stopping or failed or clock() > deadline:
                    return
                try:
                    await self._settle(record, attempts=progress.attempts(record.offset))
                except Exception as exc:  # noqa: BLE001 - no outcome yet, whatever the reason is
                    failed[record.offset] = exc
                    return
                done.add(record.offset)

    async def _commit(self, offsets: Mapping[Place, int]) -> bool:
        """Commit what is owned; False when the broker did not take it."""
        positions = [
            TopicPartition(*place, offset)
            for place, offset in offsets.items()
            if place in self._owned
        ]
        if not positions:
            return True
        faultpoint("router.before_commit")
        try:
            answers = await self._call("commit", offsets=positions, asynchronous=False)
            refused = [f"{a.topic}[{a.partition}]: {a.error}" for a in answers or () if a.error]
        except KafkaException as exc:
            refused = [str(exc)]
        faultpoint("router.after_commit")
        if refused:
            # Fenced, or the broker is away: the records come again, and start nothing twice.
            _log.warning("commit_failed", errors=refused)
        return not refused

    async def _hold(self, place: Place, offset: int, pause_s: float) -> None:
        """Go back to `offset`; with a pause, rest for about so long."""
        if place not in self._owned or self._stopping:
            return
        if pause_s == 0 and await self._seek(place, offset):
            return
        self._holds.add(1, {Attribute.NAMESPACE: place[0].partition(".")[0]})
        with contextlib.suppress(KafkaException):
            await self._call("pause", [TopicPartition(*place)])
        earlier = self._rests.pop(place, None)
        if earlier is not None:
            earlier.cancel()
        rest = asyncio.create_task(self._rest(place, offset, max(pause_s, 0.1)))
        self._rests[place] = rest
        rest.add_done_callback(lambda task: self._rested(place, task))

    async def _rest(self, place: Place, offset: int, pause_s: float) -> None:
        progress = self._owned.get(place)
        sought = await self._seek(place, offset)
        while place in self._owned:
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            # Assigned anew meanwhile, it begins at what is committed and needs no seek of ours.
            sought = sought or self._owned.get(place) is not progress
            # A seek can be refused; to resume without one would pass the record over.
            sought = sought or await self._seek(place, offset)
            if sought:
                with contextlib.suppress(KafkaException):
                    await self._call("resume", [TopicPartition(*place)])
                    return

    def _rested(self, place: Place, task: "asyncio.Task[None]") -> None:
        if self._rests.get(place) is task:
            del self._rests[place]
        if not task.cancelled() and task.exception() is not None:
            _log.error("rest_failed", exc_info=task.exception())

    async def _seek(self, place: Place, offset: int) -> bool:
        try:
            await self._call("seek", TopicPartition(*place, offset))
        except KafkaException as exc:
            _log.info("seek_refused", topic=place[0], partition=place[1], error=str(exc))
            return False
        return True

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        # librdkafka's consumer is FastStream's, which uses it from this one thread. The thread's
        # attribute is private; a test guards it.
        client = self._subscriber.consumer
        if client is None:
            raise KafkaException("the consumer is closed")
        function = operator.methodcaller(method, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(
            client._thread_pool,  # noqa: SLF001 - see above
            function,
            client.consumer,
        )

    def _assigned(self, _consumer: object, partitions: Sequence[TopicPartition]) -> None:
        # Called in the consumer's thread, between batches only.
        for partition in partitions:
            self._owned[(partition.topic, partition.partition)] = Progress()
        _log.info("partitions_assigned", partitions=_shown(partitions))

    def _revoked(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self._owned.pop((partition.topic, partition.partition), None)
        # One that rests would still be paused, and nobody resume it, when it comes back.
        with contextlib.suppress(KafkaException):
            consumer.resume(list(partitions))
        _log.info("partitions_revoked", partitions=_shown(partitions))

    def _guard(self, msg: Batch | None, /, *, context: Any) -> "_Guard":
        return _Guard(msg, context=context, escaped=self._escaped)

    async def _escaped(self, records: Batch, exc: BaseException) -> None:
        _log.error("batch_failed", records=len(records), exc_info=exc)
        first: dict[Place, int] = {}
        for record in records:
            first.setdefault(_place(record), _offset(record))
        for place, offset in first.items():
            progress = self._owned.get(place)
            if progress is not None:
                settlement = progress.rewind_all(offset)
                await self._hold(place, offset, settlement.pause_s)


class _Guard(BaseMiddleware[Any, Any]):
    """Tells the consumer of every exception that FastStream would swallow."""

    def __init__(
        self,
        msg: Batch | None,
        /,
        *,
        context: Any,
        escaped: Callable[[Batch, BaseException], Awaitable[None]],
    ) -> None:
        super().__init__(msg, context=context)
        self._escaped = escaped

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool | None:
        if isinstance(exc_val, Exception) and self.msg:
            await self._escaped(self.msg, exc_val)
        return await super().__aexit__(exc_type, exc_val, exc_tb)


async def _parse(records: Batch) -> StreamMessage[Batch]:
    # FastStream's own parser reads headers, and dies of one that is not UTF-8.
    return StreamMessage(raw_message=records, body=b"")


async def _decode(message: StreamMessage[Batch]) -> Batch:
    return message.raw_message


def _note_error(error: KafkaError) -> None:
    _log.warning("kafka_client_error", error=error.str(), fatal=error.fatal())


def read(message: Message) -> Record:
    """Return a message as it came. It never raises: what cannot be read is None."""
    kind, timestamp = message.timestamp()
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=_offset(message),
        timestamp_ms=None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp,
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        headers=_headers(message),
    )


def _headers(message: Message) -> RawHeaders | None:
    # Once for each record, and through C: after a name that is not UTF-8 the client may leave an
    # exception pending, which would surface in whatever Python code comes next.
    try:
        headers = _read_headers(message)
    except Exception:  # noqa: BLE001 - the client raises what it likes; the record must go on
        return None
    return tuple((name, _bytes(value)) for name, value in headers or ())


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _place(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0


def _offset(message: Message) -> int:
    offset = message.offset()
    return -1 if offset is None else offset


def _shown(partitions: Sequence[TopicPartition]) -> list[str]:
    return [f"{partition.topic}[{partition.partition}]" for partition in partitions]
