"""`backtest`: what another version would have decided of past runs, as a gate for a release."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli import backtests, documents, verdicts, versions
from cli.backtests import Question
from cli.clients import Clients
from cli.errors import UsageError
from cli.runs import RevealReasonOption, check_reveal
from cli.session import NamespaceOption, OutputOption, Session, moment_option
from cli.verdicts import AllowNotComparableOption, AllowOption, Report, ShowOption
from contracts import durations
from rules.backtests import Version


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
    allow: AllowOption = 0,
    allow_not_comparable: AllowNotComparableOption = 0,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many runs, the newest.")
    ] = 10_000,
    show: ShowOption = 20,
    reveal: Annotated[
        bool,
        typer.Option("--reveal", help="Decide upon sensitive values as well: it is recorded."),
    ] = False,
    reason: RevealReasonOption = "",
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Decide past runs again by another version, and say which tasks differ; nothing is done.

    Ends with 0 if they decide the same, with 1 if more than --allow runs differ, with 2 if that
    could not be judged.
    """
    with verdicts.unjudged():
        session = Session(context, namespace=namespace, output=output)
        if bool(to_version) == bool(file):
            raise UsageError("backtest takes either --to VERSION or -f FILE")
        check_reveal(reveal=reveal, reason=reason)
        moment = _since(since)

        async def work(clients: Clients) -> tuple[Version, Report]:
            to = await versions.chosen(
                clients, definition_id, option="--to", version=to_version, file=file
            )
            question = Question(
                definition_id=definition_id,
                namespace=session.namespace,
                since=moment,
                to=to,
                from_version=versions.number("--from", from_version) if from_version else None,
                limit=limit,
                kept=show,
                reveal_for=reason if reveal else "",
            )
            return to, await backtests.backtest(clients, question)

        to, report = session.ask(work)
    ended = report.exit_code(allow=allow, allow_not_comparable=allow_not_comparable)
    asked = {
        "definition_id": definition_id,
        "namespace": session.namespace,
        "from_version": versions.number("--from", from_version) if from_version else None,
        "to_version": to.number,
        "to_file": file or None,
        "since": documents.instant_of(moment),
    }
    out = session.output
    if out.json:
        out.document({**asked, **report.document(), "exit_code": ended})
    else:
        told = file or f"version {to.number}"
        out.text(f"{definition_id}: {told}, runs since {asked['since']}", style="bold")
        report.show(out, ended)
    raise typer.Exit(ended)


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
