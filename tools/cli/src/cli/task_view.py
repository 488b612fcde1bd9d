"""How tasks are printed: as a list, one by one, and what happened to one."""

from collections.abc import Sequence
from typing import Any

from backbone.ledger.v1 import ledger_pb2
from cli import documents
from cli.session import Session


def listed(session: Session, found: Sequence[ledger_pb2.Task], *, none: str) -> None:
    """Print tasks as a list, or `none` where there are none."""
    rows = [documents.task(one) for one in found]
    session.output.rows(
        rows if session.output.json else [_worded(one) for one in rows],
        [
            ("TASK", "task_id"),
            ("TYPE", "type"),
            ("STATUS", "status"),
            ("WHAT", "what"),
            ("FOR", "assigned"),
            ("CLAIMED BY", "claimed_by"),
            ("RUN", "run_id"),
            ("CREATED", "created_at"),
            ("DUE", "due_at"),
        ],
        none=none,
    )


def shown(session: Session, message: ledger_pb2.Task) -> None:
    """Print everything of a task."""
    task = documents.task(message)
    if session.output.json:
        session.output.document(task)
        return
    session.output.fields(
        _worded(task),
        [
            ("task", "task_id"),
            ("run", "run_id"),
            ("rule", "rule"),
            ("key", "key"),
            ("type", "type"),
            ("status", "status"),
            ("version", "version"),
            ("what", "what"),
            ("for", "assigned"),
            ("claimed by", "claimed_by"),
            ("claimed", "claimed_at"),
            ("created", "created_at"),
            ("due", "due_at"),
            ("reminders", "remind_at"),
            ("escalates", "escalates_at"),
            ("expires", "expires_at"),
            ("input", "input"),
            ("form", "form"),
            ("closed", "closed_at"),
            ("by", "closed_by"),
            ("output", "output"),
            ("failure", "failure"),
            ("generation", "generation"),
        ],
    )


def changes(session: Session, found: Sequence[ledger_pb2.TaskChange], *, none: str) -> None:
    """Print what happened to a task, or `none` where nothing did."""
    rows = [documents.task_change(one) for one in found]
    for row in rows if not session.output.json else ():
        row["what"] = row["event_type"].removeprefix("backbone.Task").lower()
        row["assigned"] = _assigned(row)
        row["words"] = row["comment"] or row["reason"]
    session.output.rows(
        rows,
        [
            ("WHEN", "occurred_at"),
            ("WHAT", "what"),
            ("BY", "actor"),
            ("FOR", "assigned"),
            ("REASON OR COMMENT", "words"),
        ],
        none=none,
    )


def _worded(task: dict[str, Any]) -> dict[str, Any]:
    return {
        **task,
        "what": task["title"] or task["handler"],
        "assigned": _assigned(task),
    }


def _assigned(of: dict[str, Any]) -> list[str]:
    return [*of["assigned_users"], *(f"@{one}" for one in of["assigned_groups"])]
