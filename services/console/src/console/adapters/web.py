"""The application: addresses to pages, and what holds for every request and every answer."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from http import HTTPStatus
from importlib.resources import files

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.adapters import areas, visitors
from console.adapters.areas import Area, Desk, Page
from console.adapters.forms import Forms
from console.adapters.pages import session
from console.adapters.visitors import Visitor, Visitors
from console.errors import ConsoleError, NotFoundError, SignedOutError
from runtime import logs

POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "txt": "text/plain"}
_FOR_EVER = "public, max-age=31536000, immutable"

_log = logs.get_logger(__name__)


class Web:
    """Makes the application of a desk, and answers for its pages."""

    def __init__(
        self,
        desk: Desk,
        *,
        who: Visitors,
        forms: Forms,
        request_timeout: timedelta,
        secure: bool,
    ) -> None:
        """`request_timeout` bounds each page; `secure`: visitors come by https."""
        self._desk = desk
        self._who = who
        self._forms = forms
        self._timeout_s = request_timeout.total_seconds()
        self._secure = secure

    def application(self) -> ASGIApp:
        """Return the application."""
        routes: list[BaseRoute] = [
            Route("/", self._root),
            Route("/static/{name}", _asset),
            *(
                Route(
                    f"/{{namespace}}/{route.path}",
                    self._handler(area, route),
                    methods=[route.method],
                )
                for area in self._desk.areas
                for route in area.routes
            ),
            *(
                Route(f"/{route.path}", self._handler(area, route), methods=[route.method])
                for area in self._desk.areas
                for route in area.at_root
            ),
        ]
        return Starlette(
            routes=routes,
            middleware=[Middleware(_Hardened, secure=self._secure)],
            exception_handlers={
                ConsoleError: self._refused,
                HTTPException: self._not_served,
                Exception: self._broken,
            },
        )

    def _handler(self, area: Area, route: areas.Route) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            namespace = request.path_params.get("namespace", self._desk.namespaces[0])
            if namespace not in self._desk.namespaces:
                known = ", ".join(self._desk.namespaces)
                raise NotFoundError(f"There is no namespace {namespace} here; there are: {known}.")
            try:
                async with asyncio.timeout(self._timeout_s):
                    visitor = await self._visitor(request, area)
                    if visitor is None and area is not session.AREA:
                        return await self._signed_in(request, namespace)
                    form = (
                        {"form": await self._forms.read(request)} if route.method == "POST" else {}
                    )
                    page = self._page(request, namespace, visitor, area.name, **form)
                    with visitors.visiting(page.visitor):
                        return self._with_cookie(page, await route.endpoint(page))
            except TimeoutError as exc:
                raise _slow(self._timeout_s) from exc

        return handle

    async def _visitor(self, request: Request, area: Area) -> Visitor | None:
        """Return who asks; a session whose token ends goes on, and the answer keeps it."""
        signing_in = self._desk.signing_in
        # Who signs in or out has no use for a session that goes on.
        if signing_in is None or area is session.AREA:
            return self._who.of(request)
        found = await signing_in.session(request)
        if found is None:
            return None
        if found != self._desk.sessions.of(request):
            request.state.renewed = found
        return Visitor(visitors.name_in(found.token), found.token)

    async def _signed_in(self, request: Request, namespace: str) -> Response:
        """Send who is not signed in to the issuer. Raises SignedOutError where that cannot be."""
        page = self._page(request, namespace, None, session.AREA.name)
        if self._desk.signing_in is None:
            raise SignedOutError("You have not signed in.")
        if page.is_fragment or request.method not in ("GET", "HEAD"):
            raise SignedOutError("You are not signed in any more: nothing was done.")
        return await session.begin(page, session.asked_for(page))

    def _page(
        self, request: Request, namespace: str, visitor: Visitor | None, area: str, **more: object
    ) -> Page:
        return Page(
            request=request,
            desk=self._desk,
            namespace=namespace,
            visitor=visitor or visitors.NOBODY,
            csrf_token=self._forms.token(request),
            area=area,
            **more,  # type: ignore[arg-type]
        )

    def _with_cookie(self, page: Page, response: Response) -> Response:
        """Give the visitor the token that the forms of the page have, and a session that goes on.

        Who is sent to the issuer and back gets no new token: those of other windows are in use.
        """
        if renewed := getattr(page.request.state, "renewed", None):
            self._desk.sessions.keep(response, renewed)
        if self._desk.signing_in is not None and page.visitor.token is None:
            return response
        if page.request.cookies.get(self._forms.cookie) != page.csrf_token:
            response.set_cookie(
                self._forms.cookie,
                page.csrf_token,
                httponly=True,
                samesite="strict",
                secure=self._secure,
            )
        return response

    async def _root(self, _request: Request) -> Response:
        first = self._desk.areas[0]
        return RedirectResponse(f"/{self._desk.namespaces[0]}/{first.home}")

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ConsoleError)  # noqa: S101 - by the table of handlers
        if isinstance(error, SignedOutError) and self._who.signs_in:
            namespace = self._namespace(request)
            page = self._page(request, namespace, None, "session")
            response = session.refused(page, error, session.asked_for(page))
            if page.is_fragment and self._desk.signing_in is not None:
                # A part of a page cannot lead to the issuer; the whole page does.
                response.headers["HX-Refresh"] = "true"
            return self._with_cookie(page, response)
        return self._told(request, error.status, str(error))

    async def _not_served(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - by the table of handlers
        status = HTTPStatus(error.status_code)
        sentences = {
            HTTPStatus.NOT_FOUND: "There is no such page.",
            HTTPStatus.METHOD_NOT_ALLOWED: "That cannot be done to this page.",
        }
        return self._told(request, status, sentences.get(status, status.phrase + "."))

    async def _broken(self, request: Request, error: Exception) -> Response:
        _log.error("page_failed", path=request.url.path, exc_info=error)
        return self._told(
            request,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "This page has failed, and the console's log says of what. Try again in a moment.",
        )

    def _told(self, request: Request, status: HTTPStatus, sentence: str) -> Response:
        page = self._page(request, self._namespace(request), self._who.of(request), "")
        template = "problem_fragment.html" if page.is_fragment else "problem.html"
        return self._with_cookie(
            page, page.render(template, code=status, problem=sentence, title=status.phrase)
        )

    def _namespace(self, request: Request) -> str:
        said = request.path_params.get("namespace") or request.url.path.split("/")[1]
        return said if said in self._desk.namespaces else self._desk.namespaces[0]


def assets() -> Mapping[str, str]:
    """Return the address of each file of `static`, which changes with what is in it."""
    return {
        name: f"/static/{name}?v={hashlib.sha256(body).hexdigest()[:16]}"
        for name, body in _ASSETS.items()
    }


_ASSETS = {one.name: one.read_bytes() for one in files("console").joinpath("static").iterdir()}


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    body = _ASSETS.get(name)
    if body is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    caching = _FOR_EVER if "v" in request.query_params else "no-cache"
    return Response(
        body,
        media_type=_TYPES.get(name.rpartition(".")[2], "application/octet-stream"),
        headers={"Cache-Control": caching},
    )


def _slow(timeout_s: float) -> ConsoleError:
    error = ConsoleError(f"This page was not there after {timeout_s:g} s. Try again in a moment.")
    error.status = HTTPStatus.GATEWAY_TIMEOUT
    return error


class _Hardened:
    """Says in every answer what browsers are to keep from it."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        self._more = {"Strict-Transport-Security": "max-age=31536000"} if secure else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS | self._more)
                # What people see of others is nobody else's; of assets it is said where they are.
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)
