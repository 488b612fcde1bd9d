"""`explain run` and `explain task`: why something ran, what it decided and what became of it."""

from typing import Annotated, Any

import typer

from cli import documents, run_explanations, task_explanations
from cli.clients import Clients
from cli.errors import CliError, NotFoundError
from cli.kinds import Kind
from cli.session import NamespaceOption, OutputOption, Session
from contracts.routing import RoutingOutcome

_EVENTS = 10
"""Events of one run that are looked up, as many as are told."""
_CHANGES = 1000
"""Changes of one task that are looked up; the first ones are told."""
_COPIES = 200
"""Decisions of one event among which is looked for the one that started the run."""


def run(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID")],
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Say why a run is there, what it looked at and decided, and what became of it."""
    session = Session(context, namespace=namespace, output=output)
    found, definition, decisions = session.ask(
        lambda clients: _run(clients, run_id, session.namespace)
    )
    out = session.output
    if out.json:
        out.document(
            {
                **found,
                "looked_at": run_explanations.looked_at(found),
                "rules": run_explanations.rules(found, definition),
                "started_by": decisions,
            }
        )
        return
    for line in run_explanations.run_sentences(found, definition, decisions):
        out.text(line)
    if definition is None:
        out.note("the registry could not be asked: conditions are not shown")


def task(
    context: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="TASK_ID")],
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Say which rule decided a task and why, and what became of it."""
    session = Session(context, namespace=namespace, output=output)
    found, of_run, definition, changes = session.ask(
        lambda clients: _task(clients, task_id, session.namespace)
    )
    out = session.output
    if out.json:
        rules = run_explanations.rules(of_run, definition)
        out.document(
            {
                **found,
                "run": {name: of_run[name] for name in ("definition_version", "status", "trigger")},
                "changes": changes,
                "decided_by": next((one for one in rules if one["rule"] == found["rule"]), None),
            }
        )
        return
    for line in task_explanations.sentences(found, of_run, definition, changes):
        out.text(line)
    if definition is None:
        out.note("the registry could not be asked: conditions are not shown")


async def _run(
    clients: Clients, run_id: str, namespace: str
) -> tuple[dict[str, Any], dict[str, Any] | None, list[dict[str, Any]]]:
    try:
        found = documents.run_in_full(await clients.run(run_id))
    except NotFoundError as exc:
        raise NotFoundError(run_explanations.absent(run_id, namespace)) from exc
    started_by = []
    for event in ((found["trigger"] or {}).get("events") or [])[:_EVENTS]:
        decided = await clients.decisions(
            event_id=event["event_id"],
            source=event["source"],
            definition_id=found["definition_id"],
            limit=_COPIES,
        )
        told = map(documents.decision, decided)
        started_by += [
            one
            for one in told
            if one["run_id"] == run_id and one["outcome"] != RoutingOutcome.DUPLICATE
        ]
    return found, await _definition(clients, found), started_by


async def _task(
    clients: Clients, task_id: str, namespace: str
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None, list[dict[str, Any]]]:
    try:
        found = documents.task(await clients.inbox.task(task_id))
    except NotFoundError as exc:
        raise NotFoundError(
            f"there is no task {task_id} in namespace {namespace}; `backbone tasks --run RUN_ID` "
            "lists those of a run, `backbone explain run RUN_ID` says why it decided no others"
        ) from exc
    of_run = documents.run_in_full(await clients.run(found["run_id"]))
    changes = []
    if found["type"] == "human":
        told = await clients.inbox.changes(task_id, limit=_CHANGES)
        changes = [documents.task_change(one) for one in told]
    return found, of_run, await _definition(clients, of_run), changes


async def _definition(clients: Clients, run: dict[str, Any]) -> dict[str, Any] | None:
    """Return the version that decided; None when the registry cannot be asked for it."""
    try:
        resource = await clients.registry.resource(
            Kind.DEFINITION, run["definition_id"], version=run["definition_version"]
        )
    except CliError:
        return None
    content: dict[str, Any] = documents.document(resource.content)
    return content
