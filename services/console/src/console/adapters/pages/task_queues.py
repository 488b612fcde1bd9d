"""Task queues: what waits on each, whether anybody serves it, and which definitions use it."""

from typing import Any

from starlette.responses import Response

from backbone.registry.v1 import task_queues_pb2 as pb
from console.adapters import rendering
from console.adapters.areas import Page, Route, get
from console.domain import task_queues
from console.domain.task_queues import Row, Standing, Work


async def list_(page: Page) -> Response:
    """List the queues that definitions name, unserved ones first."""
    return page.render("operations/task_queues.html", **await found(page))


async def rows(page: Page) -> Response:
    """Show them again, as a part of the page."""
    return page.render("operations/task_queues_found.html", **await found(page))


async def found(page: Page) -> dict[str, Any]:
    """Return what Temporal last said of the queues. Raises as `ask` does."""
    asked = pb.ListTaskQueuesRequest(namespace=page.namespace)
    answer = await page.registry.ask(page.registry.task_queues.ListTaskQueues(asked))
    queues = task_queues.queues(_row(one) for one in answer.task_queues)
    return {
        "answer": answer,
        "queues": queues,
        "unserved": [one for one in queues if one.standing is Standing.UNSERVED],
    }


def _row(one: pb.TaskQueue) -> Row:
    age = one.backlog_age.ToTimedelta()
    work = Work(rendering.word(one, "kind"), one.backlog, age, one.pollers)
    return Row(one.name, work, one.definition_ids, one.definitions)


ROUTES: tuple[Route, ...] = (get("task-queues", list_), get("task-queues/found", rows))
