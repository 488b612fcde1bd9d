"""What the decision log says of an event: pure rules of who was first.

Of the places at which copies of one event stand, the first one that is recorded has the effect, for
each definition and cause; every other is a duplicate with the same run. What stands at a place
stays: a redelivery tells it again and changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime

from contracts import identifiers
from contracts.routing import RoutingOutcome
from ledger.domain.instances import InstanceEvent
from ledger.domain.pending import Arrival

_WAITING = frozenset({RoutingOutcome.HELD, RoutingOutcome.BATCHED, RoutingOutcome.LIMITED})
_EFFECTS = _WAITING | {RoutingOutcome.STARTED, RoutingOutcome.SIGNALLED}
_NOTHING = frozenset({RoutingOutcome.FILTERED, RoutingOutcome.ERRORED, RoutingOutcome.DISABLED})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stood."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """What an event meant to one definition.

    `arrival` says how it waits for its start, `instance_event` how for its turn in an instance.
    """

    definition_id: str
    definition_version: int
    outcome: RoutingOutcome
    trigger_names: Sequence[str] = ()
    run_id: str = ""
    clause: str = ""
    seen: str = ""
    detail: str = ""
    arrival: Arrival | None = None
    instance_event: InstanceEvent | None = None

    @property
    def waits(self) -> bool:
        """Whether the event waits for its start."""
        return self.outcome in _WAITING


@dataclass(frozen=True, slots=True)
class RoutedEvent:
    """An accepted record with a decision for each candidate; no two are of one definition.

    `digest` is the SHA-256 of its bytes; `cause` is empty for a delivery by Kafka.
    """

    place: Place
    source: str
    event_id: str
    type: str
    digest: bytes
    registry_revision: int
    cause: str
    candidates: Sequence[Candidate]
    key: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive what identifies the event."""
        key = identifiers.event_trigger_key(self.source, self.event_id)
        object.__setattr__(self, "key", key)


@dataclass(frozen=True, slots=True)
class UnroutedRange:
    """How many accepted records of `[first, last]` of one partition had no candidate."""

    topic: str
    partition: int
    first: int
    last: int
    records: int
    registry_revision: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision that stands; `settled` says that it tells the end of what waited."""

    event_key: str
    place: Place
    cause: str
    definition_id: str
    outcome: RoutingOutcome
    run_id: str = ""
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision that is to be recorded: a candidate as the log tells it, with its event."""

    event: RoutedEvent
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Decided:
    """What is to be recorded of a batch; `conflicts` are the indices of refused events."""

    decisions: Sequence[Decision]
    conflicts: Sequence[int]

    @property
    def waiting(self) -> list[Arrival]:
        """What waits from now on."""
        candidates = (decision.candidate for decision in self.decisions)
        return [one.arrival for one in candidates if one.waits and one.arrival is not None]

    @property
    def instance_events(self) -> list[InstanceEvent]:
        """What waits for its turn in an instance from now on."""
        candidates = (decision.candidate for decision in self.decisions)
        return [
            one.instance_event
            for one in candidates
            if one.outcome is RoutingOutcome.SIGNALLED and one.instance_event is not None
        ]


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions are asked for; `source` goes with `event_id`."""

    event_id: str | None = None
    source: str | None = None
    definition_id: str | None = None
    outcome: RoutingOutcome | None = None
    decided_from: datetime | None = None
    decided_to: datetime | None = None


def first_digests(events: Iterable[RoutedEvent]) -> dict[str, bytes]:
    """Return the digest of each event by its key: that of its first record."""
    digests: dict[str, bytes] = {}
    for event in events:
        digests.setdefault(event.key, event.digest)
    return digests


def decide(
    events: Sequence[RoutedEvent], *, digests: Mapping[str, bytes], known: Iterable[Recorded]
) -> Decided:
    """Return what is to be recorded of a batch.

    `digests` are those that stand, by the key of the event, for all events. `known` are decisions
    that stand: those at the places of the events, and those that have the events' effects.
    """
    at_place: dict[tuple[Place, str, str], bool] = {}
    effects: dict[tuple[str, str, str], str] = {}
    told_of: set[str] = set()

    def note(decision: Recorded) -> None:
        at = (decision.place, decision.cause, decision.definition_id)
        nothing = decision.outcome in _NOTHING and not decision.settled
        at_place[at] = at_place.get(at, True) and nothing
        if decision.outcome in _EFFECTS:
            effect = (decision.event_key, decision.cause, decision.definition_id)
            effects.setdefault(effect, decision.run_id)
        if decision.outcome is RoutingOutcome.STARTED:
            told_of.add(decision.run_id)

    for decision in known:
        note(decision)
    decisions: list[Decision] = []
    conflicts: list[int] = []
    for index, event in enumerate(events):
        if event.digest != digests[event.key]:
            conflicts.append(index)
            continue
        for candidate in event.candidates:
            at = (event.place, event.cause, candidate.definition_id)
            # A record that had no effect may be routed again before its offset is committed, by
            # definitions that have changed: then it has one, which must not go untold.
            if at in at_place and (candidate.outcome in _NOTHING or not at_place[at]):
                continue
            effect = effects.get((event.key, event.cause, candidate.definition_id))
            told = _as_told(candidate, effect, told_of)
            decisions.append(Decision(event, told))
            note(
                Recorded(
                    event_key=event.key,
                    place=event.place,
                    cause=event.cause,
                    definition_id=candidate.definition_id,
                    outcome=told.outcome,
                    run_id=told.run_id,
                )
            )
    return Decided(decisions, conflicts)


def _as_told(candidate: Candidate, effect: str | None, told_of: Set[str]) -> Candidate:
    """Return a candidate as the log tells it.

    `effect` is the run of another place that has it; `told_of` are the runs that the log says were
    started, whatever the cause: a redrive may come to an event of which a copy was late enough.
    """
    if candidate.outcome in _NOTHING:
        return candidate
    if effect is not None:
        # The run may not be known yet, while the first place waits for it.
        return replace(candidate, outcome=RoutingOutcome.DUPLICATE, run_id=effect)
    run_id = candidate.run_id
    if candidate.outcome is RoutingOutcome.DUPLICATE and run_id and run_id not in told_of:
        # The run was started, and nobody told of it: whoever started it died before, or the log no
        # longer reaches back. Nothing but this event starts a run of its id.
        return replace(candidate, outcome=RoutingOutcome.STARTED)
    return candidate
