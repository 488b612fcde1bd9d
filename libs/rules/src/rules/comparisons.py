"""How the tasks of two decisions differ, task by task; a task is known by its id."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from contracts import canonical
from contracts.decisions import TaskInstance

_IDENTITY = frozenset({"task_id", "rule", "key", "input"})


class TaskChange(StrEnum):
    """What became of a task from one decision to the other."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A field of a task that differs, `input.amount` for one; None where it is not there."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class TaskDifference:
    """A task that only one of two decisions holds, or that both hold otherwise.

    A rule or a task key with another name gives another task: one removed and one added.
    """

    change: TaskChange
    task: TaskInstance
    fields: tuple[FieldDifference, ...] = ()


def compare(
    before: Sequence[TaskInstance], after: Sequence[TaskInstance]
) -> tuple[TaskDifference, ...]:
    """Return what differs: removed and changed tasks in their order, then added ones."""
    new = {task.task_id: task for task in after}
    return tuple(_differences(before, new))


def _differences(
    before: Sequence[TaskInstance], new: dict[UUID, TaskInstance]
) -> Iterator[TaskDifference]:
    for task in before:
        other = new.pop(task.task_id, None)
        if other is None:
            yield TaskDifference(TaskChange.REMOVED, task)
        elif fields := tuple(_fields(task, other)):
            yield TaskDifference(TaskChange.CHANGED, other, fields)
    for task in new.values():
        yield TaskDifference(TaskChange.ADDED, task)


def _fields(before: TaskInstance, after: TaskInstance) -> Iterator[FieldDifference]:
    old, new = _flat(before), _flat(after)
    for path in dict.fromkeys((*old, *new)):
        one, other = old.get(path), new.get(path)
        # By their bytes: to Python, 1 and true are equal.
        if (path in old) != (path in new) or canonical.render(one) != canonical.render(other):
            yield FieldDifference(path, one, other)


def _flat(task: TaskInstance) -> dict[str, Any]:
    document = task.model_dump(mode="json", exclude_none=True)
    flat = {name: value for name, value in document.items() if name not in _IDENTITY}
    return flat | {f"input.{name}": value for name, value in task.input.items()}
