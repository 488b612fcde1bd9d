"""`tasks`: the tasks of runs, and the inbox of the human ones."""

import uuid
from typing import Annotated, Any

import typer

from backbone.ledger.v1 import ledger_pb2
from cli import documents
from cli.clients import TaskKind
from cli.errors import UsageError
from cli.session import LimitOption, NamespaceOption, OutputOption, Session, json_option
from contracts.decisions import TaskStatus

app = typer.Typer(
    help="List tasks (the default), show one, complete a human one, retry a failed one.",
    rich_markup_mode=None,
)


RunOption = Annotated[str, typer.Option("--run", metavar="RUN_ID", help="Only of this run.")]
StatusOption = Annotated[TaskStatus | None, typer.Option("--status", help="Only in this one.")]
TypeOption = Annotated[TaskKind | None, typer.Option("--type", help="Only of this one.")]


@app.callback(invoke_without_command=True)
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
    """List tasks (the default), show one, complete a human one, retry a failed one."""
    if context.invoked_subcommand is not None:
        if run or status or kind:
            raise UsageError(
                f"--run, --status and --type go after `tasks {context.invoked_subcommand}`"
            )
        root = context.find_root()
        root.obj = root.obj.overridden(namespace=namespace, output=output)
    else:
        session = Session(context, namespace=namespace, output=output)
        _list(session, run, status, kind, limit)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    run: RunOption = "",
    status: StatusOption = None,
    kind: TypeOption = None,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List tasks, the newest first."""
    session = Session(context, namespace=namespace, output=output)
    _list(session, run, status, kind, limit)


@app.command()
def show(
    context: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show a task with its input, form and answer."""
    session = Session(context, namespace=namespace, output=output)
    _show(session, session.ask(lambda clients: clients.task(task_id)))


@app.command()
def complete(
    context: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="ID")],
    answer: Annotated[
        str, typer.Option("--answer", metavar="JSON", help="It has to fit the task's form.")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why; the audit keeps it.")],
    *,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", help="The same again is the same answer; default: a new one."),
    ] = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Complete an open human task with an answer."""
    session = Session(context, namespace=namespace, output=output)
    content = json_option("--answer", answer)
    request = request_id or str(uuid.uuid4())
    done = session.ask(
        lambda clients: clients.complete_task(
            task_id, answer=content, request_id=request, reason=reason
        )
    )
    _show(session, done)


@app.command()
def retry(
    context: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="ID")],
    reason: Annotated[str, typer.Option("--reason", help="Why; the audit keeps it.")],
    *,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", help="The same again is the same answer; default: a new one."),
    ] = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Have an automated task that failed for good carried out again, under its old id."""
    session = Session(context, namespace=namespace, output=output)
    request = request_id or str(uuid.uuid4())
    again = session.ask(
        lambda clients: clients.retry_task(task_id, request_id=request, reason=reason)
    )
    _show(session, again)


def _list(
    session: Session, run: str, status: TaskStatus | None, kind: TaskKind | None, limit: int
) -> None:
    found = session.ask(
        lambda clients: clients.tasks(run_id=run, status=status, kind=kind, limit=limit)
    )
    rows = [documents.task(one) for one in found]
    session.output.rows(
        rows if session.output.json else [_listed(one) for one in rows],
        [
            ("TASK", "task_id"),
            ("TYPE", "type"),
            ("STATUS", "status"),
            ("WHAT", "what"),
            ("FOR", "assigned"),
            ("RUN", "run_id"),
            ("CREATED", "created_at"),
            ("DUE", "due_at"),
        ],
        none=f"no such tasks in namespace {session.namespace}",
    )


def _show(session: Session, message: ledger_pb2.Task) -> None:
    task = documents.task(message)
    if session.output.json:
        session.output.document(task)
        return
    session.output.fields(
        _listed(task),
        [
            ("task", "task_id"),
            ("run", "run_id"),
            ("rule", "rule"),
            ("key", "key"),
            ("type", "type"),
            ("status", "status"),
            ("what", "what"),
            ("for", "assigned"),
            ("created", "created_at"),
            ("due", "due_at"),
            ("input", "input"),
            ("form", "form"),
            ("closed", "closed_at"),
            ("by", "closed_by"),
            ("output", "output"),
            ("failure", "failure"),
            ("generation", "generation"),
        ],
    )


def _listed(task: dict[str, Any]) -> dict[str, Any]:
    return {
        **task,
        "what": task["title"] or task["handler"],
        "assigned": [*task["assigned_users"], *(f"@{one}" for one in task["assigned_groups"])],
    }
