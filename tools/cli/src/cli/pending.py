"""`pending`: what waits to be started, and why."""

from enum import StrEnum
from typing import Annotated

import typer

from cli import documents
from cli.session import DefinitionOption, LimitOption, NamespaceOption, OutputOption, Session


class Reason(StrEnum):
    """Why something waits."""

    HELD = "held"
    BATCH = "batch"
    LIMITED = "limited"
    REPLAY = "replay"
    HALTED = "halted"


def pending(
    context: typer.Context,
    *,
    definition: DefinitionOption = "",
    reason: Annotated[Reason | None, typer.Option("--reason", help="Only for this one.")] = None,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List what waits to be started, the oldest first."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(
        lambda clients: clients.pending(
            definition_id=definition, reason=reason.value if reason else "", limit=limit
        )
    )
    session.output.rows(
        [documents.pending_start(one) for one in found],
        [
            ("DEFINITION", "definition_id"),
            ("REASON", "reason"),
            ("KEY", "key"),
            ("EVENTS", "events"),
            ("SINCE", "queued_at"),
            ("NOT BEFORE", "not_before"),
            ("ATTEMPTS", "attempts"),
        ],
        none=f"nothing waits in namespace {session.namespace}",
    )
