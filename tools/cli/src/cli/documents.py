"""The services' messages as JSON documents: the stable field names of `--output json`."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from backbone.audit.v1 import audit_pb2
from backbone.ledger.v1 import control_pb2, instances_pb2, ledger_pb2, routing_pb2
from backbone.outbox.v1 import outbox_pb2
from backbone.registry.v1 import registry_pb2
from cli.kinds import Kind
from contracts import durations, identifiers


def resource(message: registry_pb2.Resource) -> dict[str, Any]:
    """Return a version of a resource with its content, null where that was left out."""
    return {
        "namespace": message.namespace,
        "kind": _kind(message.kind),
        "resource_id": message.resource_id,
        "version": message.version,
        "current_version": message.current_version,
        "state": known(registry_pb2.ResourceState, message.state, "RESOURCE_STATE_"),
        "etag": message.etag,
        "content_sha256": message.content_sha256,
        "applied": _brief(message.applied) if message.HasField("applied") else None,
        "latest": _brief(message.latest) if message.HasField("latest") else None,
        "content": document(message.content),
    }


def change(message: registry_pb2.Change) -> dict[str, Any]:
    """Return something that happened to a resource."""
    return {
        "kind": _kind(message.kind),
        "resource_id": message.resource_id,
        **_brief(message),
    }


def apply_result(message: registry_pb2.ApplyResult) -> dict[str, Any]:
    """Return what an apply does, or did, to one resource."""
    found = resource(message.resource)
    del found["content"]
    return {
        "document": message.document or None,
        "action": known(registry_pb2.ApplyAction, message.action, "APPLY_ACTION_"),
        **found,
        "differences": [difference(one) for one in message.differences],
        "schedules": [
            {
                "change": known(registry_pb2.DifferenceKind, one.kind, "DIFFERENCE_KIND_"),
                "trigger": one.trigger,
                "due_before": [instant(due) for due in one.due_before],
                "due_after": [instant(due) for due in one.due_after],
            }
            for one in message.schedules
        ],
    }


def difference(message: registry_pb2.Difference) -> dict[str, Any]:
    """Return one difference in meaning between two versions."""
    return {
        "change": known(registry_pb2.DifferenceKind, message.kind, "DIFFERENCE_KIND_"),
        "path": message.path,
        "summary": message.summary,
        "before": document(message.before),
        "after": document(message.after),
    }


def problem(message: registry_pb2.Problem) -> dict[str, Any]:
    """Return one thing that is wrong with a document."""
    return {
        "document": message.document,
        "path": message.path or None,
        "line": message.line or None,
        "column": message.column or None,
        "message": message.message,
    }


def drift(message: registry_pb2.Drift) -> dict[str, Any]:
    """Return how a definition's schedules are not as they should be."""
    return {
        "definition_id": message.definition_id,
        "drift": known(registry_pb2.DriftKind, message.kind, "DRIFT_KIND_"),
        "detail": message.detail,
        "revision": message.revision or None,
        "attempted_at": moment(message, "attempted_at"),
    }


def run(message: ledger_pb2.Run) -> dict[str, Any]:
    """Return a run, without its documents."""
    return {
        "namespace": message.namespace,
        "run_id": message.run_id,
        "definition_id": message.definition_id,
        "definition_version": message.definition_version,
        "status": _word(ledger_pb2.RunStatus.Name(message.status), "RUN_STATUS_"),
        "trigger_kind": message.trigger_kind,
        "trigger_key": message.trigger_key,
        "trigger_names": list(message.trigger_names),
        "tasks": message.tasks,
        "recorded_at": moment(message, "recorded_at"),
        "closed_at": moment(message, "closed_at"),
        "workflow_run_id": message.workflow_run_id,
        "failure": _failure(message),
        "closed_by": message.closed_by or None,
        "close_reason": message.close_reason or None,
    }


def run_in_full(message: ledger_pb2.GetRunResponse) -> dict[str, Any]:
    """Return a run with its trigger, snapshot, decision and tasks."""
    return {
        **run(message.run),
        "trigger": document(message.trigger),
        "snapshot": document(message.snapshot),
        "decision": document(message.decision),
        "task_list": [task(one) for one in message.tasks],
        "failure_calls": [failure_call(one) for one in message.failure_calls],
        "retries": [
            {
                "run_id": one.run_id,
                "actor": one.actor,
                "reason": one.reason,
                "retried_at": moment(one, "retried_at"),
            }
            for one in message.retries
        ],
    }


def failure_call(message: ledger_pb2.FailureCall) -> dict[str, Any]:
    """Return a call of the handler of `onFailure`; `task_id` is null for the run itself."""
    return {
        "call_id": message.call_id,
        "task_id": message.task_id or None,
        "handler": message.handler,
        "handled_at": moment(message, "handled_at"),
        "failure": _failure(message),
    }


def operation(message: control_pb2.Operation) -> dict[str, Any]:
    """Return an operation that is to be done in Temporal."""
    return {
        "operation_id": message.operation_id,
        "kind": known(control_pb2.OperationKind, message.kind, "OPERATION_KIND_"),
        "workflow_id": message.workflow_id,
        "definition_id": message.definition_id,
        "actor": message.actor,
        "reason": message.reason,
        "queued_at": moment(message, "queued_at"),
        "attempts": message.attempts,
        "last_error": message.last_error or None,
    }


def task(message: ledger_pb2.Task) -> dict[str, Any]:
    """Return a task."""
    return {
        "namespace": message.namespace,
        "task_id": message.task_id,
        "run_id": message.run_id,
        "definition_id": message.definition_id,
        "rule": message.rule,
        "key": message.key,
        "type": _word(ledger_pb2.TaskType.Name(message.type), "TASK_TYPE_"),
        "status": _word(ledger_pb2.TaskStatus.Name(message.status), "TASK_STATUS_"),
        "handler": message.handler or None,
        "title": message.title or None,
        "assigned_users": list(message.assigned_users),
        "assigned_groups": list(message.assigned_groups),
        "created_at": moment(message, "created_at"),
        "due_at": moment(message, "due_at"),
        "closed_at": moment(message, "closed_at"),
        "closed_by": message.closed_by or None,
        "input": document(message.input),
        "form": document(message.form),
        "output": document(message.output),
        "failure": _failure(message),
        "version": message.version,
        "claimed_by": message.claimed_by or None,
        "claimed_at": moment(message, "claimed_at"),
        "remind_at": [stamp.ToJsonString() for stamp in message.remind_at],
        "escalates_at": moment(message, "escalates_at"),
        "expires_at": moment(message, "expires_at"),
        "generation": message.generation,
    }


def task_change(message: ledger_pb2.TaskChange) -> dict[str, Any]:
    """Return what happened to a human task."""
    return {
        "event_type": message.event_type,
        "event_id": message.event_id,
        "occurred_at": moment(message, "occurred_at"),
        "actor": message.actor or None,
        "reason": message.reason or None,
        "comment": message.comment or None,
        "assigned_users": list(message.assigned_users),
        "assigned_groups": list(message.assigned_groups),
    }


def due_time(message: ledger_pb2.DueTime) -> dict[str, Any]:
    """Return an accounted due time."""
    return {
        "due_at": moment(message, "due_at"),
        "trigger_names": list(message.trigger_names),
        "outcome": _word(ledger_pb2.DueOutcome.Name(message.outcome), "DUE_OUTCOME_"),
        "reason": message.reason or None,
        "run_id": message.run_id or None,
        "decided_at": moment(message, "decided_at"),
        "acknowledged_at": moment(message, "acknowledged_at"),
        "lateness": _lateness(message),
        "last_due_at": moment(message, "last_due_at"),
        "count": message.count or 1,
    }


def _lateness(message: ledger_pb2.DueTime) -> str | None:
    if not message.HasField("decided_at"):
        return None
    late = message.decided_at.ToDatetime() - message.due_at.ToDatetime()
    return durations.render(max(timedelta(0), timedelta(seconds=round(late.total_seconds()))))


def instance(message: instances_pb2.Instance) -> dict[str, Any]:
    """Return a generation of an instance, without its state and timers."""
    return {
        "instance_id": message.instance_id,
        "namespace": message.namespace,
        "definition_id": message.definition_id,
        "definition_version": message.definition_version,
        "generation": message.generation,
        "events": message.sequence,
        "status": known(instances_pb2.InstanceStatus, message.status, "INSTANCE_STATUS_"),
        "last_run_id": message.last_run_id,
        "started_at": instant(message.started_at),
        "changed_at": instant(message.changed_at),
        "ended_at": moment(message, "ended_at"),
    }


def pending_start(message: routing_pb2.PendingStart) -> dict[str, Any]:
    """Return a start that waits; `not_before` is null for what waits to be released."""
    return {
        "pending_id": message.pending_id,
        "definition_id": message.definition_id,
        "definition_version": message.definition_version,
        "reason": message.reason,
        "key": message.key or None,
        "events": message.events,
        "as_one_run": message.as_one_run,
        "queued_at": moment(message, "queued_at"),
        "not_before": moment(message, "not_before"),
        "attempts": message.attempts,
    }


def decision(message: routing_pb2.RoutingDecision) -> dict[str, Any]:
    """Return a routing decision; `cause` is null for a delivery by Kafka."""
    return {
        "namespace": message.namespace,
        "event_id": message.event_id,
        "source": message.source,
        "type": message.type,
        "definition_id": message.definition_id,
        "definition_version": message.definition_version,
        "outcome": known(routing_pb2.RoutingOutcome, message.outcome, "ROUTING_OUTCOME_"),
        "trigger_names": list(message.trigger_names),
        "run_id": message.run_id or None,
        "clause": message.clause or None,
        "seen": message.seen or None,
        "detail": message.detail or None,
        "topic": message.place.topic,
        "partition": message.place.partition,
        "offset": message.place.offset,
        "cause": message.cause or None,
        "registry_revision": message.registry_revision,
        "decided_at": moment(message, "decided_at"),
        "settled_at": moment(message, "settled_at"),
    }


def outbox(service: str, message: outbox_pb2.GetOutboxResponse) -> dict[str, Any]:
    """Return how full a service's outbox is; `more`: there are more pending than were counted."""
    return {
        "service": str(service),
        "pending": message.pending,
        "copies": message.copies,
        "more": message.more,
        "oldest_queued_at": moment(message, "oldest_queued_at"),
        "parked": message.parked,
        "waiting_streams": message.waiting_streams,
        "discarded": message.discarded,
    }


def republished(
    service: str, message: outbox_pb2.RepublishEventsResponse, *, request_id: str | None
) -> dict[str, Any]:
    """Return what became of a republication; without a request id it was a dry run."""
    return {
        "service": str(service),
        "republished": message.republished,
        "pending": message.pending,
        "parked": message.parked,
        "discarded": message.discarded,
        "dry_run": request_id is None,
        "request_id": request_id,
    }


def parked_event(service: str, message: outbox_pb2.ParkedEvent) -> dict[str, Any]:
    """Return an event that the broker refused for good."""
    return {
        "service": str(service),
        "position": message.position,
        "stream": message.stream,
        "stream_version": message.stream_version,
        "event_id": message.event_id,
        "type": message.type,
        "topic": message.topic,
        "key": message.key,
        "size": message.size,
        "recorded_at": moment(message, "recorded_at"),
        "parked_at": moment(message, "parked_at"),
        "reason": message.reason,
        "waits": message.waits,
        "republish_id": message.republish_id or None,
    }


def finding(service: str, message: audit_pb2.Finding) -> dict[str, Any]:
    """Return what a verification has found."""
    return {
        "service": str(service),
        "finding": known(audit_pb2.FindingKind, message.kind, "FINDING_KIND_"),
        "detail": message.detail,
        "checkpoint": message.checkpoint or None,
        "position": message.position or None,
        "namespace": message.namespace or None,
        "stream": message.stream or None,
        "stream_version": message.stream_version or None,
    }


def checkpoint(service: str, message: audit_pb2.GetCheckpointResponse) -> dict[str, Any]:
    """Return a checkpoint, with the anchor that is kept elsewhere."""
    return {
        "service": str(service),
        "number": message.number,
        "sealed_at": moment(message, "sealed_at"),
        "first_position": message.first_position,
        "last_position": message.last_position,
        "events": message.events,
        "anchor": f"{service}:{message.number}:{message.hash.hex()}",
    }


def document(content: bytes) -> Any:
    """Return the JSON document in a message's field, None when the field is empty."""
    return json.loads(content) if content else None


def moment(message: Message, field: str) -> str | None:
    """Return a timestamp field as RFC 3339 in UTC, None when it is not set."""
    if not message.HasField(field):
        return None
    return instant(getattr(message, field))


def instant(stamp: Timestamp) -> str:
    """Return a timestamp as RFC 3339 in UTC."""
    return instant_of(stamp.ToDatetime(tzinfo=UTC))


def instant_of(moment: datetime) -> str:
    """Return a time as RFC 3339 in UTC."""
    return identifiers.instant(moment)


def _brief(message: registry_pb2.Change) -> dict[str, Any]:
    return {
        "change": known(registry_pb2.ChangeKind, message.change, "CHANGE_KIND_"),
        "version": message.version,
        "state": known(registry_pb2.ResourceState, message.state, "RESOURCE_STATE_"),
        "revision": message.revision,
        "at": moment(message, "at"),
        "actor": message.actor,
        "reason": message.reason,
    }


def _kind(number: "registry_pb2.ResourceKind.ValueType") -> str | None:
    kind = Kind.of(number)
    return None if kind is None else kind.value


def known(enum: Any, number: int, prefix: str) -> str:
    """Return the word for a number; a service newer than us may have numbers that we lack."""
    return _word(enum.Name(number), prefix) if number in enum.values() else str(number)


def _failure(
    message: ledger_pb2.Run | ledger_pb2.Task | ledger_pb2.FailureCall,
) -> dict[str, str] | None:
    if not message.HasField("failure"):
        return None
    return {"type": message.failure.type, "message": message.failure.message}


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
