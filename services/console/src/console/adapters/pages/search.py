"""Finds what an id means: an event, a run, a task, a chain, or what events are about."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar
from uuid import UUID

from starlette.responses import Response

from backbone.ledger.v1 import ledger_pb2, routing_pb2
from console.adapters.areas import Area, Page, get
from console.errors import BadRequestError, NotFoundError

T = TypeVar("T")

MAX_TEXT = 256
"""No id of these is longer."""
_LISTED = 20


async def show(page: Page) -> Response:
    """Go to the one thing that has the id, or list what does."""
    words = page.query("q", limit=MAX_TEXT)
    if not words:
        return page.render("search/found.html", words="", found={})
    run, task, decisions, chain, subject = await asyncio.gather(
        _or_none(_run(page, words)),
        _or_none(_task(page, words)),
        page.ledger.ask(
            page.ledger.routing.ListRoutingDecisions(
                routing_pb2.ListRoutingDecisionsRequest(
                    namespace=page.namespace, event_id=words, page_size=_LISTED
                )
            )
        ),
        _runs(page, ledger_pb2.ListRunsRequest(correlation_id=words)),
        _runs(page, ledger_pb2.ListRunsRequest(subject=words)),
    )
    events = sorted({(one.event_id, one.source, one.type) for one in decisions.decisions})
    ways = [
        *([page.links.run(run.run_id)] if run else []),
        *([page.links.task(task.task_id)] if task else []),
        *(page.links.event(event_id, source) for event_id, source, _ in events),
    ]
    # Who begins a chain gives it its id: then that is what is meant, and its page tells the chain.
    if len(ways) == 1:
        return page.go(ways[0])
    return page.render(
        "search/found.html",
        words=words,
        found={"run": run, "task": task, "events": events, "chain": chain, "subject": subject},
    )


async def _run(page: Page, words: str) -> ledger_pb2.Run | None:
    # A run's id has a definition and a key.
    if ":" not in words:
        return None
    request = ledger_pb2.GetRunRequest(namespace=page.namespace, run_id=words)
    return (await page.ledger.ask(page.ledger.runs.GetRun(request))).run


async def _task(page: Page, words: str) -> ledger_pb2.Task | None:
    try:
        UUID(words)
    except ValueError:
        return None
    request = ledger_pb2.GetTaskRequest(namespace=page.namespace, task_id=words)
    return (await page.ledger.ask(page.ledger.tasks.GetTask(request))).task


async def _runs(page: Page, request: ledger_pb2.ListRunsRequest) -> ledger_pb2.ListRunsResponse:
    request.namespace = page.namespace
    request.page_size = _LISTED
    return await page.ledger.ask(page.ledger.runs.ListRuns(request))


async def _or_none(asked: Awaitable[T | None]) -> T | None:
    try:
        return await asked
    except (NotFoundError, BadRequestError):
        return None


AREA = Area("search", [get("search", show)])
