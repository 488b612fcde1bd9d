"""Task queues as operators judge them: is what waits there served, and by how many workers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import groupby


class Standing(StrEnum):
    """How a queue stands; the first is why somebody is called."""

    UNSERVED = "unserved"
    """Something waits, and no worker polls for its kind."""
    NO_WORKER = "no worker"
    """Nothing waits, and no worker would take it."""
    SERVED = "served"


@dataclass(frozen=True)
class Work:
    """One kind of a queue's tasks: about how many wait, the oldest for how long, who polls."""

    kind: str
    backlog: int
    age: timedelta
    workers: int

    @property
    def is_unserved(self) -> bool:
        """Whether it waits for a worker that is not there."""
        return self.backlog > 0 and not self.workers


@dataclass(frozen=True)
class Queue:
    """A queue; `definitions` have work on it, of which `definition_ids` are the first."""

    name: str
    work: Sequence[Work]
    definition_ids: Sequence[str]
    definitions: int

    @property
    def standing(self) -> Standing:
        """How it stands. Most queues have workers for one kind of tasks alone."""
        if any(one.is_unserved for one in self.work):
            return Standing.UNSERVED
        return Standing.SERVED if any(one.workers for one in self.work) else Standing.NO_WORKER


@dataclass(frozen=True)
class Row:
    """What the registry says of one kind of a queue's tasks."""

    name: str
    work: Work
    definition_ids: Sequence[str]
    definitions: int


def queues(rows: Iterable[Row]) -> list[Queue]:
    """Return the queues of rows; those of a queue follow one another. Unserved ones come first."""
    found = []
    for name, of_queue in groupby(rows, lambda row: row.name):
        told = list(of_queue)
        work = [row.work for row in told]
        found.append(Queue(name, work, told[0].definition_ids, told[0].definitions))
    return sorted(found, key=lambda queue: queue.standing is not Standing.UNSERVED)
