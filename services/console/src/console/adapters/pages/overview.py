"""What ran, what waits, what failed, what is late."""

from typing import Any

from google.protobuf.duration_pb2 import Duration
from starlette.responses import Response

from backbone.ledger.v1 import ledger_pb2, schedules_pb2
from backbone.router.v1 import router_pb2
from console.adapters.areas import Area, Page, get
from console.adapters.pages import task_queues

_A_MINUTE = Duration(seconds=60)
_NAMED = 5
_LETTERS = 100


async def show(page: Page) -> Response:
    """Show the overview, whose figures ask for themselves again."""
    return page.render("overview/page.html", **await _figures(page))


async def figures(page: Page) -> Response:
    """Return the figures as they are now."""
    return page.render("overview/figures.html", **await _figures(page))


async def dead_letters(page: Page) -> Response:
    """Return how many dead letters are open; they are read from Kafka, which takes longer."""
    found = await page.router.ask(
        page.router.events.ListDeadLetters(
            router_pb2.ListDeadLettersRequest(
                namespace=page.namespace,
                filter=router_pb2.DeadLetterFilter(state="open"),
                page_size=_LETTERS,
            )
        )
    )
    return page.render(
        "overview/dead_letters.html",
        letters=len(found.dead_letters),
        more=bool(found.next_page_token),
    )


async def queues(page: Page) -> Response:
    """Return on how many task queues work waits that nobody takes, which the registry knows."""
    return page.render("overview/task_queues.html", **await task_queues.found(page))


async def _figures(page: Page) -> dict[str, Any]:
    found = await page.ledger.ask(
        page.ledger.runs.GetOverview(ledger_pb2.GetOverviewRequest(namespace=page.namespace))
    )
    overdue = (
        await page.ledger.ask(
            page.ledger.schedules.ListOverdueSchedules(
                schedules_pb2.ListOverdueSchedulesRequest(
                    namespace=page.namespace, min_age=_A_MINUTE, page_size=_NAMED
                )
            )
        )
        if found.overdue_definitions
        else schedules_pb2.ListOverdueSchedulesResponse()
    )
    return {"found": found, "overdue": overdue.schedules}


AREA = Area(
    "overview",
    [
        get("overview", show),
        get("overview/figures", figures),
        get("overview/dead-letters", dead_letters),
        get("overview/task-queues", queues),
    ],
    title="Overview",
)
