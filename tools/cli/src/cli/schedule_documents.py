"""Schedules as JSON documents: the stable field names of `--output json`.

The registry tells how they stand in Temporal, the ledger what became of their due times.
"""

from typing import Any

from backbone.ledger.v1 import schedules_pb2 as ledger_pb2
from backbone.registry.v1 import schedules_pb2 as registry_pb2
from cli import documents


def schedule(message: registry_pb2.Schedule) -> dict[str, Any]:
    """Return one definition's schedules in brief."""
    return {
        "definition_id": message.definition_id,
        "state": documents.known(registry_pb2.ScheduleState, message.state, "SCHEDULE_STATE_"),
        "version": message.version or None,
        "revision": message.revision or None,
        "attempted_at": documents.moment(message, "attempted_at"),
        "detail": message.detail or None,
    }


def in_full(message: registry_pb2.GetScheduleResponse) -> dict[str, Any]:
    """Return one definition's schedules with what stands in Temporal."""
    return {
        **schedule(message.schedule),
        "next_due": [documents.instant(due) for due in message.next_due],
        "wanted": dict(sorted(message.wanted.items())) or None,
        "found": dict(sorted(message.found.items())) or None,
        "differences": [difference(one) for one in message.differences],
        "drifts": [drift(one) for one in message.drifts],
        "reconciler": reconciler(message.reconciler) if message.HasField("reconciler") else None,
    }


def difference(message: registry_pb2.ScheduleDifference) -> dict[str, Any]:
    """Return one fact that is not as it should be."""
    return {
        "path": message.path,
        "wanted": message.wanted if message.HasField("wanted") else None,
        "found": message.found if message.HasField("found") else None,
    }


def drift(message: registry_pb2.ScheduleDrift) -> dict[str, Any]:
    """Return something that was changed by hand."""
    return {
        "definition_id": message.definition_id,
        "drift": documents.known(
            registry_pb2.ScheduleDriftKind, message.kind, "SCHEDULE_DRIFT_KIND_"
        ),
        "differences": [difference(one) for one in message.differences],
        "revision": message.revision or None,
        "found_at": documents.moment(message, "found_at"),
        "repaired_at": documents.moment(message, "repaired_at"),
    }


def reconciler(message: registry_pb2.ReconcilerStatus) -> dict[str, Any]:
    """Return who keeps schedules as they are applied."""
    return {
        "leader": message.leader or None,
        "term": message.term,
        "compared_at": documents.moment(message, "compared_at"),
    }


def account(message: ledger_pb2.ScheduleState) -> dict[str, Any]:
    """Return how a definition's schedules stand."""
    pause = message.pause
    return {
        "namespace": message.namespace,
        "definition_id": message.definition_id,
        "definition_version": message.definition_version,
        "trigger_names": list(message.trigger_names),
        "enabled": message.enabled,
        "pause": {
            "paused_at": documents.moment(pause, "paused_at"),
            "paused_by": pause.paused_by,
            "reason": pause.reason,
        }
        if message.HasField("pause")
        else None,
        "covered_until": documents.moment(message, "covered_until"),
        "next_at": documents.moment(message, "next_at"),
        "skips": [
            {"due_at": documents.moment(one, "due_at"), "actor": one.actor, "reason": one.reason}
            for one in message.skips
        ],
        "waiting": message.waiting,
        "open_run_ids": list(message.open_run_ids),
    }


def explained_due_time(message: ledger_pb2.ExplainDueTimeResponse) -> dict[str, Any]:
    """Return what became of an instant."""
    standing = ledger_pb2.DueTimeStanding.Name(message.standing)
    return {
        "standing": standing.removeprefix("DUE_TIME_STANDING_").lower(),
        "explanation": message.explanation,
        "due_time": documents.due_time(message.due_time) if message.HasField("due_time") else None,
        "due_before": documents.moment(message, "due_before"),
        "due_after": documents.moment(message, "due_after"),
    }
