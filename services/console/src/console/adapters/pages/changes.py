"""Actions that say of one thing what is to become of it, and why."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from console.adapters.areas import Endpoint, Page
from console.adapters.neighbours import Ledger

Call = Callable[[Ledger], Callable[[Any], Awaitable[Any]]]
"""Which call of the ledger it is: `lambda ledger: ledger.replays.PauseReplay`."""


def by_address(page: Page) -> str:
    """Return the id that the address says. Raises BadRequestError without one."""
    return page.query("id", required=True)


def by_form(page: Page) -> str:
    """Return the id that the form says. Raises BadRequestError without one."""
    return page.field("id", required=True)


def planned(page: Page) -> Mapping[str, Any]:
    """Return the plan that was looked at. Raises BadRequestError without one."""
    return {"plan_hash": page.field("plan_hash", required=True)}


def _nothing(_page: Page) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Thing:
    """What actions are about: the field of its id in messages, where it is said, its page."""

    id_field: str
    said: Callable[[Page], str]
    path: str

    def change(
        self,
        request: Callable[..., Any],
        call: Call,
        more: Callable[[Page], Mapping[str, Any]] = _nothing,
    ) -> Endpoint:
        """Return the action that makes a `request`, with `more` of the form, and shows the page."""

        async def act(page: Page) -> Response:
            id_ = self.said(page)
            asked = request(
                namespace=page.namespace,
                **{self.id_field: id_},
                **more(page),
                request_id=page.request_id,
                reason=page.reason,
            )
            await page.ledger.ask(call(page.ledger)(asked))
            return page.go(page.links.to(self.path, id=id_))

        return act
