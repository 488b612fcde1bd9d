"""Signing in, at the issuer or with a token that one brings along, and out."""

from dataclasses import replace
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.responses import Response

from console.adapters import visitors
from console.adapters.areas import Area, Page, get, post
from console.adapters.sessions import Session
from console.adapters.signing_in import SigningIn
from console.errors import BadRequestError, ConsoleError, NotFoundError

CALLBACK = "callback"
SIGNED_OUT = "signed-out"
"""Addresses at the root, which the issuer is told."""


async def show(page: Page) -> Response:
    """Send the visitor to the issuer; where there is none, show the form for a token."""
    _check(page)
    if page.desk.signing_in is not None:
        return await begin(page, page.query("to"))
    return page.render("session/sign_in.html", problem="")


async def begin(page: Page, where: str) -> Response:
    """Send the visitor to the issuer, to come back to `where`."""
    return await _issuer(page).begin(page.request, where=where, otherwise=_home(page))


async def sign_in(page: Page) -> Response:
    """Keep the token where no script can read it; the services say whether they take it."""
    _check(page)
    if page.desk.signing_in is not None:
        raise NotFoundError("Nobody brings a token along here: sign in at the identity provider.")
    token = page.field("token", limit=64 * 1024).removeprefix("Bearer ").strip()
    if not token or not visitors.is_token(token):
        return page.render(
            "session/sign_in.html",
            code=HTTPStatus.BAD_REQUEST,
            problem="That is no token: it is one word of letters, digits and -._~+/=, of at most "
            f"{visitors.MAX_TOKEN_BYTES:,} characters.",
        )
    response = page.go(_home(page))
    page.desk.sessions.keep(response, Session(token))
    return response


async def came_back(page: Page) -> Response:
    """Take up a sign-in that the issuer has sent back, once.

    The session's cookies are sent by no other site, and so not along a redirect that began at the
    issuer: a page of ours leads on to the one that was asked for.
    """
    signing_in = _issuer(page)
    begun = page.desk.sessions.begun(page.request, page.query("state"))
    if begun is None:
        raise BadRequestError(
            "This sign-in was not begun in this browser, is too old, or was taken up already: open "
            "the page that you want again."
        )
    where = signing_in.local(begun.where, otherwise=_home(page))
    try:
        session = await signing_in.finish(page.request, begun)
    except ConsoleError as error:
        response = refused(page, error, where)
    else:
        response = page.render("session/passing.html", where=where, words="You are signed in.")
        page.desk.sessions.keep(response, session)
    page.desk.sessions.finish(response, begun)
    return response


def refused(page: Page, error: ConsoleError, where: str) -> Response:
    """Say why somebody is not signed in, and how they are: then they come to `where`."""
    return page.render("session/sign_in.html", code=error.status, problem=str(error), where=where)


def asked_for(page: Page) -> str:
    """Return the address of the page that somebody is at, or was when it asked for something."""
    request = page.request
    if request.method == "GET" and not page.is_fragment:
        return f"{request.url.path}?{request.url.query}".removesuffix("?")
    try:
        parts = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return ""
    return f"{parts.path}?{parts.query}".removesuffix("?")


async def sign_out(page: Page) -> Response:
    """Forget the session, and go on to end the issuer's."""
    _check(page)
    if page.desk.signing_in is None:
        response = page.go(page.links.to("sign-in"))
    elif url := await page.desk.signing_in.end_session_url():
        # A redirect that follows a form would be a form sent to the issuer, which our policy stops.
        response = replace(page, visitor=visitors.NOBODY).render(
            "session/passing.html",
            where=url,
            words="You are signed out here, and sent on to sign out at the identity provider.",
        )
    else:
        response = page.go(f"/{SIGNED_OUT}")
    page.desk.sessions.end(response)
    return response


async def signed_out(page: Page) -> Response:
    """Say that nobody is signed in any more."""
    _issuer(page)
    return page.render("session/signed_out.html")


def _check(page: Page) -> None:
    if not page.desk.signs_in:
        raise NotFoundError("There is nothing to sign in to: everybody here is the same actor.")


def _issuer(page: Page) -> SigningIn:
    if page.desk.signing_in is None:
        raise NotFoundError("There is no such page.")
    return page.desk.signing_in


def _home(page: Page) -> str:
    return page.links.to(page.desk.areas[0].home)


AREA = Area(
    "session",
    [get("sign-in", show), post("sign-in", sign_in), post("sign-out", sign_out)],
    at_root=[get(CALLBACK, came_back), get(SIGNED_OUT, signed_out)],
)
