"""`backfill`: run past due times after all: plan it, look at it, carry it out."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import typer

from backbone.ledger.v1 import backfills_pb2 as pb
from cli import backfill_documents as documents
from cli.backfill_calls import Backfills, Mode, Order, Question
from cli.errors import UsageError
from cli.session import (
    LimitOption,
    NamespaceOption,
    OutputOption,
    ReasonOption,
    RequestIdOption,
    Session,
    moment_option,
)

app = typer.Typer(
    help="Backfills: plan which past due times run after all, and carry the plan out.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

BackfillArgument = Annotated[
    str, typer.Argument(metavar="BACKFILL", help="Its id, as `backfill list` has it.")
]

_FIELDS = [
    ("backfill", "backfill_id"),
    ("state", "state"),
    ("definition", "definition_id"),
    ("version", "definition_version"),
    ("due from", "due_from"),
    ("to", "due_to"),
    ("mode", "mode"),
    ("order", "order"),
    ("at once", "concurrency"),
    ("due times", "due_times"),
    ("to run", "starts"),
    ("came to", "outcomes_told"),
    ("planned by", "created"),
    ("changed by", "changed"),
    ("finished", "finished_at"),
]


@app.command()
def plan(
    context: typer.Context,
    definition_id: Annotated[str, typer.Argument(metavar="ID", help="Of the definition.")],
    *,
    from_: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Due times at or after this one.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="And before this one.")],
    reason: ReasonOption,
    mode: Annotated[
        Mode,
        typer.Option(
            "--mode",
            help="missing: those without a run; failed: whose newest run failed; all: both, and "
            "whose newest run was cancelled.",
        ),
    ] = Mode.MISSING,
    order: Annotated[Order, typer.Option("--order", help="Which go first.")] = Order.OLDEST_FIRST,
    concurrency: Annotated[
        int,
        typer.Option("--concurrency", min=1, max=100, metavar="N", help="Runs open at once."),
    ] = 1,
    backfill_id: Annotated[
        str | None,
        typer.Option("--id", metavar="BACKFILL", help="Names it; the same again is the same."),
    ] = None,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Say of each past due time what would be done about it, and keep that as a plan."""
    session = Session(context, namespace=namespace, output=output)
    question = Question(
        definition_id=definition_id,
        since=moment_option("--from", from_),
        until=moment_option("--to", to),
        mode=mode,
        order=order,
        concurrency=concurrency,
    )
    named = backfill_id or uuid.uuid4().hex[:12]
    _show(
        session,
        session.ask(lambda clients: clients.backfills.plan(named, question, reason=reason)),
        limit=limit,
    )


@app.command()
def apply(
    context: typer.Context,
    planned: Annotated[
        str, typer.Argument(metavar="PLAN", help="BACKFILL@HASH, as `backfill plan` printed it.")
    ],
    *,
    reason: ReasonOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Carry out what a plan says, in its order and with no more runs at once than it allows."""
    session = Session(context, namespace=namespace, output=output)
    backfill_id, at, plan_hash = planned.partition("@")
    if not backfill_id or not at or not plan_hash:
        raise UsageError(f"a plan is BACKFILL@HASH, as `backfill plan` printed it, not {planned!r}")
    named = request_id or str(uuid.uuid4())
    _show(
        session,
        session.ask(
            lambda clients: clients.backfills.apply(
                backfill_id, plan_hash=plan_hash, request_id=named, reason=reason
            )
        ),
    )


@app.command()
def show(
    context: typer.Context,
    backfill_id: BackfillArgument,
    *,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show a backfill: its plan, how far it is, and what became of each due time."""
    session = Session(context, namespace=namespace, output=output)
    _show(session, session.ask(lambda clients: clients.backfills.get(backfill_id)), limit=limit)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    definition: Annotated[
        str, typer.Option("--definition", metavar="ID", help="Only of this one; default: all.")
    ] = "",
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List backfills, the newest first."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(lambda clients: clients.backfills.list(definition, limit=limit))
    session.output.rows(
        [documents.backfill(one) for one in found],
        [
            ("BACKFILL", "backfill_id"),
            ("STATE", "state"),
            ("DEFINITION", "definition_id"),
            ("FROM", "due_from"),
            ("TO", "due_to"),
            ("MODE", "mode"),
            ("TO RUN", "starts"),
            ("BY", "created_by"),
            ("WHY", "created_reason"),
        ],
        none=f"there is no backfill in namespace {session.namespace}",
    )


@app.command()
def pause(
    context: typer.Context,
    backfill_id: BackfillArgument,
    *,
    reason: ReasonOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Begin nothing more for now; runs that were begun go on."""
    session = Session(context, namespace=namespace, output=output)
    _change(session, Backfills.pause, backfill_id, request_id=request_id, reason=reason)


@app.command()
def resume(
    context: typer.Context,
    backfill_id: BackfillArgument,
    *,
    reason: ReasonOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Go on where a backfill was paused."""
    session = Session(context, namespace=namespace, output=output)
    _change(session, Backfills.resume, backfill_id, request_id=request_id, reason=reason)


@app.command()
def cancel(
    context: typer.Context,
    backfill_id: BackfillArgument,
    *,
    reason: ReasonOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Give up for good what a backfill has not begun; runs that were begun go on."""
    session = Session(context, namespace=namespace, output=output)
    _change(session, Backfills.cancel, backfill_id, request_id=request_id, reason=reason)


def _change(
    session: Session,
    change: Callable[..., Awaitable[pb.Backfill]],
    backfill_id: str,
    *,
    request_id: str | None,
    reason: str,
) -> None:
    named = request_id or str(uuid.uuid4())
    _show(
        session,
        session.ask(
            lambda clients: change(clients.backfills, backfill_id, request_id=named, reason=reason)
        ),
    )


def _show(session: Session, message: pb.Backfill, *, limit: int = 0) -> None:
    """Show a backfill, with the first `limit` of its due times."""
    document = documents.backfill(message)
    due_times: Sequence[dict[str, Any]] = []
    if limit:
        found = session.ask(
            lambda clients: clients.backfills.due_times(message.backfill_id, limit=limit)
        )
        due_times = [documents.due_time(one) for one in found]
    if session.output.json:
        session.output.document(document | ({"times": due_times} if limit else {}))
        return
    session.output.fields(
        document
        | {
            "outcomes_told": ", ".join(f"{what} {n}" for what, n in document["outcomes"].items()),
            "created": _who(document, "created"),
            "changed": _who(document, "changed") if message.changed_by else None,
        },
        _FIELDS,
    )
    if limit:
        session.output.heading("Due times")
        session.output.rows(
            due_times,
            [
                ("DUE", "due_at"),
                ("TRIGGERS", "triggers"),
                ("STEP", "step"),
                ("OUTCOME", "outcome"),
                ("RUN", "run_id"),
                ("WHY", "told"),
            ],
            none="nothing of it is due then",
        )
        if len(due_times) < message.due_times:
            session.output.note(
                f"{message.due_times - len(due_times)} more due times: --limit shows more of them"
            )
    if message.state == pb.BACKFILL_STATE_PLANNED and message.starts:
        session.output.note(
            "nothing is started yet; to do so: "
            f"backbone backfill apply {document['plan']} --reason …"
        )


def _who(document: dict[str, Any], what: str) -> str:
    return f"{document[f'{what}_by']}, {document[f'{what}_at']}: {document[f'{what}_reason']}"
