"""`runs`, `run show` and `ticks`: what happened and why."""

import json
import uuid
from typing import Annotated, Any

import typer

from cli import documents
from cli.output import Output
from cli.session import LimitOption, NamespaceOption, OutputOption, Session
from contracts.decisions import RunStatus

_MOST_SHOWN = 2000  # characters of a document in a table; json shows all of it


def runs(
    context: typer.Context,
    *,
    definition: Annotated[
        str, typer.Option("--definition", metavar="ID", help="Only of this one.")
    ] = "",
    status: Annotated[RunStatus | None, typer.Option("--status", help="Only in this one.")] = None,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List runs, the newest first."""
    session = Session(context, namespace=namespace, output=output)
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


def show(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID")],
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show a run: why it is there, what it looked at, what it decided, and its tasks."""
    session = Session(context, namespace=namespace, output=output)
    run = documents.run_in_full(session.ask(lambda clients: clients.run(run_id)))
    if session.output.json:
        session.output.document(run)
    else:
        show_run(session.output, run)


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


def ticks(
    context: typer.Context,
    definition_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List the due times of a definition's schedules and what became of each, the newest first."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(lambda clients: clients.due_times(definition_id, limit=limit))
    session.output.rows(
        [documents.due_time(one) for one in found],
        [
            ("DUE", "due_at"),
            ("TRIGGERS", "trigger_names"),
            ("OUTCOME", "outcome"),
            ("RUN", "run_id"),
            ("REASON", "reason"),
        ],
        none=f"no due times of {definition_id} in namespace {session.namespace} yet",
    )


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
        ],
    )
    out.heading("trigger")
    show_trigger(out, run["trigger"] or {})
    _show_snapshot(out, run["snapshot"] or {})
    show_decision(out, run["decision"])
    out.heading("tasks")
    show_tasks(out, run["task_list"])


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
    out.fields(
        {
            **trigger,
            "event": event and f"{event['type']} {event['event_id']} from {event['source']}",
            "payload": event and _short(event.get("payload")),
            "window": window and f"{window['start']} to {window['end']}",
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
