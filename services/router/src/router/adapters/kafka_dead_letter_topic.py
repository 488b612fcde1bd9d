"""Reads the topic of dead letters: by a client without a group, in a thread, a bounded page a time.

A page is so many records looked at, whatever is asked for, so that neither memory nor time grow
with the topic.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from confluent_kafka import KafkaException

from contracts import names
from contracts.names import Reader, Topic
from router.adapters import kafka_reading
from router.adapters.dead_letter_seal import DeadLetterSeal
from router.adapters.kafka_reading import Reading
from router.domain import dead_letter_pages, dead_letters
from router.domain.dead_letter_pages import Line, Stretches
from router.domain.dead_letters import DeadLetter
from router.domain.records import Record
from router.errors import TransientError
from router.ports import DeadLetterPage
from runtime.kafka import Brokers

T = TypeVar("T")

LOOKED_AT = 5_000
"""Records that a page looks at, over all partitions."""
LOOKED_AT_BYTES = 32 * 1024 * 1024
"""And bytes of values that are held meanwhile."""
PAGE_BYTES = 2 * 1024 * 1024
"""Of a page's letters as a listing shows them, far below what one gRPC message may hold."""
BACK_IN_TIME_MS = 3_600_000
"""How much later than its neighbours a record may stand in its partition: a dead letter has the
clock of the router that parked it. Reading until a time goes on for so long behind it."""

_CLIENT_ID = Reader.ROUTER_DEAD_LETTERS.value


class KafkaDeadLetterTopic:
    """`ports.DeadLetterTopic` on a real topic."""

    def __init__(
        self,
        bootstrap_servers: Brokers,
        *,
        timeout_s: float = 8.0,
        seal: DeadLetterSeal | None = None,
    ) -> None:
        """`timeout_s` bounds a page, the connection included."""
        self._seal = seal or DeadLetterSeal()
        self._bootstrap_servers = bootstrap_servers
        self._timeout_s = timeout_s

    async def page(
        self,
        namespace: str,
        *,
        left: Stretches | None,
        since_ms: int | None,
        until_ms: int | None,
        keep: Callable[[DeadLetter], bool],
        limit: int,
    ) -> DeadLetterPage:
        """Return the next dead letters that `keep` says yes to, and what is left then.

        Raises:
            TransientError: the brokers do not answer, or there is no such topic.
        """

        def look(reader: "_Reader") -> DeadLetterPage:
            stretches = left
            if stretches is None:
                stretches = reader.stretches(since_ms=since_ms, until_ms=until_ms)
            lines = reader.lines(stretches)
            return _take(lines, stretches, keep, limit=limit)

        return await self._in_thread(namespace, look)

    async def at(
        self, namespace: str, places: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], DeadLetter]:
        """Return the dead letters at places (partition, offset); those that are gone are missing.

        Raises:
            TransientError: the brokers do not answer, or there is no such topic.
        """
        return await self._in_thread(namespace, lambda reader: reader.at(places))

    async def _in_thread(self, namespace: str, look: "Callable[[_Reader], T]") -> T:
        topic = names.topic(namespace, Topic.DEAD_LETTERS)

        def read(record: Record) -> DeadLetter:
            opened, problem = self._seal.opened(record, namespace=namespace)
            return dead_letters.read(opened, unopened=problem)

        try:
            return await asyncio.to_thread(
                kafka_reading.look,
                self._bootstrap_servers,
                lambda reading: look(_Reader(reading, topic, read)),
                client_id=_CLIENT_ID,
                told=topic,
                timeout_s=self._timeout_s,
            )
        except KafkaException as exc:
            raise TransientError(f"{topic} cannot be read: {exc.args[0].str()}") from exc


class _Reader:
    """One look at the topic."""

    def __init__(self, reading: Reading, topic: str, read: Callable[[Record], DeadLetter]) -> None:
        self._reading = reading
        self._read = read
        self._topic = topic

    def stretches(self, *, since_ms: int | None, until_ms: int | None) -> Stretches:
        """Return what there is between two times, by partition."""
        partitions = self._reading.partitions(self._topic)
        stretches: Stretches = {
            partition: self._reading.ends(self._topic, partition) for partition in partitions
        }
        if since_ms is not None:
            begin = self._reading.from_time(self._topic, partitions, since_ms)
            for partition, (low, high) in stretches.items():
                stretches[partition] = (max(low, begin.get(partition, high)), high)
        if until_ms is not None:
            end = self._reading.from_time(self._topic, partitions, until_ms + BACK_IN_TIME_MS)
            for partition, (low, high) in stretches.items():
                stretches[partition] = (low, max(low, end.get(partition, high)))
        return stretches

    def lines(self, stretches: Stretches) -> dict[int, Line]:
        """Fetch the beginnings of stretches."""
        todo = {p: stretch for p, stretch in stretches.items() if stretch[0] < stretch[1]}
        if not todo:
            return {}
        letters: dict[int, list[DeadLetter]] = {partition: [] for partition in todo}
        room = {partition: LOOKED_AT_BYTES // len(todo) for partition in todo}
        most = max(1, LOOKED_AT // len(todo))
        complete: set[int] = set()
        self._reading.begin(
            {(self._topic, partition): first for partition, (first, _) in todo.items()}
        )
        reading = set(todo)
        while reading:
            self._reading.left_s()
            for (_, partition), record in self._reading.poll():
                if partition not in reading:
                    continue
                last = todo[partition][1]
                if record is not None and record.offset < last:
                    letters[partition].append(self._read(record))
                    room[partition] -= len(record.value or b"")
                if record is None or record.offset >= last - 1:
                    complete.add(partition)
                    reading.discard(partition)
                elif len(letters[partition]) >= most or room[partition] <= 0:
                    reading.discard(partition)
                    self._reading.pause((self._topic, partition))
        return {p: Line(letters[p], complete=p in complete) for p in todo}

    def at(self, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], DeadLetter]:
        """Read single records."""
        found = {}
        for partition, offset in places:
            record = self._reading.at(self._topic, partition, offset)
            if record is not None:
                found[partition, offset] = self._read(record)
        return found


def _take(
    lines: Mapping[int, Line],
    stretches: Stretches,
    keep: Callable[[DeadLetter], bool],
    *,
    limit: int,
) -> DeadLetterPage:
    left = dict(stretches)
    kept: list[DeadLetter] = []
    room = PAGE_BYTES
    for letter in dead_letter_pages.merged(lines):
        if len(kept) == limit or room <= 0:
            return DeadLetterPage(kept, left)
        left[letter.partition] = (letter.offset + 1, left[letter.partition][1])
        if keep(letter):
            kept.append(letter)
            room -= letter.weight
    for partition, line in lines.items():
        first, end = left[partition]
        # The last offsets of what was read to its end may hold no records.
        if line.complete and all(one.offset < first for one in line.letters[-1:]):
            left[partition] = (end, end)
    return DeadLetterPage(kept, left)
