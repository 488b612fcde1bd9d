"""`history`: what happened to a resource, or to all of a namespace, when, by whom and why."""

from typing import Annotated

import typer

from cli import documents
from cli.kinds import Kind
from cli.session import LimitOption, NamespaceOption, OutputOption, Session


def history(
    context: typer.Context,
    resource_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Without it: of all.")
    ] = None,
    *,
    kind: Annotated[
        Kind | None,
        typer.Option("--kind", "-k", help="Default: definition with an ID, all without."),
    ] = None,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List what happened, the newest first: when, who, what and why."""
    session = Session(context, namespace=namespace, output=output)
    if resource_id is not None and kind is None:
        kind = Kind.DEFINITION
    found = session.ask(
        lambda clients: clients.registry.history(kind, resource_id or "", limit=limit)
    )
    session.output.rows(
        map(documents.change, found),
        [
            ("WHEN", "at"),
            ("WHO", "actor"),
            ("WHAT", "change"),
            ("KIND", "kind"),
            ("ID", "resource_id"),
            ("VERSION", "version"),
            ("STATE", "state"),
            ("REVISION", "revision"),
            ("WHY", "reason"),
        ],
        none=f"nothing has happened in namespace {session.namespace}",
    )
