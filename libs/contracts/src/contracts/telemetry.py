"""Metric, span and attribute names, each spelled once; OpenTelemetry's own come first.

Attributes on metrics are bounded sets (a definition, an outcome, a reason), never an id of an
event, a run or a task.
"""

from enum import StrEnum


class Metric(StrEnum):
    """Instruments; the unit of durations is the second."""

    ROUTER_RECORDS = "backbone.router.records"
    ROUTER_DEAD_LETTERS = "backbone.router.dead_letters"
    ROUTER_DEAD_LETTERS_RESOLVED = "backbone.router.dead_letters.resolved"
    ROUTER_HTTP_EVENTS = "backbone.router.http.events"
    ROUTER_ROUTE_DURATION = "backbone.router.route.duration"
    ROUTER_CANDIDATES = "backbone.router.candidates"
    ROUTER_DISPATCHED = "backbone.router.dispatched"
    ROUTER_HOLDS = "backbone.router.holds"
    ROUTER_SEEN_MISSES = "backbone.router.seen.misses"
    PAYLOADS_REFUSED = "backbone.temporal.payloads_refused"
    WORKER_DECISIONS = "backbone.worker.decisions"
    WORKER_SHADOW_DECISIONS = "backbone.worker.shadow_decisions"
    WORKER_CONTEXT_DURATION = "backbone.worker.context.duration"
    WORKER_OPERATIONS = "backbone.worker.operations"
    WORKER_SWEPT = "backbone.worker.swept"
    LEDGER_RUNS = "backbone.ledger.runs"
    LEDGER_TASKS = "backbone.ledger.tasks"
    LEDGER_TASK_CHANGES = "backbone.ledger.task_changes"
    LEDGER_PENDING = "backbone.ledger.pending"
    LEDGER_INSTANCE_EVENTS = "backbone.ledger.instance_events"
    LEDGER_INSTANCE_EVENTS_WAITING = "backbone.ledger.instance_events.waiting"
    LEDGER_INSTANCE_EVENTS_AGE = "backbone.ledger.instance_events.age"
    LEDGER_CONTROL = "backbone.ledger.control"
    LEDGER_DUE_TIMES = "backbone.ledger.due_times"
    LEDGER_DUE_TIME_LATENESS = "backbone.ledger.due_time.lateness"
    LEDGER_OVERDUE_SCHEDULES = "backbone.ledger.overdue_schedules"
    LEDGER_ROUTING_DECISIONS = "backbone.ledger.routing_decisions"
    REGISTRY_APPLIES = "backbone.registry.applies"
    REGISTRY_RECONCILER_LEADS = "backbone.registry.reconciler.leads"
    REGISTRY_RECONCILER_PENDING = "backbone.registry.reconciler.pending"
    REGISTRY_RECONCILER_LAG = "backbone.registry.reconciler.lag"
    REGISTRY_RECONCILER_DURATION = "backbone.registry.reconciler.duration"
    REGISTRY_SCHEDULE_DRIFTS = "backbone.registry.schedule_drifts"
    RELAY_PUBLISHED = "backbone.relay.published"
    RELAY_BATCH_DURATION = "backbone.relay.batch.duration"
    RELAY_PARKED = "backbone.relay.parked"
    RELAY_RENEWALS = "backbone.relay.renewals"
    RELAY_SHARDS = "backbone.relay.shards"
    AUDIT_SEALED = "backbone.audit.sealed"
    OUTBOX_PENDING = "backbone.outbox.pending"
    OUTBOX_LAG = "backbone.outbox.lag"
    OUTBOX_PARKED = "backbone.outbox.parked"
    INBOX_RECORDS = "backbone.inbox.records"
    INBOX_HOLDS = "backbone.inbox.holds"
    INBOX_GAPS = "backbone.inbox.gaps"
    INBOX_FORGOTTEN = "backbone.inbox.forgotten"
    RPC_DENIED = "backbone.rpc.denied"
    RPC_SERVER_DURATION = "rpc.server.duration"


class Span(StrEnum):
    """Spans of our own; libraries name theirs, and those of RPCs have the name of the method."""

    PUBLISH = "backbone.publish"
    ROUTE = "backbone.route"
    DECIDE = "backbone.decide"
    HANDLE = "backbone.handle"
    PROCESS = "backbone.process"


class Attribute(StrEnum):
    """Attributes of spans, metrics and log records."""

    NAMESPACE = "backbone.namespace"
    DEFINITION_ID = "backbone.definition.id"
    RUN_ID = "backbone.run.id"
    TASK_ID = "backbone.task.id"
    EVENT_ID = "backbone.event.id"
    EVENT_TYPE = "backbone.event.type"
    HANDLER = "backbone.handler"
    OUTCOME = "backbone.outcome"
    REASON = "backbone.reason"
    OUTBOX = "backbone.outbox"
    CONSUMER_GROUP = "messaging.consumer.group.name"
    MESSAGING_SYSTEM = "messaging.system"
    MESSAGING_OPERATION = "messaging.operation.type"
    TOPIC = "messaging.destination.name"
    RPC_SYSTEM = "rpc.system"
    RPC_METHOD = "rpc.method"
    RPC_STATUS = "rpc.grpc.status_code"
    ERROR_TYPE = "error.type"
