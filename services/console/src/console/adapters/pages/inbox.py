"""The inbox: human tasks that are for somebody, and what people do with them."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from backbone.ledger.v1 import ledger_pb2 as pb
from console.adapters.areas import MAX_REASON, Area, Page, get, post
from console.adapters.pages import histories
from console.adapters.stamps import stamp
from console.domain import answers, forms, inbox
from console.domain.answers import Typed
from console.errors import BadRequestError, ServiceError
from contracts import identifiers

MAX_COMMENT = 4000
_PAGE = 50
_STATUSES = {
    "open": pb.TASK_STATUS_OPEN,
    "completed": pb.TASK_STATUS_COMPLETED,
    "cancelled": pb.TASK_STATUS_CANCELLED,
    "expired": pb.TASK_STATUS_EXPIRED,
    "any": pb.TASK_STATUS_UNSPECIFIED,
}
_WHOSE = ("mine", "everybody")
_DUE = ("any", "overdue", "day", "week")


async def list_(page: Page) -> Response:
    """List tasks: without a word those that are open and for the visitor."""
    status = page.one_of("status", _STATUSES)
    whose = page.one_of("whose", _WHOSE)
    due = page.one_of("due", _DUE)
    group, definition = page.query("group", limit=200), page.query("definition", limit=200)
    now = datetime.now(UTC)
    # The pages of a list go on with the time that its first one began with.
    before = page.moment("before") or inbox.due_before(due, now=now)
    found = await page.ledger.ask(
        page.ledger.tasks.ListTasks(
            pb.ListTasksRequest(
                namespace=page.namespace,
                page_size=_PAGE,
                page_token=page.query("page"),
                type=pb.TASK_TYPE_HUMAN,
                status=_STATUSES[status],
                assigned_group=group,
                mine=whose == "mine" and not group,
                definition_id=definition,
                due_before=stamp(before),
            )
        )
    )
    query = {"status": status, "whose": whose, "due": due, "group": group, "definition": definition}
    return page.render(
        "inbox/list.html",
        tasks=found.tasks,
        lateness={task.task_id: _lateness(task, now) for task in found.tasks},
        token=found.next_page_token,
        query=query,
        older=query | ({"before": identifiers.instant(before)} if before else {}),
        statuses=tuple(_STATUSES),
    )


@dataclass(frozen=True)
class _Filling:
    """How far somebody came with an answer: what was typed, and what is wrong with it."""

    typed: Typed | None = None
    problems: Mapping[str, str] | None = None
    problem: str = ""
    reason: str = ""
    status: HTTPStatus = HTTPStatus.OK


async def show(page: Page) -> Response:
    """Show a task with its form and its history."""
    return await _show(page, page.query("id", required=True), _Filling())


async def claim(page: Page) -> Response:
    """Take a task."""
    return await _change(page, page.ledger.tasks.ClaimTask(pb.ClaimTaskRequest(**_named(page))))


async def release(page: Page) -> Response:
    """Give a claimed task back."""
    return await _change(page, page.ledger.tasks.ReleaseTask(pb.ReleaseTaskRequest(**_named(page))))


async def reassign(page: Page) -> Response:
    """Give a task to others."""
    users, groups = inbox.names(page.field("users")), inbox.names(page.field("groups"))
    if not users and not groups:
        raise BadRequestError("A task is for somebody: name a user or a group.")
    asked = pb.ReassignTaskRequest(
        **_named(page) | {"reason": page.reason}, assigned_users=users, assigned_groups=groups
    )
    return await _change(page, page.ledger.tasks.ReassignTask(asked))


async def cancel(page: Page) -> Response:
    """Close a task that is not wanted any more."""
    asked = pb.CancelTaskRequest(**_named(page) | {"reason": page.reason})
    return await _change(page, page.ledger.tasks.CancelTask(asked))


async def comment(page: Page) -> Response:
    """Write something about a task."""
    asked = pb.CommentTaskRequest(
        namespace=page.namespace,
        task_id=page.query("id", required=True),
        request_id=page.request_id,
        comment=page.field("comment", required=True, limit=MAX_COMMENT),
    )
    return await _change(page, page.ledger.tasks.CommentTask(asked))


async def complete(page: Page) -> Response:
    """Complete a task with what was typed; with what does not fit, show it again."""
    task_id = page.query("id", required=True)
    task = await _task(page, task_id)
    form = forms.form(task.form)
    typed = _typed(page)
    reason = page.field("reason", limit=MAX_REASON)
    reading = answers.read(form, typed)
    if reading.problems:
        said = "The answer is not complete: see what is said beside its fields."
        return await _show(
            page,
            task_id,
            _Filling(typed, reading.problems, said, reason, HTTPStatus.BAD_REQUEST),
        )
    asked = pb.CompleteTaskRequest(**_named(page), answer=reading.body)
    try:
        return await _change(page, page.ledger.tasks.CompleteTask(asked))
    except ServiceError as exc:
        # What was typed is kept, whatever keeps it from being taken.
        beside, others = _placed(form, exc.violations)
        told = "The answer does not fit: see what is said beside its fields." if beside else ""
        said = " ".join([told, *others]).strip() if exc.violations else str(exc)
        return await _show(page, task_id, _Filling(typed, beside, said, reason, exc.status))


async def _show(page: Page, task_id: str, filling: _Filling) -> Response:
    task = await _task(page, task_id)
    form = forms.form(task.form)
    return page.render(
        "inbox/task.html",
        code=filling.status,
        task=task,
        lateness=_lateness(task, datetime.now(UTC)),
        form=form,
        typed=answers.defaults(form) if filling.typed is None else filling.typed,
        problems=filling.problems or {},
        problem=filling.problem,
        reason=filling.reason,
        changes=await histories.of_task(page, task_id),
        max_comment=MAX_COMMENT,
    )


async def _task(page: Page, task_id: str) -> pb.Task:
    asked = pb.GetTaskRequest(namespace=page.namespace, task_id=task_id)
    found = await page.ledger.ask(page.ledger.tasks.GetTask(asked))
    if found.task.type != pb.TASK_TYPE_HUMAN:
        raise BadRequestError("A handler carries this task out: there is nothing to do for people.")
    return found.task


async def _change(page: Page, call: Awaitable[Any]) -> Response:
    await page.ledger.ask(call)
    return page.go(page.links.to("inbox/task", id=page.query("id")))


def _named(page: Page) -> dict[str, Any]:
    """Return what every change says: of which task, as it was looked at, and why."""
    version = page.field("version", required=True, limit=18)
    if not version.isdecimal():
        raise BadRequestError("The version of the task is no number: load the page again.")
    return {
        "namespace": page.namespace,
        "task_id": page.query("id", required=True),
        "version": int(version),
        "request_id": page.request_id,
        "reason": page.field("reason", limit=MAX_REASON),
    }


def _typed(page: Page) -> dict[str, Sequence[str]]:
    return {
        name: [value for value in page.form.getlist(name) if isinstance(value, str)]
        for name in page.form
        if name == forms.PREFIX or name.startswith(f"{forms.PREFIX}/")
    }


def _placed(form: forms.Field, violations: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what is said beside which field, and what is said of no field."""
    if form.kind is forms.Kind.JSON:
        told = "; ".join(f"{place or 'the answer'}: {what}" for place, what in violations.items())
        return ({form.name: told} if told else {}), []
    beside: dict[str, str] = {}
    others = []
    for place, what in violations.items():
        where = forms.at(form, place)
        if where is None:
            others.append(f"The answer: {what}.")
        else:
            inner = place.removeprefix(where.place)
            beside[where.name] = f"{inner.lstrip('.')}: {what}" if inner else what
    return beside, others


def _lateness(task: pb.Task, now: datetime) -> str:
    if task.status != pb.TASK_STATUS_OPEN or not task.HasField("due_at"):
        return ""
    return inbox.lateness(task.due_at.ToDatetime(UTC), now=now)


AREA = Area(
    "inbox",
    [
        get("inbox", list_),
        get("inbox/task", show),
        post("inbox/claim", claim),
        post("inbox/release", release),
        post("inbox/complete", complete),
        post("inbox/reassign", reassign),
        post("inbox/comment", comment),
        post("inbox/cancel", cancel),
    ],
    title="Inbox",
)
