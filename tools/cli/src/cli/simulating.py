"""`simulate`: what a definition would do: nothing is started, recorded or told.

On paper it needs no service; `--online` has the context looked up where the definition would run.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cli import definition_files, starts, versions
from cli.clients import Clients
from cli.errors import CliError, UsageError
from cli.kinds import Kind
from cli.output import Output
from cli.session import NamespaceOption, OutputOption, Session, moment_option, read
from cli.simulating_online import Stack
from contracts import identifiers
from contracts.decisions import HumanInstance, TaskInstance
from contracts.simulations import LookedAt
from contracts.triggers import MAX_BATCH_EVENTS, TriggerKind
from rules import simulations
from rules.backtests import Version
from rules.errors import DecisionError, RulesError
from rules.simulations import Paper, Simulation, Simulator

VERSION = 1
"""What expressions see as `trigger.definition_version` of a definition that is not applied yet."""

_EARLIEST = 1971


def simulate(
    context: typer.Context,
    definition_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="A definition that is applied; or else -f.")
    ] = "",
    *,
    file: Annotated[
        str, typer.Option("-f", "--file", metavar="FILE|-", help="The definition, YAML or JSON.")
    ] = "",
    version: Annotated[
        str,
        typer.Option("--version", metavar="VERSION", help="Of ID: v8; default: the current one."),
    ] = "",
    event: Annotated[
        str,
        typer.Option("--event", metavar="FILE|-", help="An event, or one a line, as `publish`."),
    ] = "",
    at: Annotated[
        str, typer.Option("--at", metavar="TIME", help="A due time: 2026-03-02T12:00:00Z.")
    ] = "",
    context_file: Annotated[
        str,
        typer.Option(
            "--context",
            metavar="FILE|-",
            help="What is looked at: an object with a value for each entry of the context.",
        ),
    ] = "",
    online: Annotated[
        bool,
        typer.Option("--online", help="Look it up now, through the connectors of the worker."),
    ] = False,
    state_file: Annotated[
        str,
        typer.Option(
            "--state",
            metavar="FILE|-",
            help="Of a stateful definition: what the instance of the first event remembers.",
        ),
    ] = "",
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Say what a definition would decide for an event or at a time; it has no effect at all."""
    session = Session(context, namespace=namespace, output=output)
    _check(definition_id, file=file, version=version, event=event, at=at)
    if online and context_file:
        raise UsageError("simulate takes either --online or --context FILE")
    if [file, event, context_file, state_file].count("-") > 1:
        raise UsageError("only one of -f, --event, --context and --state can be standard input")
    if file:
        tried = _in_file(file)
        session = _of_namespace(context, session, tried, file=file, online=online)
    else:
        tried = session.ask(lambda clients: _stored(clients, definition_id, version))
    state = _state(state_file, tried)
    simulator = Simulator(tried)
    try:
        found = _events(simulator, event) if event else _at(simulator, at)
    except RulesError as exc:
        raise CliError(f"{tried.definition.metadata.id}: {exc}") from exc

    async def ask(clients: Clients) -> None:
        await simulations.decide(found, Stack(tried, clients), state=state)

    if online:
        session.ask(ask)
    else:
        paper = Paper(tried, _context(context_file))
        asyncio.run(simulations.decide(found, paper, state=state))
    out = session.output
    if out.json:
        metadata = tried.definition.metadata
        out.document(
            {
                "definition_id": metadata.id,
                "namespace": metadata.namespace,
                "simulations": [_document(one) for one in found],
            }
        )
    else:
        for one in found:
            _show(out, one)
        if at and found[0].run_id is None:
            _tell_next(out, simulator, at)
    if any(one.undecided for one in found):
        raise typer.Exit(CliError.exit_code)


def _check(definition_id: str, *, file: str, version: str, event: str, at: str) -> None:
    if bool(definition_id) == bool(file):
        raise UsageError("simulate takes either the ID of a definition or -f FILE")
    if version and file:
        raise UsageError("--version is of a definition that is applied, not of a file")
    if bool(event) == bool(at):
        raise UsageError("simulate takes either --event FILE or --at TIME")


def _in_file(path: str) -> Version:
    try:
        return Version.of(definition_files.load(path), VERSION)
    except DecisionError as exc:
        raise CliError(f"{path}: {exc}") from exc


async def _stored(clients: Clients, definition_id: str, version: str) -> Version:
    if version:
        number = versions.number("--version", version)
    else:
        current = await clients.registry.resource(Kind.DEFINITION, definition_id)
        number = current.current_version
    return await versions.stored(clients, definition_id, number)


def _of_namespace(
    context: typer.Context, session: Session, tried: Version, *, file: str, online: bool
) -> Session:
    """Return a session of the definition's namespace, unless another one is asked for."""
    metadata = tried.definition.metadata
    if online and session.chosen_namespace not in {None, metadata.namespace}:
        raise UsageError(
            f"{file} is {metadata.id} in namespace {metadata.namespace}, not in "
            f"{session.chosen_namespace}"
        )
    return Session(context, namespace=metadata.namespace, output=session.output.format)


def _state(path: str, tried: Version) -> Mapping[str, Any] | None:
    if not path:
        return None
    if tried.instance is None:
        raise UsageError(f"{tried.definition.metadata.id} is not stateful: it has no --state")
    document = definition_files.parsed(path)
    if not isinstance(document, dict):
        raise CliError(
            f"{path} holds no state: an object is needed, such as "
            '{"reminders": 2}; `backbone instances show INSTANCE -o json` has one as `state`'
        )
    return document


def _events(simulator: Simulator, path: str) -> list[Simulation]:
    events = [event for event, _ in starts.envelopes(read(path), fill=True)]
    if len(events) > MAX_BATCH_EVENTS:
        raise UsageError(f"{path} holds {len(events)} events; at most {MAX_BATCH_EVENTS} are taken")
    return simulator.events(events)


def _at(simulator: Simulator, text: str) -> list[Simulation]:
    moment = moment_option("--at", text)
    if moment.year < _EARLIEST:
        raise UsageError(f"--at is a time from {_EARLIEST} on, not {text!r}")
    return [simulator.due_time(moment)]


def _context(path: str) -> Mapping[str, Any]:
    if not path:
        return {}
    document = definition_files.parsed(path)
    if not isinstance(document, dict):
        raise CliError(
            f"{path} holds no context: an object with the entries of the context is needed, such "
            'as {"overdue": [...]}; `backbone run show RUN_ID -o json` has one as `snapshot`'
        )
    return document


def _tell_next(out: Output, simulator: Simulator, at: str) -> None:
    due = simulator.next_due(moment_option("--at", at))
    if due is not None:
        out.note(f"the next due time after it is {identifiers.instant(due)}")


def _document(one: Simulation) -> dict[str, Any]:
    decision = one.decision
    return {
        "cause": one.cause,
        "triggers": [
            {"name": finding.trigger, "matched": finding.matched, "detail": finding.detail or None}
            for finding in one.findings
        ],
        "run_id": one.run_id,
        "trigger": None if one.trigger is None else one.trigger.model_dump(mode="json"),
        "parameters": one.parameters,
        "missing_context": list(one.missing),
        "looked_at": [entry.model_dump() for entry in one.looked_at],
        "decision": None if decision is None else decision.model_dump(mode="json"),
        "state": one.state,
        "failure": one.failure,
        "waits": one.waits,
    }


def _show(out: Output, one: Simulation) -> None:
    out.text(f"{one.cause}:", style="bold")
    for finding in one.findings:
        told = "matches" if finding.matched else f"does not match: {finding.detail}"
        out.text(f"  trigger {finding.trigger} {told}")
    if one.trigger is None:
        out.text("  nothing would be started by it alone")
        return
    batch = one.trigger.kind is TriggerKind.BATCH
    out.text(f"  would be the run {one.run_id}" + (" (made up: a batch's id)" if batch else ""))
    for entry in one.looked_at:
        out.text(f"  looks at {entry.name}: {_found(entry)}")
    if one.missing:
        out.text(
            f"  and would look at: {', '.join(one.missing)}; --context FILE gives their values, "
            "--online looks them up"
        )
        for name in one.missing:
            for parameter, value in one.parameters[name].items():
                out.text(f"    {name}: {parameter} = {_json(value)}")
    elif one.waits is not None:
        out.text(f"  and would wait: {one.waits}", style="red")
    elif one.failure is not None:
        out.text(f"  and would fail: {one.failure}", style="red")
    elif one.decision is not None:
        out.text(f"  and would decide {_count(one.decision.tasks, 'task')}:")
        for trace in one.decision.rules:
            items = "" if trace.items is None else f", {_counted(trace.items, 'item')}"
            when = "true" if trace.when else "false"
            out.text(f"    rule {trace.rule}: when is {when}{items}, {_count(trace.tasks, 'task')}")
        _show_tasks(out, one.decision.tasks)
        if one.state is not None and one.decision.state is not None:
            ends = ", and ends" if one.decision.state.ended else ""
            out.text(f"  its instance then remembers {_json(one.state)}{ends}")


def _found(entry: LookedAt) -> str:
    items = "" if entry.items is None else f"{_counted(entry.items, 'item')}, "
    told = f"{items}{entry.size} bytes, sha256 {entry.sha256}"
    return f"null, since {entry.missing}" if entry.missing else told


def _count(things: Sequence[Any], name: str) -> str:
    return _counted(len(things), name)


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _show_tasks(out: Output, tasks: Sequence[TaskInstance]) -> None:
    for task in tasks:
        what = (
            repr(task.title)
            if isinstance(task, HumanInstance)
            else f"{task.handler} on {task.task_queue}"
        )
        key = f" {task.key}" if task.key else ""
        out.text(f"    task {task.task_id} ({task.rule}{key}): {what}, input {_json(task.input)}")
