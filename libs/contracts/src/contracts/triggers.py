"""Why a run is there: all it needs to know of its cause, pinned when the cause was matched."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

from contracts import identifiers
from contracts.envelope import Envelope
from contracts.identifiers import TriggerKey


class TriggerKind(StrEnum):
    """The kinds of cause."""

    EVENT = "event"
    SCHEDULE = "schedule"
    MANUAL = "manual"
    BATCH = "batch"
    REPLAY = "replay"
    TIMER = "timer"
    BACKFILL = "backfill"


_OF_EVENTS = frozenset({TriggerKind.EVENT, TriggerKind.BATCH, TriggerKind.REPLAY})

MAX_BATCH_EVENTS = 1000
"""Events of one run at most, whatever gathered them."""
MAX_BATCH_BYTES = 1024 * 1024
"""Of the events of one run together, each counted by `weight`: no limit of Temporal's is met."""


def weight(rendered: bytes) -> int:
    """Return how many bytes an event counts for in a batch, by its canonical bytes.

    In a trigger's JSON an event has fields that its canonical form leaves out.
    """
    return len(rendered) + 256


class Window(BaseModel):
    """A stretch of time, `(start, end]`, that a scheduled run stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    start: AwareDatetime
    end: AwareDatetime


class Chain(BaseModel):
    """The chain of causes that something belongs to, as its events carry it on."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    correlation_id: str = Field(
        min_length=1, max_length=256, description="Ties the chain together."
    )
    causation_id: str | None = Field(
        None, min_length=1, max_length=256, description="The event before; null at a beginning."
    )
    hops: int = Field(0, ge=0, description="How many steps of Backbone's own the chain has so far.")

    @property
    def next_hops(self) -> int:
        """The hops of what comes next in this chain: that is how loops end."""
        return self.hops + 1


class RetryOf(BaseModel):
    """Which run is decided again, as the how manieth of the first one's retries, and who asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    run_id: str
    number: int = Field(ge=1)
    actor: str
    reason: str


class TimerOf(BaseModel):
    """Which timer fired: that of an instance, set by the `sequence`th of its generation."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    key_hash: Annotated[str, Field(pattern=identifiers.KEY_HASH_PATTERN)]
    generation: int = Field(ge=1)
    sequence: int = Field(ge=1)


class Trigger(BaseModel):
    """The cause of one run. `names` are the definition's triggers that matched it."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Trigger", defer_build=True)

    kind: TriggerKind
    names: list[str] = Field(default_factory=list)
    definition_version: int = Field(ge=1, description="The run uses exactly this version.")
    events: list[Envelope] = Field(default_factory=list, max_length=MAX_BATCH_EVENTS)
    batch_id: Annotated[str, Field(pattern=identifiers.BATCH_ID_PATTERN)] | None = Field(
        None,
        # Who is of an earlier release knows no batches, and reads all the other triggers.
        exclude_if=lambda value: value is None,
        description="Of a batch: names what was gathered.",
    )
    replay_id: Annotated[str, Field(pattern=identifiers.REQUEST_ID_PATTERN)] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Of a replay of events: which one has routed the events again.",
    )
    backfill_id: Annotated[str, Field(pattern=identifiers.REQUEST_ID_PATTERN)] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Of a backfill: which one has started this due time.",
    )
    timer: TimerOf | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Of a timer of an instance, whose name is the only one in `names`.",
    )
    scheduled_for: AwareDatetime | None = None
    window: Window | None = None
    coalesced: list[AwareDatetime] = Field(
        default_factory=list, description="The due times a compressed run stands for."
    )
    request_id: Annotated[str, Field(pattern=identifiers.REQUEST_ID_PATTERN)] | None = None
    input: JsonValue = Field(None, description="What a person gave with a start by hand.")
    actor: str | None = None
    reason: str | None = None
    chain: Chain | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Of a start by a task: the chain that the task belongs to.",
    )
    retry_of: RetryOf | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Of a run that decides again: what is otherwise the trigger of the first run.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = {
            TriggerKind.EVENT: len(self.events) != 1,
            TriggerKind.BATCH: not self.events or self.batch_id is None,
            TriggerKind.REPLAY: self.replay_id is None
            or not self.events
            or (self.batch_id is None and len(self.events) != 1),
            TriggerKind.SCHEDULE: self.scheduled_for is None or self.window is None,
            TriggerKind.BACKFILL: self.backfill_id is None
            or self.scheduled_for is None
            or self.window is None,
            TriggerKind.MANUAL: self.request_id is None,
            TriggerKind.TIMER: self.timer is None
            or self.scheduled_for is None
            or len(self.names) != 1,
        }
        if missing[self.kind]:
            raise ValueError(f"a trigger of kind {self.kind} lacks what identifies it")
        return self

    @property
    def key(self) -> TriggerKey:
        """The trigger key: with the definition's id, the identity of the run."""
        if self.retry_of is not None:
            return identifiers.retry_trigger_key(self.root_key, self.retry_of.number)
        return self.root_key

    @property
    def root_key(self) -> TriggerKey:
        """The key of the cause itself, whichever retry of it this is."""
        if self.kind in _OF_EVENTS:
            event = self.event
            key = (
                identifiers.batch_trigger_key(self.batch_id or "")
                if event is None
                else identifiers.event_trigger_key(event.source, event.event_id)
            )
            return key if self.replay_id is None else identifiers.replayed(key, self.replay_id)
        if self.timer is not None:
            of = self.timer
            return identifiers.timer_trigger_key(
                of.key_hash, of.generation, of.sequence, self.names[0]
            )
        if self.scheduled_for is not None:
            return identifiers.schedule_trigger_key(self.scheduled_for)
        return identifiers.manual_trigger_key(self.request_id or "")

    @property
    def event(self) -> Envelope | None:
        """The event of a run that is there for one; None for a batch and for all other causes."""
        return self.events[0] if self.events and self.batch_id is None else None

    def chain_of(self, run_id: str) -> Chain:
        """Return the chain that the run goes on with, or begins under its own id.

        A batch goes on with the chain that all its events belong to, or begins one of its own. It
        has the hops of the event that has come furthest, so that a loop through batches ends too.
        """
        if not self.events:
            return self.chain or Chain(correlation_id=run_id)
        correlations = {event.correlation_id or event.event_id for event in self.events}
        return Chain(
            correlation_id=correlations.pop() if len(correlations) == 1 else run_id,
            causation_id=self.events[0].event_id if len(self.events) == 1 else None,
            hops=max(event.hops for event in self.events),
        )

    @property
    def traceparent(self) -> str | None:
        """The trace context of the first event, when there is one."""
        return self.events[0].traceparent if self.events else None
