"""Subscribes handlers to Kafka through FastStream, so that the inbox settles every record.

FastStream supplies the subscription and its life; offsets are ours. A partition's commit moves over
records that are settled, in order, and no further. A record that cannot be settled now makes its
partition go back and rest, while polling goes on and the others flow. Whatever a middleware raises,
which FastStream would swallow, sends its partitions back too.
"""

import asyncio
import contextlib
import operator
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaException, Message, TopicPartition
from faststream import AckPolicy, BaseMiddleware
from faststream.confluent import KafkaBroker
from faststream.confluent.schemas import Topic
from faststream.message import StreamMessage

from contracts.telemetry import Attribute, Metric
from runtime import logs, telemetry
from runtime.faultpoints import faultpoint
from sdk.inbox.progress import Progress
from sdk.inbox.records import Headers, Record

POLL_S = 0.05
BATCH_BUDGET_S = 30.0
"""No record of a batch is begun later than this, so that the group is polled well within
`max.poll.interval.ms` (5 minutes)."""

_SEEK_AGAIN_S = 0.5

Place = tuple[str, int]
Batch = tuple[Message, ...]

_log = logs.get_logger(__name__)
_read_headers = operator.methodcaller("headers")


@dataclass(frozen=True, slots=True)
class _Settled:
    """What became of one partition's part of a batch."""

    commit: int | None = None
    back_to: int | None = None
    pause_s: float = 0.0


class Subscription:
    """Feeds the records of some topics, partition by partition and in order, to `settle`."""

    def __init__(
        self,
        broker: KafkaBroker,
        settle: Callable[[Record], Awaitable[object]],
        *,
        topics: Sequence[str],
        group: str,
        concurrency: int,
        batch_records: int,
        timeout: timedelta,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """`beside` is work without end, done for as long as the broker runs."""
        self._settle = settle
        self._beside = beside
        self._group = group
        self._holds = telemetry.meter(__name__).create_counter(
            Metric.INBOX_HOLDS, description="Times a partition went back and rested."
        )
        self._slots = asyncio.Semaphore(concurrency)
        self._timeout_s = timeout.total_seconds()
        self._owned: dict[Place, Progress] = {}
        self._rests: dict[Place, asyncio.TimerHandle] = {}
        self._waking: set[asyncio.Task[None]] = set()
        self._subscriber = broker.subscriber(
            # Topics are made by whoever owns them: one made here would have one partition.
            *(Topic(name, declare=False) for name in topics),
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
            parser=_parse,
            decoder=_decode,
        )
        self._subscriber(self._handle)
        # FastStream tells nobody when it starts a subscriber; a test guards that this is called.
        self._start_subscriber = self._subscriber.start
        self._subscriber.start = self._start  # type: ignore[method-assign]
        # The outermost of the broker's, so that what its other middlewares raise is seen too.
        broker.insert_middleware(self._guard)

    async def _start(self) -> None:
        await self._start_subscriber()
        if self._beside is not None:
            # FastStream cancels it where it stops the subscriber, after the records in work.
            self._subscriber.add_task(self._beside)

    async def _handle(self, records: Any) -> None:
        faultpoint("sdk.after_poll")
        # `Any`: FastStream would have Pydantic convert what is annotated.
        by_place: dict[Place, list[Message]] = {}
        for message in records:
            by_place.setdefault(_place(message), []).append(message)
        deadline = asyncio.get_running_loop().time() + BATCH_BUDGET_S
        results = await asyncio.gather(
            *(self._partition(place, batch, deadline) for place, batch in by_place.items())
        )
        settled = dict(zip(by_place, results, strict=True))
        await self._commit({p: s.commit for p, s in settled.items() if s.commit is not None})
        for place, result in settled.items():
            if result.back_to is not None:
                await self._go_back(place, result.back_to, result.pause_s)
        # FastStream polls between two batches.
        faultpoint("sdk.before_poll")

    async def _partition(self, place: Place, batch: Sequence[Message], deadline: float) -> _Settled:
        progress = self._owned.get(place)
        if progress is None:  # Revoked since it was fetched: somebody else reads it.
            return _Settled()
        first = _offset(batch[0])
        intake = progress.take(first)
        if intake.gone is not None:
            _log.error(
                "record_gone",
                topic=place[0],
                partition=place[1],
                offset=intake.gone,
                next_offset=first,
            )
        if intake.back_to is not None:
            return _Settled(back_to=intake.back_to)
        commit: int | None = None
        for message in batch:
            record = read(message)
            async with self._slots:
                if not self._subscriber.running or self._owned.get(place) is not progress:
                    return _Settled(commit=commit)
                if asyncio.get_running_loop().time() > deadline:
                    return _Settled(commit=commit, back_to=record.offset)
                try:
                    async with asyncio.timeout(self._timeout_s):
                        await self._settle(record)
                except Exception as exc:  # noqa: BLE001 - no outcome yet, whatever the reason is
                    pause_s = progress.fail(record.offset)
                    self._holds.add(
                        1,
                        {
                            Attribute.CONSUMER_GROUP: self._group,
                            Attribute.NAMESPACE: record.topic.partition(".")[0],
                        },
                    )
                    _log.warning(
                        "partition_held",
                        topic=record.topic,
                        partition=record.partition,
                        offset=record.offset,
                        attempts=progress.failures,
                        pause_s=pause_s,
                        error=str(exc) or type(exc).__name__,
                    )
                    return _Settled(commit=commit, back_to=record.offset, pause_s=pause_s)
            commit = record.offset + 1
        return _Settled(commit=commit)

    async def _commit(self, offsets: Mapping[Place, int]) -> None:
        positions = [
            TopicPartition(*place, offset)
            for place, offset in offsets.items()
            if place in self._owned
        ]
        if not positions:
            return
        faultpoint("sdk.before_offset_commit")
        try:
            answers = await self._call("commit", offsets=positions, asynchronous=False)
            refused = [f"{a.topic}[{a.partition}]: {a.error}" for a in answers or () if a.error]
        except KafkaException as exc:
            refused = [str(exc)]
        faultpoint("sdk.after_offset_commit")
        if refused:
            # Fenced, or the broker is away: the records come again, and the inbox knows them.
            _log.warning("commit_failed", errors=refused)

    async def _go_back(self, place: Place, offset: int, pause_s: float) -> None:
        """Read again from `offset`, after about so long a rest."""
        progress = self._owned.get(place)
        if progress is None or not self._subscriber.running:
            return
        progress.go_back(offset)
        if pause_s == 0 and await self._seek(place, offset, progress):
            return
        with contextlib.suppress(KafkaException):
            await self._call("pause", [TopicPartition(*place)])
        await self._seek(place, offset, progress)
        self._rest(place, offset, progress, pause_s or _SEEK_AGAIN_S)

    def _rest(self, place: Place, offset: int, progress: Progress, pause_s: float) -> None:
        earlier = self._rests.pop(place, None)
        if earlier is not None:
            earlier.cancel()
        # A timer, not a task that sleeps: it ends with the loop and nobody has to cancel it.
        self._rests[place] = asyncio.get_running_loop().call_later(
            pause_s * random.uniform(0.8, 1.2),  # noqa: S311 - jitter
            self._wake,
            place,
            offset,
            progress,
        )

    def _wake(self, place: Place, offset: int, progress: Progress) -> None:
        self._rests.pop(place, None)
        task = asyncio.get_running_loop().create_task(self._resume(place, offset, progress))
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    async def _resume(self, place: Place, offset: int, progress: Progress) -> None:
        # Revoked meanwhile, it was resumed then, and begins at what is committed.
        if self._owned.get(place) is not progress or not self._subscriber.running:
            return
        # A seek can be refused; to resume without one would pass the record over.
        if progress.is_sought or await self._seek(place, offset, progress):
            with contextlib.suppress(KafkaException):
                await self._call("resume", [TopicPartition(*place)])
                return
        self._rest(place, offset, progress, _SEEK_AGAIN_S)

    async def _seek(self, place: Place, offset: int, progress: Progress) -> bool:
        try:
            await self._call("seek", TopicPartition(*place, offset))
        except KafkaException as exc:
            _log.info("seek_refused", topic=place[0], partition=place[1], error=str(exc))
            return False
        progress.sought()
        return True

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        # librdkafka's consumer is FastStream's, which uses it from this one thread. The thread's
        # attribute is private; a test guards it.
        client = self._subscriber.consumer
        if client is None:
            raise KafkaException("the consumer is closed")
        function = operator.methodcaller(method, *args, **kwargs)
        try:
            return await asyncio.get_running_loop().run_in_executor(
                client._thread_pool,  # noqa: SLF001 - see above
                function,
                client.consumer,
            )
        except RuntimeError as exc:  # What Python and the client say of one that was just closed.
            raise KafkaException(str(exc)) from exc

    def _assigned(self, _consumer: object, partitions: Sequence[TopicPartition]) -> None:
        # Called in the consumer's thread, between batches only.
        for partition in partitions:
            self._owned[(partition.topic, partition.partition)] = Progress()

    def _revoked(self, consumer: Any, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self._owned.pop((partition.topic, partition.partition), None)
        # A pause outlives the assignment: left, it would silence the partition should it come back.
        with contextlib.suppress(KafkaException):
            consumer.resume(list(partitions))

    def _guard(self, msg: Any, /, *, context: Any) -> "_Guard":
        return _Guard(msg, context=context, escaped=self._escaped)

    async def _escaped(self, records: Batch, exc: BaseException) -> None:
        first: dict[Place, int] = {}
        for record in records:
            first.setdefault(_place(record), _offset(record))
        for place, offset in first.items():
            progress = self._owned.get(place)
            if progress is not None:
                _log.error("batch_failed", topic=place[0], partition=place[1], exc_info=exc)
                await self._go_back(place, offset, progress.fail(offset))


class _Guard(BaseMiddleware[Any, Any]):
    """Tells the subscription of every exception that FastStream would swallow."""

    def __init__(
        self,
        msg: Any,
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
        # The broker's other subscribers, and its publishers, have messages of other kinds.
        if isinstance(exc_val, Exception) and isinstance(self.msg, tuple):
            await self._escaped(self.msg, exc_val)
        return await super().__aexit__(exc_type, exc_val, exc_tb)


async def _parse(records: Batch) -> StreamMessage[Batch]:
    # FastStream's own parser reads headers, and dies of one that is not UTF-8.
    return StreamMessage(raw_message=records, body=b"")


async def _decode(message: StreamMessage[Batch]) -> Batch:
    return message.raw_message


def read(message: Message) -> Record:
    """Return a message as it came. It never raises: headers that cannot be read are None."""
    value, key = message.value(), message.key()
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=_offset(message),
        value=value.encode() if isinstance(value, str) else value,
        headers=_headers(message),
        key=key.encode() if isinstance(key, str) else key,
    )


def _headers(message: Message) -> Headers | None:
    # Once for each record, and through C: after a name that is not UTF-8 the client may leave an
    # exception pending, which would surface in whatever Python code comes next.
    try:
        headers = _read_headers(message)
    except Exception:  # noqa: BLE001 - the client raises what it likes; the record must go on
        return None
    return tuple(
        (name, value.encode() if isinstance(value, str) else value) for name, value in headers or ()
    )


def _place(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0


def _offset(message: Message) -> int:
    offset = message.offset()
    return -1 if offset is None else offset
