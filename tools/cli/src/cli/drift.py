"""`drift`: whether the schedules that are applied are those that run."""

import typer

from cli import documents
from cli.errors import CliError
from cli.session import NamespaceOption, OutputOption, Session


def drift(
    context: typer.Context,
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List how applied schedules differ from what the ledger and Temporal have; fail if any do."""
    session = Session(context, namespace=namespace, output=output)
    answer = session.ask(lambda clients: clients.registry.drift())
    session.output.rows(
        map(documents.drift, answer.drifts),
        [
            ("DEFINITION", "definition_id"),
            ("DRIFT", "drift"),
            ("WHAT", "detail"),
            ("REVISION", "revision"),
            ("TRIED", "attempted_at"),
        ],
        none=f"no drift: {answer.scheduled_definitions} definitions with schedules are as applied",
    )
    if answer.drifts:
        definitions = len({one.definition_id for one in answer.drifts})
        raise CliError(
            f"{definitions} {'definition is' if definitions == 1 else 'definitions are'} not as "
            f"applied, with {answer.scheduled_definitions} that have schedules"
        )
