"""`replay`: route past events once more: plan it, look at it, carry it out."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from backbone.ledger.v1 import replay_pb2 as pb
from cli import replay_documents as documents
from cli.errors import UsageError
from cli.replays import Mode, Question, Replays
from cli.session import (
    LimitOption,
    NamespaceOption,
    OutputOption,
    RequestIdOption,
    Session,
    moment_option,
)

app = typer.Typer(
    help="Replays of events: plan one, look at the plan, carry it out.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ReplayArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The replay's id, as `replay list` has it.")
]
WhyOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept.")]

_FIELDS = [
    ("replay", "replay_id"),
    ("state", "state"),
    ("topic", "topic"),
    ("records from", "records_from"),
    ("to", "records_to"),
    ("mode", "mode"),
    ("starts per second", "max_starts_per_second"),
    ("records", "read"),
    ("nobody wants", "unrouted"),
    ("refused now", "refused_told"),
    ("runs to start", "starts"),
    ("begun", "begun"),
    ("events under way", "open_events"),
    ("planned by", "created"),
    ("changed by", "changed"),
    ("finished", "finished_at"),
]


@app.command()
def plan(
    context: typer.Context,
    *,
    topic: Annotated[str, typer.Option("--topic", help="That the router reads.")],
    from_: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Records at or after this time.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="And before this one.")],
    reason: WhyOption,
    definition: Annotated[
        list[str] | None,
        typer.Option("--definition", metavar="ID", help="Only for these; default: all."),
    ] = None,
    mode: Annotated[
        Mode,
        typer.Option(
            "--mode",
            help="missing: events without a run; failed: whose newest run failed; all: every one.",
        ),
    ] = Mode.MISSING,
    rate: Annotated[
        int, typer.Option("--rate", min=1, max=1000, metavar="N", help="Starts in a second.")
    ] = 20,
    replay_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Names it; the same again goes on with the plan."),
    ] = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Say what past events would start, and keep it as a plan. Nothing is started."""
    session = Session(context, namespace=namespace, output=output)
    question = Question(
        topic=topic,
        since=moment_option("--from", from_),
        until=moment_option("--to", to),
        definition_ids=definition or [],
        mode=mode,
        rate=rate,
    )
    named = replay_id or uuid.uuid4().hex[:12]

    def progress(records: int, total: int) -> None:
        if not session.output.json:
            session.output.note(f"{records} of {total} records are read")

    planned = session.ask(
        lambda clients: clients.replays.plan(named, question, reason=reason, progress=progress)
    )
    _show(session, planned)


@app.command()
def apply(
    context: typer.Context,
    planned: Annotated[
        str, typer.Argument(metavar="PLAN", help="ID@HASH, as `replay plan` printed it.")
    ],
    *,
    reason: WhyOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Start what a plan says, in its order and at its rate."""
    session = Session(context, namespace=namespace, output=output)
    replay_id, at, plan_hash = planned.partition("@")
    if not replay_id or not at or not plan_hash:
        raise UsageError(f"a plan is ID@HASH, as `replay plan` printed it, not {planned!r}")
    _show(
        session,
        session.ask(
            lambda clients: clients.replays.apply(
                replay_id,
                plan_hash=plan_hash,
                request_id=request_id or str(uuid.uuid4()),
                reason=reason,
            )
        ),
    )


@app.command()
def show(
    context: typer.Context,
    replay_id: ReplayArgument,
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show a replay: its plan, how far it is, and what became of its events."""
    session = Session(context, namespace=namespace, output=output)
    _show(session, session.ask(lambda clients: clients.replays.get(replay_id)))


@app.command("list")
def list_(
    context: typer.Context,
    *,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List replays, the newest first."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(lambda clients: clients.replays.list(limit=limit))
    session.output.rows(
        [documents.replay(one) for one in found],
        [
            ("REPLAY", "replay_id"),
            ("STATE", "state"),
            ("TOPIC", "topic"),
            ("FROM", "records_from"),
            ("TO", "records_to"),
            ("MODE", "mode"),
            ("RUNS", "starts"),
            ("BEGUN", "begun"),
            ("BY", "created_by"),
            ("WHY", "created_reason"),
        ],
        none=f"there is no replay in namespace {session.namespace}",
    )


@app.command()
def starts(
    context: typer.Context,
    replay_id: ReplayArgument,
    *,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List what a replay has still to start, in order."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(lambda clients: clients.replays.starts(replay_id, limit=limit))
    session.output.rows(
        [_row(documents.start(one)) for one in found],
        [("NUMBER", "ordinal"), ("RUN", "run_id"), ("KEY", "key"), ("EVENTS", "places")],
        none=f"the replay {replay_id} has nothing left to start",
    )


@app.command()
def pause(
    context: typer.Context,
    replay_id: ReplayArgument,
    *,
    reason: WhyOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Start nothing more for now; what was begun goes on."""
    session = Session(context, namespace=namespace, output=output)
    _change(session, Replays.pause, replay_id, request_id=request_id, reason=reason)


@app.command()
def resume(
    context: typer.Context,
    replay_id: ReplayArgument,
    *,
    reason: WhyOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Go on where a replay was paused."""
    session = Session(context, namespace=namespace, output=output)
    _change(session, Replays.resume, replay_id, request_id=request_id, reason=reason)


@app.command()
def cancel(
    context: typer.Context,
    replay_id: ReplayArgument,
    *,
    reason: WhyOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Give up for good what a replay has not begun."""
    session = Session(context, namespace=namespace, output=output)
    _change(session, Replays.cancel, replay_id, request_id=request_id, reason=reason)


def _change(
    session: Session,
    change: Callable[..., Awaitable[pb.Replay]],
    replay_id: str,
    *,
    request_id: str | None,
    reason: str,
) -> None:
    named = request_id or str(uuid.uuid4())
    _show(
        session,
        session.ask(
            lambda clients: change(clients.replays, replay_id, request_id=named, reason=reason)
        ),
    )


def _show(session: Session, message: pb.Replay) -> None:
    document = documents.replay(message)
    if session.output.json:
        session.output.document(document)
        return
    session.output.fields(
        document
        | {
            "read": f"{message.records} of {message.records_total}",
            "refused_told": documents.told(document["refused"]),
            "created": _who(document, "created"),
            "changed": _who(document, "changed") if message.changed_by else None,
        },
        _FIELDS,
    )
    if document["definitions"]:
        session.output.heading("Definitions")
    session.output.rows(
        [
            one
            | {
                "planned_told": documents.told(one["planned"]),
                "outcomes_told": documents.told(one["outcomes"]),
            }
            for one in document["definitions"]
        ],
        [
            ("DEFINITION", "definition_id"),
            ("VERSION", "definition_version"),
            ("RUNS", "runs"),
            ("EVENTS BY PLAN", "planned_told"),
            ("CAME TO", "outcomes_told"),
        ],
        none="no definition wants any of these events",
    )
    if message.state == pb.REPLAY_STATE_PLANNED and message.starts:
        session.output.note(
            f"nothing is started yet; to do so: backbone replay apply {document['plan']} --reason …"
        )


def _who(document: dict[str, Any], what: str) -> str:
    return f"{document[f'{what}_by']}, {document[f'{what}_at']}: {document[f'{what}_reason']}"


def _row(document: dict[str, Any]) -> dict[str, Any]:
    return document | {"places": ", ".join(one["place"] for one in document["events"])}
