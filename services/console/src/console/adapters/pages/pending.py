"""Pending starts: what waits to be started, why, and until when."""

from starlette.responses import Response

from backbone.ledger.v1 import routing_pb2 as pb
from console.adapters.areas import Page, Route, get

REASONS = ("any", "held", "batch", "limited", "replay", "halted")
_PAGE = 100


async def list_(page: Page) -> Response:
    """List what waits, the oldest first."""
    definition, reason = page.query("definition", limit=200), page.one_of("reason", REASONS)
    found = await page.ledger.ask(
        page.ledger.routing.ListPendingStarts(
            pb.ListPendingStartsRequest(
                namespace=page.namespace,
                page_size=_PAGE,
                page_token=page.query("page"),
                definition_id=definition,
                reason="" if reason == "any" else reason,
            )
        )
    )
    return page.render(
        "operations/pending.html",
        starts=found.starts,
        token=found.next_page_token,
        query={"definition": definition, "reason": reason},
        reasons=REASONS,
    )


ROUTES: tuple[Route, ...] = (get("pending", list_),)
