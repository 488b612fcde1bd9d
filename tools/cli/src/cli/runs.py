"""`runs`: what happened and why, and what a person does about it."""

import json
import uuid
from typing import Annotated, Any

import typer

from cli import documents
from cli.clients import Clients
from cli.errors import UsageError
from cli.output import Output
from cli.session import (
    DefinitionOption,
    LimitOption,
    NamespaceOption,
    OutputOption,
    RequestIdOption,
    Session,
)
from contracts import sensitive
from contracts.decisions import RunStatus

_MOST_SHOWN = 2000  # characters of a document in a table; json shows all of it


app = typer.Typer(
    help="List runs (the default), show one, cancel or retry one.", rich_markup_mode=None
)
one = typer.Typer(help="Look at one run.", rich_markup_mode=None)

StatusOption = Annotated[RunStatus | None, typer.Option("--status", help="Only in this one.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN_ID")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; the audit keeps it.")]
RequestOption = Annotated[
    str | None,
    typer.Option("--request-id", help="The same again is the same answer; default: a new one."),
]

RevealOption = Annotated[
    bool, typer.Option("--reveal", help="With the values of sensitive fields: it is recorded.")
]
RevealReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept. Required to reveal.")
]


@app.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    *,
    definition: DefinitionOption = "",
    status: StatusOption = None,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List runs (the default), show one, cancel or retry one."""
    if context.invoked_subcommand is not None:
        if definition or status:
            raise UsageError(
                f"--definition and --status do not go with `runs {context.invoked_subcommand}`"
            )
        root = context.find_root()
        root.obj = root.obj.overridden(namespace=namespace, output=output)
    else:
        _list(Session(context, namespace=namespace, output=output), definition, status, limit)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    definition: DefinitionOption = "",
    status: StatusOption = None,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List runs, the newest first."""
    _list(Session(context, namespace=namespace, output=output), definition, status, limit)


@app.command()
def cancel(
    context: typer.Context,
    run_id: RunArgument,
    reason: ReasonOption,
    *,
    request_id: RequestOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Cancel an open run with its open tasks; handlers at work are told to stop."""
    session = Session(context, namespace=namespace, output=output)
    request = request_id or str(uuid.uuid4())
    done = session.ask(
        lambda clients: clients.cancel_run(run_id, request_id=request, reason=reason)
    )
    run = documents.run(done)
    if session.output.json:
        session.output.document(run)
    else:
        session.output.text(
            f"{run_id} is {run['status']}; `backbone run show {run_id}` lists its tasks"
        )


@app.command()
def retry(
    context: typer.Context,
    run_id: RunArgument,
    reason: ReasonOption,
    *,
    request_id: RequestOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Carry out a run's failed tasks again; decide one that was cancelled or undecided again."""
    session = Session(context, namespace=namespace, output=output)
    request = request_id or str(uuid.uuid4())
    done = session.ask(lambda clients: clients.retry_run(run_id, request_id=request, reason=reason))
    if session.output.json:
        session.output.document({"run_id": done.run_id, "task_ids": list(done.task_ids)})
    elif done.run_id == run_id:
        session.output.text(
            f"{run_id} is open again; tasks that are carried out again: {len(done.task_ids)}"
        )
    else:
        session.output.text(f"{run_id} is decided again as {done.run_id}")


def operations(
    context: typer.Context,
    *,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List what is still to be done in Temporal, the oldest first: cancels, retries, notices."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(lambda clients: clients.operations(limit=limit))
    session.output.rows(
        [documents.operation(one) for one in found],
        [
            ("OPERATION", "kind"),
            ("WORKFLOW", "workflow_id"),
            ("BY", "actor"),
            ("SINCE", "queued_at"),
            ("ATTEMPTS", "attempts"),
            ("LAST ERROR", "last_error"),
        ],
        none=f"nothing is to be done in Temporal for namespace {session.namespace}",
    )


def _list(session: Session, definition: str, status: RunStatus | None, limit: int) -> None:
    found = session.ask(
        lambda clients: clients.runs(definition_id=definition, status=status, limit=limit)
    )
    session.output.rows(
        [documents.run(one) for one in found],
        [
            ("RUN", "run_id"),
            ("VERSION", "definition_version"),
            ("TRIGGER", "trigger_kind"),
            ("STATUS", "status"),
            ("TASKS", "tasks"),
            ("RECORDED", "recorded_at"),
            ("CLOSED", "closed_at"),
        ],
        none=f"no such runs in namespace {session.namespace}",
    )


@app.command()
@one.command()
def show(
    context: typer.Context,
    run_id: RunArgument,
    *,
    reveal: RevealOption = False,
    reason: RevealReasonOption = "",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show a run: why it is there, what it looked at, what it decided, and its tasks.

    Sensitive fields are references; --reveal shows the values of those that are not erased, and
    that is recorded.
    """
    session = Session(context, namespace=namespace, output=output)
    check_reveal(reveal=reveal, reason=reason)

    async def work(clients: Clients) -> dict[str, Any]:
        found = documents.run_in_full(await clients.run(run_id))
        if not reveal:
            return found
        values = await clients.subjects.reveal(
            sensitive.references(found), reason=reason, request_id=request_id or str(uuid.uuid4())
        )
        shown: dict[str, Any] = sensitive.revealed(found, values)
        return shown

    run = session.ask(work)
    if session.output.json:
        session.output.document(run)
    else:
        show_run(session.output, run)


def check_reveal(*, reveal: bool, reason: str) -> None:
    """Raise UsageError where it is not said why sensitive values are to be shown."""
    if reveal and not reason:
        raise UsageError("--reason is missing: what you are shown is recorded, with why")


@one.command()
def redact(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID")],
    fields: Annotated[
        list[str], typer.Argument(metavar="FIELD...", help="In the snapshot: overdue.email.")
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
    """Take fields out of what a run found, for good; what its rules passed to tasks stays."""
    session = Session(context, namespace=namespace, output=output)
    request = request_id or str(uuid.uuid4())
    left: dict[str, Any] = json.loads(
        session.ask(
            lambda clients: clients.redact_snapshot(
                run_id, fields=fields, request_id=request, reason=reason
            )
        )
    )
    if session.output.json:
        session.output.document(left)
    else:
        _show_snapshot(session.output, left)


def show_run(out: Output, run: dict[str, Any]) -> None:
    """Print a run, as `documents.run_in_full` gives it, for people."""
    out.fields(
        {**run, "definition": f"{run['definition_id']} version {run['definition_version']}"},
        [
            ("run", "run_id"),
            ("namespace", "namespace"),
            ("definition", "definition"),
            ("status", "status"),
            ("recorded", "recorded_at"),
            ("closed", "closed_at"),
            ("failure", "failure"),
            ("by", "closed_by"),
            ("reason", "close_reason"),
        ],
    )
    out.heading("trigger")
    show_trigger(out, run["trigger"] or {})
    _show_snapshot(out, run["snapshot"] or {})
    show_decision(out, run["decision"])
    out.heading("tasks")
    show_tasks(out, run["task_list"])
    if run["failure_calls"]:
        out.heading("who was told of failures")
        out.rows(
            run["failure_calls"],
            [
                ("HANDLER", "handler"),
                ("TASK", "task_id"),
                ("CALLED", "handled_at"),
                ("FAILURE", "failure"),
            ],
            none="nobody",
        )
    if run["retries"]:
        out.heading("decided again")
        out.rows(
            run["retries"],
            [("RUN", "run_id"), ("BY", "actor"), ("AT", "retried_at"), ("REASON", "reason")],
            none="never",
        )


def _show_snapshot(out: Output, snapshot: dict[str, Any]) -> None:
    out.heading("snapshot (context)")
    for name, value in sorted(snapshot.items()):
        out.text(f"{name} = {_short(value)}")
    if not snapshot:
        out.text("nothing", style="dim")


def show_trigger(out: Output, trigger: dict[str, Any]) -> None:
    """Print why a run is there."""
    event = next(iter(trigger.get("events", [])), None)
    window = trigger.get("window")
    coalesced = trigger.get("coalesced")
    retry_of = trigger.get("retry_of")
    out.fields(
        {
            **trigger,
            "event": event and f"{event['type']} {event['event_id']} from {event['source']}",
            "payload": event and _short(event.get("payload")),
            "window": window and f"{window['start']} to {window['end']}",
            "retried": retry_of
            and f"{retry_of['run_id']} by {retry_of['actor']}: {retry_of['reason']}",
            "coalesced": coalesced and f"{len(coalesced)} due times",
        },
        [
            ("kind", "kind"),
            ("triggers", "names"),
            ("event", "event"),
            ("payload", "payload"),
            ("due", "scheduled_for"),
            ("window", "window"),
            ("stands for", "coalesced"),
            ("retry of", "retried"),
            ("request", "request_id"),
            ("input", "input"),
            ("actor", "actor"),
            ("reason", "reason"),
        ],
    )


def show_decision(out: Output, decision: dict[str, Any] | None) -> None:
    """Print what each rule saw and how many tasks it gave."""
    out.heading("decision")
    if decision is None:
        out.text("none was made", style="dim")
        return
    out.rows(
        [{**trace, "tasks": len(trace.get("tasks", []))} for trace in decision["rules"]],
        [("RULE", "rule"), ("WHEN", "when"), ("ITEMS", "items"), ("TASKS", "tasks")],
        none="no rules",
    )


def show_tasks(out: Output, tasks: list[dict[str, Any]]) -> None:
    """Print the tasks of a run."""
    rows = [{**task, "what": task["title"] or task["handler"]} for task in tasks]
    out.rows(
        rows,
        [
            ("TASK", "task_id"),
            ("TYPE", "type"),
            ("STATUS", "status"),
            ("WHAT", "what"),
            ("KEY", "key"),
            ("CLOSED", "closed_at"),
        ],
        none="none was decided",
    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}… (--output json has all)"
