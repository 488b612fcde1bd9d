"""`shadow`: a version that decides beside the one that counts, and what it decided otherwise."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from backbone.ledger.v1 import shadows_pb2
from cli import backtests, documents, verdicts, versions
from cli.clients import Clients
from cli.errors import NotFoundError, UsageError
from cli.output import Output
from cli.session import NamespaceOption, OutputOption, ReasonOption, RequestIdOption, Session
from cli.verdicts import (
    AllowNotComparableOption,
    AllowOption,
    Report,
    ShowOption,
    Subject,
)
from contracts import durations
from contracts.shadows import DEFAULT_SHADOW_RUNS, MAX_SHADOW_AGE, MAX_SHADOW_RUNS, ShadowOutcome
from rules.backtests import Judged, PastRun, Verdict, judge_shadow

_OUTCOMES = {
    shadows_pb2.SHADOW_OUTCOME_DECIDED: ShadowOutcome.DECIDED,
    shadows_pb2.SHADOW_OUTCOME_FAILED: ShadowOutcome.FAILED,
    shadows_pb2.SHADOW_OUTCOME_NOT_STARTED: ShadowOutcome.NOT_STARTED,
    shadows_pb2.SHADOW_OUTCOME_NOT_COMPARABLE: ShadowOutcome.NOT_COMPARABLE,
}

_COLUMNS = [
    ("DEFINITION", "definition_id"),
    ("VERSION", "definition_version"),
    ("ACTIVE", "active"),
    ("DECIDED", "decided"),
    ("OF", "max_runs"),
    ("STARTED", "started_at"),
    ("BY", "started_by"),
    ("UNTIL", "ends_at"),
    ("REASON", "reason"),
]

app = typer.Typer(
    help="Let a version decide beside the one that counts, without effect.", rich_markup_mode=None
)


@app.callback()
def shadow() -> None:
    """Let a version decide beside the one that counts, without effect."""


@app.command()
def start(
    context: typer.Context,
    definition_id: Annotated[str, typer.Argument(metavar="ID")],
    reason: ReasonOption,
    *,
    version: Annotated[
        str, typer.Option("--version", metavar="VERSION", help="A stored version: v8.")
    ] = "",
    file: Annotated[
        str,
        typer.Option("-f", "--file", metavar="FILE|-", help="Or one that is not applied yet."),
    ] = "",
    runs: Annotated[
        int,
        typer.Option("--runs", min=1, max=MAX_SHADOW_RUNS, help="Runs that it decides at most."),
    ] = DEFAULT_SHADOW_RUNS,
    lasting: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="How long it decides at most.")
    ] = "7d",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Let a version decide each run that is recorded from now on; nothing comes of it."""
    session = Session(context, namespace=namespace, output=output)
    if bool(version) == bool(file):
        raise UsageError("shadow start takes either --version VERSION or -f FILE")
    expires_at = datetime.now(UTC) + _lasting(lasting)

    async def work(clients: Clients) -> shadows_pb2.Shadow:
        tried = await versions.chosen(
            clients, definition_id, option="--version", version=version, file=file
        )
        return await clients.shadows.start(
            tried,
            max_runs=runs,
            expires_at=expires_at,
            request_id=request_id or str(uuid.uuid4()),
            reason=reason,
        )

    _show(session.output, session.ask(work))


@app.command()
def stop(
    context: typer.Context,
    definition_id: Annotated[str, typer.Argument(metavar="ID")],
    reason: ReasonOption,
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """End the shadow of a definition; what it has decided is kept until the next one starts."""
    session = Session(context, namespace=namespace, output=output)
    _show(
        session.output,
        session.ask(lambda clients: clients.shadows.stop(definition_id, reason=reason)),
    )


@app.command("list")
def list_(
    context: typer.Context,
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List the last shadow of each definition."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(lambda clients: clients.shadows.list())
    session.output.rows(
        [_document(one) for one in found],
        _COLUMNS,
        none=f"no definition in namespace {session.namespace} has a shadow",
    )


@app.command()
def report(
    context: typer.Context,
    definition_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    allow: AllowOption = 0,
    allow_not_comparable: AllowNotComparableOption = 0,
    show: ShowOption = 20,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Say which tasks a definition's shadow decided otherwise; ends as `backtest` does."""
    with verdicts.unjudged():
        session = Session(context, namespace=namespace, output=output)
        found, told = session.ask(lambda clients: _report(clients, definition_id, show))
    ended = told.exit_code(allow=allow, allow_not_comparable=allow_not_comparable)
    out = session.output
    if out.json:
        out.document({"shadow": _document(found), **told.document(), "exit_code": ended})
    else:
        since = documents.instant(found.started_at)
        out.text(
            f"{definition_id}: version {found.definition_version} beside each run since {since}",
            style="bold",
        )
        told.show(out, ended)
    raise typer.Exit(ended)


async def _report(
    clients: Clients, definition_id: str, kept: int
) -> tuple[shadows_pb2.Shadow, Report]:
    found = await clients.shadows.list(definition_id=definition_id)
    if not found:
        raise NotFoundError(
            f"{definition_id} has no shadow; `backbone shadow start {definition_id}` starts one"
        )
    report = Report(kept=kept)

    async def decisions() -> AsyncIterator[tuple[int, shadows_pb2.ShadowDecision]]:
        number = 0
        async for decision in clients.shadows.decisions(found[0].shadow_id):
            yield number, decision
            number += 1

    async def work(item: tuple[int, shadows_pb2.ShadowDecision]) -> None:
        number, decision = item
        try:
            run = await clients.run(decision.run_id)
        except NotFoundError:
            gone = Subject(decision.run_id, 0, documents.instant(decision.recorded_at))
            report.count(number, gone, Judged(Verdict.NOT_COMPARABLE, "it is gone"))
            return
        judged = judge_shadow(
            PastRun.of(run),
            outcome=_OUTCOMES.get(decision.outcome, ShadowOutcome.NOT_COMPARABLE),
            reason=decision.reason,
            decision=decision.decision,
        )
        report.count(number, Subject.of(run.run), judged)

    await backtests.at_once(decisions(), work)
    return found[0], report


def _lasting(text: str) -> timedelta:
    try:
        lasting = durations.parse(text)
    except ValueError as exc:
        raise UsageError(f"--for: {exc}") from exc
    if not timedelta(0) < lasting <= MAX_SHADOW_AGE:
        raise UsageError(f"--for is at most {MAX_SHADOW_AGE.days}d, not {text!r}")
    return lasting


def _document(shadow: shadows_pb2.Shadow) -> dict[str, Any]:
    stopped_at = documents.moment(shadow, "stopped_at")
    return {
        "namespace": shadow.namespace,
        "shadow_id": shadow.shadow_id,
        "definition_id": shadow.definition_id,
        "definition_version": shadow.definition_version,
        "active": shadow.active,
        "decided": shadow.decided,
        "max_runs": shadow.max_runs,
        "started_at": documents.moment(shadow, "started_at"),
        "started_by": shadow.started_by,
        "reason": shadow.reason,
        "ends_at": stopped_at or documents.moment(shadow, "expires_at"),
        "stopped_at": stopped_at,
        "stopped_by": shadow.stopped_by or None,
        "stop_reason": shadow.stop_reason or None,
    }


def _show(out: Output, shadow: shadows_pb2.Shadow) -> None:
    document = _document(shadow)
    if out.json:
        out.document(document)
    else:
        out.fields(document, [(heading.lower(), field) for heading, field in _COLUMNS])
