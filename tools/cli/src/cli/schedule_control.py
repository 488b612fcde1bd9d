"""`schedules` and `ticks`: what became of due times, and what people do about those to come."""

import uuid
from typing import Annotated

import typer

from backbone.ledger.v1 import schedules_pb2
from cli import documents, schedule_view, schedules
from cli.session import (
    LimitOption,
    NamespaceOption,
    OutputOption,
    ReasonOption,
    RequestIdOption,
    Session,
    moment_option,
)
from contracts.definitions import Overlap

_OVERLAPS = {
    Overlap.SKIP: schedules_pb2.OVERLAP_POLICY_SKIP,
    Overlap.BUFFER_ONE: schedules_pb2.OVERLAP_POLICY_BUFFER_ONE,
    Overlap.BUFFER_ALL: schedules_pb2.OVERLAP_POLICY_BUFFER_ALL,
    Overlap.ALLOW_ALL: schedules_pb2.OVERLAP_POLICY_ALLOW_ALL,
    Overlap.CANCEL_OTHER: schedules_pb2.OVERLAP_POLICY_CANCEL_OTHER,
}

app = typer.Typer(
    help="Look at a definition's schedules, hold them, or be ahead of them.", rich_markup_mode=None
)

IdArgument = Annotated[str, typer.Argument(metavar="ID")]


@app.callback()
def schedules_group() -> None:
    """Look at a definition's schedules, hold them, or be ahead of them."""


app.command("list")(schedule_view.list_)
app.command()(schedule_view.show)
app.command()(schedule_view.drift)
app.command("next")(schedules.next_)


@app.command()
def pause(
    context: typer.Context,
    definition_id: IdArgument,
    *,
    reason: ReasonOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Hold a definition's clock; events and starts by hand go on (`disable` stops them too)."""
    session = Session(context, namespace=namespace, output=output)
    request = request_id or str(uuid.uuid4())
    schedule_view.tell_account(
        session.output,
        session.ask(
            lambda clients: clients.schedules.pause(
                definition_id, request_id=request, reason=reason
            )
        ),
    )


@app.command()
def resume(
    context: typer.Context,
    definition_id: IdArgument,
    *,
    reason: ReasonOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Let the clock go on; what fell due meanwhile is judged by the definition's missedRuns."""
    session = Session(context, namespace=namespace, output=output)
    request = request_id or str(uuid.uuid4())
    schedule_view.tell_account(
        session.output,
        session.ask(
            lambda clients: clients.schedules.resume(
                definition_id, request_id=request, reason=reason
            )
        ),
    )


@app.command()
def trigger(
    context: typer.Context,
    definition_id: IdArgument,
    *,
    overlap: Annotated[
        Overlap, typer.Option("--overlap", help="What is to happen when a run is open.")
    ],
    reason: ReasonOption,
    name: Annotated[
        str, typer.Option("--trigger", metavar="NAME", help="Which one, if there are several.")
    ] = "",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Have a schedule trigger be due now, with the window since the last due time."""
    session = Session(context, namespace=namespace, output=output)
    request = request_id or str(uuid.uuid4())
    found = documents.due_time(
        session.ask(
            lambda clients: clients.schedules.trigger(
                definition_id,
                trigger_name=name,
                overlap=_OVERLAPS[overlap],
                request_id=request,
                reason=reason,
            )
        )
    )
    out = session.output
    if out.json:
        out.document(found)
        return
    out.text(f"{found['due_at']}: {found['outcome']} {found['run_id'] or ''}".rstrip())
    out.text(f"  {found['reason']}")


@app.command("skip-next")
def skip_next(
    context: typer.Context,
    definition_id: IdArgument,
    *,
    reason: ReasonOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Let the next due time not run; again, and the one after it does not either."""
    session = Session(context, namespace=namespace, output=output)
    request = request_id or str(uuid.uuid4())
    found = session.ask(
        lambda clients: clients.schedules.skip_next(
            definition_id, request_id=request, reason=reason
        )
    )
    due_at = documents.moment(found, "due_at")
    out = session.output
    if out.json:
        out.document({"definition_id": definition_id, "due_at": due_at})
        return
    out.text(f"{definition_id} will not run for {due_at}")


def ticks(
    context: typer.Context,
    definition_id: IdArgument,
    *,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Only due times from this one on.")
    ] = "",
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List the due times of a definition's schedules and what became of each, the newest first."""
    session = Session(context, namespace=namespace, output=output)
    back_to = moment_option("--since", since) if since else None
    found = session.ask(
        lambda clients: clients.due_times(definition_id, since=back_to, limit=limit)
    )
    session.output.rows(
        [documents.due_time(one) for one in found],
        [
            ("DUE", "due_at"),
            ("UNTIL", "last_due_at"),
            ("TRIGGERS", "trigger_names"),
            ("OUTCOME", "outcome"),
            ("LATE", "lateness"),
            ("RUN", "run_id"),
            ("REASON", "reason"),
        ],
        none=f"no due times of {definition_id} in namespace {session.namespace}"
        + (f" since {since}" if since else " yet"),
    )
