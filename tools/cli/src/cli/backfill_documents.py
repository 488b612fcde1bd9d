"""Backfills as stable JSON documents, from the ledger's messages."""

from collections.abc import Iterable
from typing import Any

from backbone.ledger.v1 import backfills_pb2 as pb
from cli import documents

_ORDER_OF = {
    pb.BACKFILL_ORDER_OLDEST_FIRST: "oldestFirst",
    pb.BACKFILL_ORDER_NEWEST_FIRST: "newestFirst",
}


def backfill(message: pb.Backfill) -> dict[str, Any]:
    """Return a backfill; `plan` is what `backfill apply` takes."""
    return {
        "backfill_id": message.backfill_id,
        "state": _word("BACKFILL_STATE_", pb.BackfillState.Name(message.state)),
        "plan": f"{message.backfill_id}@{message.plan_hash}",
        "definition_id": message.definition_id,
        "definition_version": message.definition_version,
        "due_from": documents.moment(message, "due_from"),
        "due_to": documents.moment(message, "due_to"),
        "mode": _word("BACKFILL_MODE_", pb.BackfillMode.Name(message.mode)),
        "order": _ORDER_OF.get(message.order, ""),
        "concurrency": message.concurrency,
        "due_times": message.due_times,
        "starts": message.starts,
        "outcomes": outcomes(message.tallies),
        "created_at": documents.moment(message, "created_at"),
        "created_by": message.created_by,
        "created_reason": message.created_reason,
        "changed_at": documents.moment(message, "changed_at"),
        "changed_by": message.changed_by or None,
        "changed_reason": message.changed_reason or None,
        "finished_at": documents.moment(message, "finished_at"),
    }


def due_time(message: pb.BackfillDueTime) -> dict[str, Any]:
    """Return a due time of a plan, with what it came to."""
    return {
        "due_at": documents.moment(message, "due_at"),
        "triggers": list(message.trigger_names),
        "window_start": documents.moment(message, "window_start"),
        "standing": message.standing,
        "step": message.step,
        "run_id": message.run_id or None,
        "outcome": message.outcome,
        "told": message.told,
    }


def outcomes(tallies: Iterable[pb.BackfillTally]) -> dict[str, int]:
    """Return counts by outcome; of what the plan leaves alone with why: `left (open)`."""
    return {
        f"{one.outcome} ({one.standing})" if one.standing else one.outcome: one.due_times
        for one in tallies
    }


def _word(prefix: str, name: str) -> str:
    return name.removeprefix(prefix).lower()
