"""`explain tick`: what became of an instant of a definition's schedules, or why nothing did."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cli import schedule_documents
from cli.session import NamespaceOption, OutputOption, Session, moment_option


def tick(
    context: typer.Context,
    definition_id: Annotated[str, typer.Argument(metavar="ID")],
    time: Annotated[str, typer.Argument(metavar="TIME")],
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Say what became of a due time, or why nothing was due, or nobody has looked at it."""
    session = Session(context, namespace=namespace, output=output)
    at = moment_option("TIME", time)
    found = schedule_documents.explained_due_time(
        session.ask(lambda clients: clients.schedules.explain(definition_id, at))
    )
    out = session.output
    if out.json:
        out.document(found)
        return
    for line in sentences(definition_id, time, found):
        out.text(line)


def sentences(definition_id: str, time: str, found: dict[str, Any]) -> Iterator[str]:
    """Yield what is told of an instant, as `schedule_documents.explained_due_time` gives it."""
    row = found["due_time"]
    if row is None:
        yield f"{definition_id} at {time}: {found['standing'].replace('_', ' ')}."
        yield f"  {found['explanation']}"
        around = [one for one in (found["due_before"], found["due_after"]) if one]
        if around:
            yield f"  It was or is due {' and '.join(around)}."
        return
    into = f", {row['run_id']}" if row["run_id"] else ""
    yield f"{definition_id} was due {time}: {row['outcome']}{into}."
    yield f"  {row['reason']}"
    if row["last_due_at"]:
        stretch = f"from {row['due_at']} to {row['last_due_at']}"
        yield f"  It is one of {row['count']} due times {stretch} that came to the same."
    yield f"  Decided {row['decided_at']}, {row['lateness']} after it was due."
    if row["outcome"] == "run":
        if row["acknowledged_at"]:
            yield f"  Started by {row['acknowledged_at']}; `backbone explain run` says what it did."
        else:
            yield "  No worker has said yet that it was started."
