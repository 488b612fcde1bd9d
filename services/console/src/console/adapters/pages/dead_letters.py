"""Dead letters: records that the router refused, shown, routed again or given up."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from starlette.responses import Response

from backbone.router.v1 import router_pb2 as pb
from console.adapters.areas import Page, Route, get, post
from console.domain import places
from console.errors import BadRequestError

T = TypeVar("T")

STATES = ("open", "redriven", "discarded", "any")
MAX_ORDERED = 100
"""Dead letters that are routed again or given up at once."""
_PAGE = 50
_TIMEOUT_S = 25.0  # of a call that looks at many records; below what a page may take
_FILTERS = ("code", "type", "topic", "source", "event")


async def list_(page: Page) -> Response:
    """List dead letters, the oldest first: without a word those that are open."""
    query = {name: page.query(name) for name in _FILTERS} | {"state": page.one_of("state", STATES)}
    found = await page.router.ask(
        page.router.events.ListDeadLetters(
            pb.ListDeadLettersRequest(
                namespace=page.namespace,
                page_size=_PAGE,
                page_token=page.query("page"),
                filter=pb.DeadLetterFilter(
                    reason=query["code"],
                    type=query["type"],
                    origin_topic=query["topic"],
                    source=query["source"],
                    event_id=query["event"],
                    state="" if query["state"] == "any" else query["state"],
                ),
            ),
            timeout=_TIMEOUT_S,
        )
    )
    return page.render(
        "operations/dead_letters.html",
        letters=found.dead_letters,
        token=found.next_page_token,
        query=query,
        states=STATES,
    )


async def show(page: Page) -> Response:
    """Show one without what its sender sent."""
    request = pb.GetDeadLetterRequest(namespace=page.namespace, place=_place(page.query("place")))
    found = await page.router.ask(page.router.events.GetDeadLetter(request))
    return page.render("operations/dead_letter.html", found=found)


async def reveal(page: Page) -> Response:
    """Show one with what its sender sent; who sees it and why is recorded first."""
    request = pb.GetDeadLetterRequest(
        namespace=page.namespace,
        place=_place(page.query("place")),
        reveal=True,
        reason=page.reason,
        request_id=page.request_id,
    )
    found = await page.router.ask(page.router.events.GetDeadLetter(request))
    return page.render("operations/dead_letter.html", found=found)


async def plan(page: Page) -> Response:
    """Say what would become of those that were chosen, and change nothing."""
    chosen = _chosen(page)
    action = page.one_of("action", ("redrive", "discard"))
    if action == "redrive":
        redriven = await _redrive(page, chosen, dry_run=True)
        return page.render("operations/dead_letters_plan.html", action=action, redriven=redriven)
    discarded = await _discard(page, chosen, dry_run=True)
    return page.render("operations/dead_letters_plan.html", action=action, discarded=discarded)


async def redrive(page: Page) -> Response:
    """Route dead letters again, and tell what became of each."""
    redriven = await _redrive(page, _chosen(page), dry_run=False)
    return page.render("operations/dead_letters_done.html", action="redrive", redriven=redriven)


async def discard(page: Page) -> Response:
    """Give dead letters up."""
    discarded = await _discard(page, _chosen(page), dry_run=False)
    return page.render("operations/dead_letters_done.html", action="discard", discarded=discarded)


async def _redrive(page: Page, chosen: Sequence[pb.Place], *, dry_run: bool) -> list[pb.Redriven]:
    request = pb.RedriveDeadLettersRequest(**_order(page, chosen, dry_run=dry_run))
    call = page.router.events.RedriveDeadLetters
    return await _carried_out(page, call, request, lambda told: told.redriven, of=len(chosen))


async def _discard(page: Page, chosen: Sequence[pb.Place], *, dry_run: bool) -> list[pb.DeadLetter]:
    request = pb.DiscardDeadLettersRequest(**_order(page, chosen, dry_run=dry_run))
    call = page.router.events.DiscardDeadLetters
    return await _carried_out(page, call, request, lambda told: told.discarded, of=len(chosen))


def _order(page: Page, chosen: Sequence[pb.Place], *, dry_run: bool) -> dict[str, Any]:
    """Return what both requests say; one that changes nothing needs no reason."""
    return {
        "namespace": page.namespace,
        "filter": pb.DeadLetterFilter(places=chosen),
        "dry_run": dry_run,
        "request_id": "" if dry_run else page.request_id,
        "reason": "" if dry_run else page.reason,
        "limit": MAX_ORDERED,
    }


async def _carried_out(
    page: Page,
    call: Callable[..., Awaitable[Any]],
    request: Any,
    those: Callable[[Any], Iterable[T]],
    *,
    of: int,
) -> list[T]:
    """Return what became of each, asked until there is an answer for all `of` them."""
    told: list[T] = []
    while True:
        found = await page.router.ask(call(request, timeout=_TIMEOUT_S))
        told.extend(those(found))
        if not found.next_page_token or len(told) >= of:
            return told
        request.page_token = found.next_page_token


def _chosen(page: Page) -> list[pb.Place]:
    """Return which were chosen. Raises BadRequestError for none, and for too many."""
    chosen = [_place(one) for one in page.form.getlist("place") if isinstance(one, str)]
    if not chosen:
        raise BadRequestError("No dead letter was chosen: tick those that are meant.")
    if len(chosen) > MAX_ORDERED:
        raise BadRequestError(f"At most {MAX_ORDERED} dead letters are taken at once.")
    return chosen


def _place(text: str) -> pb.Place:
    try:
        partition, offset = places.parse(text)
    except ValueError as exc:
        raise BadRequestError(str(exc)) from exc
    return pb.Place(partition=partition, offset=offset)


ROUTES: tuple[Route, ...] = (
    get("dead-letters", list_),
    get("dead-letter", show),
    post("dead-letter/reveal", reveal),
    post("dead-letters/plan", plan),
    post("dead-letters/redrive", redrive),
    post("dead-letters/discard", discard),
)
