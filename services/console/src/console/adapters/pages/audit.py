"""The audit: who did what and why, and whether the events are as they were written."""

import asyncio
import time
from dataclasses import dataclass, field

from starlette.responses import Response

from backbone.audit.v1 import audit_pb2 as pb
from backbone.ledger.v1 import control_pb2, routing_pb2
from backbone.registry.v1 import registry_pb2
from console.adapters.areas import Page, Route, get, post
from console.adapters.neighbours import Ledger, Registry
from console.errors import BadRequestError, NotFoundError

SERVICES = ("ledger", "registry")
_PAGE = 50
_FOR_S = 20.0  # so long one verification goes on; below what a page may take
_CALL_S = 25.0
_SHOWN = 100


@dataclass
class Verified:
    """What a verification of one service's events has looked at and found."""

    service: str
    findings: list[pb.Finding] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    checkpoints: int = 0
    events: int = 0
    unsealed: int = 0
    streams: int = 0
    last_checkpoint: int = 0
    is_complete: bool = False

    def add(self, found: pb.VerifyEventsResponse) -> None:
        """Add what a call has found."""
        self.findings.extend(found.findings)
        self.dropped.extend(one.month[:7] for one in found.dropped_months)
        self.checkpoints += found.checkpoints
        self.events += found.events
        self.unsealed += found.unsealed_events
        self.streams += found.streams
        self.last_checkpoint = found.last_checkpoint
        self.is_complete = not found.next_page_token


async def show(page: Page) -> Response:
    """Show who changed what, who was shown what, and the newest checkpoints."""
    return await _show(page, None)


async def verify(page: Page) -> Response:
    """Verify the events of one service, as far as a page has time for."""
    service = page.one_of("service", SERVICES)
    after = page.field("after", limit=18) or "0"
    if not after.isdecimal():
        raise BadRequestError("A checkpoint has a whole number.")
    verified = Verified(service)
    neighbour = _neighbour(page, service)
    request = pb.VerifyEventsRequest(namespace=page.namespace, after_checkpoint=int(after))
    until = time.monotonic() + _FOR_S
    while not verified.is_complete and time.monotonic() < until:
        found = await neighbour.ask(neighbour.audit.VerifyEvents(request, timeout=_CALL_S))
        verified.add(found)
        request.page_token = found.next_page_token
    return await _show(page, verified)


async def _show(page: Page, verified: Verified | None) -> Response:
    requests, changes, openings, *checkpoints = await asyncio.gather(
        page.ledger.ask(
            page.ledger.control.ListRequests(
                control_pb2.ListRequestsRequest(
                    namespace=page.namespace, page_size=_PAGE, page_token=page.query("requests")
                )
            )
        ),
        page.registry.ask(
            page.registry.resources.ListChanges(
                registry_pb2.ListChangesRequest(
                    namespace=page.namespace, page_size=_PAGE, page_token=page.query("changes")
                )
            )
        ),
        page.ledger.ask(
            page.ledger.routing.ListDeadLetterOpenings(
                routing_pb2.ListDeadLetterOpeningsRequest(
                    namespace=page.namespace, page_size=_PAGE, page_token=page.query("openings")
                )
            )
        ),
        *(_newest(page, service) for service in SERVICES),
    )
    return page.render(
        "operations/audit.html",
        verified=verified,
        shown=_SHOWN,
        requests=requests,
        changes=changes,
        openings=openings,
        checkpoints=dict(zip(SERVICES, checkpoints, strict=True)),
    )


async def _newest(page: Page, service: str) -> pb.GetCheckpointResponse | None:
    neighbour = _neighbour(page, service)
    try:
        return await neighbour.ask(
            neighbour.audit.GetCheckpoint(pb.GetCheckpointRequest(namespace=page.namespace))
        )
    except NotFoundError:
        return None


def _neighbour(page: Page, service: str) -> Ledger | Registry:
    return page.ledger if service == "ledger" else page.registry


ROUTES: tuple[Route, ...] = (get("audit", show), post("audit/verify", verify))
