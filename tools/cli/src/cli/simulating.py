"""`simulate`: what a definition in a file would do, on paper: nothing is started, told or asked."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cli import definition_files, starts
from cli.errors import CliError, UsageError
from cli.output import Output
from cli.session import OutputOption, Session, moment_option, read
from cli.simulations import Simulation, Simulator
from contracts import identifiers
from contracts.decisions import HumanInstance, TaskInstance
from contracts.triggers import MAX_BATCH_EVENTS, TriggerKind
from rules.errors import RulesError

_EARLIEST = 1971


def simulate(
    context: typer.Context,
    file: Annotated[
        str, typer.Option("-f", "--file", metavar="FILE|-", help="The definition, YAML or JSON.")
    ],
    *,
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
    output: OutputOption = None,
) -> None:
    """Say what a definition would decide for an event or at a time; it has no effect at all."""
    session = Session(context, namespace=None, output=output)
    if bool(event) == bool(at):
        raise UsageError("simulate takes either --event FILE or --at TIME")
    if [file, event, context_file].count("-") > 1:
        raise UsageError("only one of -f, --event and --context can be standard input")
    definition = definition_files.load(file)
    try:
        simulator = Simulator(definition, _context(context_file))
        found = _events(simulator, event) if event else _at(simulator, at)
    except RulesError as exc:
        raise CliError(f"{file}: {exc}") from exc
    out = session.output
    if out.json:
        out.document(
            {
                "definition_id": definition.metadata.id,
                "namespace": definition.metadata.namespace,
                "simulations": [_document(one) for one in found],
            }
        )
    else:
        for one in found:
            _show(out, one)
        if at and found[0].run_id is None:
            _tell_next(out, simulator, at)
    if any(one.failure is not None or one.missing for one in found):
        raise typer.Exit(CliError.exit_code)


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
        "decision": None if decision is None else decision.model_dump(mode="json"),
        "failure": one.failure,
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
    if one.missing:
        out.text(
            f"  and would look at: {', '.join(one.missing)}; --context FILE gives their values"
        )
        for name in one.missing:
            for parameter, value in one.parameters[name].items():
                out.text(f"    {name}: {parameter} = {_json(value)}")
    elif one.failure is not None:
        out.text(f"  and would fail: {one.failure}", style="red")
    elif one.decision is not None:
        out.text(f"  and would decide {_count(one.decision.tasks, 'task')}:")
        for trace in one.decision.rules:
            items = "" if trace.items is None else f", {_counted(trace.items, 'item')}"
            when = "true" if trace.when else "false"
            out.text(f"    rule {trace.rule}: when is {when}{items}, {_count(trace.tasks, 'task')}")
        _show_tasks(out, one.decision.tasks)


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
