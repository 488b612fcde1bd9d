"""The definition language: what people write to say when a definition runs and what it decides.

A definition holds no URL, no credential and no SQL: it names connectors and statements that belong
to the operator's configuration. Texts in fields called `when`, `key`, `in`, `title`, `input` and
`parameters` are CEL expressions.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from contracts import canonical, identifiers
from contracts.durations import Duration

API_VERSION = "backbone/v1"

Name = Annotated[str, Field(pattern=identifiers.NAME_PATTERN, max_length=63)]
Expression = Annotated[str, Field(min_length=1, max_length=2000, description="A CEL expression.")]
TaskQueue = Annotated[str, Field(pattern=identifiers.TASK_QUEUE_PATTERN, max_length=63)]
Namespace = Annotated[str, Field(pattern=identifiers.NAMESPACE_PATTERN, max_length=63)]
DefinitionId = Annotated[str, Field(pattern=identifiers.DEFINITION_ID_PATTERN, max_length=128)]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Metadata(_Model):
    """Who the definition is and whose."""

    id: DefinitionId = Field(description="Unique in the namespace: billing.overdue-invoices.")
    namespace: Namespace = Field(description="Where it lives: dev, stage, prod or a tenant.")
    owner: Name = Field(description="The team that answers for it.")
    description: Annotated[str, Field(max_length=1000)] | None = None
    labels: dict[Name, Annotated[str, Field(max_length=63)]] = Field(default_factory=dict)


class SkipMissed(_Model):
    """A due time that is later than `tolerance` when it is looked at does not run."""

    policy: Literal["skip"]
    tolerance: Duration


class CatchUpMissed(_Model):
    """Every missed due time runs, oldest first, bounded by age and by count."""

    policy: Literal["catchUp"]
    window: Duration = Field(description="Due times older than this are dropped, and recorded so.")
    limit: int = Field(100, ge=1, le=1000, description="At most this many at once, the newest.")


class CompressMissed(_Model):
    """One run, for the newest missed due time, whose window covers all of them."""

    policy: Literal["compress"]
    window: Duration = Field(description="Due times older than this are dropped, and recorded so.")


MissedRuns = Annotated[SkipMissed | CatchUpMissed | CompressMissed, Field(discriminator="policy")]


class Overlap(StrEnum):
    """What happens when a due time comes while a run of the definition is open."""

    SKIP = "skip"
    ALLOW_ALL = "allowAll"


class Schedule(_Model):
    """Due times, as cron or as a fixed period, and what to do with missed ones."""

    cron: Annotated[str, Field(min_length=9, max_length=200)] | None = Field(
        None, description="Five fields: minute, hour, day of month, month, day of week."
    )
    every: Duration | None = Field(
        None, description="A period counted from 1970-01-01T00:00:00Z: 15m is :00, :15, :30, :45."
    )
    timezone: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        "UTC", description="IANA name that cron is read in: Europe/Berlin."
    )
    missed_runs: MissedRuns = Field(description="Required: there is no silent default.")
    overlap: Overlap = Overlap.SKIP

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.cron is None) == (self.every is None):
            raise ValueError("a schedule has either cron or every")
        return self


class EventMatch(_Model):
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


class Trigger(_Model):
    """One reason to run, by a name that the run's record carries."""

    name: Name
    schedule: Schedule | None = None
    event: EventMatch | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.schedule is None) == (self.event is None):
            raise ValueError("a trigger has either schedule or event")
        return self


class StatementQuery(_Model):
    """A named statement of a database connector."""

    connector: Name
    statement: Name
    parameters: dict[Name, Expression] = Field(default_factory=dict)


class ContextEntry(_Model):
    """One thing a run looks at before it decides; rules see it as `context.<name>`."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
    query: StatementQuery


class ForEach(_Model):
    """One task for each item of a list."""

    item: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
    in_: Expression = Field(alias="in")


class Retry(_Model):
    """How often and how fast an automated task is tried again."""

    maximum_attempts: int = Field(5, ge=1, le=1000)
    initial_interval: Duration = timedelta(seconds=1)
    backoff_coefficient: float = Field(2.0, ge=1.0, le=10.0)
    maximum_interval: Duration = timedelta(minutes=1)


class AutomatedTask(_Model):
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


class Assignees(_Model):
    """Who may do a human task."""

    users: list[Annotated[str, Field(min_length=1, max_length=128)]] = Field(default_factory=list)
    groups: list[Name] = Field(default_factory=list)

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.users and not self.groups:
            raise ValueError("a human task is assigned to at least one user or group")
        return self


class HumanTask(_Model):
    """A task that waits in the inbox for a person."""

    type: Literal["human"]
    title: Expression = Field(description="CEL that gives the title's text.")
    key: Expression | None = Field(
        None, description="Tells the tasks of one rule apart; required with forEach."
    )
    input: dict[Name, Expression] = Field(default_factory=dict)
    assignees: Assignees
    due: Duration | None = Field(None, description="How long after its creation it is due.")
    form: dict[str, Any] | None = Field(None, description="JSON Schema of the answer.")


Task = Annotated[AutomatedTask | HumanTask, Field(discriminator="type")]


class Rule(_Model):
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


class Spec(_Model):
    """What the definition does."""

    task_queue: TaskQueue = Field(description="The queue that the definition's runs are served on.")
    mode: Literal["per-trigger"] = "per-trigger"
    triggers: list[Trigger] = Field(default_factory=list, max_length=50)
    context: list[ContextEntry] = Field(default_factory=list, max_length=50)
    rules: list[Rule] = Field(min_length=1, max_length=200)

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


class ActivityDefinition(_Model):
    """A versioned description of when to run, what to look at, what to decide and what follows."""

    api_version: Literal["backbone/v1"]
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


def content(definition: ActivityDefinition) -> bytes:
    """Return the canonical bytes of a definition: what is stored, served and hashed."""
    return canonical.render(definition)


def load(content_bytes: bytes | str) -> ActivityDefinition:
    """Read bytes that `content` wrote.

    Raises:
        pydantic.ValidationError: they are not a definition.
    """
    return ActivityDefinition.model_validate_json(content_bytes)
