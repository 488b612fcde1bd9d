"""Who takes turns with the same backlog: the router and the floors, each a process that is frozen.

Whoever has no turn gets no processor time. How far one has come is what its consumer group has
committed, for the router and the floors alike.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
from confluent_kafka import Consumer, TopicPartition

_LOOK_S = 0.01
_DEADLINE_S = 120.0


@dataclass(frozen=True)
class Turn:
    """What one turn came to, of `events` records."""

    events: int
    seconds: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        """Events settled in a second."""
        return self.events / self.seconds

    @property
    def cpu_us(self) -> float:
        """Processor time of the contender's process for one event, in microseconds."""
        return self.cpu_s / self.events * 1e6


class Contender:
    """A process that consumes a topic in a group of its own, and is not running now or only now."""

    def __init__(self, name: str, process: psutil.Process, *, bootstrap: str, group: str) -> None:
        self.name = name
        self._process = process
        self._client = Consumer({"bootstrap.servers": bootstrap, "group.id": group})

    def freeze(self) -> None:
        """Stop it where it is."""
        self._process.suspend()

    def take(self, ends: Sequence[TopicPartition], events: int) -> Turn:
        """Let it run until it has committed up to `ends`, and freeze it again.

        Raises:
            TimeoutError: it has not within 120 s.
            RuntimeError: it crashed.
        """
        before, started = self._cpu_s(), time.monotonic()
        self._process.resume()
        while not self._is_at(ends):
            if time.monotonic() - started > _DEADLINE_S:
                raise TimeoutError(
                    f"{self.name} did not settle {events} events in {_DEADLINE_S:.0f} s"
                )
            if not self._process.is_running():
                raise RuntimeError(f"{self.name} crashed")
            time.sleep(_LOOK_S)
        took = time.monotonic() - started
        self._process.suspend()
        return Turn(events, took, self._cpu_s() - before)

    def thaw(self) -> None:
        """Let it run again."""
        self._process.resume()

    def rss_mib(self) -> float:
        """Return the memory that is resident."""
        return float(self._process.memory_info().rss) / 2**20

    def close(self) -> None:
        """Let it run, so that it can end."""
        self._process.resume()
        self._client.close()

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def _is_at(self, ends: Sequence[TopicPartition]) -> bool:
        wanted = [TopicPartition(end.topic, end.partition) for end in ends]
        committed = self._client.committed(wanted, timeout=10)
        # Where nothing was committed yet the offset is negative.
        at = {place.partition: max(place.offset, 0) for place in committed}
        return all(at[end.partition] >= end.offset for end in ends)
