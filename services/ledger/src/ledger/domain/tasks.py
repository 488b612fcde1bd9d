"""What people and the clock may do to a human task, and which facts that gives.

Every function here looks at a task as it stands under its run's lock. A fact that is returned is
true when it is written; what is not allowed is refused with a sentence that says why.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, JsonValue

from contracts.decisions import TaskStatus
from contracts.definitions import Assignees
from contracts.events import (
    TaskCancelled,
    TaskClaimed,
    TaskCommented,
    TaskCompleted,
    TaskEscalated,
    TaskExpired,
    TaskOverdue,
    TaskReassigned,
    TaskReleased,
    TaskReminded,
)
from eventstore.events import Fact
from ledger.domain import answers
from ledger.domain.runs import TaskType
from ledger.domain.timers import Timer, Timers
from ledger.errors import (
    AnswerRefusedError,
    InvalidRequestError,
    NotAssignedError,
    PreconditionError,
    StaleTaskError,
    TaskClaimedError,
    TaskNotOpenError,
)


@dataclass(frozen=True)
class Person:
    """Who asks: `subject` is what the audit shows, `user` the name that tasks are assigned to.

    An operator may act on every task, an overseer see every one.
    """

    subject: str
    user: str
    groups: frozenset[str] = frozenset()
    operator: bool = False
    overseer: bool = False


@dataclass(frozen=True)
class Assignment:
    """Whose tasks are meant: those assigned to users or groups, or claimed by a subject."""

    users: list[str]
    groups: list[str]
    claimed_by: str | None = None


@dataclass(frozen=True)
class HumanTask:
    """A task of a locked run, as it stands."""

    task_id: UUID
    run_id: str
    definition_id: str
    rule: str
    key: str
    type: TaskType
    status: TaskStatus
    version: int
    title: str | None
    assigned_users: list[str]
    assigned_groups: list[str]
    claimed_by: str | None
    closed_by: str | None
    form: bytes | None
    timers: Timers

    @property
    def assignees(self) -> Assignees:
        """Whose it is."""
        return Assignees(users=self.assigned_users, groups=self.assigned_groups)


def refuse_unless_open(task: HumanTask, *, version: int) -> None:
    """Refuse what nobody can change: no person's task, a closed one, a version that was.

    Raises:
        PreconditionError: a handler carries it out.
        TaskNotOpenError: it is closed.
        StaleTaskError: it was changed since the caller looked at it (`version`; 0 is any).
    """
    if task.type != "human":
        raise PreconditionError(f"the task {task.task_id} is for a handler, not for a person")
    if task.status is not TaskStatus.OPEN:
        raise TaskNotOpenError(str(task.task_id), status=task.status, closed_by=task.closed_by)
    if version not in (0, task.version):
        raise StaleTaskError(
            str(task.task_id),
            looked_at=version,
            version=task.version,
            claimed_by=task.claimed_by,
            assigned=[*task.assigned_users, *(f"@{group}" for group in task.assigned_groups)],
        )


def claimed(task: HumanTask, person: Person, reason: str) -> list[Fact]:
    """Return what a claim gives: nothing when it is the person's already."""
    _refuse_stranger(task, person)
    if task.claimed_by == person.subject:
        return []
    if task.claimed_by is not None:
        raise TaskClaimedError(
            str(task.task_id), claimed_by=task.claimed_by, instead="it has to be released first"
        )
    return [_fact(task, TaskClaimed, actor=person.subject, reason=reason or None)]


def released(task: HumanTask, person: Person, reason: str) -> list[Fact]:
    """Return what a release gives: nothing when nobody had claimed it."""
    _refuse_stranger(task, person)
    if task.claimed_by is None:
        return []
    _refuse_claimed(task, person, reason)
    return [_fact(task, TaskReleased, actor=person.subject, reason=reason or None)]


def completed(
    task: HumanTask, person: Person, reason: str, *, answer: JsonValue, answer_body: bytes
) -> list[Fact]:
    """Return what a completion gives.

    Raises:
        AnswerRefusedError: the answer does not fit the form.
    """
    _refuse_stranger(task, person)
    _refuse_claimed(task, person, reason)
    if task.form is not None:
        problems = answers.problems(task.form, answer_body)
        if problems:
            raise AnswerRefusedError([(one.path, one.message) for one in problems])
    return [_fact(task, TaskCompleted, output=answer, actor=person.subject, reason=reason or None)]


def cancelled(task: HumanTask, person: Person, reason: str) -> list[Fact]:
    """Return what taking a task back gives."""
    if not person.operator:
        raise NotAssignedError(f"only an operator cancels a task, which {person.subject} is not")
    return [_fact(task, TaskCancelled, actor=person.subject, reason=reason)]


def reassigned(task: HumanTask, person: Person, reason: str, *, to: Assignees) -> list[Fact]:
    """Return what giving a task to others gives: nothing when it is theirs already."""
    _refuse_stranger(task, person)
    _refuse_claimed(task, person, reason)
    same = (sorted(to.users), sorted(to.groups)) == (
        sorted(task.assigned_users),
        sorted(task.assigned_groups),
    )
    if same and task.claimed_by is None:
        return []
    return [_fact(task, TaskReassigned, assignees=to, actor=person.subject, reason=reason)]


def commented(task: HumanTask, person: Person, comment: str) -> list[Fact]:
    """Return what a comment gives; whoever may act on a task may comment on it, claimed or not."""
    _refuse_stranger(task, person)
    return [_fact(task, TaskCommented, comment=comment, actor=person.subject)]


def advanced(task: HumanTask, now: datetime) -> list[Fact]:
    """Return what the clock does to an open task by `now`, in the order of the times."""
    facts: list[Fact] = []
    assignees, claimant = task.assignees, task.claimed_by
    for timer, at in task.timers.elapsed(now):
        if timer is Timer.EXPIRY:
            facts.append(_fact(task, TaskExpired, expires_at=at))
            continue
        if timer is Timer.ESCALATION and task.timers.escalates_to is not None:
            assignees = task.timers.escalates_to
        notice = {
            "title": task.title or "",
            "assignees": assignees,
            "claimed_by": claimant,
            "scheduled_for": at,
        }
        if timer is Timer.ESCALATION:
            facts.append(_fact(task, TaskEscalated, **notice))
            claimant = None
        else:
            kind = TaskReminded if timer is Timer.REMINDER else TaskOverdue
            facts.append(_fact(task, kind, due_at=task.timers.due_at, **notice))
    return facts


def visible(person: Person, *, user: str, group: str, mine: bool) -> Assignment | None:
    """Return whose tasks a list holds; None for everybody's.

    Raises:
        InvalidRequestError: more than one of `user`, `group` and `mine` is asked for.
        NotAssignedError: the person may not see those of others.
    """
    if sum((bool(user), bool(group), mine)) > 1:
        raise InvalidRequestError("assigned_user, assigned_group and mine exclude each other")
    own = Assignment([person.user], sorted(person.groups), person.subject)
    if user or group:
        theirs = user != person.user if user else group not in person.groups
        if theirs and not person.overseer:
            raise NotAssignedError(f"{person.subject} may not see the tasks of {user or group}")
        return Assignment([user] if user else [], [group] if group else [])
    return None if person.overseer and not mine else own


def may_see(person: Person, *, users: list[str], groups: list[str], claimed_by: str | None) -> bool:
    """Say whether a person may see a task that is for these, or claimed by this one."""
    return person.overseer or _is_theirs(person, users, groups, claimed_by)


def _is_theirs(person: Person, users: list[str], groups: list[str], claimed_by: str | None) -> bool:
    return (
        person.user in users or not person.groups.isdisjoint(groups) or claimed_by == person.subject
    )


def _refuse_stranger(task: HumanTask, person: Person) -> None:
    if person.operator or _is_theirs(
        person, task.assigned_users, task.assigned_groups, task.claimed_by
    ):
        return
    raise NotAssignedError(
        f"the task {task.task_id} is not assigned to {person.subject} or to one of their groups"
    )


def _refuse_claimed(task: HumanTask, person: Person, reason: str) -> None:
    if task.claimed_by in (None, person.subject) or (person.operator and reason):
        return
    instead = "give a reason" if person.operator else "only they or an operator may do this"
    raise TaskClaimedError(str(task.task_id), claimed_by=str(task.claimed_by), instead=instead)


def _fact(task: HumanTask, kind: type[BaseModel], **fields: Any) -> Fact:
    payload = kind(
        task_id=task.task_id,
        run_id=task.run_id,
        definition_id=task.definition_id,
        rule=task.rule,
        key=task.key,
        type=task.type,
        **fields,
    )
    return Fact(payload=payload, key=task.run_id, subject=str(task.task_id))
