"""`schedules next`: when a definition is due, and why then."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cli import definition_files
from cli.errors import CliError, UsageError
from cli.kinds import Kind
from cli.session import OutputOption, Session, moment_option
from contracts import definitions, identifiers
from contracts.definitions import ActivityDefinition
from rules import clock_notes, clocks, jitter
from rules import schedules as evaluation
from rules.errors import ScheduleError


def next_(
    context: typer.Context,
    definition_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="What is applied; or give --file.")
    ] = None,
    *,
    file: Annotated[
        str,
        typer.Option(
            "-f", "--file", metavar="FILE|-", help="A definition that need not be applied."
        ),
    ] = "",
    count: Annotated[
        # Without the letter that --namespace has: here it counts.
        int, typer.Option("-n", "--count", min=1, max=1000, help="So many due times.")
    ] = 10,
    tz: Annotated[
        str,
        typer.Option("--tz", metavar="ZONE", help="Local times in this zone, not the schedule's."),
    ] = "",
    after: Annotated[
        str, typer.Option("--after", metavar="TIME", help="From this time on; default: now.")
    ] = "",
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="NAME", help="Default: as everywhere.")
    ] = None,
    output: OutputOption = None,
) -> None:
    """List the next due times: in UTC, by the local clocks, when each is taken up, and why then."""
    session = Session(context, namespace=namespace, output=output)
    if bool(definition_id) == bool(file):
        raise UsageError("schedules next takes either an ID or --file FILE")
    since = moment_option("--after", after) if after else datetime.now(UTC)
    definition = definition_files.load(file) if file else _applied(session, definition_id or "")
    if not definition.schedules:
        raise CliError(f"{definition.metadata.id} has no schedule: only other triggers start it")
    try:
        if tz:
            clocks.zone(tz)
        rows = list(itertools.islice(_rows(definition, since, tz), count))
    except ScheduleError as exc:
        raise UsageError(f"--tz: {exc}" if tz else str(exc)) from exc
    session.output.rows(
        rows,
        [
            ("DUE", "due"),
            ("LOCAL", "local"),
            ("TRIGGERS", "triggers"),
            ("TAKEN UP", "taken_up"),
            ("NOTE", "note"),
        ],
        none=f"nothing of {definition.metadata.id} is due after {identifiers.instant(since)}",
    )


def _applied(session: Session, definition_id: str) -> ActivityDefinition:
    found = session.ask(lambda clients: clients.registry.resource(Kind.DEFINITION, definition_id))
    try:
        return definitions.load(found.content)
    except ValidationError as exc:
        raise CliError(
            f"version {found.version} of {definition_id} cannot be read by this command: it needs "
            "a newer release"
        ) from exc


def _rows(definition: ActivityDefinition, since: datetime, tz: str) -> Iterator[dict[str, Any]]:
    """Yield each due time with the triggers that are due then."""
    given = definition.schedules
    cursor = since
    while True:
        found = {
            name: due
            for name, schedule in given.items()
            if (due := evaluation.next_due(schedule, cursor)) is not None
        }
        if not found:
            return
        due = min(found.values())
        names = sorted(name for name, at in found.items() if at == due)
        taken_up = jitter.taken_up(definition.metadata.id, given, names, due)
        notes = [
            f"{name}: {text}" if len(given) > 1 else text
            for name in names
            if (text := clock_notes.note(given[name], due)) is not None
        ]
        yield {
            "due": identifiers.instant(due),
            "local": _local(due, tz or given[names[0]].timezone),
            "triggers": names,
            "taken_up": identifiers.instant(taken_up),
            "note": "; ".join(notes) or None,
        }
        cursor = due


def _local(due: datetime, zone: str) -> str:
    local = due.astimezone(clocks.zone(zone))
    return f"{local:%a} {local.isoformat(sep=' ')} {local.tzname()}"
