"""`POST /events`: takes CloudEvents and envelopes, and answers 202 when the brokers have them.

Memory is bounded: so many requests at a time, each with a body of bounded size that has to come in
time. Errors are problem documents (RFC 9457) that say what to do.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts.names import ContentType
from contracts.rejections import EventRejectedError, Reason
from router.domain import posted
from router.domain.posted import TAKEN, Format, MediaTypeError
from router.errors import IngressHaltedError, NotPublishedError
from router.ports import Observer
from router.service.receiving import MAX_TOLD, EventDoor, EventsRefusedError, Refusal

PATH = "/events"
RETRY_AFTER_S = 1
HALTED_AFTER_S = 30
"""A kill switch is there for longer than what is busy."""

_AGAIN = "Send the same again after a while: source and event id make it safe."
_PROBLEMS = "urn:backbone:problem:"
_AMBIGUOUS = "ambiguous"
_HALTED = "halted"


class _ProblemError(Exception):
    """Ends a request with a problem document."""

    def __init__(
        self, status: HTTPStatus, kind: str, detail: str, action: str, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.is_last = kind == _AMBIGUOUS
        self.is_halted = kind == _HALTED
        self.document = {
            "type": _PROBLEMS + kind,
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
            "action": action,
            **members,
        }


class HttpEvents:
    """The route of the door."""

    def __init__(
        self,
        door: EventDoor,
        *,
        known: Callable[[], bool],
        observer: Observer,
        in_flight: int,
        body_timeout: timedelta,
    ) -> None:
        """`known` says whether events can be checked already; `in_flight` bounds the requests."""
        self._door = door
        self._known = known
        self._observer = observer
        self._room = in_flight
        self._body_timeout_s = body_timeout.total_seconds()

    @property
    def route(self) -> Route:
        """The route, for the HTTP server."""
        return Route(PATH, self._post, methods=["POST"])

    async def _post(self, request: Request) -> Response:
        if self._room <= 0:
            self._observer.received("limited", 1)
            return _response(
                _ProblemError(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    "busy",
                    "as many requests as are taken at a time are being answered",
                    _AGAIN,
                )
            )
        self._room -= 1
        try:
            return await self._take(request)
        except _ProblemError as exc:
            return _response(exc)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        finally:
            self._room += 1

    async def _take(self, request: Request) -> Response:
        headers = request.headers.raw
        if "content-length" in request.headers and "transfer-encoding" in request.headers:
            raise _ProblemError(
                HTTPStatus.BAD_REQUEST,
                _AMBIGUOUS,
                "the request says its length, and that it comes in chunks: what stands between "
                "may have read another request",
                "Send one of Content-Length and Transfer-Encoding.",
            )
        try:
            form = posted.recognise(headers)
        except MediaTypeError as exc:
            raise _ProblemError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                str(exc),
                f"Send one of {', '.join(TAKEN)}, or a CloudEvent in binary mode (ce- headers).",
            ) from exc
        body = await self._body(request, form)
        if not self._known():
            self._observer.received("unavailable", 1)
            raise _unavailable("the registry has not told yet what may come in")
        try:
            events = posted.read(form, headers, body)
            accepted = await self._door.receive(
                events, namespace=request.query_params.get("namespace", "")
            )
        except EventRejectedError as exc:
            self._observer.received("refused", 1)
            raise _refused([Refusal(0, exc)], total=1, batch=False) from exc
        except EventsRefusedError as exc:
            raise _refused(exc.refusals, total=exc.total, batch=form.is_batch) from exc
        except IngressHaltedError as exc:
            self._observer.received("unavailable", 1)
            raise _ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, _HALTED, str(exc), _AGAIN) from exc
        except NotPublishedError as exc:
            self._observer.received("unavailable", exc.total)
            raise _not_published(exc) from exc
        return JSONResponse({"accepted": accepted}, status_code=HTTPStatus.ACCEPTED)

    async def _body(self, request: Request, form: Format) -> bytes:
        said = request.headers.get("content-length", "")
        if said.isdigit() and (len(said) > 18 or int(said) > form.max_bytes):
            raise _too_large(form)
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_timeout_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > form.max_bytes:
                        raise _too_large(form)
        except TimeoutError as exc:
            raise _ProblemError(
                HTTPStatus.REQUEST_TIMEOUT,
                "slow",
                f"the body was not there after {self._body_timeout_s:g} s",
                "Send it faster, or less at a time.",
            ) from exc
        return bytes(body)


def _too_large(form: Format) -> _ProblemError:
    return _ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too-large",
        f"the body has more than {form.max_bytes} bytes",
        "Send fewer events at a time."
        if form.is_batch
        else "Put what is large somewhere else, and its address into the event.",
        reason=Reason.OVERSIZE.value,
    )


def _refused(refusals: Sequence[Refusal], *, total: int, batch: bool) -> _ProblemError:
    first = refusals[0].rejection
    oversize = first.reason is Reason.OVERSIZE
    members: dict[str, Any] = {"reason": first.reason.value}
    if batch:
        members["events"] = [
            {
                "index": refusal.index,
                "reason": refusal.rejection.reason.value,
                "detail": refusal.rejection.detail,
            }
            for refusal in refusals[:MAX_TOLD]
        ]
    detail = first.detail
    if batch:
        detail = f"{len(refusals)} of {total} events are refused; the first: {first.detail}"
    return _ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE if oversize else HTTPStatus.BAD_REQUEST,
        "refused",
        detail,
        "Nothing was taken. Correct what is told, and send all of it again.",
        **members,
    )


def _not_published(exc: NotPublishedError) -> _ProblemError:
    if exc.too_large and exc.total == 1:
        return _ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too-large",
            f"the broker does not take it: {exc}",
            "Put what is large somewhere else, and its address into the event.",
            reason=Reason.OVERSIZE.value,
        )
    return _unavailable(
        f"the brokers acknowledged {exc.published} of {exc.total} events in time, and may have "
        f"more of them: {exc}"
    )


def _unavailable(detail: str) -> _ProblemError:
    return _ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, _AGAIN)


def _response(problem: _ProblemError) -> Response:
    headers = {}
    if problem.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        headers["Retry-After"] = str(RETRY_AFTER_S if not problem.is_halted else HALTED_AFTER_S)
    if problem.is_last or problem.status in {
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    }:
        # What is left of the body is not waited for, nor taken for a request of its own.
        headers["Connection"] = "close"
    return JSONResponse(
        problem.document,
        status_code=problem.status,
        headers=headers,
        media_type=ContentType.PROBLEM,
    )
