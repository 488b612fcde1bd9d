"""What events of human tasks change besides closing them: claims, assignees, timers, history."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.definitions import Assignees
from contracts.events import (
    TaskClaimed,
    TaskCommented,
    TaskEscalated,
    TaskOverdue,
    TaskReassigned,
    TaskReleased,
    TaskReminded,
)
from eventstore.events import Event
from runtime import sqlfiles
from runtime.postgres import Transaction


@dataclass
class HumanTaskChanges:
    """What the events of one append change, in the order of the events."""

    changes: list[tuple[Any, ...]] = field(default_factory=list)
    rows: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    def collect(self, namespace: str, event: Event) -> bool:
        """Take what an event says of a human task; True when nobody else has to look at it."""
        payload, at = event.payload, event.envelope.occurred_at
        if getattr(payload, "type", None) != "human":
            return False
        task_id: UUID = payload.task_id  # type: ignore[attr-defined]  # as every one with a type
        self.changes.append(_change(namespace, task_id, event))
        match payload:
            case TaskClaimed():
                self._change("change_claim", namespace, task_id, payload.actor, at)
            case TaskReleased():
                self._change("change_claim", namespace, task_id, None, at)
            case TaskReassigned():
                self._reassign(namespace, task_id, payload.assignees)
            case TaskEscalated():
                self._reassign(namespace, task_id, payload.assignees)
                self._advance(namespace, task_id, payload.scheduled_for)
            case TaskReminded() | TaskOverdue():
                self._advance(namespace, task_id, payload.scheduled_for)
            case TaskCommented():
                pass
            case _:
                return False
        return True

    def _reassign(self, namespace: str, task_id: UUID, to: Assignees) -> None:
        self._change("change_assignees", namespace, task_id, to.users, to.groups)

    def _advance(self, namespace: str, task_id: UUID, until: datetime) -> None:
        self._change("move_timers", namespace, task_id, until)

    def _change(self, statement: str, *arguments: Any) -> None:
        self.rows.append((statement, arguments))


class HumanTaskProjection:
    """Writes them: one round trip for the history of an append, one for each change of a row."""

    def __init__(self) -> None:
        self._sql = sqlfiles.load("ledger", "tasks")

    async def write(self, transaction: Transaction, collected: HumanTaskChanges) -> None:
        """Write what was collected."""
        if collected.changes:
            await transaction.executemany(self._sql["insert_change"], collected.changes)
        for statement, arguments in collected.rows:
            await transaction.execute(self._sql[statement], *arguments)


def _change(namespace: str, task_id: UUID, event: Event) -> tuple[Any, ...]:
    said = event.payload
    assignees: Assignees | None = None
    # A reminder says whose it is; it changes nothing of that.
    if not isinstance(said, TaskReminded | TaskOverdue):
        assignees = getattr(said, "assignees", None)
    return (
        namespace,
        task_id,
        event.position,
        event.envelope.type,
        UUID(event.envelope.event_id),
        event.envelope.occurred_at,
        getattr(said, "actor", None),
        getattr(said, "reason", None),
        getattr(said, "comment", None),
        assignees.users if assignees else [],
        assignees.groups if assignees else [],
    )
