"""Definitions: which there are, what their versions say, and whether they start runs."""

import asyncio

from starlette.responses import Response

from backbone.ledger.v1.routing_pb2 import ListPendingStartsRequest, PendingStart
from backbone.registry.v1 import registry_pb2
from backbone.registry.v1.registry_pb2 import RESOURCE_KIND_ACTIVITY_DEFINITION as DEFINITION
from backbone.registry.v1.registry_pb2 import (
    ActivateVersionRequest,
    DiffVersionsRequest,
    DisableDefinitionRequest,
    EnableDefinitionRequest,
    HeldEvents,
    ListChangesRequest,
    ListChangesResponse,
    ListResourcesRequest,
)
from console.adapters.areas import Area, Page, get, post
from console.adapters.pages import applying, backtesting, schedules, simulating, versions
from console.errors import BadRequestError, ConsoleError

_PAGE = 100
_MOST_HELD = 1000

_HELD = {
    "": registry_pb2.HELD_EVENTS_UNSPECIFIED,
    "start": registry_pb2.HELD_EVENTS_START,
    "compress": registry_pb2.HELD_EVENTS_COMPRESS,
    "discard": registry_pb2.HELD_EVENTS_DISCARD,
}


async def list_(page: Page) -> Response:
    """List the definitions of the namespace, by id."""
    owner, retired = page.query("owner"), page.query("retired") == "yes"
    answer = await page.registry.ask(
        page.registry.resources.ListResources(
            ListResourcesRequest(
                namespace=page.namespace,
                kind=DEFINITION,
                page_size=_PAGE,
                page_token=page.query("page"),
                owner=owner,
                show_retired=retired,
            )
        )
    )
    return page.render(
        "definitions/list.html",
        rows=[(one, versions.document(one)) for one in answer.resources],
        next_page=answer.next_page_token,
        owner=owner,
        retired=retired,
    )


async def show(page: Page) -> Response:
    """Show a version of a definition, its history, and what can be done to it."""
    definition_id = page.query("id", required=True)
    version = versions.number(page.query("version"), "version")
    found, changes, held = await asyncio.gather(
        versions.stored(page, definition_id, version),
        _changes(page, definition_id),
        _held(page, definition_id),
    )
    document = versions.document(found)
    return page.render(
        "definitions/definition.html",
        found=found,
        document=document,
        changes=changes.changes,
        next_page=changes.next_page_token,
        is_current=found.version == found.current_version,
        holds=document.get("spec", {}).get("whileDisabled") == "hold",
        held=held,
    )


async def _changes(page: Page, definition_id: str) -> ListChangesResponse:
    return await page.registry.ask(
        page.registry.resources.ListChanges(
            ListChangesRequest(
                namespace=page.namespace,
                kind=DEFINITION,
                resource_id=definition_id,
                page_size=_PAGE,
                page_token=page.query("page"),
            )
        )
    )


async def _held(page: Page, definition_id: str) -> int | None:
    """Return how many events wait, at most so many; None when the ledger does not say."""
    request = ListPendingStartsRequest(
        namespace=page.namespace, definition_id=definition_id, reason="held", page_size=_MOST_HELD
    )
    try:
        answer = await page.ledger.ask(page.ledger.routing.ListPendingStarts(request))
    except ConsoleError:
        return None
    starts: list[PendingStart] = list(answer.starts)
    return sum(max(1, one.events) for one in starts)


async def difference(page: Page) -> Response:
    """Show what differs in meaning between two versions."""
    definition_id = page.query("id", required=True)
    answer = await page.registry.ask(
        page.registry.resources.DiffVersions(
            DiffVersionsRequest(
                namespace=page.namespace,
                kind=DEFINITION,
                resource_id=definition_id,
                from_version=versions.number(page.query("from"), "from version"),
                to_version=versions.number(page.query("to"), "to version"),
            )
        )
    )
    return page.render(
        "definitions/difference.html", definition_id=definition_id, difference=answer
    )


async def disable(page: Page) -> Response:
    """Let a definition start no more runs."""
    definition_id = page.field("id", required=True)
    await page.registry.ask(
        page.registry.resources.DisableDefinition(
            DisableDefinitionRequest(
                namespace=page.namespace,
                definition_id=definition_id,
                etag=page.field("etag"),
                request_id=page.request_id,
                reason=page.reason,
            )
        )
    )
    return page.go(page.links.definition(definition_id))


async def enable(page: Page) -> Response:
    """Let a disabled definition start runs again; `held` says what becomes of what it held."""
    definition_id = page.field("id", required=True)
    await page.registry.ask(
        page.registry.resources.EnableDefinition(
            EnableDefinitionRequest(
                namespace=page.namespace,
                definition_id=definition_id,
                etag=page.field("etag"),
                request_id=page.request_id,
                reason=page.reason,
                held=_chosen(page.field("held")),
            )
        )
    )
    return page.go(page.links.definition(definition_id))


def _chosen(text: str) -> HeldEvents.ValueType:
    if text not in _HELD:
        raise BadRequestError("Held events are started, compressed or discarded: choose one.")
    return _HELD[text]


async def activate(page: Page) -> Response:
    """Make an earlier version the current one again."""
    definition_id = page.field("id", required=True)
    await page.registry.ask(
        page.registry.resources.ActivateVersion(
            ActivateVersionRequest(
                namespace=page.namespace,
                kind=DEFINITION,
                resource_id=definition_id,
                version=versions.number(page.field("version", required=True), "version"),
                etag=page.field("etag"),
                request_id=page.request_id,
                reason=page.reason,
            )
        )
    )
    return page.go(page.links.definition(definition_id))


AREA = Area(
    "definitions",
    [
        get("definitions", list_),
        get("definition", show),
        get("definition/difference", difference),
        post("definition/disable", disable),
        post("definition/enable", enable),
        post("definition/activate", activate),
        *applying.ROUTES,
        *schedules.ROUTES,
        *backtesting.ROUTES,
        *simulating.ROUTES,
    ],
    title="Definitions",
)
