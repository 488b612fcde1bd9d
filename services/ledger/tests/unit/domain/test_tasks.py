"""Who may do what with a human task, and what the clock does to it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts.decisions import TaskStatus
from contracts.definitions import Assignees
from eventstore.events import Fact
from ledger.domain import tasks
from ledger.domain.tasks import Assignment, HumanTask, Person
from ledger.domain.timers import Timers
from ledger.errors import (
    AnswerRefusedError,
    InvalidRequestError,
    LedgerError,
    NotAssignedError,
    PreconditionError,
    StaleTaskError,
    TaskClaimedError,
    TaskNotOpenError,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ANA = Person("dev/ana", "ana")
BO = Person("dev/bo", "bo", groups=frozenset({"collections"}))
EVE = Person("dev/eve", "eve", groups=frozenset({"sales"}))
VIC = Person("dev/vic", "vic", overseer=True)
OPS = Person("dev/ops", "ops", operator=True, overseer=True)
TASK = HumanTask(
    task_id=UUID(int=1),
    run_id="billing:manual:1",
    definition_id="billing",
    rule="call",
    key="",
    type="human",
    status=TaskStatus.OPEN,
    version=4,
    title="Call",
    assigned_users=["ana"],
    assigned_groups=["collections"],
    claimed_by=None,
    closed_by=None,
    form=None,
    timers=Timers(),
)
BOS = replace(TASK, claimed_by="dev/bo")
OTHERS = Assignees(users=["zoe"])

Act = Callable[..., list[Fact]]


def complete(task: HumanTask, person: Person, reason: str = "") -> list[Fact]:
    return tasks.completed(task, person, reason, answer={}, answer_body=b"{}")


def reassign(task: HumanTask, person: Person, reason: str = "ill") -> list[Fact]:
    return tasks.reassigned(task, person, reason, to=OTHERS)


def claim(task: HumanTask, person: Person, reason: str = "") -> list[Fact]:
    return tasks.claimed(task, person, reason)


def release(task: HumanTask, person: Person, reason: str = "") -> list[Fact]:
    return tasks.released(task, person, reason)


def comment(task: HumanTask, person: Person) -> list[Fact]:
    return tasks.commented(task, person, "hello")


def cancel(task: HumanTask, person: Person, reason: str = "gone") -> list[Fact]:
    return tasks.cancelled(task, person, reason)


def told(act: Act, *arguments: Any) -> list[str] | type[LedgerError]:
    """Return what an act gives: the types of its facts, or the error."""
    try:
        return [fact.type.removeprefix("backbone.Task") for fact in act(*arguments)]
    except LedgerError as exc:
        return type(exc)


@pytest.mark.parametrize(
    ("act", "fact"),
    [
        (claim, "Claimed"),
        (complete, "Completed"),
        (reassign, "Reassigned"),
        (comment, "Commented"),
    ],
)
def test_an_assignee_a_member_of_an_assigned_group_and_an_operator_may_act(
    act: Act, fact: str
) -> None:
    for person in (ANA, BO, OPS):
        assert told(act, TASK, person) == [fact]
    for person in (EVE, VIC):
        assert told(act, TASK, person) is NotAssignedError


@pytest.mark.parametrize(
    ("act", "fact"), [(complete, "Completed"), (reassign, "Reassigned"), (release, "Released")]
)
def test_a_claimed_task_is_its_claimants_and_an_operators_with_a_reason(
    act: Act, fact: str
) -> None:
    assert told(act, BOS, BO, "mine") == [fact]
    assert told(act, BOS, ANA, "let me") is TaskClaimedError
    assert told(act, BOS, OPS, "") is TaskClaimedError
    assert told(act, BOS, OPS, "bo is ill") == [fact]


def test_a_task_is_claimed_by_one_and_again_by_the_same() -> None:
    assert told(claim, BOS, BO) == []
    assert told(claim, BOS, ANA) is TaskClaimedError
    # Not even an operator takes it without releasing it.
    assert told(claim, BOS, OPS, "mine now") is TaskClaimedError


def test_what_is_so_already_is_no_change() -> None:
    assert told(release, TASK, ANA) == []
    same = Assignees(users=["ana"], groups=["collections"])
    assert tasks.reassigned(TASK, OPS, "again", to=same) == []
    # But it ends a claim.
    assert len(tasks.reassigned(BOS, OPS, "again", to=same)) == 1


def test_only_an_operator_cancels() -> None:
    assert told(cancel, BOS, OPS) == ["Cancelled"]
    assert told(cancel, TASK, ANA) is NotAssignedError


def test_an_answer_has_to_fit_the_form() -> None:
    form = b'{"type": "object", "required": ["paid"]}'
    assert told(complete, replace(TASK, form=form), ANA) is AnswerRefusedError


def test_who_claimed_before_a_reassignment_is_a_stranger_after_it() -> None:
    theirs = replace(TASK, assigned_users=["zoe"], assigned_groups=[])
    assert told(complete, theirs, BO) is NotAssignedError


def test_a_task_that_cannot_change_says_what_it_is_now() -> None:
    tasks.refuse_unless_open(TASK, version=4)
    tasks.refuse_unless_open(TASK, version=0)
    with pytest.raises(StaleTaskError) as stale:
        tasks.refuse_unless_open(BOS, version=3)
    assert str(stale.value) == (
        f"the task {BOS.task_id} is at version 4 now, not 3: it is assigned to ana, @collections "
        "and claimed by dev/bo"
    )
    closed = replace(TASK, status=TaskStatus.EXPIRED)
    with pytest.raises(TaskNotOpenError, match="expired, not open"):
        tasks.refuse_unless_open(closed, version=3)
    with pytest.raises(PreconditionError, match="for a handler"):
        tasks.refuse_unless_open(replace(TASK, type="automated"), version=0)


def test_lists_hold_what_the_asker_may_see() -> None:
    own = Assignment(["bo"], ["collections"], "dev/bo")
    nothing = {"user": "", "group": "", "mine": False}
    assert tasks.visible(BO, **nothing) == own
    assert tasks.visible(VIC, **nothing) is None
    assert tasks.visible(VIC, user="", group="", mine=True) == Assignment(["vic"], [], "dev/vic")
    assert tasks.visible(VIC, user="bo", group="", mine=False) == Assignment(["bo"], [])
    assert tasks.visible(BO, user="", group="collections", mine=False) == Assignment(
        [], ["collections"]
    )
    with pytest.raises(NotAssignedError):
        tasks.visible(BO, user="ana", group="", mine=False)
    with pytest.raises(NotAssignedError):
        tasks.visible(BO, user="", group="sales", mine=False)
    with pytest.raises(InvalidRequestError):
        tasks.visible(VIC, user="ana", group="", mine=True)


def test_a_task_is_seen_by_those_it_is_for_and_by_overseers() -> None:
    def sees(person: Person, claimed_by: str | None = None) -> bool:
        return tasks.may_see(person, users=["ana"], groups=["collections"], claimed_by=claimed_by)

    assert [sees(person) for person in (ANA, BO, VIC, EVE)] == [True, True, True, False]
    assert sees(EVE, claimed_by="dev/eve")


def test_the_clock_tells_then_gives_to_others_then_closes() -> None:
    clock = Timers(
        due_at=NOW - timedelta(hours=2),
        remind_at=[NOW - timedelta(hours=1)],
        escalates_at=NOW - timedelta(hours=3),
        escalates_to=OTHERS,
        expires_at=NOW + timedelta(hours=1),
    )
    escalated, overdue, reminded = tasks.advanced(replace(BOS, timers=clock), NOW)
    assert escalated.type == "backbone.TaskEscalated"
    assert dict(escalated.payload)["claimed_by"] == "dev/bo"
    # From then on it is somebody else's, and free.
    for fact in (overdue, reminded):
        assert (dict(fact.payload)["assignees"], dict(fact.payload)["claimed_by"]) == (OTHERS, None)
    later = NOW + timedelta(hours=1)
    assert told(tasks.advanced, replace(BOS, timers=clock), later) == ["Expired"]
