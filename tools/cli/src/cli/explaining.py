"""`explain`: why something did, or did not, run; here of an event (runs: `explaining_runs`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from backbone.ledger.v1 import routing_pb2
from backbone.router.v1 import router_pb2
from cli import (
    dead_letter_documents,
    documents,
    explaining_runs,
    explaining_ticks,
    explanations,
    stamps,
)
from cli.clients import Clients
from cli.errors import NotFoundError, UsageError
from cli.explanations import Explained
from cli.session import NamespaceOption, OutputOption, Session, moment_option

DECISIONS = 200
"""Decisions of one event that are told."""
SEARCHED_FOR = timedelta(days=1)
"""How far back is looked when nobody says, as the router does."""
RECORDS = 3
"""Records of one event id that are explained, the newest first."""

app = typer.Typer(help="Say why something did, or did not, run.", rich_markup_mode=None)


@app.callback()
def explain() -> None:
    """Say why something did, or did not, run."""


app.command()(explaining_runs.run)
app.command()(explaining_runs.task)
app.command()(explaining_ticks.tick)


@dataclass
class _Wanted:
    """What the command was asked."""

    event_id: str
    source: str
    definition_id: str
    since: datetime | None
    topics: Sequence[str]


@dataclass
class _Answer:
    """Decisions, or else records with what they would mean, and dead letters."""

    decisions: list[routing_pb2.RoutingDecision] = field(default_factory=list)
    records: list[Explained] = field(default_factory=list)
    dead_letters: list[router_pb2.DeadLetter] = field(default_factory=list)
    searched: router_pb2.FindEventResponse | None = None


@app.command("event")
def event(
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID")],
    *,
    source: Annotated[
        str, typer.Option("--source", metavar="NAME", help="Only from this source.")
    ] = "",
    definition: Annotated[
        str, typer.Option("--definition", metavar="ID", help="Say why this one did not run.")
    ] = "",
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Look in Kafka from this time on, for an event without decisions; default: a day.",
        ),
    ] = "",
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", metavar="NAME", help="And in this topic; may be repeated."),
    ] = None,
    namespace: NamespaceOption = None,
    output: OutputOption = None,
) -> None:
    """Say what an event meant to definitions, and why one of them did not run."""
    session = Session(context, namespace=namespace, output=output)
    if not event_id:
        raise UsageError("EVENT_ID is empty")
    wanted = _Wanted(
        event_id=event_id,
        source=source,
        definition_id=definition,
        since=moment_option("--since", since) if since else None,
        topics=topic or [],
    )
    answer = session.ask(lambda clients: _answer(clients, wanted))
    if not (answer.decisions or answer.records or answer.dead_letters):
        raise NotFoundError(_nowhere(wanted, answer.searched, session.namespace))
    rows = [documents.decision(one) for one in answer.decisions]
    out = session.output
    if out.json:
        out.document(
            {
                "namespace": session.namespace,
                "event_id": event_id,
                "decisions": rows,
                "records": [explanations.document(one) for one in answer.records],
                "dead_letters": [
                    dead_letter_documents.dead_letter(one) for one in answer.dead_letters
                ],
            }
        )
        return
    for row in rows:
        for line in explanations.decision(row):
            out.text(line)
    for record in answer.records:
        for line in explanations.sentences(event_id, record, definition_id=definition):
            out.text(line)
    for letter in answer.dead_letters:
        out.text(explanations.dead_letter(letter))
    sources = {row["source"] for row in rows}
    if len(sources) > 1:
        out.note(f"events of {len(sources)} sources have this id: --source NAME tells them apart")
    if rows and not definition:
        out.note("what is not listed did not match: --definition ID says why")


async def _answer(clients: Clients, wanted: _Wanted) -> _Answer:
    decisions = await clients.decisions(
        event_id=wanted.event_id,
        source=wanted.source,
        definition_id=wanted.definition_id,
        limit=DECISIONS,
    )
    if decisions:
        return _Answer(decisions)
    if wanted.definition_id:
        others = await clients.decisions(
            event_id=wanted.event_id, source=wanted.source, limit=DECISIONS
        )
        if others:
            # Of each source the first record: the others of it are copies.
            first = {one.source: one for one in others}
            return _Answer(
                records=[
                    await _again(
                        clients,
                        wanted,
                        Explained(place=_place(one.place), source=one.source),
                        decided_at=one.decided_at.ToDatetime(UTC),
                    )
                    for one in list(first.values())[:RECORDS]
                ]
            )
    searched = await clients.find_event(
        wanted.event_id, source=wanted.source, since=wanted.since, topics=wanted.topics
    )
    newest = sorted(searched.found, key=lambda one: one.timestamp.ToNanoseconds(), reverse=True)
    records = []
    for found in newest[:RECORDS]:
        explained = Explained(place=found.place, source=found.source)
        explained.range = await clients.unrouted_range(found.place)
        decided_at = explained.range.recorded_at.ToDatetime(UTC) if explained.range else None
        records.append(await _again(clients, wanted, explained, decided_at=decided_at))
    letters: list[router_pb2.DeadLetter] = []
    if all(one.range is None for one in records):
        letters = await _dead_letters(clients, wanted)
    return _Answer(records=records, dead_letters=letters, searched=searched)


async def _dead_letters(clients: Clients, wanted: _Wanted) -> list[router_pb2.DeadLetter]:
    """Return the dead letters of the event, parked since it is looked for."""
    since = wanted.since or datetime.now(UTC) - SEARCHED_FOR
    return await clients.dead_letters.list(
        router_pb2.DeadLetterFilter(
            event_id=wanted.event_id, source=wanted.source, parked_from=stamps.stamp(since)
        ),
        limit=RECORDS,
    )


async def _again(
    clients: Clients, wanted: _Wanted, explained: Explained, *, decided_at: datetime | None
) -> Explained:
    """Evaluate a record as of the time of its decision; now when there is none."""
    if decided_at is not None:
        explained.as_of = documents.instant_of(decided_at)
    try:
        explained.evaluated = await clients.evaluate_event(
            explained.place, definition_id=wanted.definition_id, as_of=decided_at
        )
    except NotFoundError as exc:
        if exc.reason == "DEFINITION_ABSENT":
            explained.absent = f"{wanted.definition_id} did not run: {exc}."
        elif exc.reason == "RECORD_GONE":
            who = wanted.definition_id
            told = f"{who} was no candidate: none of its triggers matched. " if who else ""
            explained.absent = f"{told}More cannot be said: {exc}."
        else:
            raise
    return explained


def _nowhere(wanted: _Wanted, searched: router_pb2.FindEventResponse | None, namespace: str) -> str:
    looked_at = searched.records_looked_at if searched is not None else 0
    where = ", ".join(wanted.topics) or f"the topics that the router reads in {namespace}"
    since = documents.instant_of(wanted.since) if wanted.since else "a day ago"
    told = (
        f"event {wanted.event_id!r} is nowhere: the ledger has no decision of it, it is no dead "
        f"letter, and it is in none of {looked_at} records since {since} of {where}"
    )
    if searched is not None and searched.incomplete:
        return f"{told}; there are more: narrow it by --since and --topic"
    return f"{told} (--since looks further back)"


def _place(place: routing_pb2.RecordPlace) -> router_pb2.Place:
    return router_pb2.Place(topic=place.topic, partition=place.partition, offset=place.offset)
