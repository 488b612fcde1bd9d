"""`backtest`: what another version would have decided of past runs, as a gate for a release."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli import backtests, definition_files, documents
from cli.backtests import Question, Report
from cli.clients import Clients
from cli.errors import MISUSED, CliError, UsageError
from cli.kinds import Kind
from cli.output import Output
from cli.session import NamespaceOption, OutputOption, Session, moment_option
from contracts import durations
from rules.backtests import Again, Verdict, Version
from rules.errors import DecisionError

SAME, DIFFERENT, UNJUDGED = 0, 1, MISUSED
"""How the command ends; whatever keeps it from judging ends it with the last one."""

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_MOST_SHOWN = 120  # characters of a value for people; json shows all of it


class UnjudgedError(CliError):
    """The backtest came to no verdict."""

    exit_code = UNJUDGED


def backtest(
    context: typer.Context,
    definition_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    from_version: Annotated[
        str,
        typer.Option(
            "--from", metavar="VERSION", help="Only runs that it decided; default: all runs."
        ),
    ] = "",
    to_version: Annotated[
        str, typer.Option("--to", metavar="VERSION", help="The version to try: v8.")
    ] = "",
    file: Annotated[
        str,
        typer.Option("-f", "--file", metavar="FILE|-", help="Or one that is not applied yet."),
    ] = "",
    since: Annotated[
        str,
        typer.Option("--since", metavar="DURATION|TIME", help="Runs recorded since: 7d, a time."),
    ] = "7d",
    allow: Annotated[
        int, typer.Option("--allow", min=0, help="Still end with 0 if so many runs differ.")
    ] = 0,
    allow_not_comparable: Annotated[
        int,
        typer.Option(
            "--allow-not-comparable", min=0, help="Still judge if so many runs cannot be compared."
        ),
    ] = 0,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many runs, the newest.")
    ] = 10_000,
    show: Annotated[
        int, typer.Option("--show", min=0, max=1000, help="Differing runs that are told in full.")
    ] = 20,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Decide past runs again by another version, and say which tasks differ; nothing is done.

    Ends with 0 if they decide the same, with 1 if more than --allow runs differ, with 2 if that
    could not be judged.
    """
    with _unjudged():
        session = Session(context, namespace=namespace, output=output)
        if bool(to_version) == bool(file):
            raise UsageError("backtest takes either --to VERSION or -f FILE")
        moment = _since(since)

        async def work(clients: Clients) -> tuple[Version, Report]:
            to = await _to(clients, definition_id, to_version, file, session.namespace)
            question = Question(
                definition_id=definition_id,
                namespace=session.namespace,
                since=moment,
                to=to,
                from_version=_number("--from", from_version) if from_version else None,
                limit=limit,
                kept=show,
            )
            return to, await backtests.backtest(clients, question)

        to, report = session.ask(work)
    ended = _exit_code(report, allow=allow, allow_not_comparable=allow_not_comparable)
    asked = {
        "definition_id": definition_id,
        "namespace": session.namespace,
        "from_version": _number("--from", from_version) if from_version else None,
        "to_version": to.number,
        "to_file": file or None,
        "since": documents.instant_of(moment),
    }
    if session.output.json:
        session.output.document({**asked, **_document(report), "exit_code": ended})
    else:
        _show(session.output, asked, report, ended)
    raise typer.Exit(ended)


@contextmanager
def _unjudged() -> Iterator[None]:
    """End with the code that says so, whatever keeps the command from judging."""
    try:
        yield
    except CliError as exc:
        raise UnjudgedError(str(exc), reason=exc.reason) from exc


async def _to(
    clients: Clients, definition_id: str, to_version: str, file: str, namespace: str
) -> Version:
    if not file:
        return await backtests.version(clients, definition_id, _number("--to", to_version))
    definition = definition_files.load(file)
    metadata = definition.metadata
    if (metadata.id, metadata.namespace) != (definition_id, namespace):
        raise UsageError(
            f"{file} is {metadata.id} in namespace {metadata.namespace}, not {definition_id} in "
            f"{namespace}"
        )
    current = await clients.registry.resource(Kind.DEFINITION, definition_id)
    try:
        return Version.of(definition, current.current_version + 1)
    except DecisionError as exc:
        raise CliError(f"{file}: {exc}") from exc


def _number(option: str, text: str) -> int:
    digits = text.removeprefix("v")
    if not (digits.isascii() and digits.isdecimal() and 0 < int(digits) < 2**63):
        raise UsageError(f"{option} is a version, such as v8, not {text!r}")
    return int(digits)


def _since(text: str) -> datetime:
    try:
        return datetime.now(UTC) - durations.parse(text)
    except OverflowError as exc:
        raise UsageError(f"--since {text} is before all time") from exc
    except ValueError:
        pass
    if not text[:1].isdigit() or "-" not in text:
        raise UsageError(f"--since is a duration such as 7d, or a time with its zone, not {text!r}")
    return moment_option("--since", text)


def _exit_code(report: Report, *, allow: int, allow_not_comparable: int) -> int:
    if report.verdicts[Verdict.DIFFERENT] > allow:
        return DIFFERENT
    judged = report.looked_at - report.verdicts[Verdict.NOT_COMPARABLE]
    if not judged or report.verdicts[Verdict.NOT_COMPARABLE] > allow_not_comparable:
        return UNJUDGED
    return SAME


def _document(report: Report) -> dict[str, Any]:
    return {
        "runs": {
            "looked_at": report.looked_at,
            **{verdict.value: report.verdicts[verdict] for verdict in Verdict},
            "of_other_versions": report.of_other_versions,
            "more": report.more,
        },
        "decided_again": {again.value: report.again[again.value] for again in Again},
        "tasks": {change: report.tasks[change] for change in _SIGNS},
        "not_comparable": [
            {"reason": reason, "runs": count} for reason, count in report.reasons.most_common()
        ],
        "different": [document for _, document in report.different],
    }


def _show(out: Output, asked: dict[str, Any], report: Report, ended: int) -> None:
    told = asked["to_file"] or f"version {asked['to_version']}"
    out.text(f"{asked['definition_id']}: {told}, runs since {asked['since']}", style="bold")
    for _, run in report.different:
        _show_run(out, run)
    untold = report.verdicts[Verdict.DIFFERENT] - len(report.different)
    if untold > 0:
        out.text(f"and {untold} more that differ (--show)")
    counts = report.verdicts
    out.text(
        f"{report.looked_at} runs looked at: {counts[Verdict.SAME]} same, "
        f"{counts[Verdict.DIFFERENT]} different, {counts[Verdict.NOT_COMPARABLE]} not comparable",
        style="bold",
    )
    if report.tasks:
        parts = ", ".join(f"{report.tasks[change]} {change}" for change in _SIGNS)
        out.text(f"tasks: {parts}")
    for reason, count in report.reasons.most_common():
        out.text(f"  not comparable, {count}: {reason}")
    _show_again(out, report)
    if report.of_other_versions:
        out.note(f"{report.of_other_versions} runs of other versions were left out (--from)")
    if report.more:
        out.note("there are more runs: --limit looks at more of them")
    if ended == UNJUDGED:
        out.note("that could not be judged: nothing could be compared, or too little of it")


def _show_again(out: Output, report: Report) -> None:
    same, tasks, other = (report.again[again.value] for again in Again)
    if same + tasks + other:
        out.text(f"decided again by their own version, {same} gave the recorded decision's hash")
    if tasks:
        out.text(f"  {tasks} gave the same tasks with another trace: another release recorded them")
    if other:
        out.text(f"  {other} gave something else, which must not be: report it", style="red")


def _show_run(out: Output, run: dict[str, Any]) -> None:
    out.text(f"{run['run_id']} (version {run['definition_version']}, {run['recorded_at']})")
    if run["reason"]:
        out.text(f"    {run['reason']}")
    for task in run["tasks"]:
        key = f" {task['key']}" if task["key"] else ""
        out.text(f"    {_SIGNS[task['change']]} {task['rule']}{key}: {task['what']}")
        for one in task["fields"]:
            out.text(f"        {one['path']}: {_short(one['before'])} -> {_short(one['after'])}")
    if run["differing_tasks"] > len(run["tasks"]):
        out.text(f"    and {run['differing_tasks'] - len(run['tasks'])} more tasks")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
