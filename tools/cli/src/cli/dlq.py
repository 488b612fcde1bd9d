"""`dlq`: records that the router refused: look at them, have them routed again, give them up."""

import re
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from backbone.router.v1 import router_pb2 as pb
from cli import dead_letter_documents as documents
from cli import dead_letter_view, stamps
from cli.dead_letters import DeadLetters, Order
from cli.errors import CliError, UsageError
from cli.session import (
    LimitOption,
    NamespaceOption,
    OutputOption,
    RequestIdOption,
    Session,
    moment_option,
)

app = typer.Typer(
    help="Dead letters: list and show them, route them again, give them up.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

T = TypeVar("T")

_PLACE = re.compile(r"(\d{1,9}):(\d{1,18})")


class Which(StrEnum):
    """Dead letters in which state."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"
    ANY = "any"


PlaceArgument = Annotated[
    str, typer.Argument(metavar="PLACE", help="PARTITION:OFFSET, as `dlq list` has it.")
]
PlacesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PLACE]...", help="PARTITION:OFFSET; exactly these."),
]
CodeOption = Annotated[
    str, typer.Option("--code", metavar="CODE", help="Refused for this: expression_error, …")
]
OriginOption = Annotated[
    str, typer.Option("--origin-topic", metavar="TOPIC", help="Came from this topic.")
]
SourceOption = Annotated[str, typer.Option("--source", metavar="SOURCE", help="Of this source.")]
EventOption = Annotated[str, typer.Option("--event", metavar="ID", help="With this event id.")]
TypeOption = Annotated[str, typer.Option("--type", metavar="TYPE", help="Of this event type.")]
FromOption = Annotated[
    str, typer.Option("--from", metavar="TIME", help="Parked at or after this time.")
]
ToOption = Annotated[str, typer.Option("--to", metavar="TIME", help="And before this one.")]
AllOption = Annotated[bool, typer.Option("--all", help="All that are open.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is done.")]
WhyOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept. Required.")
]

_COLUMNS = [
    ("PLACE", "place"),
    ("PARKED", "parked_at"),
    ("CODE", "code"),
    ("FROM", "origin"),
    ("TYPE", "type"),
    ("SOURCE", "source"),
    ("EVENT", "event_id"),
    ("BYTES", "size"),
    ("STATE", "state"),
]


@app.command("list")
def list_(
    context: typer.Context,
    *,
    code: CodeOption = "",
    origin_topic: OriginOption = "",
    type_: TypeOption = "",
    source: SourceOption = "",
    event: EventOption = "",
    from_: FromOption = "",
    to: ToOption = "",
    state: Annotated[Which, typer.Option("--state", help="Only in this one.")] = Which.OPEN,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List dead letters, the oldest first."""
    session = Session(context, namespace=namespace, output=output)
    wanted = _filter(
        code=code,
        origin_topic=origin_topic,
        type_=type_,
        source=source,
        event=event,
        from_=from_,
        to=to,
    )
    wanted.state = "" if state is Which.ANY else state.value
    found = session.ask(lambda clients: clients.dead_letters.list(wanted, limit=limit))
    which = "" if state is Which.ANY else f"{state} "
    session.output.rows(
        [documents.dead_letter(one) for one in found],
        [*_COLUMNS, ("WHY", "detail")],
        none=f"there is no such {which}dead letter in namespace {session.namespace}",
    )


@app.command()
def show(
    context: typer.Context,
    place: PlaceArgument,
    *,
    raw: Annotated[
        Path | None,
        typer.Option(
            "--raw", metavar="FILE", help="Reveal, and write the value's exact bytes to this file."
        ),
    ] = None,
    reveal: Annotated[
        bool,
        typer.Option("--reveal", help="With the sender's key, headers and value: it is recorded."),
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept. Required to reveal.")
    ] = "",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Show a dead letter; what its sender sent only when you say why, which is recorded."""
    session = Session(context, namespace=namespace, output=output)
    ((partition, offset),) = _places([place])
    reveal = reveal or raw is not None
    if reveal and not reason:
        raise UsageError("--reason is missing: what you are shown is recorded, with why")
    found = session.ask(
        lambda clients: clients.dead_letters.get(
            partition,
            offset,
            reveal=reveal,
            reason=reason,
            request_id=request_id or str(uuid.uuid4()),
        )
    )
    if reveal and not found.revealed:
        raise CliError(found.dead_letter.detail)
    if raw is not None:
        try:
            raw.write_bytes(found.value)
        except OSError as exc:
            raise UsageError(f"{raw} cannot be written: {exc.strerror}") from exc
    if session.output.json:
        session.output.document(documents.dead_letter_in_full(found))
        return
    dead_letter_view.show(session.output, found)
    if raw is not None:
        session.output.note(f"{len(found.value)} bytes are in {raw}")


@app.command()
def openings(
    context: typer.Context,
    *,
    limit: LimitOption = 50,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """List who was shown what is in dead letters and why, the newest first."""
    session = Session(context, namespace=namespace, output=output)
    found = session.ask(lambda clients: clients.dead_letter_openings(limit=limit))
    session.output.rows(
        [documents.opening(one) for one in found],
        [("PLACE", "place"), ("OPENED", "opened_at"), ("BY", "actor"), ("WHY", "reason")],
        none=f"no dead letter of namespace {session.namespace} was opened",
    )


@app.command()
def redrive(
    context: typer.Context,
    places: PlacesArgument = None,
    *,
    code: CodeOption = "",
    origin_topic: OriginOption = "",
    type_: TypeOption = "",
    source: SourceOption = "",
    event: EventOption = "",
    from_: FromOption = "",
    to: ToOption = "",
    all_: AllOption = False,
    limit: LimitOption = 100,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    reason: WhyOption = "",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Route dead letters again, as if they had just come; what is refused again stays open."""
    session = Session(context, namespace=namespace, output=output)
    wanted = _filter(
        code=code,
        origin_topic=origin_topic,
        type_=type_,
        source=source,
        event=event,
        from_=from_,
        to=to,
    )
    order = _order(
        wanted,
        places or [],
        everything=all_,
        dry_run=dry_run,
        reason=reason,
        request_id=request_id,
        limit=limit,
    )
    redriven, more = _carry_out(session, order, "route", DeadLetters.redrive, yes=yes)
    session.output.rows(
        [documents.redriven(one, request_id=order.request_id) for one in redriven],
        [
            *_COLUMNS[:-2],
            ("WOULD BE" if dry_run else "BECAME", "outcome"),
            ("DETAIL", "outcome_detail"),
        ],
        none="there is no such open dead letter",
    )
    _note_rest(session, order, more=more)
    refused = sum(one.outcome == "refused" for one in redriven)
    if refused and not session.output.json:
        session.output.note(
            f"{refused} {'would be' if dry_run else 'were'} refused again and "
            f"{'stay' if dry_run else 'stayed'} open"
        )


@app.command()
def discard(
    context: typer.Context,
    places: PlacesArgument = None,
    *,
    code: CodeOption = "",
    origin_topic: OriginOption = "",
    type_: TypeOption = "",
    source: SourceOption = "",
    event: EventOption = "",
    from_: FromOption = "",
    to: ToOption = "",
    all_: AllOption = False,
    limit: LimitOption = 100,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    reason: WhyOption = "",
    request_id: RequestIdOption = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Give dead letters up for good; their topic keeps the records for as long as it does."""
    session = Session(context, namespace=namespace, output=output)
    wanted = _filter(
        code=code,
        origin_topic=origin_topic,
        type_=type_,
        source=source,
        event=event,
        from_=from_,
        to=to,
    )
    order = _order(
        wanted,
        places or [],
        everything=all_,
        dry_run=dry_run,
        reason=reason,
        request_id=request_id,
        limit=limit,
    )
    discarded, more = _carry_out(session, order, "give up", DeadLetters.discard, yes=yes)
    session.output.rows(
        [documents.dead_letter(one) for one in discarded],
        [*_COLUMNS, ("WHY", "detail")],
        none="there is no such open dead letter",
    )
    _note_rest(session, order, more=more)


def _filter(
    *, code: str, origin_topic: str, type_: str, source: str, event: str, from_: str, to: str
) -> pb.DeadLetterFilter:
    return pb.DeadLetterFilter(
        reason=code,
        origin_topic=origin_topic,
        type=type_,
        source=source,
        event_id=event,
        parked_from=stamps.stamp(moment_option("--from", from_) if from_ else None),
        parked_to=stamps.stamp(moment_option("--to", to) if to else None),
    )


def _places(texts: Sequence[str]) -> list[tuple[int, int]]:
    found = []
    for text in texts:
        match = _PLACE.fullmatch(text)
        if match is None:
            raise UsageError(f"a place is PARTITION:OFFSET, such as 0:42, not {text!r}")
        found.append((int(match[1]), int(match[2])))
    return found


def _order(
    wanted: pb.DeadLetterFilter,
    places: Sequence[str],
    *,
    everything: bool,
    dry_run: bool,
    reason: str,
    request_id: str | None,
    limit: int,
) -> Order:
    filtered = wanted != pb.DeadLetterFilter()
    if everything and (filtered or places):
        raise UsageError("--all is for all of them: leave it out, or the places and filters")
    if not (everything or filtered or places):
        raise UsageError("which ones? Name places, or filter (--code, --type, …), or say --all")
    if not reason and not dry_run:
        raise UsageError("--reason is missing: say why, in a few words")
    for partition, offset in _places(places):
        wanted.places.add(partition=partition, offset=offset)
    if not places:
        # Who names one is told what became of it.
        wanted.state = Which.OPEN
    return Order(
        filter=wanted,
        dry_run=dry_run,
        request_id=request_id or str(uuid.uuid4()),
        reason=reason,
        limit=limit,
    )


def interactive() -> bool:
    """Say whether a person can be asked."""
    return sys.stdin.isatty()


def _carry_out(
    session: Session,
    order: Order,
    verb: str,
    call: Callable[[DeadLetters, Order], Awaitable[tuple[Sequence[T], bool]]],
    *,
    yes: bool,
) -> tuple[Sequence[T], bool]:
    """Do what was ordered, once whoever can be asked has agreed to how much that is."""
    if _asks(session, order, yes=yes):
        planned, more = session.ask(
            lambda clients: call(clients.dead_letters, replace(order, dry_run=True))
        )
        _confirm(verb, len(planned), more=more)
    return session.ask(lambda clients: call(clients.dead_letters, order))


def _asks(session: Session, order: Order, *, yes: bool) -> bool:
    named = len(order.filter.places) > 0
    return not (order.dry_run or named or yes or session.output.json or not interactive())


def _confirm(verb: str, count: int, *, more: bool) -> None:
    what = f"{count}{' or more' * more} dead letter{'' if count == 1 and not more else 's'}"
    if count and not typer.confirm(f"{verb} {what}?", err=True):
        raise UsageError("nothing was done")


def _note_rest(session: Session, order: Order, *, more: bool) -> None:
    if more and not session.output.json:
        session.output.note(f"--limit {order.limit} is reached and there may be more: do it again")
