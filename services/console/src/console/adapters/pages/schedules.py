"""A definition's schedules: what became of due times, which come next, and who holds the clock."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from backbone.ledger.v1 import schedules_pb2 as ledger_pb2
from backbone.ledger.v1.ledger_pb2 import ListDueTimesRequest, ListDueTimesResponse
from backbone.registry.v1 import schedules_pb2 as registry_pb2
from console.adapters import rendering
from console.adapters.areas import Page, get, post
from console.adapters.pages.changes import Thing, by_form
from console.adapters.stamps import stamp
from console.domain import timelines
from console.domain.timelines import Due, Timeline
from console.errors import BadRequestError, NotFoundError, ServiceError

_PAGE = 100
_SINCE = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
}
OVERLAPS = {
    "skip": ledger_pb2.OVERLAP_POLICY_SKIP,
    "bufferOne": ledger_pb2.OVERLAP_POLICY_BUFFER_ONE,
    "bufferAll": ledger_pb2.OVERLAP_POLICY_BUFFER_ALL,
    "allowAll": ledger_pb2.OVERLAP_POLICY_ALLOW_ALL,
    "cancelOther": ledger_pb2.OVERLAP_POLICY_CANCEL_OTHER,
}
"""By what definitions call them."""


async def show(page: Page) -> Response:
    """Show how a definition's schedules stand, and the newest due times."""
    definition_id = page.query("id", required=True)
    at = page.moment("at")
    (standing, unknown), account, explained = await asyncio.gather(
        _standing(page, definition_id),
        _account(page, definition_id),
        _explained(page, definition_id, at),
    )
    picture: dict[str, Any] = {}
    if account is not None:
        ahead = standing.next_due if standing is not None else ()
        picture = await _due_times(page, definition_id, ahead)
    return page.render(
        "definitions/schedule.html",
        definition_id=definition_id,
        standing=standing,
        unknown=unknown,
        account=account,
        explained=explained,
        at=at,
        spans=tuple(_SINCE),
        overlaps=tuple(OVERLAPS),
        **picture,
    )


async def due_times(page: Page) -> Response:
    """Show the due times again, as a part of the page."""
    definition_id = page.query("id", required=True)
    standing, _ = await _standing(page, definition_id)
    ahead = standing.next_due if standing is not None else ()
    return page.render(
        "definitions/due_times.html",
        definition_id=definition_id,
        **await _due_times(page, definition_id, ahead),
    )


async def _due_times(page: Page, definition_id: str, ahead: Iterable[Timestamp]) -> dict[str, Any]:
    since, token = page.query("since"), page.query("page")
    if since and since not in _SINCE:
        raise BadRequestError(f"Since when is one of: {', '.join(_SINCE)}.")
    now = datetime.now(UTC)
    request = ListDueTimesRequest(
        namespace=page.namespace,
        definition_id=definition_id,
        page_size=_PAGE,
        page_token=token,
    )
    if since:
        request.since.FromDatetime(now - _SINCE[since])
    found = await page.ledger.ask(page.ledger.runs.ListDueTimes(request))
    coming = [] if token else [stamp.ToDatetime(UTC) for stamp in ahead]
    return {
        "since": since,
        "found": found.due_times,
        "next_page": found.next_page_token,
        "is_first": not token,
        "timeline": _timeline(found, coming, now),
    }


def _timeline(found: ListDueTimesResponse, ahead: list[datetime], now: datetime) -> Timeline | None:
    dues = [
        Due(
            rendering.word(one, "outcome"),
            at := one.due_at.ToDatetime(UTC),
            one.last_due_at.ToDatetime(UTC) if one.HasField("last_due_at") else at,
            max(1, one.count),
        )
        for one in found.due_times
    ]
    return timelines.drawn(dues, ahead=ahead, now=now)


async def _standing(
    page: Page, definition_id: str
) -> tuple[registry_pb2.GetScheduleResponse | None, str]:
    """Return how it stands in Temporal; None and why when that is not to be had now.

    Raises NotFoundError when there is no such definition.
    """
    request = registry_pb2.GetScheduleRequest(namespace=page.namespace, definition_id=definition_id)
    try:
        return await page.registry.ask(page.registry.schedules.GetSchedule(request)), ""
    except ServiceError as exc:
        return None, str(exc)


async def _account(page: Page, definition_id: str) -> ledger_pb2.ScheduleState | None:
    """Return what the ledger knows; None of a definition that never had a schedule."""
    request = ledger_pb2.GetScheduleRequest(namespace=page.namespace, definition_id=definition_id)
    try:
        answer = await page.ledger.ask(page.ledger.schedules.GetSchedule(request))
    except NotFoundError:
        return None
    return answer.schedule


async def _explained(
    page: Page, definition_id: str, at: datetime | None
) -> ledger_pb2.ExplainDueTimeResponse | None:
    if at is None:
        return None
    request = ledger_pb2.ExplainDueTimeRequest(
        namespace=page.namespace, definition_id=definition_id, at=stamp(at)
    )
    return await page.ledger.ask(page.ledger.schedules.ExplainDueTime(request))


def _by_hand(page: Page) -> dict[str, Any]:
    """Return which trigger is to be due, and what is to happen when a run is open."""
    overlap = OVERLAPS.get(page.field("overlap"))
    if overlap is None:
        raise BadRequestError("Choose what is to happen when a run is open.")
    return {"trigger_name": page.field("trigger"), "overlap": overlap}


_SCHEDULE = Thing("definition_id", by_form, "definition/schedule")

ROUTES = (
    get("definition/schedule", show),
    get("definition/schedule/due-times", due_times),
    post(
        "definition/schedule/pause",
        _SCHEDULE.change(
            ledger_pb2.PauseScheduleRequest, lambda ledger: ledger.schedules.PauseSchedule
        ),
    ),
    post(
        "definition/schedule/resume",
        _SCHEDULE.change(
            ledger_pb2.ResumeScheduleRequest, lambda ledger: ledger.schedules.ResumeSchedule
        ),
    ),
    post(
        "definition/schedule/trigger",
        _SCHEDULE.change(
            ledger_pb2.TriggerScheduleRequest,
            lambda ledger: ledger.schedules.TriggerSchedule,
            _by_hand,
        ),
    ),
    post(
        "definition/schedule/skip-next",
        _SCHEDULE.change(
            ledger_pb2.SkipNextDueTimeRequest, lambda ledger: ledger.schedules.SkipNextDueTime
        ),
    ),
)
