"""`instances list`, `show` and `waiting`: how the instances of stateful definitions stand."""

from enum import StrEnum
from typing import Annotated

import typer

from cli import documents
from cli.session import DefinitionOption, LimitOption, NamespaceOption, OutputOption, Session
from contracts import identifiers

app = typer.Typer(
    help="Look at instances of stateful definitions.", no_args_is_help=True, rich_markup_mode=None
)


class Status(StrEnum):
    """Where a generation of an instance stands."""

    OPEN = "open"
    ENDED = "ended"


@app.command("list")
def list_(
    context: typer.Context,
    *,
    definition: DefinitionOption = "",
    status: Annotated[Status | None, typer.Option("--status", help="Only in this one.")] = None,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List instances, each generation for itself, the one that began last first."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(
        lambda clients: clients.instances(
            definition_id=definition, status=status or "unspecified", limit=limit
        )
    )
    session.output.rows(
        [documents.instance(one) for one in found],
        [
            ("INSTANCE", "instance_id"),
            ("STATUS", "status"),
            ("EVENTS", "events"),
            ("VERSION", "definition_version"),
            ("STARTED", "started_at"),
            ("CHANGED", "changed_at"),
            ("ENDED", "ended_at"),
        ],
        none=f"no such instances in namespace {session.namespace}",
    )


@app.command()
def show(
    context: typer.Context,
    instance_id: Annotated[str, typer.Argument(metavar="INSTANCE_ID")],
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show how an instance stands: its state, its timers, and the run of its last event."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(lambda clients: clients.instance(instance_id))
    instance = {
        **documents.instance(found.instance),
        "timers": [
            {"name": timer.name, "due_at": documents.instant(timer.due_at)}
            for timer in found.instance.timers
        ],
        "state": documents.document(found.state),
    }
    if session.output.json:
        session.output.document(instance)
        return
    session.output.fields(
        {
            **instance,
            "definition": f"{instance['definition_id']} version {instance['definition_version']}",
        },
        [
            ("instance", "instance_id"),
            ("namespace", "namespace"),
            ("definition", "definition"),
            ("status", "status"),
            ("events", "events"),
            ("last run", "last_run_id"),
            ("started", "started_at"),
            ("changed", "changed_at"),
            ("ended", "ended_at"),
        ],
    )
    for timer in instance["timers"]:
        session.output.text(f"timer {timer['name']} fires at {timer['due_at']} without an event")
    session.output.heading("state")
    for name, value in sorted(instance["state"].items()):
        session.output.text(f"{name} = {value!r}")
    if not instance["state"]:
        session.output.text("nothing", style="dim")


@app.command()
def waiting(
    context: typer.Context,
    *,
    definition: DefinitionOption = "",
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List the instances for which events wait, with how many and since when."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(
        lambda clients: clients.waiting_instances(definition_id=definition, limit=limit)
    )
    session.output.rows(
        [
            {
                "workflow_id": identifiers.instance_workflow_id(one.definition_id, one.key_hash),
                "definition_id": one.definition_id,
                "events": one.events,
                "waiting_since": documents.instant(one.waiting_since),
            }
            for one in found
        ],
        [("INSTANCE", "workflow_id"), ("WAITING", "events"), ("SINCE", "waiting_since")],
        none=f"nothing waits for an instance in namespace {session.namespace}",
    )
