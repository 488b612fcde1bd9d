"""Lists that a service gives page by page, gathered until there are enough."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

ItemT = TypeVar("ItemT")

PAGE = 200
"""That one call is asked for at most."""


class Request(Protocol):
    """Asks for one page, as AIP-158 has it."""

    page_size: int
    page_token: str


class Page(Protocol):
    """One page; without a token it is the last."""

    next_page_token: str


PageT = TypeVar("PageT", bound=Page)


async def gathered(
    request: Request,
    ask: Callable[[], Awaitable[PageT]],
    *,
    items: Callable[[PageT], Iterable[ItemT]],
    limit: int,
) -> list[ItemT]:
    """Return at most `limit` items; `ask` sends `request`, which is changed from page to page."""
    found: list[ItemT] = []
    while True:
        request.page_size = min(PAGE, limit - len(found))
        page = await ask()
        found.extend(items(page))
        request.page_token = page.next_page_token
        if not request.page_token or len(found) >= limit:
            return found[:limit]
