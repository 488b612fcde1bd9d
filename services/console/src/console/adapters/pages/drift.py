"""Drift: how what Temporal has differs from what is applied, and what was put back."""

import asyncio

from starlette.responses import Response

from backbone.ledger.v1 import schedules_pb2 as ledger_pb2
from backbone.registry.v1 import registry_pb2, schedules_pb2
from console.adapters.areas import Page, Route, get

_PAGE = 50


async def show(page: Page) -> Response:
    """Show what differs now, whom a tick is owed to, and what was found to be changed by hand."""
    namespace = page.namespace
    now, overdue, past = await asyncio.gather(
        page.registry.ask(
            page.registry.resources.GetDrift(registry_pb2.GetDriftRequest(namespace=namespace))
        ),
        page.ledger.ask(
            page.ledger.schedules.ListOverdueSchedules(
                ledger_pb2.ListOverdueSchedulesRequest(namespace=namespace, page_size=_PAGE)
            )
        ),
        page.registry.ask(
            page.registry.schedules.ListScheduleDrifts(
                schedules_pb2.ListScheduleDriftsRequest(
                    namespace=namespace, page_size=_PAGE, page_token=page.query("page")
                )
            )
        ),
    )
    return page.render("operations/drift.html", now=now, overdue=overdue, past=past)


ROUTES: tuple[Route, ...] = (get("drift", show),)
