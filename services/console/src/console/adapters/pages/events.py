"""An event: what it caused and what it did not, and why."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from backbone.ledger.v1 import routing_pb2
from backbone.router.v1 import router_pb2
from console.adapters import chains
from console.adapters.areas import Area, Page, get
from console.adapters.stamps import stamp
from console.domain.chains import Picture
from console.errors import NotFoundError

_DECISIONS = 200
_RECORDS = 3
_SEARCH_TIMEOUT_S = 25.0
"""The router gives up sooner by itself; others may be searching before."""
_LETTERS_SINCE = timedelta(days=1)


async def show(page: Page) -> Response:
    """Show an event with the decisions about it, and the graph of what it caused."""
    event_id = page.query("id", required=True)
    source = page.query("source")
    decisions = await _decisions(page, event_id, source)
    started = next((one.run_id for one in decisions if one.run_id), "")
    nodes, envelope, correlation_id, more = [], None, "", False
    if started:
        try:
            (run,) = await chains.in_full_of(page, [started])
        except NotFoundError:
            # It has been started, and has not decided yet.
            run = None
        if run is not None:
            correlation_id = chains.correlation_of(run)
            runs, more = await chains.around(page, run)
            nodes = Picture(runs).of_event(event_id, source)
            envelope = next(
                (
                    event
                    for one in runs
                    for event in one.events
                    if event["event_id"] == event_id and source in ("", event["source"])
                ),
                None,
            )
    return page.render(
        "events/event.html",
        event_id=event_id,
        source=source,
        sources=sorted({one.source for one in decisions}),
        decisions=decisions,
        nodes=nodes,
        envelope=envelope,
        correlation_id=correlation_id,
        more=more,
    )


async def others(page: Page) -> Response:
    """Say why the definitions that listen, or one that is asked for, did not run."""
    event_id = page.query("id", required=True)
    source = page.query("source")
    definition_id = page.query("definition", limit=256)
    decisions = await _decisions(page, event_id, source)
    if decisions:
        newest = decisions[0]
        place = router_pb2.Place(
            topic=newest.place.topic,
            partition=newest.place.partition,
            offset=newest.place.offset,
        )
        records = [await _evaluated(page, place, definition_id, as_of=newest.decided_at)]
        decided = {one.definition_id for one in decisions}
        return page.render(
            "events/others.html",
            searched=None,
            records=records,
            decided=decided,
            asked=definition_id,
            letters=[],
        )
    return await _searched(page, event_id, source, definition_id)


async def _decisions(
    page: Page, event_id: str, source: str
) -> Sequence[routing_pb2.RoutingDecision]:
    """Return the newest decisions about an event, of one source if it is given."""
    found = await page.ledger.ask(
        page.ledger.routing.ListRoutingDecisions(
            routing_pb2.ListRoutingDecisionsRequest(
                namespace=page.namespace, event_id=event_id, source=source, page_size=_DECISIONS
            )
        )
    )
    return found.decisions


async def _searched(page: Page, event_id: str, source: str, definition_id: str) -> Response:
    """Look for an event without a decision in Kafka, and among the dead letters."""
    searched = await page.router.ask(
        page.router.events.FindEvent(
            router_pb2.FindEventRequest(namespace=page.namespace, event_id=event_id, source=source),
            timeout=_SEARCH_TIMEOUT_S,
        )
    )
    newest = sorted(searched.found, key=lambda one: one.timestamp.ToNanoseconds(), reverse=True)
    records = []
    for found in newest[:_RECORDS]:
        unrouted = await _range(page, found.place)
        as_of = unrouted.recorded_at if unrouted is not None else None
        records.append(
            await _evaluated(page, found.place, definition_id, as_of=as_of, unrouted=unrouted)
        )
    letters = await page.router.ask(
        page.router.events.ListDeadLetters(
            router_pb2.ListDeadLettersRequest(
                namespace=page.namespace,
                filter=router_pb2.DeadLetterFilter(
                    event_id=event_id,
                    source=source,
                    parked_from=stamp(datetime.now(UTC) - _LETTERS_SINCE),
                ),
                page_size=_RECORDS,
            )
        )
    )
    return page.render(
        "events/others.html",
        searched=searched,
        records=records,
        decided=set(),
        asked=definition_id,
        letters=letters.dead_letters,
    )


async def _range(page: Page, place: router_pb2.Place) -> routing_pb2.UnroutedRange | None:
    request = routing_pb2.GetUnroutedRangeRequest(
        namespace=page.namespace,
        place=routing_pb2.RecordPlace(
            topic=place.topic, partition=place.partition, offset=place.offset
        ),
    )
    try:
        return (await page.ledger.ask(page.ledger.routing.GetUnroutedRange(request))).range
    except NotFoundError:
        return None


async def _evaluated(
    page: Page,
    place: router_pb2.Place,
    definition_id: str,
    *,
    as_of: Timestamp | None,
    unrouted: routing_pb2.UnroutedRange | None = None,
) -> dict[str, object]:
    """Return what a record meant to definitions; `absent` says why that cannot be said."""
    record: dict[str, object] = {
        "place": place,
        "unrouted": unrouted,
        "was": as_of is not None,
        "found": None,
        "absent": "",
    }
    request = router_pb2.EvaluateEventRequest(
        namespace=page.namespace, place=place, definition_id=definition_id, as_of=as_of
    )
    try:
        record["found"] = await page.router.ask(
            page.router.events.EvaluateEvent(request, timeout=_SEARCH_TIMEOUT_S)
        )
    except NotFoundError as exc:
        record["absent"] = str(exc)
    return record


AREA = Area("events", [get("event", show), get("event/others", others)])
