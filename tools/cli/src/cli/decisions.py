"""`decisions`: what became of events, and why."""

from typing import Annotated, Any

import typer

from cli import documents
from cli.errors import UsageError
from cli.session import LimitOption, NamespaceOption, OutputOption, Session, moment_option
from contracts.routing import RoutingOutcome


def decisions(
    context: typer.Context,
    *,
    event: Annotated[str, typer.Option("--event", metavar="ID", help="Only of this one.")] = "",
    source: Annotated[
        str, typer.Option("--source", metavar="NAME", help="With --event: only from this source.")
    ] = "",
    definition: Annotated[
        str, typer.Option("--definition", metavar="ID", help="Only for this one.")
    ] = "",
    outcome: Annotated[
        RoutingOutcome | None, typer.Option("--outcome", help="Only with this one.")
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Decided at or after this time.")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", metavar="TIME", help="Decided before this time.")
    ] = "",
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List what events meant to definitions, the newest decision first."""
    session = Session(context, namespace=namespace, output=output)
    if source and not event:
        raise UsageError("--source goes with --event")
    decided_from = moment_option("--since", since) if since else None
    decided_to = moment_option("--until", until) if until else None
    found = session.ask(
        lambda clients: clients.decisions(
            event_id=event,
            source=source,
            definition_id=definition,
            outcome=outcome,
            decided_from=decided_from,
            decided_to=decided_to,
            limit=limit,
        )
    )
    rows = [documents.decision(one) for one in found]
    session.output.rows(
        rows if session.output.json else [_for_people(row) for row in rows],
        [
            ("DECIDED", "decided_at"),
            ("EVENT", "event_id"),
            ("DEFINITION", "definition_id"),
            ("OUTCOME", "outcome"),
            ("RUN", "run_id"),
            ("WHY", "why"),
            ("RECORD", "record"),
        ],
        none=f"no such decisions in namespace {session.namespace}",
    )


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    failed = f"{row['clause']} ({row['seen']})" if row["seen"] else row["clause"]
    return {
        **row,
        "why": "; ".join(part for part in (failed, row["detail"], row["cause"]) if part),
        "record": f"{row['topic']} {row['partition']}:{row['offset']}",
    }
