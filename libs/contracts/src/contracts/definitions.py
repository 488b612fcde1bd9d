"""The definition language: what people write to say when a definition runs and what it decides.

A definition holds no URL, no credential and no SQL: it names connectors, statements and handlers
that belong to the operator's catalogue. Texts in fields called `when`, `correlate`, `key`, `in`,
`title`, `input`, `parameters`, `initial`, `update` and `endWhen` are CEL expressions.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from contracts import identifiers, resources
from contracts.catalogue import PathTemplate, TaskQueue
from contracts.durations import Duration
from contracts.resources import Instant, JsonSchema, Model, Name

MAX_TASKS_PER_RUN = 500
"""More than this no run decides, whatever its definition's own limit."""

MAX_REMINDERS = 20
"""Of one human task."""

Expression = Annotated[str, Field(min_length=1, max_length=2000, description="A CEL expression.")]
DefinitionId = Annotated[str, Field(pattern=identifiers.DEFINITION_ID_PATTERN, max_length=128)]


class Metadata(resources.Metadata):
    """What the definition is called and whose it is."""

    id: DefinitionId = Field(description="Unique in the namespace: billing.overdue-invoices.")


class SkipMissed(Model):
    """A due time that is later than `tolerance` when it is looked at does not run."""

    policy: Literal["skip"]
    tolerance: Duration


class CatchUpOrder(StrEnum):
    """Which of several missed due times goes first."""

    OLDEST_FIRST = "oldestFirst"
    NEWEST_FIRST = "newestFirst"


class CatchUpMissed(Model):
    """Every missed due time runs, bounded by age and by count."""

    policy: Literal["catchUp"]
    window: Duration = Field(description="Due times older than this are dropped, and recorded so.")
    limit: int = Field(100, ge=1, le=1000, description="At most this many at once, the newest.")
    order: CatchUpOrder = Field(
        CatchUpOrder.OLDEST_FIRST,
        # What was written before there was an order keeps its text, and its hash.
        exclude_if=lambda value: value is CatchUpOrder.OLDEST_FIRST,
        description="Which of several goes first where not all may go at once.",
    )


class CompressMissed(Model):
    """One run, for the newest missed due time, whose window covers all of them."""

    policy: Literal["compress"]
    window: Duration = Field(description="Due times older than this are dropped, and recorded so.")


MissedRuns = Annotated[SkipMissed | CatchUpMissed | CompressMissed, Field(discriminator="policy")]


class Overlap(StrEnum):
    """What happens when a due time comes while a run of the definition is open."""

    SKIP = "skip"
    BUFFER_ONE = "bufferOne"
    BUFFER_ALL = "bufferAll"
    ALLOW_ALL = "allowAll"
    CANCEL_OTHER = "cancelOther"


CalendarField = Annotated[
    str, Field(min_length=1, max_length=100, description="As a field of cron: *, 9-17, */2, mon.")
]


class Calendar(Model):
    """Times that match all fields, each as cron has it: midnight of every day, if left out."""

    minute: CalendarField = "0"
    hour: CalendarField = "0"
    day_of_month: CalendarField = "*"
    month: CalendarField = "*"
    day_of_week: CalendarField = "*"
    year: CalendarField = "*"


class Exclusion(Calendar):
    """Times that are not due, by the clocks of the time zone: all times, if left out."""

    minute: CalendarField = "*"
    hour: CalendarField = "*"


class Schedule(Model):
    """Due times, as cron, as a fixed period or as calendars, and what to do with missed ones."""

    cron: Annotated[str, Field(min_length=9, max_length=200)] | None = Field(
        None,
        description="Five fields: minute, hour, day of month, month, day of week; or six, with the "
        "second first. Days take L, 15W, LW, fri#2 and friL.",
    )
    every: Duration | None = Field(
        None, description="A period counted from 1970-01-01T00:00:00Z: 15m is :00, :15, :30, :45."
    )
    calendars: Annotated[list[Calendar], Field(min_length=1, max_length=20)] | None = Field(
        None, description="Due is what any of them holds."
    )
    exclusions: list[Exclusion] = Field(
        default_factory=list, max_length=50, description="What any of them holds is not due."
    )
    start: Instant | None = Field(None, description="Nothing is due before this time.")
    end: Instant | None = Field(None, description="Nothing is due after this time.")
    jitter: Duration | None = Field(
        None,
        description="Each due time is taken up later by up to this, always by the same, at most "
        "12h. The due time itself, the run's id and its window do not move.",
    )
    timezone: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        "UTC",
        description="IANA name that cron, calendars and exclusions are read in: Europe/Berlin.",
    )
    missed_runs: MissedRuns = Field(
        description="What becomes of late due times. Required: there is no silent default."
    )
    overlap: Overlap = Field(
        Overlap.SKIP, description="What a due time does while a run of the definition is open."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if [self.cron, self.every, self.calendars].count(None) != 2:
            raise ValueError("a schedule has exactly one of cron, every and calendars")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError("start is earlier than end")
        return self


class Batch(Model):
    """Many events of one key become one run, whose trigger lists them all: `events`.

    A batch is closed as well before its events have more than 1 MiB together.
    """

    max_events: int = Field(ge=2, le=1000, description="A batch this full is closed at once.")
    max_wait: Duration = Field(description="A batch is closed this long after its first event.")


class EventMatch(Model):
    """Which events start the definition."""

    type: Annotated[str, Field(min_length=1, max_length=256)] = Field(
        description="The envelope's type, exactly."
    )
    match: dict[str, Any] | None = Field(
        None, description="An EventBridge pattern over the envelope: {payload: {amount: [...]}}."
    )
    when: Expression | None = Field(
        None, description="CEL over `event`, evaluated where the pattern matches."
    )
    correlate: Expression | None = Field(
        None, description="CEL over `event` that gives the key of the instance or of the batch."
    )
    batch: Batch | None = Field(
        None, description="Gather events of one key; without `correlate`, all of the definition."
    )


class ManualStart(Model):
    """What a person gives with a start by hand."""

    input: JsonSchema | None = Field(
        None, description="JSON Schema of the input, which rules see as `trigger.input`."
    )


class Trigger(Model):
    """One reason to run, by a name that the run's record carries."""

    name: Name
    schedule: Schedule | None = None
    event: EventMatch | None = None
    manual: ManualStart | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if [self.schedule, self.event, self.manual].count(None) != 2:
            raise ValueError("a trigger has exactly one of schedule, event and manual")
        return self


class StatementQuery(Model):
    """A named statement of a database connector."""

    connector: Name
    statement: Name
    parameters: dict[Name, Expression] = Field(default_factory=dict)


class HttpQuery(Model):
    """A resource of an HTTP connector, which knows the host and the credentials."""

    connector: Name
    path: PathTemplate = Field(
        description="One of the connector's paths, as the catalogue has it: /customers/{id}."
    )
    parameters: dict[Name, Expression] = Field(default_factory=dict)


class RunEnd(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class LastRun(Model):
    """The definition's run before this one: its status, its window, when it was closed."""

    status: RunEnd | None = Field(
        None,
        description="The last run that ended so; the last one, however it stands, if left out.",
    )


class ContextFailure(StrEnum):
    """What becomes of a run when a context entry cannot be had."""

    FAIL = "fail"
    NULL = "null"


def _null_by_name(value: Any) -> Any:
    # In YAML `onFailure: null` is no text.
    return ContextFailure.NULL if value is None else value


class ContextEntry(Model):
    """One thing a run looks at before it decides; rules see it as `context.<name>`."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
    query: StatementQuery | None = None
    http: HttpQuery | None = None
    last_run: LastRun | None = None
    timeout: Duration | None = Field(
        None, description="Of one attempt; the connector's if left out, which is the longest."
    )
    retries: int | None = Field(
        None,
        ge=0,
        le=10,
        description="How often it is tried again when the system is away or slow, before onFailure "
        "says what to do. Left out, the run waits until the system answers.",
    )
    on_failure: Annotated[
        ContextFailure,
        BeforeValidator(_null_by_name),
        WithJsonSchema({"enum": ["fail", "null", None]}),
    ] = Field(
        ContextFailure.FAIL,
        # What was applied before there was a choice keeps its bytes.
        exclude_if=lambda value: value is ContextFailure.FAIL,
        description="What to do when it cannot be had: fail the run, or go on with null.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if [self.query, self.http, self.last_run].count(None) != 2:
            raise ValueError("a context entry has exactly one of query, http and lastRun")
        if self.on_failure is ContextFailure.NULL and self.retries is None:
            raise ValueError(
                "onFailure: null needs retries: how often it is tried again before it is null, "
                "0 for not at all"
            )
        return self

    @property
    def may_be_null(self) -> bool:
        """Whether the run goes on with null when the entry cannot be had."""
        return self.on_failure is ContextFailure.NULL


class ForEach(Model):
    """One task for each item of a list."""

    item: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
    in_: Expression = Field(alias="in")


class Retry(Model):
    """How often and how fast an automated task is tried again."""

    maximum_attempts: int = Field(5, ge=1, le=1000)
    initial_interval: Duration = timedelta(seconds=1)
    backoff_coefficient: float = Field(2.0, ge=1.0, le=10.0)
    maximum_interval: Duration = timedelta(minutes=1)


class AutomatedTask(Model):
    """A task that a handler carries out."""

    type: Literal["automated"]
    handler: Name = Field(description="The handler's name, as the worker of the queue knows it.")
    task_queue: TaskQueue = Field(description="The queue that the handler's worker serves.")
    key: Expression | None = Field(
        None, description="Tells the tasks of one rule apart; required with forEach."
    )
    input: dict[Name, Expression] = Field(default_factory=dict)
    timeout: Duration = Field(timedelta(minutes=1), description="Of one attempt.")
    retry: Retry = Retry()


class Assignees(Model):
    """Who may do a human task."""

    users: list[Annotated[str, Field(min_length=1, max_length=128)]] = Field(default_factory=list)
    groups: list[Name] = Field(default_factory=list)

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.users and not self.groups:
            raise ValueError("a human task is assigned to at least one user or group")
        return self


class Reminder(Model):
    """When an open human task is told of again, counted from when it is due."""

    before_due: Duration | None = None
    after_due: Duration | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.before_due is None) == (self.after_due is None):
            raise ValueError("a reminder has either beforeDue or afterDue")
        return self

    @property
    def from_due(self) -> timedelta:
        """How long after the due time it is; negative before it."""
        if self.after_due is not None:
            return self.after_due
        return -(self.before_due or timedelta())


class Escalation(Model):
    """Who a human task that nobody does is for after some time."""

    after: Duration = Field(description="How long after the task's creation.")
    assignees: Assignees = Field(description="Whose it is from then on, instead of the first ones.")


class HumanTask(Model):
    """A task that waits in the inbox for a person."""

    type: Literal["human"]
    title: Expression = Field(description="CEL that gives the title's text.")
    key: Expression | None = Field(
        None, description="Tells the tasks of one rule apart; required with forEach."
    )
    input: dict[Name, Expression] = Field(default_factory=dict)
    assignees: Assignees
    due: Duration | None = Field(None, description="How long after its creation it is due.")
    reminders: Annotated[list[Reminder], Field(min_length=1, max_length=MAX_REMINDERS)] | None = (
        Field(None, description="When backbone.TaskReminded tells that it is still open.")
    )
    escalation: Escalation | None = Field(
        None, description="Who it is for when nobody has done it in time."
    )
    expiry: Duration | None = Field(
        None, description="How long after its creation it closes as expired if nobody has done it."
    )
    form: dict[str, Any] | None = Field(None, description="JSON Schema of the answer.")


Task = Annotated[AutomatedTask | HumanTask, Field(discriminator="type")]


class Rule(Model):
    """When `when` is true, one task, or one for each item of a list."""

    name: Name
    when: Expression = "true"
    for_each: ForEach | None = None
    task: Task

    @model_validator(mode="after")
    def _key_for_each(self) -> Self:
        if self.for_each is not None and self.task.key is None:
            raise ValueError("a rule with forEach needs task.key, which tells its tasks apart")
        return self


class Mode(StrEnum):
    """How many runs there are."""

    PER_TRIGGER = "per-trigger"
    STATEFUL = "stateful"


StateField = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]


MAX_TIMERS = 10
"""Of one instance."""

LONGEST_TIMER = timedelta(days=365)


class InstanceTimer(Model):
    """Something that is decided when no event has come for a while.

    It is set anew by each event, fires once, and is decided like an event, with `event` null.
    """

    name: Name
    after: Annotated[Duration, Field(ge=timedelta(seconds=1), le=LONGEST_TIMER)] = Field(
        description="How long after the last event it fires, from a second to a year."
    )
    when: Expression | None = Field(
        None,
        description="CEL over `state` as it is after an event: whether the timer is set.",
    )


class Instance(Model):
    """The state document of a stateful instance: how it begins, changes and ends.

    `update` reads `state` as it was before the event; rules and `endWhen` read it as it is after.
    """

    initial: dict[StateField, Expression] = Field(
        default_factory=dict,
        max_length=100,
        description="CEL for each field of the state, when a generation begins.",
    )
    update: dict[StateField, Expression] = Field(
        default_factory=dict,
        max_length=100,
        description="CEL for the fields that an event changes; the others stay as they are.",
    )
    end_when: Expression | None = Field(
        None, description="CEL that ends the generation; the next event begins another one."
    )
    timers: list[InstanceTimer] = Field(
        default_factory=list,
        max_length=MAX_TIMERS,
        # Who is of an earlier release knows no timers, and reads the others.
        exclude_if=lambda value: not value,
        description="What is decided when no event has come for a while.",
    )


class WhileDisabled(StrEnum):
    """What happens to events while the definition is disabled."""

    DROP = "drop"
    HOLD = "hold"


class OnFailure(Model):
    """Who is told when a run or one of its tasks fails for good."""

    handler: Name = Field(description="The handler's name, as the worker of the queue knows it.")
    task_queue: TaskQueue | None = Field(
        None, description="The queue that the handler's worker serves; the catalogue's if left out."
    )
    timeout: Duration = Field(timedelta(minutes=1), description="Of one attempt.")


class RunRate(Model):
    """At most `count` runs in any `window` of time."""

    count: int = Field(ge=1, le=1_000_000)
    window: Duration


class Concurrency(Model):
    """At most so many runs that events started are open at a time, in all or for each key."""

    max_open_runs: int = Field(ge=1, le=10_000)
    key: Expression | None = Field(
        None, description="CEL over `event`: the runs of one key are counted together."
    )


class Limits(Model):
    """How much a definition may do. What is over a limit waits for its turn."""

    max_tasks_per_run: int = Field(
        MAX_TASKS_PER_RUN,
        ge=1,
        le=MAX_TASKS_PER_RUN,
        description="A run that decides more fails, and none of them is carried out.",
    )
    max_runs: RunRate | None = Field(None, description="How often events start runs.")
    concurrency: Concurrency | None = Field(
        None, description="How many of the runs that events started are open at a time."
    )


class Spec(Model):
    """What the definition does."""

    task_queue: TaskQueue = Field(description="The queue that the definition's runs are served on.")
    mode: Mode = Field(
        Mode.PER_TRIGGER,
        description="One run for each trigger, or one long-lived instance for each key.",
    )
    instance: Instance | None = Field(
        None, description="What an instance of a stateful definition remembers, and when it ends."
    )
    triggers: list[Trigger] = Field(
        default_factory=list, max_length=50, description="What starts it, besides a person."
    )
    while_disabled: WhileDisabled = Field(
        WhileDisabled.DROP, description="What happens to events while it is disabled."
    )
    on_failure: OnFailure | None = None
    limits: Limits = Limits()
    context: list[ContextEntry] = Field(
        default_factory=list, max_length=50, description="What a run looks at before it decides."
    )
    rules: list[Rule] = Field(
        min_length=1, max_length=200, description="What it decides: each rule gives 0..N tasks."
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        named: dict[str, list[str]] = {
            "triggers": [trigger.name for trigger in self.triggers],
            "context": [entry.name for entry in self.context],
            "rules": [rule.name for rule in self.rules],
        }
        for where, names in named.items():
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{where} share a name: {', '.join(twice)}")
        return self


class ActivityDefinition(Model):
    """A versioned description of when to run, what to look at, what to decide and what follows."""

    api_version: Literal["backbone/v1"] = Field(description="The version of this language.")
    kind: Literal["ActivityDefinition"]
    metadata: Metadata
    spec: Spec

    @property
    def schedules(self) -> dict[str, Schedule]:
        """The schedule triggers by name."""
        return {t.name: t.schedule for t in self.spec.triggers if t.schedule is not None}

    @property
    def events(self) -> dict[str, EventMatch]:
        """The event triggers by name."""
        return {t.name: t.event for t in self.spec.triggers if t.event is not None}

    @property
    def manual_starts(self) -> dict[str, ManualStart]:
        """The manual triggers by name."""
        return {t.name: t.manual for t in self.spec.triggers if t.manual is not None}


def content(definition: ActivityDefinition) -> bytes:
    """Return the canonical bytes of a definition: what is stored, served and hashed."""
    return resources.content(definition)


def load(content_bytes: bytes | str) -> ActivityDefinition:
    """Read bytes that `content` wrote.

    Raises:
        pydantic.ValidationError: they are not a definition.
    """
    return ActivityDefinition.model_validate_json(content_bytes)
