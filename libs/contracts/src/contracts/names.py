"""Every topic, consumer group, header, task queue, workflow and event type, each spelled once."""

from enum import StrEnum


class Topic(StrEnum):
    """The topics Backbone writes, without the namespace that prefixes them."""

    TASK_EVENTS = "backbone.task-events"
    RUN_EVENTS = "backbone.run-events"
    DEFINITION_EVENTS = "backbone.definition-events"
    DEAD_LETTERS = "backbone.dead-letters"


MAX_TOPIC_LENGTH = 249
"""Of any topic, as Kafka has it."""


def topic(namespace: str, name: Topic) -> str:
    """Return the Kafka topic of `name` in `namespace`."""
    return f"{namespace}.{name}"


def topic_in(namespace: str, name: str) -> str:
    """Return the Kafka topic that an operator calls `name` in `namespace`."""
    return f"{namespace}.{name}"


def router_group(namespace: str) -> str:
    """Return the consumer group that the routers of `namespace` share."""
    return f"{namespace}.backbone.router"


class Reader(StrEnum):
    """Who reads topics by hand; Kafka asks for a group of whoever reads, which nobody joins."""

    ROUTER_RECORDS = "router-record-reader"
    ROUTER_DEAD_LETTERS = "router-dead-letter-reader"
    CLI = "backbone-cli"  # each command has one of its own, which begins so


RESERVED_PREFIX = "backbone."
"""Begins the types of Backbone's own events, and only theirs."""


class EventType(StrEnum):
    """The types of the events Backbone emits: facts, in the past tense."""

    RESOURCE_APPLIED = "backbone.ResourceApplied"
    RESOURCE_ACTIVATED = "backbone.ResourceActivated"
    RESOURCE_ENABLED = "backbone.ResourceEnabled"
    RESOURCE_DISABLED = "backbone.ResourceDisabled"
    RESOURCE_RETIRED = "backbone.ResourceRetired"
    RUN_DECIDED = "backbone.RunDecided"
    RUN_FAILED = "backbone.RunFailed"
    RUN_COMPLETED = "backbone.RunCompleted"
    RUN_CANCELLED = "backbone.RunCancelled"
    RUN_REOPENED = "backbone.RunReopened"
    RUN_RETRIED = "backbone.RunRetried"
    FAILURE_HANDLED = "backbone.FailureHandled"
    TASK_CREATED = "backbone.TaskCreated"
    TASK_COMPLETED = "backbone.TaskCompleted"
    TASK_FAILED = "backbone.TaskFailed"
    TASK_CANCELLED = "backbone.TaskCancelled"
    TASK_EXPIRED = "backbone.TaskExpired"
    TASK_CLAIMED = "backbone.TaskClaimed"
    TASK_RELEASED = "backbone.TaskReleased"
    TASK_REASSIGNED = "backbone.TaskReassigned"
    TASK_COMMENTED = "backbone.TaskCommented"
    TASK_REMINDED = "backbone.TaskReminded"
    TASK_OVERDUE = "backbone.TaskOverdue"
    TASK_ESCALATED = "backbone.TaskEscalated"
    TASK_RETRIED = "backbone.TaskRetried"
    SUBJECT_ERASED = "backbone.SubjectErased"
    KILL_SWITCH_THROWN = "backbone.KillSwitchThrown"
    KILL_SWITCH_RESET = "backbone.KillSwitchReset"


TOPIC_OF: dict[EventType, Topic] = {
    EventType.RESOURCE_APPLIED: Topic.DEFINITION_EVENTS,
    EventType.RESOURCE_ACTIVATED: Topic.DEFINITION_EVENTS,
    EventType.RESOURCE_ENABLED: Topic.DEFINITION_EVENTS,
    EventType.RESOURCE_DISABLED: Topic.DEFINITION_EVENTS,
    EventType.RESOURCE_RETIRED: Topic.DEFINITION_EVENTS,
    EventType.RUN_DECIDED: Topic.RUN_EVENTS,
    EventType.RUN_FAILED: Topic.RUN_EVENTS,
    EventType.RUN_COMPLETED: Topic.RUN_EVENTS,
    EventType.RUN_CANCELLED: Topic.RUN_EVENTS,
    EventType.RUN_REOPENED: Topic.RUN_EVENTS,
    EventType.RUN_RETRIED: Topic.RUN_EVENTS,
    EventType.FAILURE_HANDLED: Topic.RUN_EVENTS,
    EventType.TASK_CREATED: Topic.TASK_EVENTS,
    EventType.TASK_COMPLETED: Topic.TASK_EVENTS,
    EventType.TASK_FAILED: Topic.TASK_EVENTS,
    EventType.TASK_CANCELLED: Topic.TASK_EVENTS,
    EventType.TASK_EXPIRED: Topic.TASK_EVENTS,
    EventType.TASK_CLAIMED: Topic.TASK_EVENTS,
    EventType.TASK_RELEASED: Topic.TASK_EVENTS,
    EventType.TASK_REASSIGNED: Topic.TASK_EVENTS,
    EventType.TASK_COMMENTED: Topic.TASK_EVENTS,
    EventType.TASK_REMINDED: Topic.TASK_EVENTS,
    EventType.TASK_OVERDUE: Topic.TASK_EVENTS,
    EventType.TASK_ESCALATED: Topic.TASK_EVENTS,
    EventType.TASK_RETRIED: Topic.TASK_EVENTS,
    EventType.SUBJECT_ERASED: Topic.RUN_EVENTS,
    EventType.KILL_SWITCH_THROWN: Topic.RUN_EVENTS,
    EventType.KILL_SWITCH_RESET: Topic.RUN_EVENTS,
}


def source(service: str) -> str:
    """Return the envelope `source` of the events that `service` emits."""
    return f"backbone/{service}"


def task_source(definition_id: str) -> str:
    """Return the envelope `source` of the events that tasks of a definition publish."""
    return f"tasks/{definition_id}"


class Header(StrEnum):
    """Kafka record headers."""

    EVENT_ID = "backbone-event-id"
    EVENT_TYPE = "backbone-event-type"
    STREAM = "backbone-stream"
    STREAM_VERSION = "backbone-stream-version"
    REPUBLISHED = "backbone-republished"
    SIGNATURE = "backbone-signature"
    TRACEPARENT = "traceparent"
    REASON = "backbone-reason"
    DETAIL = "backbone-detail"
    ORIGIN_TOPIC = "backbone-origin-topic"
    ORIGIN_PARTITION = "backbone-origin-partition"
    ORIGIN_OFFSET = "backbone-origin-offset"
    ORIGIN_TIMESTAMP = "backbone-origin-timestamp"
    ATTEMPTS = "backbone-attempts"
    HEADERS_UNREADABLE = "backbone-headers-unreadable"
    VALUE_CUT_FROM = "backbone-value-cut-from"
    DATA_KEY = "backbone-data-key"
    SEALED = "backbone-sealed"


CONTENT_TYPE_HEADER = "content-type"
"""The Kafka header that says whether a sender's record is a CloudEvent, or of what its data is."""

CLOUDEVENTS_HEADER_PREFIX = "ce_"
"""Begins the Kafka headers that carry the attributes of a CloudEvent in binary mode."""


class HttpHeader(StrEnum):
    """Headers of the requests that tasks send."""

    IDEMPOTENCY_KEY = "Idempotency-Key"
    TRACEPARENT = "traceparent"


class ContentType(StrEnum):
    """Media types of events."""

    JSON = "application/json"
    CLOUDEVENT = "application/cloudevents+json"
    CLOUDEVENTS_BATCH = "application/cloudevents-batch+json"
    ENVELOPE = "application/vnd.backbone.event+json"
    PROBLEM = "application/problem+json"


def outbox_channel(schema: str) -> str:
    """Return the PostgreSQL channel on which the relays of a schema's outbox are told of rows."""
    return f"backbone_outbox_{schema}"


OUTBOX_READ_AGAIN = "again"
"""The payload that says that rows came back under old positions, or that a stream waits no more."""


class Metadata(StrEnum):
    """gRPC request metadata."""

    ACTOR = "backbone-actor"
    AUTHORIZATION = "authorization"
    TRACEPARENT = "traceparent"


class Extension(StrEnum):
    """Envelope extensions that Backbone reads and writes."""

    TRACEPARENT = "traceparent"
    HOPS = "hops"
    TIME_SOURCE = "timesource"
    DATA_SCHEMA = "dataschema"
    DATA_CONTENT_TYPE = "datacontenttype"


TIME_OF_KAFKA = "kafka"
"""The extension `timesource` of an event that did not say when it happened."""


class Workflow(StrEnum):
    """Temporal workflow types."""

    RUN_ACTIVITY = "RunActivity"
    SCHEDULED_TICK = "ScheduledTick"
    TASK_TIMERS = "TaskTimers"
    RETRY_TASK = "RetryTask"
    TELL_FAILURE = "TellFailure"
    SWEEP = "Sweep"
    INSTANCE = "Instance"
    SIMULATE = "Simulate"


class Signal(StrEnum):
    """Signals that our workflows take."""

    WAKE = "wake"


class TemporalActivity(StrEnum):
    """Temporal activities the orchestrator-worker registers; handlers have names of their own."""

    DECIDE = "backbone.decide"
    RECORD_TASK_OUTCOME = "backbone.record_task_outcome"
    RECORD_RUN_FAILURE = "backbone.record_run_failure"
    ADVANCE_SCHEDULE = "backbone.advance_schedule"
    ADVANCE_TASK = "backbone.advance_task"
    FIND_FAILURE_HANDLER = "backbone.find_failure_handler"
    RECORD_FAILURE_HANDLED = "backbone.record_failure_handled"
    SWEEP_PAGE = "backbone.sweep_page"
    APPLY_NEXT = "backbone.apply_next"
    SIMULATE = "backbone.simulate"
    AWAIT_EFFECTS = "backbone.await_effects"


TICK_TASK_QUEUE = "backbone-tick-tq"
"""The task queue of `ScheduledTick`: of its own, so that a wake-up never waits behind runs."""

TASK_TIMERS_TASK_QUEUE = "backbone-task-timers-tq"
"""The task queue of `TaskTimers`: of its own, since they outlive the builds that pin runs."""

SYSTEM_TASK_QUEUE = "backbone-system-tq"
"""The task queue of `Sweep`: looking after runs never waits behind them."""

OWN_TASK_QUEUES = frozenset({TICK_TASK_QUEUE, TASK_TIMERS_TASK_QUEUE, SYSTEM_TASK_QUEUE})
"""Those that Backbone's own workflows are on, and no handler."""
