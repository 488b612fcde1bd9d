"""What happened to human tasks, as each page that shows one asks for it."""

from backbone.ledger.v1.ledger_pb2 import ListTaskChangesRequest, ListTaskChangesResponse
from console.adapters.areas import Page

_PAGE = 200


async def of_task(page: Page, task_id: str) -> ListTaskChangesResponse:
    """Return what happened to a task, the oldest first. Raises as `ask` does."""
    request = ListTaskChangesRequest(
        namespace=page.namespace,
        task_id=task_id,
        page_size=_PAGE,
        page_token=page.query("page"),
    )
    return await page.ledger.ask(page.ledger.tasks.ListTaskChanges(request))
