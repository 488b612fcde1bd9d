"""A replay of events: the pure part of its plan and of how it is carried out.

A plan is a list of starts, made page by page while the router reads the records, and closed by a
hash over all of it. It is carried out from the first start to the last, a lot at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from contracts import identifiers
from contracts.decisions import RunStatus
from contracts.triggers import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from ledger.domain import plans
from ledger.domain.pending import Arrival
from ledger.domain.plans import Mode
from ledger.domain.routing import RoutedEvent

MAX_EVENTS = 100_000
"""Events that one replay starts something with, each counted once for a definition."""
MAX_BYTES = 1024 * 1024 * 1024
"""Of these events together."""
MAX_OPEN_EVENTS = 1000
"""Events of a replay that are begun and have no outcome yet: what a pause or an end waits for."""
MOST_WAITING = 5000
"""While more events of a definition wait, a replay adds none to them."""
RELOOK = timedelta(seconds=1)
"""How soon it is looked again whether there is room, or an end."""

DUPLICATE = "duplicate"
START = "start"
LEFT = "left"
"""The outcome of an event that was planned, and is left alone since it has a run by now."""

Stretches = Mapping[int, tuple[int, int]]
"""What is left of partitions: from which offset to before which one."""


class Standing(StrEnum):
    """What an event has come to for a definition so far."""

    NO_RUN = "no_run"
    WAITING = "waiting"
    HAS_RUN = "has_run"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a replay; no definition is named when all are meant."""

    topic: str
    since: datetime
    until: datetime
    definition_ids: Sequence[str]
    mode: Mode
    max_starts_per_second: int


@dataclass(frozen=True, slots=True)
class Planned:
    """An event that is to be started once more for one definition."""

    event: RoutedEvent
    arrival: Arrival


@dataclass(slots=True)
class Start:
    """A start of a plan; `batch_max_events` is 0 for one of a single event."""

    ordinal: int
    pending_id: str
    definition_id: str
    key: str
    batch_max_events: int
    events: int = 0
    bytes: int = 0
    new: bool = True

    def takes(self, planned: Arrival) -> bool:
        """Say whether an event goes into the same batch."""
        most = min(self.batch_max_events, planned.batch_max_events, MAX_BATCH_EVENTS)
        return self.events < most and self.bytes + planned.weight <= MAX_BATCH_BYTES


def standing(*, waits: bool, runs: Sequence[RunStatus | None]) -> Standing:
    """Return what an event has come to: `runs` are its runs' states, the newest first.

    None is a run that was started and has not decided yet, or that the ledger has forgotten.
    """
    if waits:
        return Standing.WAITING
    if not runs:
        return Standing.NO_RUN
    return Standing.FAILED if runs[0] is RunStatus.FAILED else Standing.HAS_RUN


def is_wanted(mode: Mode, found: Standing) -> bool:
    """Say whether a replay starts an event with that standing."""
    if mode is Mode.ALL:
        return True
    return found is (Standing.NO_RUN if mode is Mode.MISSING else Standing.FAILED)


def left_alone(mode: Mode, found: Standing) -> str:
    """Return the word for why an event is not started."""
    if mode is Mode.FAILED and found is Standing.HAS_RUN:
        return "not_failed"
    return "has_run" if found is Standing.FAILED else found.value


def gather(
    planned: Iterable[Planned], latest: Mapping[tuple[str, str], Start], *, next_ordinal: int
) -> list[tuple[Start, Planned]]:
    """Return each event with its start, in order.

    `latest` are the newest starts of a plan so far by definition and key. Events of one key share a
    batch while it has room, without regard to how long a batch waits when events come by Kafka.
    """
    newest = dict(latest)
    found: list[tuple[Start, Planned]] = []
    for one in planned:
        arrival = one.arrival
        key = arrival.definition_id, arrival.key
        start = newest.get(key)
        if start is None or not arrival.batch_max_events or not start.takes(arrival):
            start = newest[key] = Start(
                next_ordinal,
                arrival.pending_id,
                arrival.definition_id,
                arrival.key,
                arrival.batch_max_events,
            )
            next_ordinal += 1
        start.events += 1
        start.bytes += arrival.weight
        found.append((start, one))
    return found


def first_link(question: Question, replay_id: str, stretches: Stretches) -> bytes:
    """Return the hash that the plan's chain begins with: that of what is asked."""
    document = {
        "replay_id": replay_id,
        "topic": question.topic,
        "from": identifiers.instant(question.since),
        "to": identifiers.instant(question.until),
        "definition_ids": list(question.definition_ids),
        "mode": question.mode.value,
        "max_starts_per_second": question.max_starts_per_second,
        "stretches": [[p, first, end] for p, (first, end) in sorted(stretches.items())],
    }
    return plans.link(b"", [document])


def next_link(previous: bytes, gathered: Iterable[tuple[Start, Planned]]) -> bytes:
    """Return the hash of a plan with what was added to it."""
    return plans.link(
        previous,
        (
            [
                start.ordinal,
                planned.arrival.definition_id,
                planned.arrival.definition_version,
                list(planned.arrival.trigger_names),
                planned.event.place.partition,
                planned.event.place.offset,
                planned.event.digest.hex(),
            ]
            for start, planned in gathered
        ),
    )


def lot(max_starts_per_second: int) -> tuple[int, timedelta]:
    """Return how many starts are begun together, and how long the next ones wait then."""
    starts = max(1, max_starts_per_second // 5)
    return starts, timedelta(seconds=starts / max_starts_per_second)


def begun_now(starts: Sequence[Start], *, open_events: int) -> list[Start]:
    """Return as many of the next starts as there is room for; the first one when none is open."""
    taken: list[Start] = []
    for start in starts:
        if open_events and open_events + start.events > MAX_OPEN_EVENTS:
            break
        open_events += start.events
        taken.append(start)
    return taken
