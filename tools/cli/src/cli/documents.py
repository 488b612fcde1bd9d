"""The services' messages as JSON documents: the stable field names of `--output json`."""

import json
from datetime import UTC
from typing import Any

from google.protobuf.message import Message

from backbone.ledger.v1 import ledger_pb2
from backbone.registry.v1 import registry_pb2
from contracts import identifiers


def definition(message: registry_pb2.Definition) -> dict[str, Any]:
    """Return a definition with its content."""
    return {
        "namespace": message.namespace,
        "definition_id": message.definition_id,
        "version": message.version,
        "etag": message.etag,
        "content_sha256": message.content_sha256,
        "applied_at": moment(message, "applied_at"),
        "applied_by": message.applied_by,
        "reason": message.reason,
        "content": document(message.content),
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
    }


def run_in_full(message: ledger_pb2.GetRunResponse) -> dict[str, Any]:
    """Return a run with its trigger, snapshot, decision and tasks."""
    return {
        **run(message.run),
        "trigger": document(message.trigger),
        "snapshot": document(message.snapshot),
        "decision": document(message.decision),
        "task_list": [task(one) for one in message.tasks],
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
    }


def problem(message: registry_pb2.Problem) -> dict[str, Any]:
    """Return one thing that is wrong with a definition."""
    return {"path": message.path, "message": message.message}


def document(content: bytes) -> Any:
    """Return the JSON document in a message's field, None when the field is empty."""
    return json.loads(content) if content else None


def moment(message: Message, field: str) -> str | None:
    """Return a timestamp field as RFC 3339 in UTC, None when it is not set."""
    if not message.HasField(field):
        return None
    return identifiers.instant(getattr(message, field).ToDatetime(tzinfo=UTC))


def _failure(message: ledger_pb2.Run | ledger_pb2.Task) -> dict[str, str] | None:
    if not message.HasField("failure"):
        return None
    return {"type": message.failure.type, "message": message.failure.message}


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
