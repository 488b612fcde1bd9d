"""Backfills: past due times that are run after all, by a plan that is looked at first."""

from starlette.responses import Response

from backbone.ledger.v1 import backfills_pb2 as pb
from console.adapters.areas import Page, Route, get, post
from console.adapters.pages.changes import Thing, by_address, planned
from console.adapters.stamps import stamp
from console.errors import BadRequestError

MODES = {
    "missing": pb.BACKFILL_MODE_MISSING,
    "failed": pb.BACKFILL_MODE_FAILED,
    "all": pb.BACKFILL_MODE_ALL,
}
ORDERS = {
    "oldest first": pb.BACKFILL_ORDER_OLDEST_FIRST,
    "newest first": pb.BACKFILL_ORDER_NEWEST_FIRST,
}
_PAGE = 50
_ID = 12  # characters of a backfill's id, as the command gives them
_TIMEOUT_S = 25.0


async def list_(page: Page) -> Response:
    """List backfills, the newest first, with the form for a new one."""
    asked = pb.ListBackfillsRequest(
        namespace=page.namespace, page_size=_PAGE, page_token=page.query("page")
    )
    found = await page.ledger.ask(page.ledger.backfills.ListBackfills(asked))
    return page.render(
        "operations/backfills.html",
        backfills=found.backfills,
        token=found.next_page_token,
        modes=tuple(MODES),
        orders=tuple(ORDERS),
    )


async def show(page: Page) -> Response:
    """Show a backfill with its due times, and what can be done with it."""
    backfill_id = page.query("id", required=True)
    asked = pb.ListBackfillDueTimesRequest(
        namespace=page.namespace,
        backfill_id=backfill_id,
        page_size=_PAGE,
        page_token=page.query("page"),
    )
    found = await page.ledger.ask(page.ledger.backfills.ListBackfillDueTimes(asked))
    return page.render(
        "operations/backfill.html",
        backfill=await _backfill(page, backfill_id),
        due_times=found.due_times,
        token=found.next_page_token,
    )


async def progress(page: Page) -> Response:
    """Show how far it is, as a fragment that asks for itself again."""
    backfill = await _backfill(page, page.query("id", required=True))
    return page.render("operations/backfill_progress.html", backfill=backfill)


async def plan(page: Page) -> Response:
    """Make a plan, and start nothing."""
    backfill_id = page.request_id[:_ID]
    concurrency = page.field("concurrency", limit=3) or "1"
    due_from, due_to = page.moment("from"), page.moment("to")
    if due_from is None or due_to is None:
        raise BadRequestError("Say from when to when its due times lie.")
    if not concurrency.isdecimal():
        raise BadRequestError("How many runs are open at once is a whole number.")
    asked = pb.PlanBackfillRequest(
        namespace=page.namespace,
        backfill_id=backfill_id,
        definition_id=page.field("definition", required=True),
        due_from=stamp(due_from),
        due_to=stamp(due_to),
        mode=MODES[page.one_of("mode", MODES)],
        order=ORDERS[page.one_of("order", ORDERS)],
        concurrency=int(concurrency),
        reason=page.reason,
    )
    await page.ledger.ask(page.ledger.backfills.PlanBackfill(asked, timeout=_TIMEOUT_S))
    return page.go(page.links.to("backfill", id=backfill_id))


async def _backfill(page: Page, backfill_id: str) -> pb.Backfill:
    asked = pb.GetBackfillRequest(namespace=page.namespace, backfill_id=backfill_id)
    return (await page.ledger.ask(page.ledger.backfills.GetBackfill(asked))).backfill


_BACKFILL = Thing("backfill_id", by_address, "backfill")

ROUTES: tuple[Route, ...] = (
    get("backfills", list_),
    get("backfill", show),
    get("backfill/progress", progress),
    post("backfills/plan", plan),
    post(
        "backfill/apply",
        _BACKFILL.change(
            pb.ApplyBackfillRequest, lambda ledger: ledger.backfills.ApplyBackfill, planned
        ),
    ),
    post(
        "backfill/pause",
        _BACKFILL.change(pb.PauseBackfillRequest, lambda ledger: ledger.backfills.PauseBackfill),
    ),
    post(
        "backfill/resume",
        _BACKFILL.change(pb.ResumeBackfillRequest, lambda ledger: ledger.backfills.ResumeBackfill),
    ),
    post(
        "backfill/cancel",
        _BACKFILL.change(pb.CancelBackfillRequest, lambda ledger: ledger.backfills.CancelBackfill),
    ),
)
