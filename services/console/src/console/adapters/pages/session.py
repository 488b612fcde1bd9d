"""Signing in with a token, and out."""

from http import HTTPStatus

from starlette.responses import Response

from console.adapters import visitors
from console.adapters.areas import Area, Page, get, post
from console.errors import NotFoundError

COOKIE = "backbone_token"
_EIGHT_HOURS = 8 * 60 * 60


async def show(page: Page) -> Response:
    """Show the form for a token."""
    _check(page)
    return page.render("session/sign_in.html", problem="")


async def sign_in(page: Page) -> Response:
    """Keep the token where no script can read it; the services say whether they take it."""
    _check(page)
    token = page.field("token", limit=64 * 1024).removeprefix("Bearer ").strip()
    if not token or not visitors.is_token(token):
        return page.render(
            "session/sign_in.html",
            code=HTTPStatus.BAD_REQUEST,
            problem="That is no token: it is one word of letters, digits and -._~+/=, of at most "
            f"{visitors.MAX_TOKEN_BYTES:,} characters.",
        )
    response = page.go(page.links.to(page.desk.areas[0].home))
    response.set_cookie(
        page.desk.token_cookie,
        token,
        max_age=_EIGHT_HOURS,
        httponly=True,
        samesite="strict",
        secure=page.desk.is_secure,
    )
    return response


async def sign_out(page: Page) -> Response:
    """Forget the token."""
    _check(page)
    response = page.go(page.links.to("sign-in"))
    response.delete_cookie(
        page.desk.token_cookie, httponly=True, samesite="strict", secure=page.desk.is_secure
    )
    return response


def _check(page: Page) -> None:
    if not page.desk.signs_in:
        raise NotFoundError("There is nothing to sign in to: everybody here is the same actor.")


AREA = Area("session", [get("sign-in", show), post("sign-in", sign_in), post("sign-out", sign_out)])
