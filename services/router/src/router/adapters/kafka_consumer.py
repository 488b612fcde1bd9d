"""Reads topics with FastStream and has every record routed: committed when durable, or read again.

FastStream supplies the subscription, its life and its middleware; offsets are ours. A partition's
commit moves over records that are settled, in order, and no further. What cannot be settled now
makes its partition go back and rest, while polling goes on and the others flow. Whatever escapes
parser, middleware or handler, which FastStream would swallow, sends its partitions back too.
"""

import asyncio
import contextlib
import itertools
import operator
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from router.adapters import kafka_fetching
from router.domain.progress import Intake, Progress, Settlement
from router.domain.records import RawHeaders, Record
from router.errors import IngressHaltedError
from runtime import kafka, logs, telemetry
from runtime.faultpoints import faultpoint
from runtime.kafka import Brokers, CertificateInUse

GATHER_S = 0.005
"""How long a batch is filled after its first record."""
OUTDATED_S = 5.0
HALTED_S = 5.0
"""How long a partition rests that a kill switch stops: it goes on soon once that is reset."""
BATCH_BUDGET_S = 30.0
"""No record of a batch is begun later than this, so that the group is polled well within
`max.poll.interval.ms` (5 minutes)."""

Place = tuple[str, int]
Batch = tuple[Message, ...]

_log = logs.get_logger(__name__)
_read_headers = operator.methodcaller("headers")


class Results(Protocol):
    """What became of the records of a batch, by their index; those in neither were not begun."""

    @property
    def settled(self) -> Mapping[int, object]:
        """Those whose outcome is durable."""
        ...

    @property
    def failed(self) -> Mapping[int, BaseException]:
        """Those that have none now, and why."""
        ...


class Route(Protocol):
    """Routes the records of a batch, of all partitions."""

    def __call__(
        self,
        records: Sequence[Record],
        *,
        attempts: Callable[[Record], int],
        may_begin: Callable[[], bool],
    ) -> Awaitable[Results]:
        """Return when each record has its outcome or none; begin no work once `may_begin` is false.

        `attempts` tells how often a record is tried, counted from 1.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Share:
    """The records of one partition in a batch: of `offsets`, those of `intake` are routed.

    They are `records[first:first + len(intake.work)]` of the batch.
    """

    progress: Progress
    offsets: Sequence[int]
    intake: Intake
    first: int


class KafkaConsumer:
    """Consumes the topics of one namespace, from `start` to `stop`, in one consumer group."""

    def __init__(
        self,
        bootstrap_servers: Brokers,
        *,
        topics: Sequence[str],
        group: str,
        route: Route,
        batch_records: int,
        drain: timedelta,
    ) -> None:
        """`drain` bounds how long records in work may take to end at `stop`."""
        self._route = route
        self._owned: dict[Place, Progress] = {}
        self._rests: dict[Place, asyncio.Task[None]] = {}
        # Where the first record is without a durable outcome, as far as is known.
        self._reached: dict[Place, int] = {}
        self._stopping = False
        self._certificate = CertificateInUse(bootstrap_servers)
        self._holds = telemetry.meter(__name__).create_counter(
            Metric.ROUTER_HOLDS, description="Times a partition went back and rested."
        )
        config: ConfluentConfig = {
            **kafka.client_settings(bootstrap_servers),  # type: ignore[typeddict-item]
            "log_level": 3,
            "error_cb": _note_error,
        }
        self._broker = KafkaBroker(
            str(bootstrap_servers),
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
        broker_config = self._broker.config.broker_config
        broker_config.builder = kafka_fetching.builder(broker_config)
        self._subscriber = self._broker.subscriber(
            *topics,
            group_id=group,
            batch=True,
            max_records=batch_records,
            polling_interval=GATHER_S,
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

    async def outdated(self) -> None:
        """Return once its certificate was replaced: another consumer would show the new one."""
        while not self._certificate.is_replaced:  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(OUTDATED_S)

    async def stop(self) -> None:
        """Begin no more records, end those in work, commit them and leave the group."""
        self._stopping = True
        for rest in list(self._rests.values()):
            rest.cancel()
        await asyncio.gather(*self._rests.values(), return_exceptions=True)
        await self._broker.stop()

    def lag(self) -> dict[str, int]:
        """Return how many records of each topic have no durable outcome yet, of our partitions.

        It asks nobody: how far a partition goes is what the last answer of its broker said.
        """
        client = self._subscriber.consumer
        if client is None:
            return {}
        lag: dict[str, int] = {}
        for place in list(self._owned):
            try:
                _, end = client.consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            except (KafkaException, RuntimeError):  # it is being closed
                return {}
            if end >= 0:
                # Nothing has come of a partition that has nothing to read.
                behind = max(0, end - self._reached.get(place, end))
                lag[place[0]] = lag.get(place[0], 0) + behind
        return lag

    async def _handle(self, records: Batch) -> None:
        faultpoint("router.after_poll")
        by_place: dict[Place, list[Message]] = {}
        for record in records:
            by_place.setdefault(_place(record), []).append(record)
        settled = await self._settle(by_place)
        committed = await self._commit(
            {place: s.commit for place, s in settled.items() if s.commit is not None}
        )
        if committed:
            self._reached |= {
                place: s.commit for place, s in settled.items() if s.commit is not None
            }
        else:
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

    async def _settle(self, by_place: Mapping[Place, Sequence[Message]]) -> dict[Place, Settlement]:
        shares: dict[Place, _Share] = {}
        batch: list[Record] = []
        for place, messages in by_place.items():
            progress = self._owned.get(place)
            if progress is not None:  # Else revoked since it was fetched: somebody else reads it.
                self._reached.setdefault(place, _offset(messages[0]))
                shares[place] = _share(place, progress, messages, batch)
        clock = asyncio.get_running_loop().time
        deadline = clock() + BATCH_BUDGET_S
        results = await self._route(
            batch,
            attempts=lambda record: shares[record.topic, record.partition].progress.attempts(
                record.offset
            ),
            may_begin=lambda: not self._stopping and clock() < deadline,
        )
        return {place: _settlement(place, share, results) for place, share in shares.items()}

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
            self._reached.pop((partition.topic, partition.partition), None)
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


def _share(
    place: Place, progress: Progress, messages: Sequence[Message], batch: list[Record]
) -> _Share:
    """Take the messages of a partition, and add those that need work to the batch."""
    offsets = [_offset(message) for message in messages]
    intake = progress.take(offsets)
    if intake.gone is not None:
        _log.error(
            "record_gone", topic=place[0], partition=place[1], offset=intake.gone,
            next_offset=offsets[0],
        )  # fmt: skip
    share = _Share(progress, offsets, intake, len(batch))
    if len(intake.work) == len(offsets):
        batch.extend(map(read, messages))
    else:
        work = set(intake.work)
        batch.extend(read(m) for m, offset in zip(messages, offsets, strict=True) if offset in work)
    return share


def _settlement(place: Place, share: _Share, results: Results) -> Settlement:
    if share.intake.rewind is not None:
        return Settlement(rewind=share.intake.rewind)
    index_of = dict(zip(share.intake.work, itertools.count(share.first)))
    failed = {
        offset: results.failed[index]
        for offset, index in index_of.items()
        if index in results.failed
    }
    done = {offset for offset, index in index_of.items() if index in results.settled}
    settlement = share.progress.settle(share.offsets, done=done, failed=failed)
    if settlement.rewind in failed:
        halted = isinstance(failed[settlement.rewind], IngressHaltedError)
        pause_s = HALTED_S if halted else settlement.pause_s
        _log.warning(
            "partition_held",
            topic=place[0],
            partition=place[1],
            offset=settlement.rewind,
            attempts=share.progress.attempts(settlement.rewind) - 1,
            pause_s=pause_s,
            error=str(failed[settlement.rewind]),
        )
        return replace(settlement, pause_s=pause_s)
    return settlement


def read(message: Message) -> Record:
    """Return a message as it came. It never raises: what cannot be read is None."""
    kind, timestamp = message.timestamp()
    return Record(
        message.topic() or "",
        message.partition() or 0,
        _offset(message),
        None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp,
        _bytes(message.key()),
        _bytes(message.value()),
        _headers(message),
    )


def _headers(message: Message) -> RawHeaders | None:
    # Once for each record, and through C: after a name that is not UTF-8 the client may leave an
    # exception pending, which would surface in whatever Python code comes next.
    try:
        headers = _read_headers(message)
    except Exception:  # noqa: BLE001 - the client raises what it likes; the record must go on
        return None
    return tuple((name, _bytes(value)) for name, value in headers) if headers else ()


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _place(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0


def _offset(message: Message) -> int:
    offset = message.offset()
    return -1 if offset is None else offset


def _shown(partitions: Sequence[TopicPartition]) -> list[str]:
    return [f"{partition.topic}[{partition.partition}]" for partition in partitions]
