"""Plan and apply: files into the registry, all of them or none, and exactly as planned."""

from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus

import grpc
from starlette.datastructures import UploadFile
from starlette.responses import Response

from backbone.registry.v1 import registry_pb2
from backbone.registry.v1.registry_pb2 import (
    ApplyResourcesRequest,
    ApplyResourcesResponse,
    Document,
    InvalidDocuments,
    Problem,
)
from console.adapters.areas import Page, get, post
from console.domain import uploads
from console.domain.uploads import Upload
from console.errors import BadRequestError, ServiceError
from runtime.rpcerrors import detail_of

_PLANNED = "planned in the console"
"""The registry asks for a reason of a plan too, and keeps none."""


async def choose(page: Page) -> Response:
    """Show the form for files."""
    return page.render("definitions/choose.html")


async def plan(page: Page) -> Response:
    """Show what applying the chosen files would do, or everything that is wrong with them."""
    chosen = [
        Upload(one.filename or "", await one.read())
        for one in page.form.getlist("files")
        # A form without a file chosen sends one without a name.
        if isinstance(one, UploadFile) and one.filename
    ]
    return await _planned(page, uploads.checked(chosen))


async def apply(page: Page) -> Response:
    """Do what was planned, or nothing."""
    names = [one for one in page.form.getlist("name") if isinstance(one, str)]
    contents = [one for one in page.form.getlist("content") if isinstance(one, str)]
    files = uploads.returned(names, contents)
    request = _request(page, files, reason=page.reason)
    request.request_id = page.request_id
    request.plan_sha256 = page.field("plan", required=True, limit=64)
    try:
        done = await page.registry.ask(page.registry.resources.ApplyResources(request))
    except ServiceError as exc:
        if exc.status is HTTPStatus.CONFLICT and _code(exc) is grpc.StatusCode.ABORTED:
            return await _planned(page, files, changed=True)
        if _problems(exc):
            # What the documents lean on changed after the plan.
            return await _planned(page, files)
        raise
    return page.render("definitions/applied.html", done=done, counts=_counts(done))


async def _planned(page: Page, files: Sequence[Upload], *, changed: bool = False) -> Response:
    request = _request(page, files, reason=_PLANNED)
    request.validate_only = True
    try:
        found = await page.registry.ask(page.registry.resources.ApplyResources(request))
        problems: Sequence[Problem] = found.problems
        total = len(problems)
    except ServiceError as exc:
        invalid = _problems(exc)
        if invalid is None:
            raise
        found, problems, total = ApplyResourcesResponse(), invalid.problems, invalid.total
    refused = bool(problems)
    return page.render(
        "definitions/plan.html",
        code=HTTPStatus.UNPROCESSABLE_ENTITY if refused else HTTPStatus.OK,
        files=files,
        problems=problems,
        total=total,
        plan=found,
        counts=_counts(found),
        changes=any(one.action != registry_pb2.APPLY_ACTION_UNCHANGED for one in found.results),
        changed=changed,
        prune=request.prune,
        owner=request.prune_owner,
    )


def _request(page: Page, files: Sequence[Upload], *, reason: str) -> ApplyResourcesRequest:
    owner, prune = page.field("owner"), page.field("prune") == "yes"
    if owner and not prune:
        raise BadRequestError("A team is named to retire what it owns: choose that, or no team.")
    return ApplyResourcesRequest(
        namespace=page.namespace,
        documents=[Document(content=one.content, name=one.name) for one in files],
        prune=prune,
        prune_owner=owner,
        reason=reason,
    )


def _counts(response: ApplyResourcesResponse) -> Counter[str]:
    return Counter(
        registry_pb2.ApplyAction.Name(one.action).removeprefix("APPLY_ACTION_").lower()
        for one in response.results
    )


def _code(error: ServiceError) -> grpc.StatusCode | None:
    cause = error.__cause__
    return cause.code() if isinstance(cause, grpc.aio.AioRpcError) else None


def _problems(error: ServiceError) -> InvalidDocuments | None:
    found = InvalidDocuments()
    cause = error.__cause__
    told = isinstance(cause, grpc.aio.AioRpcError) and detail_of(cause, found)
    return found if told and found.problems else None


ROUTES = (
    get("definitions/apply", choose),
    post("definitions/plan", plan),
    post("definitions/apply", apply),
)
