"""What an area of the console is made of: pages and actions below a namespace, and what they get.

A page is `async def show(page: Page) -> Response`. An action is the same of a POST, whose form was
read and found to be from a page of ours before it is called: `page.form`.
"""

import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal

from jinja2 import Environment
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from console.adapters.neighbours import Ledger, Registry, Router
from console.adapters.sessions import Sessions
from console.adapters.signing_in import SigningIn
from console.adapters.visitors import Visitor
from console.domain import moments
from console.domain.links import Links
from console.errors import BadRequestError

MAX_REASON = 1000
MAX_ID = 1024


@dataclass(frozen=True)
class Route:
    """One address of an area: `path` below `/<namespace>/`, without a slash before it."""

    path: str
    endpoint: "Endpoint"
    method: Literal["GET", "POST"] = "GET"


@dataclass(frozen=True)
class Area:
    """A part of the console. One with a `title` is in the navigation, which leads to `home`."""

    name: str
    routes: Sequence[Route]
    title: str | None = None
    at_root: Sequence[Route] = ()
    """What belongs to no namespace, so that an issuer can be told its address."""

    @property
    def home(self) -> str:
        """The path of its first page."""
        return self.routes[0].path


@dataclass(frozen=True)
class Desk:
    """What all pages share."""

    templates: Environment
    ledger: Ledger
    registry: Registry
    router: Router
    areas: Sequence[Area]
    namespaces: Sequence[str]
    assets: Mapping[str, str]
    """The address of each file of `static`, by its name."""
    temporal_ui: str | None = None
    signs_in: bool = False
    sessions: Sessions = field(default_factory=lambda: Sessions(secure=True))
    signing_in: SigningIn | None = None
    """How visitors sign in at the issuer; without it they bring a token along."""


@dataclass(frozen=True)
class Page:
    """One request: who asks, for which namespace, and how it is answered."""

    request: Request
    desk: Desk
    namespace: str
    visitor: Visitor
    csrf_token: str
    area: str = ""
    form: FormData = field(default_factory=FormData)

    @property
    def links(self) -> Links:
        """The addresses of this namespace."""
        return Links(self.namespace, self.desk.temporal_ui)

    @property
    def ledger(self) -> Ledger:
        """The ledger, asked as the visitor."""
        return self.desk.ledger

    @property
    def registry(self) -> Registry:
        """The registry, asked as the visitor."""
        return self.desk.registry

    @property
    def router(self) -> Router:
        """The router, asked as the visitor."""
        return self.desk.router

    @property
    def is_fragment(self) -> bool:
        """Whether htmx asks, for a part of a page."""
        return self.request.headers.get("hx-request") == "true"

    def has(self, area: str) -> bool:
        """Say whether there is an area of this name, to link to."""
        return any(one.name == area for one in self.desk.areas)

    def query(self, name: str, *, required: bool = False, limit: int = MAX_ID) -> str:
        """Return a parameter of the address, without the spaces around it; empty without one.

        Raises BadRequestError when it is required and absent, or longer than `limit`.
        """
        return _checked(self.request.query_params.get(name, ""), name, required, limit)

    def field(self, name: str, *, required: bool = False, limit: int = MAX_ID) -> str:
        """Return a field of the form. Raises BadRequestError as `query`."""
        value = self.form.get(name, "")
        if isinstance(value, UploadFile):
            raise BadRequestError(f"The field {name} is a file, and should be a text.")
        return _checked(value, name, required, limit)

    def moment(self, name: str) -> datetime | None:
        """Return a time of the form, or of the address; None without one.

        Raises BadRequestError when it is none.
        """
        said = self.field(name, limit=64) or self.query(name, limit=64)
        try:
            return moments.parse(said) if said else None
        except ValueError as exc:
            raise BadRequestError(f"{name.replace('_', ' ').capitalize()}: {exc}") from exc

    def one_of(self, name: str, known: Collection[str]) -> str:
        """Return what was chosen in the form, or in the address; the first of `known` without it.

        Raises BadRequestError when it is none of them.
        """
        said = self.field(name) or self.query(name) or next(iter(known))
        if said not in known:
            raise BadRequestError(f"The {name.replace('_', ' ')} is one of {', '.join(known)}.")
        return said

    @property
    def reason(self) -> str:
        """Why the visitor does it; every action that changes something asks for it.

        Raises BadRequestError when there is none.
        """
        return self.field("reason", required=True, limit=MAX_REASON)

    @property
    def request_id(self) -> str:
        """The id that the form was made with: sent twice, it has one effect (AIP-155)."""
        return self.field("request_id", required=True, limit=100)

    def render(
        self, template: str, *, code: HTTPStatus = HTTPStatus.OK, **context: Any
    ) -> Response:
        """Return a page, or a fragment of one, made of a template."""
        text = self.desk.templates.get_template(template).render(
            page=self,
            links=self.links,
            new_request_id=lambda: secrets.token_hex(16),
            **context,
        )
        return HTMLResponse(text, status_code=code)

    def go(self, where: str) -> Response:
        """Send the visitor to another page (of `links`), after an action."""
        if self.is_fragment:
            return Response(status_code=HTTPStatus.OK, headers={"HX-Redirect": where})
        return RedirectResponse(where, status_code=HTTPStatus.SEE_OTHER)


Endpoint = Callable[[Page], Awaitable[Response]]


def get(path: str, endpoint: Endpoint) -> Route:
    """Return the route of a page."""
    return Route(path, endpoint)


def post(path: str, endpoint: Endpoint) -> Route:
    """Return the route of an action."""
    return Route(path, endpoint, "POST")


def _checked(value: str, name: str, required: bool, limit: int) -> str:  # noqa: FBT001 - private
    text = value.strip()
    if required and not text:
        raise BadRequestError(f"The {name.replace('_', ' ')} is missing: it is needed.")
    if len(text) > limit:
        raise BadRequestError(f"The {name.replace('_', ' ')} has at most {limit:,} characters.")
    return text
