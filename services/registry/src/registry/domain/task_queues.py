"""Which task queues a definition has work on, and how they stand."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class TaskKind(StrEnum):
    """What waits on a queue: to be decided by a workflow, or carried out by an activity."""

    WORKFLOW = "workflow"
    ACTIVITY = "activity"


@dataclass(frozen=True, slots=True)
class QueueState:
    """One kind of tasks of a queue: how many wait, the oldest for so long, and who polls.

    `definitions` have work on it; `definition_ids` are the first of them.
    """

    name: str
    kind: TaskKind
    backlog: int
    age: timedelta
    pollers: int
    definition_ids: tuple[str, ...] = ()
    definitions: int = 0


@dataclass(frozen=True, slots=True)
class QueueStates:
    """What was found of a namespace's queues, and of how many nothing was asked.

    `asked_at` is None while nothing is known: Temporal was not asked yet, or is away.
    """

    states: tuple[QueueState, ...] = ()
    unwatched: int = 0
    asked_at: datetime | None = None


def named(content: bytes) -> frozenset[str]:
    """Return the task queues that a definition's document names: of runs, tasks and failures."""
    spec = json.loads(content)["spec"]
    parts = [spec, spec.get("onFailure") or {}, *(rule["task"] for rule in spec["rules"])]
    return frozenset(part["taskQueue"] for part in parts if part.get("taskQueue"))
