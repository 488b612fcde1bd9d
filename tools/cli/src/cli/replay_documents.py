"""Replays of events as stable JSON documents, from the ledger's messages."""

from collections.abc import Iterable
from typing import Any

from backbone.ledger.v1 import replay_pb2 as pb
from cli import documents


def replay(message: pb.Replay) -> dict[str, Any]:
    """Return a replay; `plan` is what `replay apply` takes, None until the plan is complete."""
    return {
        "replay_id": message.replay_id,
        "state": _word("REPLAY_STATE_", pb.ReplayState.Name(message.state)),
        "plan": f"{message.replay_id}@{message.plan_hash}" if message.plan_hash else None,
        "topic": message.topic,
        "records_from": documents.moment(message, "records_from"),
        "records_to": documents.moment(message, "records_to"),
        "definitions_asked": list(message.definition_ids),
        "mode": _word("REPLAY_MODE_", pb.ReplayMode.Name(message.mode)),
        "max_starts_per_second": message.max_starts_per_second,
        "records": message.records,
        "records_total": message.records_total,
        "unrouted": message.unrouted,
        "refused": _tallies(message.refused),
        "starts": message.starts,
        "begun": message.begun,
        "open_events": message.open_events,
        "definitions": [definition(one) for one in message.definitions],
        "created_at": documents.moment(message, "created_at"),
        "created_by": message.created_by,
        "created_reason": message.created_reason,
        "changed_at": documents.moment(message, "changed_at"),
        "changed_by": message.changed_by or None,
        "changed_reason": message.changed_reason or None,
        "finished_at": documents.moment(message, "finished_at"),
    }


def definition(message: pb.ReplayedDefinition) -> dict[str, Any]:
    """Return what a replay means to one definition."""
    return {
        "definition_id": message.definition_id,
        "definition_version": message.definition_version or None,
        "runs": message.starts,
        "planned": _tallies(message.planned),
        "outcomes": _tallies(message.outcomes),
    }


def start(message: pb.ReplayStart) -> dict[str, Any]:
    """Return a start that is planned."""
    return {
        "ordinal": message.ordinal,
        "definition_id": message.definition_id,
        "key": message.key or None,
        "run_id": message.run_id,
        "events": [
            {
                "place": f"{one.place.partition}:{one.place.offset}",
                "source": one.source,
                "event_id": one.event_id,
                "type": one.type,
            }
            for one in message.events
        ],
    }


def told(tallies: dict[str, int]) -> str:
    """Return counts for a cell: `start 12, has_run 3`."""
    return ", ".join(f"{outcome} {events}" for outcome, events in tallies.items())


def _tallies(tallies: Iterable[pb.ReplayTally]) -> dict[str, int]:
    return {one.outcome: one.events for one in tallies}


def _word(prefix: str, name: str) -> str:
    return name.removeprefix(prefix).lower()
