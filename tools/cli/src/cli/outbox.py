"""`outbox`: what is not published yet, what the broker refuses, and publishing once more."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from backbone.outbox.v1 import outbox_pb2
from cli import documents
from cli.clients import Clients
from cli.errors import UsageError
from cli.outboxes import Outbox, Owner, Range
from cli.session import (
    LimitOption,
    NamespaceOption,
    OutputOption,
    RequestIdOption,
    Session,
    moment_option,
)

app = typer.Typer(
    help="Look at the outboxes; publish events once more; retry or discard parked ones.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_ASK_AGAIN_S = 0.5  # while the relay catches up


class Which(StrEnum):
    """The outboxes that a command is about."""

    LEDGER = "ledger"
    REGISTRY = "registry"
    ALL = "all"

    @property
    def owners(self) -> Sequence[Owner]:
        """Return them one by one."""
        return tuple(Owner) if self is Which.ALL else (Owner(self.value),)


WhichOption = Annotated[Which, typer.Option("--service", help="Whose outbox.")]
OwnerOption = Annotated[
    Owner, typer.Option("--service", help="Whose outbox: `outbox parked` has it.")
]
PositionArgument = Annotated[int, typer.Argument(metavar="POSITION", min=1)]
WhyOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept.")]


@app.command()
def status(
    context: typer.Context,
    *,
    service: WhichOption = Which.ALL,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show how much waits in the outboxes, and since when."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(
        lambda clients: _of_each(clients, service.owners, lambda outbox: outbox.state())
    )
    rows = [documents.outbox(owner, state) for owner, state in found]
    if not session.output.json:
        rows = [{**row, "pending": f"{row['pending']}{'+' * row['more']}"} for row in rows]
    session.output.rows(
        rows,
        [
            ("SERVICE", "service"),
            ("PENDING", "pending"),
            ("COPIES", "copies"),
            ("OLDEST", "oldest_queued_at"),
            ("PARKED", "parked"),
            ("STREAMS WAITING", "waiting_streams"),
            ("DISCARDED", "discarded"),
        ],
        none="there is no outbox",
    )


@app.command()
def republish(
    context: typer.Context,
    *,
    from_: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Recorded at or after this time.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="And before this one.")],
    stream: Annotated[
        str, typer.Option("--stream", metavar="NAME", help="Only of this one: run:…")
    ] = "",
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Only of this one; can be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")] = False,
    service: WhichOption = Which.ALL,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept. Required.")
    ] = "",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Publish events of a range of time once more, marked, at the pace of the relay."""
    session = Session(context, namespace=namespace, output=output)
    events = Range(
        moment_option("--from", from_), moment_option("--to", to), stream, tuple(type_ or ())
    )
    if events.recorded_from >= events.recorded_to:
        raise UsageError("--to has to be later than --from")
    if not reason and not dry_run:
        raise UsageError("--reason is missing: say why, in a few words")
    request = request_id or str(uuid.uuid4())

    async def carry_out(outbox: Outbox) -> outbox_pb2.RepublishEventsResponse:
        if dry_run:
            return await outbox.plan(events)
        told = False
        while True:
            answer = await outbox.republish(events, request_id=request, reason=reason)
            if answer.complete:
                return answer
            if answer.throttled:
                if not told:
                    session.output.note("waiting for the relay to publish what was put back")
                told = True
                await asyncio.sleep(_ASK_AGAIN_S)

    try:
        found = session.ask(lambda clients: _of_each(clients, service.owners, carry_out))
    except KeyboardInterrupt:
        if not dry_run:
            session.output.note(f"not complete: --request-id {request} goes on with it")
        raise
    session.output.rows(
        [
            documents.republished(owner, answer, request_id=None if dry_run else request)
            for owner, answer in found
        ],
        [
            ("SERVICE", "service"),
            ("WOULD BE REPUBLISHED" if dry_run else "REPUBLISHED", "republished"),
            ("STILL PENDING", "pending"),
            ("PARKED", "parked"),
            ("DISCARDED", "discarded"),
            ("REQUEST", "request_id"),
        ],
        none="there is no outbox",
    )


@app.command()
def parked(
    context: typer.Context,
    *,
    service: WhichOption = Which.ALL,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List the events that the broker refused for good, the oldest first."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(
        lambda clients: _of_each(clients, service.owners, lambda outbox: outbox.parked(limit=limit))
    )
    session.output.rows(
        [documents.parked_event(owner, one) for owner, events in found for one in events],
        [
            ("SERVICE", "service"),
            ("POSITION", "position"),
            ("STREAM", "stream"),
            ("VERSION", "stream_version"),
            ("TYPE", "type"),
            ("BYTES", "size"),
            ("PARKED", "parked_at"),
            ("STREAM WAITS", "waits"),
            ("WHY", "reason"),
        ],
        none=f"nothing is parked in namespace {session.namespace}",
    )


@app.command()
def retry(
    context: typer.Context,
    position: PositionArgument,
    *,
    service: OwnerOption,
    reason: WhyOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Put a parked event back into the outbox."""
    _settle(
        Session(context, namespace=namespace, output=output),
        service,
        position,
        request_id,
        lambda outbox, request: outbox.retry(position, request_id=request, reason=reason),
        done="pending",
    )


@app.command()
def discard(
    context: typer.Context,
    position: PositionArgument,
    *,
    service: OwnerOption,
    reason: WhyOption,
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Give a parked event up for good: its stream goes on with a gap."""
    _settle(
        Session(context, namespace=namespace, output=output),
        service,
        position,
        request_id,
        lambda outbox, request: outbox.discard(position, request_id=request, reason=reason),
        done="discarded",
    )


def _settle(
    session: Session,
    owner: Owner,
    position: int,
    request_id: str | None,
    change: Callable[[Outbox, str], Awaitable[bool]],
    *,
    done: str,
) -> None:
    request = request_id or str(uuid.uuid4())
    changed = session.ask(lambda clients: change(clients.outbox(owner), request))
    if session.output.json:
        session.output.document(
            {
                "service": owner.value,
                "position": position,
                "state": done,
                "changed": changed,
                "request_id": request,
            }
        )
        return
    session.output.text(f"{owner.value} {position}: {done}")
    if not changed:
        session.output.note("this request did so before")


async def _of_each(
    clients: Clients, owners: Sequence[Owner], ask: Callable[[Outbox], Awaitable[Any]]
) -> list[tuple[Owner, Any]]:
    return [(owner, await ask(clients.outbox(owner))) for owner in owners]
