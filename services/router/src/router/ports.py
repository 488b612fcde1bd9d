"""What the router needs from outside, named for the need."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from contracts.rejections import EventRejectedError, Reason
from contracts.runs import RunInput
from contracts.sensitive import Reference
from contracts.simulations import Simulated, SimulateInput
from contracts.switches import KillSwitch
from router.domain.dead_letter_pages import Stretches
from router.domain.dead_letters import DeadLetter, State
from router.domain.decisions import RoutedEvent, UnroutedRange
from router.domain.instances import Address
from router.domain.pending import Confirmation, DueStart
from router.domain.policy import Policy
from router.domain.records import RawHeaders, Record
from router.domain.replaying import Order, Plan
from router.domain.routing import Active, Index
from router.domain.searching import Found
from router.domain.sensitive_events import SensitiveValue


class ActiveDefinitions(Protocol):
    """The definitions in use, the disabled ones too, kept current by somebody else."""

    def index(self, namespace: str) -> Index:
        """Return what is known of a namespace now. Raises KeyError for one not served here."""
        ...

    def policy(self, namespace: str) -> Policy:
        """Return what a namespace lets in. Raises KeyError for one not served here."""
        ...

    def revision(self, namespace: str) -> int:
        """Return the registry's revision of the newest change that is in `index` and `policy`."""
        ...

    async def latest(self, namespace: str, definition_id: str) -> Active:
        """Return the version in use, asked for now; what was known last when nobody answers.

        Raises:
            DefinitionUnknownError: there is none, or it is retired; the message says which.
            DefinitionUnusableError: this release cannot read it.
            TransientError: nobody answers, and nothing is known of it.
        """
        ...


class DefinitionHistory(Protocol):
    """The definitions as they were."""

    async def at(self, namespace: str, definition_id: str, moment: datetime) -> Active:
        """Return the version that was in use at a time.

        Raises:
            DefinitionAbsentError: there was none yet, there never was, or it was retired.
            DefinitionUnusableError: this release cannot read it.
            TransientError: nobody answers.
        """
        ...

    async def changed_since(self, namespace: str, moment: datetime) -> Set[str] | None:
        """Return the ids of the definitions that changed after a time; None for too many to tell.

        Raises:
            TransientError: nobody answers.
        """
        ...


@dataclass(frozen=True, slots=True)
class Search:
    """What a search came upon, and how many records it looked at.

    `complete` is False when it ended before it had seen them all.
    """

    found: Sequence[Found]
    looked_at: int
    complete: bool


class Records(Protocol):
    """The topics that the router reads, for whoever looks at single records."""

    async def at(self, topic: str, partition: int, offset: int) -> Record:
        """Return the record at a place.

        Raises:
            RecordGoneError: there is none (any more), or no such topic or partition.
            TransientError: it cannot be read now.
        """
        ...

    async def search(
        self,
        topics: Sequence[str],
        *,
        since: datetime,
        until: datetime | None,
        look: Callable[[Record], Found | None],
    ) -> Search:
        """Have `look` see the records between two times, as many as there is time and room for.

        Raises:
            TransientError: they cannot be read now.
        """
        ...

    async def stretches(self, topic: str, *, since: datetime, until: datetime) -> Stretches:
        """Return what there is of a topic between two times, by the timestamps of its records.

        Raises:
            RequestInvalidError: there is no such topic.
            TransientError: it cannot be read now.
        """
        ...

    async def read(
        self, topic: str, left: Stretches, *, most: int
    ) -> tuple[Sequence[Record], Stretches]:
        """Return about so many records of stretches, and what is left of these then.

        Those of one partition come in their order; what retention has taken is passed over.

        Raises:
            TransientError: they cannot be read now.
        """
        ...


class WorkflowStarter(Protocol):
    """Starts runs."""

    async def start(self, run: RunInput, *, task_queue: str) -> bool:
        """Start a run; False when its id had been started before, which is success too.

        Raises:
            TransientError: it may or may not have started; the same again is safe.
            StartRefusedError: it will be refused however often it is tried.
        """
        ...

    async def wake(self, namespace: str, address: Address) -> None:
        """Tell a stateful instance that something waits for it; it is started if it is not there.

        Raises:
            TransientError: it may or may not have been told; the same again is safe.
            StartRefusedError: it will be refused however often it is tried.
        """
        ...

    async def started(self, namespace: str, run_id: str) -> RunInput | None:
        """Return what a run was started with, None when it is not known (any more).

        Raises:
            TransientError: nobody answers now.
        """
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of an event: its digest, and the revision of the definitions then."""

    digest: str
    revision: int


class SeenEvents(Protocol):
    """A memory of events whose outcome is durable. It may forget; it never fails."""

    async def recall(
        self, namespace: str, events: Sequence[tuple[str, str]]
    ) -> Sequence[Seen | None]:
        """Return what is remembered of each (source, event id), None for what is not."""
        ...

    def remember(
        self, namespace: str, source: str, event_id: str, *, digest: str, revision: int
    ) -> None:
        """Keep an event, soon and without a promise."""
        ...


class DecisionLog(Protocol):
    """Where it is kept what became of every accepted event."""

    async def record(
        self, namespace: str, events: Sequence[RoutedEvent], unrouted: Sequence[UnroutedRange]
    ) -> Mapping[int, EventRejectedError]:
        """Keep decisions; return when they are durable. The same again changes nothing.

        Returns the rejections of the events that were not kept, by their index: an id that stands
        for other bytes, or what can never be kept.

        Raises:
            TransientError: it is not known what was kept; the same again is safe.
        """
        ...


class DeadLetters(Protocol):
    """Where refused records are parked."""

    async def park(
        self, record: Record, *, namespace: str, reason: Reason, detail: str, attempts: int
    ) -> None:
        """Keep a record with the reason; return when it is durable.

        Raises:
            TransientError: it was not kept.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record that is to be published."""

    topic: str
    key: bytes | None
    value: bytes
    headers: RawHeaders


class EventPublisher(Protocol):
    """Gives events to Kafka."""

    async def publish(self, events: Sequence[Outgoing]) -> None:
        """Publish events in their order; return when the brokers have them all.

        Raises:
            NotPublishedError: they do not.
        """
        ...


@dataclass(frozen=True)
class DeadLetterPage:
    """Dead letters in the order of the topic, and what is left of it behind them."""

    letters: Sequence[DeadLetter]
    left: Stretches


class DeadLetterTopic(Protocol):
    """Reads what was parked."""

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
        """Look at the next records of what is `left` (None: at all between the two times).

        Returns at most `limit` that `keep` says yes to, fewer when many were looked at.

        Raises:
            TransientError: the brokers do not answer, or there is no such topic.
        """
        ...

    async def at(
        self, namespace: str, places: Sequence[tuple[int, int]]
    ) -> Mapping[tuple[int, int], DeadLetter]:
        """Return the dead letters at places (partition, offset); those that are gone are missing.

        Raises:
            TransientError: the brokers do not answer, or there is no such topic.
        """
        ...


@dataclass(frozen=True)
class Resolution:
    """What a person decided of a dead letter: it is not open any more.

    `outcome` and `detail` say what became of a redriven record.
    """

    state: State
    actor: str
    reason: str
    request_id: str
    resolved_at: datetime
    outcome: str
    detail: str


@dataclass(frozen=True)
class NewResolution:
    """A resolution that is to be recorded."""

    state: State
    outcome: str = ""
    detail: str = ""


class Resolutions(Protocol):
    """What people decided of dead letters, by place (partition, offset) in their topic."""

    async def of(
        self, namespace: str, places: Sequence[tuple[int, int]]
    ) -> Mapping[tuple[int, int], Resolution]:
        """Return the resolutions of those that have one.

        Raises:
            TransientError: nobody answers now.
        """
        ...

    async def resolve(
        self,
        namespace: str,
        resolutions: Mapping[tuple[int, int], NewResolution],
        *,
        actor: str,
        reason: str,
        request_id: str,
    ) -> Mapping[tuple[int, int], Resolution]:
        """Record resolutions and return those that stand: the first one stays.

        Raises:
            TransientError: it may or may not be recorded; the same again is safe.
        """
        ...

    async def record_opening(
        self,
        namespace: str,
        place: tuple[int, int],
        *,
        actor: str,
        reason: str,
        request_id: str,
    ) -> None:
        """Record who is about to be shown what is in a dead letter, and why.

        Raises:
            TransientError: it may or may not be recorded; the same again is safe.
        """
        ...


@dataclass(frozen=True)
class Routed:
    """What became of a record that is routed on request, or what would; not when it `refused`."""

    outcome: str
    detail: str


class Routing(Protocol):
    """Routes records that did not just come from Kafka."""

    async def route(self, record: Record, *, namespace: str, cause: str) -> Routed:
        """Route a record; return when the outcome is durable. One that is refused is not parked.

        Raises:
            TransientError: there is no durable outcome yet; the same again is safe.
        """
        ...

    async def preview(self, record: Record, *, namespace: str) -> Routed:
        """Say what would become of a record now, and change nothing."""
        ...


class Observer(Protocol):
    """Counts what happens."""

    def settled(self, namespace: str, outcome: str, seconds: Sequence[float]) -> None:
        """Records that needed work, each so long, have their durable outcome."""
        ...

    def unrouted(self, namespace: str, count: int) -> None:
        """So many records were accepted and decided, and nobody wants them."""
        ...

    def parked(self, namespace: str, reason: Reason) -> None:
        """One record became a dead letter."""
        ...

    def resolved(self, namespace: str, state: str, outcome: str) -> None:
        """One dead letter was redriven, with that outcome, or discarded."""
        ...

    def received(self, outcome: str, count: int) -> None:
        """So many events came by HTTP and were accepted, refused, limited or unavailable."""
        ...

    def candidates(self, namespace: str, outcomes: Iterable[tuple[str, str]]) -> None:
        """Events were decided for their candidates: (definition id, outcome) each."""
        ...

    def dispatched(self, namespace: str, outcomes: Iterable[tuple[str, str]]) -> None:
        """What waited came to something: (reason, outcome) each."""
        ...


@dataclass(frozen=True)
class PlanPage:
    """What records mean that were read for a plan, and what was left of it before and behind them.

    `refused` counts records by reason code.
    """

    before: Stretches
    after: Stretches
    records: int
    unrouted: int
    refused: Mapping[str, int]
    events: Sequence[RoutedEvent]


class Replays(Protocol):
    """Plans of replays of events."""

    async def get(self, namespace: str, replay_id: str) -> Plan | None:
        """Return how far a plan is, None for one that was not begun. Raises TransientError."""
        ...

    async def create(self, order: Order, stretches: Stretches) -> Plan:
        """Begin a plan; return how far it is, if it was begun before.

        Raises:
            ReplayExistsError: the id stands for another question.
            RequestInvalidError: the question is malformed.
            TransientError: nobody answers now.
        """
        ...

    async def add(self, namespace: str, replay_id: str, page: PlanPage) -> Plan:
        """Add a page to a plan; return how far it is then.

        Raises:
            ReplayRefusedError: it is not taken: a definition has changed, or the plan is too large.
            TransientError: it is not known whether it was taken, or somebody else has read on.
        """
        ...


class RunSimulator(Protocol):
    """Asks whoever holds the connectors."""

    async def simulate(self, question: SimulateInput, *, task_queue: str) -> Simulated:
        """Return what a worker of the task queue says a run would decide; nothing of it stays.

        Raises:
            TransientError: no worker answers.
            StartRefusedError: the request itself is refused.
        """
        ...


class SensitiveValues(Protocol):
    """Where the sensitive values of events are, each encrypted under a key of its person."""

    async def keep(
        self, namespace: str, values: Sequence[SensitiveValue]
    ) -> Mapping[UUID, str | None]:
        """Keep values; return the hash of each, None for one whose id has another value.

        Raises:
            TransientError: it is not known what was kept; the same again is safe.
        """
        ...

    async def resolve(self, namespace: str, references: Collection[Reference]) -> Mapping[str, Any]:
        """Return the values behind references, by blob id; none of what is erased.

        Raises:
            TransientError: nobody answers now.
        """
        ...


class KillSwitchSelections(Protocol):
    """Hears which definitions the labels of kill switches select."""

    async def select(
        self, namespace: str, selected: Mapping[str, Sequence[str]], *, revision: int
    ) -> None:
        """Tell the definitions that each switch selects, of a revision of the registry.

        Raises:
            TransientError: nobody answers now.
        """
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be started now, and how long to wait for more; None where nothing becomes due.

    `thrown` are the kill switches of the namespace, `halted` the definitions of which events wait
    that one of them had wait, or one that is reset by now.
    """

    starts: Sequence[DueStart] = ()
    due_in: timedelta | None = None
    thrown: Sequence[KillSwitch] = ()
    halted: Sequence[str] = ()


class PendingStarts(Protocol):
    """What waits to be started."""

    async def find_waiting(
        self, namespace: str, keys: Sequence[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        """Return the (definition, key) pairs of which something waits.

        Raises:
            TransientError: nobody answers now.
        """
        ...

    async def claim(self, namespace: str, *, limit: int, lease: timedelta) -> Claim:
        """Take what is to be started now, for as long as `lease`.

        Raises:
            TransientError: nobody answers now.
        """
        ...

    async def confirm(self, namespace: str, confirmations: Sequence[Confirmation]) -> None:
        """Tell what became of starts; what was given to somebody else by then is not changed.

        Raises:
            TransientError: it is not known whether they were told; the same again is safe.
        """
        ...
