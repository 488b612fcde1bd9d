"""`tasks` and `inbox`: the tasks of runs, and what people do with the human ones."""

import uuid
from typing import Annotated

import typer

from cli import task_view
from cli.errors import UsageError
from cli.inboxes import TaskFilter, TaskKind, TaskRequest
from cli.session import (
    LimitOption,
    NamespaceOption,
    OutputOption,
    ReasonOption,
    RequestIdOption,
    Session,
    json_option,
)
from contracts.decisions import TaskStatus

_HELP = "List tasks (the default); do, give away and look at human ones; retry failed ones."

app = typer.Typer(help=_HELP, rich_markup_mode=None)

TaskArgument = Annotated[str, typer.Argument(metavar="ID", help="As `inbox` and `tasks` list it.")]
RunOption = Annotated[str, typer.Option("--run", metavar="RUN_ID", help="Only of this run.")]
StatusOption = Annotated[TaskStatus | None, typer.Option("--status", help="Only in this one.")]
TypeOption = Annotated[TaskKind | None, typer.Option("--type", help="Only of this one.")]
UserOption = Annotated[
    str, typer.Option("--user", metavar="NAME", help="What is assigned to this user.")
]
GroupOption = Annotated[
    str, typer.Option("--group", metavar="NAME", help="What is assigned to this group.")
]
ToUsersOption = Annotated[
    list[str] | None, typer.Option("--user", metavar="NAME", help="To this user; may be repeated.")
]
ToGroupsOption = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="NAME", help="To this group; may be repeated."),
]
WhyOption = Annotated[
    str,
    typer.Option(
        "--reason", metavar="TEXT", help="Why; the history keeps it. Needed against others' claims."
    ),
]
VersionOption = Annotated[
    int,
    typer.Option(
        "--version",
        min=0,
        metavar="N",
        help="Only if the task is still at this version, as you looked at it (`tasks show`).",
    ),
]


def inbox(
    context: typer.Context,
    *,
    user: UserOption = "",
    group: GroupOption = "",
    everybody: Annotated[
        bool, typer.Option("--all", help="Everybody's; needs a role that sees all.")
    ] = False,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List the open human tasks that are for you: by name, by group, or claimed by you."""
    if sum((bool(user), bool(group), everybody)) > 1:
        raise UsageError("--user, --group and --all exclude each other")
    session = Session(context, namespace=namespace, output=output)
    wanted = TaskFilter(
        status=TaskStatus.OPEN,
        kind=TaskKind.HUMAN,
        user=user,
        group=group,
        mine=not (user or group or everybody),
    )
    none = f"nothing is open for {user or group or 'anybody'} in namespace {session.namespace}"
    if wanted.mine:
        none = (
            f"nothing is open for you in namespace {session.namespace}; --group NAME shows what is "
            "for a group, --all what is for anybody"
        )
    found = session.ask(lambda clients: clients.inbox.tasks(wanted, limit=limit))
    task_view.listed(session, found, none=none)


@app.callback(invoke_without_command=True, help=_HELP)
def default(
    context: typer.Context,
    *,
    run: RunOption = "",
    status: StatusOption = None,
    kind: TypeOption = None,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List tasks, or make way for the command that follows."""
    if context.invoked_subcommand is not None:
        if run or status or kind:
            raise UsageError(
                f"--run, --status and --type go after `tasks {context.invoked_subcommand}`"
            )
        root = context.find_root()
        root.obj = root.obj.overridden(namespace=namespace, output=output)
    else:
        session = Session(context, namespace=namespace, output=output)
        _list(session, TaskFilter(run_id=run, status=status, kind=kind), limit)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    run: RunOption = "",
    status: StatusOption = None,
    kind: TypeOption = None,
    user: UserOption = "",
    group: GroupOption = "",
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List tasks, the newest first."""
    if user and group:
        raise UsageError("--user and --group exclude each other")
    session = Session(context, namespace=namespace, output=output)
    wanted = TaskFilter(run_id=run, status=status, kind=kind, user=user, group=group)
    _list(session, wanted, limit)


@app.command()
def show(
    context: typer.Context,
    task_id: TaskArgument,
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show a task with its input, form, answer and version."""
    session = Session(context, namespace=namespace, output=output)
    task_view.shown(session, session.ask(lambda clients: clients.inbox.task(task_id)))


@app.command()
def history(
    context: typer.Context,
    task_id: TaskArgument,
    *,
    limit: LimitOption = 1000,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show what happened to a human task, the oldest first: who did what, and why."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(lambda clients: clients.inbox.changes(task_id, limit=limit))
    task_view.changes(session, found, none="nothing: a handler carries this task out")


@app.command()
def claim(
    context: typer.Context,
    task_id: TaskArgument,
    *,
    reason: WhyOption = "",
    version: VersionOption = 0,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Take a task, so that nobody else completes it meanwhile."""
    session = Session(context, namespace=namespace, output=output)
    asked = _asked(task_id, request_id, reason=reason, version=version)
    task_view.shown(session, session.ask(lambda clients: clients.inbox.claim(asked)))


@app.command()
def release(
    context: typer.Context,
    task_id: TaskArgument,
    *,
    reason: WhyOption = "",
    version: VersionOption = 0,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Give a claimed task back to all it is assigned to."""
    session = Session(context, namespace=namespace, output=output)
    asked = _asked(task_id, request_id, reason=reason, version=version)
    task_view.shown(session, session.ask(lambda clients: clients.inbox.release(asked)))


@app.command()
def complete(
    context: typer.Context,
    task_id: TaskArgument,
    answer: Annotated[
        str, typer.Option("--answer", metavar="JSON", help="It has to fit the task's form.")
    ],
    *,
    reason: WhyOption = "",
    version: VersionOption = 0,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Complete an open human task with an answer."""
    session = Session(context, namespace=namespace, output=output)
    content = json_option("--answer", answer)
    asked = _asked(task_id, request_id, reason=reason, version=version)
    done = session.ask(lambda clients: clients.inbox.complete(asked, answer=content))
    task_view.shown(session, done)


@app.command()
def cancel(
    context: typer.Context,
    task_id: TaskArgument,
    *,
    reason: ReasonOption,
    version: VersionOption = 0,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Close a task that is not wanted any more; for operators."""
    session = Session(context, namespace=namespace, output=output)
    asked = _asked(task_id, request_id, reason=reason, version=version)
    task_view.shown(session, session.ask(lambda clients: clients.inbox.cancel(asked)))


@app.command()
def retry(
    context: typer.Context,
    task_id: TaskArgument,
    *,
    reason: ReasonOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Have an automated task that failed for good carried out again, under its old id."""
    session = Session(context, namespace=namespace, output=output)
    request = request_id or str(uuid.uuid4())
    again = session.ask(
        lambda clients: clients.retry_task(task_id, request_id=request, reason=reason)
    )
    task_view.shown(session, again)


@app.command()
def reassign(
    context: typer.Context,
    task_id: TaskArgument,
    *,
    reason: ReasonOption,
    users: ToUsersOption = None,
    groups: ToGroupsOption = None,
    version: VersionOption = 0,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Give a task to other users or groups, instead of those it is assigned to."""
    if not users and not groups:
        raise UsageError("say to whom: --user NAME or --group NAME")
    session = Session(context, namespace=namespace, output=output)
    asked = _asked(task_id, request_id, reason=reason, version=version)
    given = session.ask(
        lambda clients: clients.inbox.reassign(asked, users=users or [], groups=groups or [])
    )
    task_view.shown(session, given)


@app.command()
def comment(
    context: typer.Context,
    task_id: TaskArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What its history is to keep.")],
    *,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Write something about a task; `tasks history` shows it."""
    session = Session(context, namespace=namespace, output=output)
    request = request_id or str(uuid.uuid4())
    commented = session.ask(
        lambda clients: clients.inbox.comment(task_id, comment=text, request_id=request)
    )
    task_view.shown(session, commented)


def _asked(task_id: str, request_id: str | None, *, reason: str, version: int) -> TaskRequest:
    return TaskRequest(task_id, request_id or str(uuid.uuid4()), reason=reason, version=version)


def _list(session: Session, wanted: TaskFilter, limit: int) -> None:
    found = session.ask(lambda clients: clients.inbox.tasks(wanted, limit=limit))
    task_view.listed(session, found, none=f"no such tasks in namespace {session.namespace}")
