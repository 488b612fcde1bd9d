"""Kill switches: thrown, shown and reset."""

from starlette.responses import Response

from backbone.ledger.v1 import switches_pb2 as pb
from console.adapters.areas import Page, Route, get, post
from console.domain import inbox
from console.errors import BadRequestError
from contracts import switches
from contracts.switches import Point

_PAGE = 50
_POINTS = {
    Point.INGRESS: pb.KILL_SWITCH_POINT_INGRESS,
    Point.RUN: pb.KILL_SWITCH_POINT_RUN,
    Point.EFFECT: pb.KILL_SWITCH_POINT_EFFECT,
}


async def list_(page: Page) -> Response:
    """List kill switches, the newest first, those that were reset too."""
    found = await page.ledger.ask(
        page.ledger.switches.ListKillSwitches(
            pb.ListKillSwitchesRequest(
                namespace=page.namespace,
                page_size=_PAGE,
                page_token=page.query("page"),
                with_reset=True,
            )
        )
    )
    return page.render(
        "operations/switches.html", switches=found.kill_switches, token=found.next_page_token
    )


async def throw(page: Page) -> Response:
    """Stop a namespace, or its definitions with some labels, at a point."""
    try:
        point = Point(page.field("point", required=True))
        selected = switches.labels(inbox.names(page.field("labels")))
    except ValueError as exc:
        raise BadRequestError(_sentence(str(exc))) from exc
    if problem := switches.problem(point, selected):
        raise BadRequestError(_sentence(problem))
    asked = pb.ThrowKillSwitchRequest(
        namespace=page.namespace,
        point=_POINTS[point],
        labels=selected,
        request_id=page.request_id,
        reason=page.reason,
    )
    await page.ledger.ask(page.ledger.switches.ThrowKillSwitch(asked))
    return page.go(page.links.to("switches"))


async def reset(page: Page) -> Response:
    """Let what a switch stopped go on."""
    asked = pb.ResetKillSwitchRequest(
        namespace=page.namespace,
        switch_id=page.query("id", required=True),
        request_id=page.request_id,
        reason=page.reason,
    )
    await page.ledger.ask(page.ledger.switches.ResetKillSwitch(asked))
    return page.go(page.links.to("switches"))


def _sentence(told: str) -> str:
    return f"{told[:1].upper()}{told[1:]}."


ROUTES: tuple[Route, ...] = (
    get("switches", list_),
    post("switches/throw", throw),
    post("switches/reset", reset),
)
