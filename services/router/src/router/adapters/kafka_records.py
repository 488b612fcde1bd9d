"""Reads single records of the topics that the router reads: one by its place, or some by a search.

By a client without a group, in threads of its own, each look within a time and a number of records:
neither memory nor time grow with the topics, and routing goes on beside it.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import TypeVar

from confluent_kafka import KafkaException

from contracts.names import Reader
from router.adapters import kafka_reading
from router.adapters.kafka_reading import Place, Reading
from router.domain.dead_letter_pages import Stretches
from router.domain.records import Record
from router.domain.searching import Found
from router.errors import RecordGoneError, RequestInvalidError, TransientError
from router.ports import Search
from runtime.kafka import Brokers

T = TypeVar("T")

MAX_SEARCHED = 200_000
"""Records that one search looks at, over all partitions."""
MAX_FOUND = 100
TIMEOUT_S = 8.0
"""How long one look may take, the connection included."""
AT_A_TIME = 2
"""Looks that go on beside one another; others wait."""

_CLIENT_ID = Reader.ROUTER_RECORDS.value

_Stretches = dict[Place, tuple[int, int]]
"""From which offset to before which one."""


class KafkaRecords:
    """`ports.Records` on real topics."""

    def __init__(
        self,
        bootstrap_servers: Brokers,
        *,
        timeout_s: float = TIMEOUT_S,
        max_searched: int = MAX_SEARCHED,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._timeout_s = timeout_s
        self._max_searched = max_searched
        self._threads = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix=_CLIENT_ID)

    async def close(self) -> None:
        """Begin no further look."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def at(self, topic: str, partition: int, offset: int) -> Record:
        """Return the record at a place.

        Raises:
            RecordGoneError: there is none (any more), or no such topic or partition.
            TransientError: the brokers do not answer.
        """
        told = f"{topic} {partition}:{offset}"
        try:
            record = await self._in_thread(lambda one: one.at(topic, partition, offset), told)
        except KafkaException as exc:
            raise RecordGoneError(f"there is no {topic} {partition}: {exc.args[0].str()}") from exc
        if record is None:
            raise RecordGoneError(f"the topic does not hold the record at {told} (any more)")
        return record

    async def search(
        self,
        topics: Sequence[str],
        *,
        since: datetime,
        until: datetime | None,
        look: Callable[[Record], Found | None],
    ) -> Search:
        """Have `look` see the records between two times, by the clock of their timestamps.

        Raises:
            TransientError: the brokers do not answer, or there is no such topic.
        """
        told = ", ".join(topics)

        def search(reading: Reading) -> Search:
            stretches: _Stretches = {}
            for topic in topics:
                stretches |= _stretches(reading, topic, since=since, until=until)
            return _search(reading, stretches, look, most=self._max_searched)

        try:
            return await self._in_thread(search, told)
        except KafkaException as exc:
            raise TransientError(f"{told} cannot be read: {exc.args[0].str()}") from exc

    async def stretches(self, topic: str, *, since: datetime, until: datetime) -> Stretches:
        """Return what there is of a topic between two times, by partition.

        Raises:
            RequestInvalidError: there is no such topic.
            TransientError: the brokers do not answer.
        """
        try:
            found = await self._in_thread(
                lambda one: _stretches(one, topic, since=since, until=until), topic
            )
        except KafkaException as exc:
            raise RequestInvalidError(f"there is no topic {topic}: {exc.args[0].str()}") from exc
        return {partition: bounds for (_, partition), bounds in found.items()}

    async def read(
        self, topic: str, left: Stretches, *, most: int
    ) -> tuple[Sequence[Record], Stretches]:
        """Return about so many records of stretches, and what is left of these then.

        Raises:
            TransientError: the brokers do not answer, or the topic is gone.
        """
        try:
            return await self._in_thread(lambda one: _read(one, topic, left, most=most), topic)
        except KafkaException as exc:
            raise TransientError(f"{topic} cannot be read: {exc.args[0].str()}") from exc

    async def _in_thread(self, work: Callable[[Reading], T], told: str) -> T:
        """Do `work`. Raises KafkaException for what is nowhere, TransientError for all else."""
        look = partial(
            kafka_reading.look,
            self._bootstrap_servers,
            work,
            client_id=_CLIENT_ID,
            told=told,
            timeout_s=self._timeout_s,
        )
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, look)
        except KafkaException as exc:
            if exc.args[0].code() in kafka_reading.NOWHERE:
                raise
            raise TransientError(f"{told} cannot be read: {exc.args[0].str()}") from exc


def _stretches(
    reading: Reading, topic: str, *, since: datetime, until: datetime | None
) -> _Stretches:
    """Return what there is of a topic between two times."""
    partitions = reading.partitions(topic)
    begin = reading.from_time(topic, partitions, _milliseconds(since))
    end = {} if until is None else reading.from_time(topic, partitions, _milliseconds(until))
    stretches = {}
    for partition in partitions:
        low, high = reading.ends(topic, partition)
        first, behind = begin.get(partition, high), end.get(partition, high)
        stretches[topic, partition] = (max(low, first), min(high, behind))
    return stretches


def _search(
    reading: Reading, stretches: _Stretches, look: Callable[[Record], Found | None], *, most: int
) -> Search:
    """Show records to `look`, until they end, or the time or the number does."""
    left = {place: end for place, (first, end) in stretches.items() if first < end}
    reading.begin({place: stretches[place][0] for place in left})
    found: list[Found] = []
    looked_at = 0
    while left and looked_at < most and len(found) < MAX_FOUND and not reading.is_late:
        for place, record in reading.poll():
            end = left.get(place)
            if end is None:
                continue
            if record is not None and record.offset < end:
                looked_at += 1
                one = look(record)
                if one is not None:
                    found.append(one)
            if record is None or record.offset >= end - 1:
                del left[place]
                reading.pause(place)
    return Search(found[:MAX_FOUND], looked_at, complete=not left)


def _read(
    reading: Reading, topic: str, left: Stretches, *, most: int
) -> tuple[list[Record], Stretches]:
    """Return records of stretches until there are so many, and what is left then."""
    rest = {partition: bounds for partition, bounds in left.items() if bounds[0] < bounds[1]}
    reading.begin({(topic, partition): first for partition, (first, _) in rest.items()})
    records: list[Record] = []
    while rest and len(records) < most:
        # What is late raises: half of an answer would be one that never grows.
        reading.left_s()
        for place, record in reading.poll():
            partition = place[1]
            if partition not in rest:
                continue
            _, end = rest[partition]
            if record is not None and record.offset < end:
                records.append(record)
                rest[partition] = (record.offset + 1, end)
            if record is None or record.offset >= end - 1:
                del rest[partition]
                reading.pause(place)
    return records, rest


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
