"""What waits to be started, and the pure part of its rules: batches, releases, retries."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from contracts.triggers import MAX_BATCH_BYTES, MAX_BATCH_EVENTS

DEFAULT_MAX_WAITING = 10_000
"""Events of one definition that wait at most, where the router names no other number."""
RELOOK = timedelta(milliseconds=250)
"""How soon it is looked again whether a run has closed that others wait for."""
_FIRST_RETRY = timedelta(milliseconds=250)
_LAST_RETRY = timedelta(seconds=30)


class Reason(StrEnum):
    """Why something waits."""

    HELD = "held"
    BATCH = "batch"
    LIMITED = "limited"
    REPLAY = "replay"
    HALTED = "halted"


class Choice(StrEnum):
    """What becomes of held events when their definition is enabled."""

    START = "start"
    COMPRESS = "compress"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Origin:
    """The record that an event came by, and for what cause it was routed: names a decision."""

    topic: str
    partition: int
    offset: int
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How a definition wants its starts held back; 0 for no limit."""

    max_open_runs: int = 0
    max_runs: int = 0
    max_runs_window: timedelta = timedelta()
    max_waiting: int = 0


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event that has to wait, as the router says."""

    pending_id: str
    origin: Origin
    reason: Reason
    definition_id: str
    definition_version: int
    definition_revision: int
    task_queue: str
    key: str
    trigger_names: Sequence[str]
    envelope: bytes
    weight: int
    batch_max_events: int = 0
    batch_max_wait: timedelta = timedelta()
    not_before: datetime | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Gathering:
    """A batch that takes more events."""

    pending_id: str
    events: int
    bytes: int


@dataclass(slots=True)
class Start:
    """A start as it is to be written; `latest` is the newest event that was added to it now."""

    pending_id: str
    latest: Arrival | None
    reason: Reason
    events: int
    bytes: int
    due_at: datetime | None
    as_one_run: bool = False
    gathering: bool = False
    new: bool = True


@dataclass(slots=True)
class Plan:
    """What arrivals of one definition come to: starts by id, events with the id of theirs."""

    starts: dict[str, Start] = field(default_factory=dict)
    events: list[tuple[str, Arrival]] = field(default_factory=list)
    discarded: list[Arrival] = field(default_factory=list)


def plan(
    arrivals: Iterable[Arrival],
    gathering: Mapping[str, Gathering],
    *,
    released: tuple[int, Choice | None],
    at: datetime,
) -> Plan:
    """Return where arrivals of one definition, in order, wait.

    `gathering` are the batches that take more events, by key. `released` is the revision that
    enabled the definition last, with what was chosen for what was held then: an event that was held
    against an earlier revision comes too late to be released with the others, and is treated alike.
    """
    planned = Plan()
    batches = {
        key: Start(
            batch.pending_id, latest=None, reason=Reason.BATCH, events=batch.events,
            bytes=batch.bytes, due_at=None, as_one_run=True, gathering=True, new=False,
        )
        for key, batch in gathering.items()
    }  # fmt: skip
    for arrival in arrivals:
        revision, choice = released
        late = arrival.reason is Reason.HELD and arrival.definition_revision < revision
        if late and choice is Choice.DISCARD:
            planned.discarded.append(arrival)
            continue
        if arrival.reason is Reason.BATCH:
            _gather(arrival, batches, planned, at)
            continue
        if arrival.reason is Reason.REPLAY:
            _replay(arrival, planned, at)
            continue
        batch = batches.pop(arrival.key, None) if arrival.key else None
        if batch is not None:
            # What comes after this event must not be gathered before it.
            batch.gathering, batch.due_at = False, at
            planned.starts[batch.pending_id] = batch
        due_at = at if arrival.not_before is None else max(at, arrival.not_before)
        planned.starts[arrival.pending_id] = Start(
            arrival.pending_id,
            latest=arrival,
            reason=arrival.reason,
            events=1,
            bytes=arrival.weight,
            due_at=None if arrival.reason is Reason.HELD and not late else due_at,
            as_one_run=late and (choice is Choice.COMPRESS or arrival.batch_max_events > 0),
        )
        planned.events.append((arrival.pending_id, arrival))
    return planned


def _gather(arrival: Arrival, batches: dict[str, Start], planned: Plan, at: datetime) -> None:
    """Put an event into the batch of its key, or begin one; what is full takes no more."""
    most = min(arrival.batch_max_events, MAX_BATCH_EVENTS)
    batch = batches.get(arrival.key)
    if batch is not None and (
        batch.events >= most or batch.bytes + arrival.weight > MAX_BATCH_BYTES
    ):
        # Only size closes it here: this event is what showed that it is full.
        batch.gathering, batch.due_at = False, at
        planned.starts[batch.pending_id] = batch
        batch = None
    if batch is None:
        batch = Start(
            arrival.pending_id, latest=arrival, reason=Reason.BATCH, events=0, bytes=0,
            due_at=at + arrival.batch_max_wait, as_one_run=True, gathering=True,
        )  # fmt: skip
        batches[arrival.key] = batch
    batch.events += 1
    batch.bytes += arrival.weight
    batch.latest = arrival
    planned.starts[batch.pending_id] = batch
    planned.events.append((batch.pending_id, arrival))
    if batch.events >= most:
        batch.gathering, batch.due_at = False, at
        del batches[arrival.key]


def _replay(arrival: Arrival, planned: Plan, at: datetime) -> None:
    """Put an event into the start that the plan of its replay has it in."""
    start = planned.starts.get(arrival.pending_id)
    if start is None:
        start = planned.starts[arrival.pending_id] = Start(
            arrival.pending_id, latest=arrival, reason=Reason.REPLAY, events=0, bytes=0,
            due_at=at, as_one_run=arrival.batch_max_events > 0,
        )  # fmt: skip
    start.events += 1
    start.bytes += arrival.weight
    planned.events.append((arrival.pending_id, arrival))


@dataclass(frozen=True, slots=True)
class HeldStart:
    """Something held, as far as a release looks at it.

    `behind` is how many starts stand before it that are not released with it, `behind_of_key` how
    many of them are of its key: what is one run must not reach over them.
    """

    pending_id: str
    key: str
    events: int
    bytes: int
    batch_max_events: int
    behind: int = 0
    behind_of_key: int = 0


def together(
    held: Iterable[HeldStart], *, by: Callable[[HeldStart], Hashable], at_most: int | None = None
) -> list[list[HeldStart]]:
    """Return what of `held`, which is in order, becomes one run each: by key, as large as allowed.

    A run has `at_most` so many events; without it, as many as the start says that comes last. The
    groups are in the order of their first members, and each holds its members in order.
    """
    groups: list[list[HeldStart]] = []
    open_groups: dict[Hashable, list[HeldStart]] = {}
    for start in held:
        limit = min(at_most or start.batch_max_events, MAX_BATCH_EVENTS)
        group = open_groups.get(by(start))
        if group is not None:
            events = sum(member.events for member in group) + start.events
            size = sum(member.bytes for member in group) + start.bytes
            if events <= limit and size <= MAX_BATCH_BYTES:
                group.append(start)
                continue
        open_groups[by(start)] = group = [start]
        groups.append(group)
    return groups


@dataclass(frozen=True, slots=True)
class Claimable:
    """Something that is due, with what was started of its key and is not closed."""

    pending_id: str
    key: str
    bytes: int
    attempts: int
    open_runs: int


def handed_out(
    claimable: Sequence[Claimable],
    *,
    max_open_runs: int,
    starts_left: int,
    limit: int,
    bytes_limit: int,
) -> list[Claimable]:
    """Return what is handed out of what is due, in order.

    Never a later one of a key goes without those before it. `starts_left` is what the rate allows;
    what was handed out before counts no second time. The first is taken whatever its size.
    """
    taken: list[Claimable] = []
    blocked: set[str] = set()
    running: dict[str, int] = {}
    size = 0
    for start in claimable:
        open_runs = running.setdefault(start.key, start.open_runs)
        fresh = start.attempts == 0
        if (
            start.key in blocked
            or (max_open_runs and open_runs >= max_open_runs)
            or (fresh and starts_left <= 0)
        ):
            blocked.update({start.key} - {""})
            continue
        if len(taken) >= limit or (taken and size + start.bytes > bytes_limit):
            break
        running[start.key] = open_runs + 1
        starts_left -= fresh
        size += start.bytes
        taken.append(start)
    return taken


def retry_at(attempts: int, now: datetime) -> datetime:
    """Return when something is handed out again that could not be started `attempts` times."""
    doublings = min(max(attempts - 1, 0), 10)
    return now + min(_LAST_RETRY, _FIRST_RETRY * (1 << doublings))
