"""`queues`: what waits on task queues, and whether anybody serves them."""

from datetime import timedelta
from typing import Any

import typer

from backbone.registry.v1 import task_queues_pb2 as pb
from cli.session import NamespaceOption, OutputOption, Session
from contracts import durations


def queues(
    context: typer.Context,
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List the task queues that definitions name, as Temporal saw them half a minute ago."""
    session = Session(context, namespace=namespace, output=output)
    answer = session.ask(lambda clients: clients.task_queues.list())
    session.output.rows(
        [document(one) for one in answer.task_queues],
        [
            ("QUEUE", "task_queue"),
            ("TASKS", "kind"),
            ("WAIT", "backlog"),
            ("OLDEST", "backlog_age"),
            ("WORKERS", "pollers"),
            ("DEFINITIONS", "definitions"),
        ],
        none=f"Temporal has not said anything of the task queues of namespace {session.namespace}",
    )
    if answer.unwatched:
        session.output.note(f"{answer.unwatched} more task queues are named and not asked of")


def document(message: pb.TaskQueue) -> dict[str, Any]:
    """Return a queue as commands show it."""
    return {
        "task_queue": message.name,
        "kind": pb.TaskKind.Name(message.kind).removeprefix("TASK_KIND_").lower(),
        "backlog": message.backlog,
        "backlog_age": durations.render(timedelta(seconds=message.backlog_age.seconds)),
        "pollers": message.pollers,
        "definitions": message.definitions,
        "definition_ids": list(message.definition_ids),
    }
