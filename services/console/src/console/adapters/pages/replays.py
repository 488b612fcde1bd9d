"""Replays of events: past events that are routed again, by a plan that is looked at first."""

from starlette.responses import Response

from backbone.ledger.v1 import replay_pb2 as pb
from backbone.router.v1 import router_pb2
from console.adapters.areas import Page, Route, get, post
from console.adapters.pages.changes import Thing, by_address, planned
from console.adapters.stamps import stamp
from console.domain import inbox
from console.errors import BadRequestError

MODES = ("missing", "failed", "all")
_PAGE = 50
_ID = 12  # characters of a replay's id, as the command gives them
_TIMEOUT_S = 25.0  # of a call that reads records for some seconds


async def list_(page: Page) -> Response:
    """List replays, the newest first, with the form for a new one."""
    asked = pb.ListReplaysRequest(
        namespace=page.namespace, page_size=_PAGE, page_token=page.query("page")
    )
    found = await page.ledger.ask(page.ledger.replays.ListReplays(asked))
    return page.render(
        "operations/replays.html",
        replays=found.replays,
        token=found.next_page_token,
        modes=MODES,
    )


async def show(page: Page) -> Response:
    """Show a replay with what it starts, and what can be done with it."""
    replay_id = page.query("id", required=True)
    asked = pb.ListReplayStartsRequest(
        namespace=page.namespace,
        replay_id=replay_id,
        page_size=_PAGE,
        page_token=page.query("page"),
    )
    found = await page.ledger.ask(page.ledger.replays.ListReplayStarts(asked))
    return page.render(
        "operations/replay.html",
        replay=await _replay(page, replay_id),
        starts=found.starts,
        token=found.next_page_token,
    )


async def progress(page: Page) -> Response:
    """Show how far it is, as a fragment that asks for itself again."""
    replay = await _replay(page, page.query("id", required=True))
    return page.render("operations/replay_progress.html", replay=replay)


async def plan(page: Page) -> Response:
    """Read the records for some seconds; the page of the plan goes on until it is complete."""
    records_from, records_to = page.moment("from"), page.moment("to")
    if records_from is None or records_to is None:
        raise BadRequestError("Say from when to when its records lie.")
    rate = page.field("rate", limit=4) or "20"
    if not rate.isdecimal():
        raise BadRequestError("How many are started in a second is a whole number.")
    replay_id = page.field("id", limit=100) or page.request_id[:_ID]
    asked = router_pb2.PlanReplayRequest(
        namespace=page.namespace,
        replay_id=replay_id,
        topic=page.field("topic", required=True),
        records_from=stamp(records_from),
        records_to=stamp(records_to),
        definition_ids=inbox.names(page.field("definitions")),
        mode=page.one_of("mode", MODES),
        max_starts_per_second=int(rate),
        reason=page.reason,
    )
    await page.router.ask(page.router.events.PlanReplay(asked, timeout=_TIMEOUT_S))
    return page.go(page.links.to("replay", id=replay_id))


async def _replay(page: Page, replay_id: str) -> pb.Replay:
    asked = pb.GetReplayRequest(namespace=page.namespace, replay_id=replay_id)
    return (await page.ledger.ask(page.ledger.replays.GetReplay(asked))).replay


_REPLAY = Thing("replay_id", by_address, "replay")

ROUTES: tuple[Route, ...] = (
    get("replays", list_),
    get("replay", show),
    get("replay/progress", progress),
    post("replays/plan", plan),
    post(
        "replay/apply",
        _REPLAY.change(pb.ApplyReplayRequest, lambda ledger: ledger.replays.ApplyReplay, planned),
    ),
    post(
        "replay/pause",
        _REPLAY.change(pb.PauseReplayRequest, lambda ledger: ledger.replays.PauseReplay),
    ),
    post(
        "replay/resume",
        _REPLAY.change(pb.ResumeReplayRequest, lambda ledger: ledger.replays.ResumeReplay),
    ),
    post(
        "replay/cancel",
        _REPLAY.change(pb.CancelReplayRequest, lambda ledger: ledger.replays.CancelReplay),
    ),
)
