"""Signing in at an issuer, by a browser that does as it is told, and by those who mean harm.

The console and the issuer are real servers; each attack changes one thing of what goes right.
"""

import asyncio
import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.cookiejar import Cookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from console import app
from console.settings import Settings
from contracts.roles import Role
from devstack import issuer
from devstack.identity_provider import Grant, IdentityProvider
from devstack.issuer import Issuer, Person
from runtime import grpcclient
from runtime.authority import Authority
from runtime.httpserver import WebServer

PAGE = "/dev/search?q="
ANA = Person("ana", [Role.VIEWER], ["dev"])
BOB = Person("bob", [Role.VIEWER], ["dev"])
HOUR = timedelta(hours=1)


class Bending(IdentityProvider):
    """An issuer that changes what it gives before it does."""

    bend: Callable[[dict[str, Any], Grant], None] | None = None
    asked = 0

    def answer(self, grant: Grant) -> dict[str, object]:
        self.asked += 1
        found = super().answer(grant)
        if self.bend is not None:
            self.bend(found, grant)
        return found

    def last(self, lifetime: timedelta) -> None:
        """Let tokens live for so long from now on."""
        self._lifetime = lifetime


@dataclass
class Answer:
    """What a browser was answered."""

    status: int
    page: str
    where: str
    headers: dict[str, str]


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Browser:
    """Remembers cookies, and goes where it is sent when it is told to."""

    def __init__(self, origin: str) -> None:
        self.origin, self.cookies = origin, http.cookiejar.CookieJar()
        # Ports of one host share cookies; the console's are all that count here.
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.cookies), _Stay
        )

    async def ask(self, url: str, *, form: dict[str, str] | None = None, **headers: str) -> Answer:
        """Ask for one page, and follow nowhere."""
        return await asyncio.to_thread(self._ask, url, form, headers)

    def _ask(self, url: str, form: dict[str, str] | None, headers: dict[str, str]) -> Answer:
        where = url if url.startswith("http") else self.origin + url
        body = None if form is None else urlencode(form).encode()
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(where, body, told)  # noqa: S310 - servers of ours
        try:
            found = self._opener.open(request, timeout=10)
        except urllib.error.HTTPError as other:
            found = other
        with found:
            said = dict(found.headers.items())
            return Answer(found.status, found.read().decode(), said.get("location", ""), said)

    async def begin(self, page: str = PAGE) -> str:
        """Open a page without being signed in; return where the issuer is."""
        found = await self.ask(page)
        assert found.status == HTTPStatus.SEE_OTHER, found.page
        return found.where

    async def choose(self, where: str, who: Person, *, password: str) -> str:
        """Be somebody at the issuer's page; return where it sends one back to."""
        form = {"person": who.name, "password": password, "choice": "sign-in"}
        found = await self.ask(where, form=form)
        assert found.status == HTTPStatus.SEE_OTHER, found.page
        return found.where

    def kept(self, name: str) -> str | None:
        return next((one.value for one in self.cookies if one.name == name), None)

    def names(self) -> set[str]:
        return {one.name for one in self.cookies}

    def change(self, name: str, change: Callable[[str], str]) -> None:
        """Change the value of the cookies whose name begins so."""
        found: list[Cookie] = [one for one in self.cookies if one.name.startswith(name)]
        assert found
        for one in found:
            one.value = change(one.value or "")


class World:
    """The console, and the issuer that it sends people to."""

    def __init__(self, provider: Bending, people: Issuer, server: WebServer, origin: str) -> None:
        self.provider, self.issuer, self._server, self.origin = provider, people, server, origin

    def browser(self) -> Browser:
        return Browser(self.origin)

    async def callback(self, browser: Browser, who: Person = ANA, page: str = PAGE) -> str:
        """Go as far as back from the issuer; return the address there."""
        where = await browser.begin(page)
        return await browser.choose(where, who, password=self.issuer.password())

    async def signed_in(self, who: Person = ANA) -> Browser:
        browser = self.browser()
        found = await browser.ask(await self.callback(browser, who))
        assert found.status == HTTPStatus.OK, found.page
        return browser

    async def end_issuer(self) -> None:
        await self._server.stop()


@pytest.fixture
def overrides() -> dict[str, Any]:
    return {}


@pytest.fixture
async def world(
    tmp_path: Path, unused_port: Callable[[], int], overrides: dict[str, Any]
) -> AsyncIterator[World]:
    people = Issuer(tmp_path / issuer.NAME)
    people.bring()
    people.admit([ANA, BOB])
    port, pages = unused_port(), unused_port()
    # Another host to a browser, so that cookies tell the two apart.
    url, origin = f"http://localhost:{port}", f"http://127.0.0.1:{pages}"
    people.serve(origin)
    provider = Bending(people, url=url)
    server = WebServer(provider.application(), listen=f"127.0.0.1:{port}", name="issuer")
    told = {
        "BACKBONE_OIDC_ISSUER": issuer.ISSUER,
        "BACKBONE_OIDC_AUDIENCE": issuer.AUDIENCE,
        "BACKBONE_OIDC_JWKS_URL": f"{url}/{issuer.KEYS}",
        **issuer.console_settings(url, folder=tmp_path / issuer.NAME, origin=origin),
    }
    settings = Settings(
        environment="local",
        console_people=True,
        namespaces=("dev",),
        registry_address="127.0.0.1:1",
        ledger_address="127.0.0.1:1",
        router_address="127.0.0.1:1",
        **{
            "console_scopes": ("openid", "offline_access"),
            **{
                name.removeprefix("BACKBONE_").lower(): value
                for name, value in told.items()
                if name != "BACKBONE_CONSOLE_SCOPES"
            },
            **overrides,
        },
    )
    authority = Authority.create(tmp_path / "authority", now=datetime.now(UTC))
    channels = {
        name: grpcclient.channel("127.0.0.1:1", actor="x", trusted=authority.certificate)
        for name in ("registry", "ledger", "router")
    }
    console = WebServer(
        app.pages(settings, channels, secure=False).application(), listen=f"127.0.0.1:{pages}"
    )
    await server.start()
    await console.start()
    yield World(provider, people, server, origin)
    await console.stop()
    await server.stop()
    for channel in channels.values():
        await channel.close()


def changed(url: str, **told: str | None) -> str:
    """Return an address with other values in its query; None takes one out."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | told
    kept = {name: value for name, value in query.items() if value is not None}
    return parts._replace(query=urlencode(kept)).geturl()


def value(url: str, name: str) -> str:
    return dict(parse_qsl(urlsplit(url).query))[name]


# --- as it should be ------------------------------------------------------------------------------


async def test_who_signs_in_comes_back_to_the_page_first_asked_for_as_themselves(world: World):
    browser = world.browser()
    where = await browser.begin("/dev/search?q=%22a%22%26b")
    asked = dict(parse_qsl(urlsplit(where).query))
    assert asked["code_challenge_method"] == "S256"
    assert asked["scope"] == "openid offline_access"
    back = await browser.choose(where, ANA, password=world.issuer.password())
    found = await browser.ask(back)
    assert found.status == HTTPStatus.OK
    assert 'content="0; url=/dev/search?q=%22a%22%26b"' in found.page
    page = await browser.ask(PAGE)
    assert page.status == HTTPStatus.OK
    assert "<span>ana</span>" in page.page
    assert browser.names() >= {"backbone_token", "backbone_refresh"}
    assert not [name for name in browser.names() if name.startswith("backbone_sign_in_")]


async def test_a_session_is_sent_by_no_other_site_and_a_sign_in_comes_back_from_one(world: World):
    browser = world.browser()
    begun = await browser.ask(PAGE)
    assert re.match(
        r"backbone_sign_in_\S+; HttpOnly; Max-Age=600; Path=/; SameSite=lax",
        begun.headers["set-cookie"],
    )
    back = await browser.choose(begun.where, ANA, password=world.issuer.password())
    await browser.ask(back)
    kept = {one.name: one for one in browser.cookies}
    for name in ("backbone_token", "backbone_refresh"):
        assert kept[name].has_nonstandard_attr("HttpOnly")
        assert kept[name].get_nonstandard_attr("SameSite") == "strict"


async def test_windows_sign_in_side_by_side_and_no_more_than_a_few_are_remembered(world: World):
    browser = world.browser()
    first = await world.callback(browser, page="/dev/search?q=1")
    second = await world.callback(browser, page="/dev/search?q=2")
    assert "q=2" in (await browser.ask(second)).page
    assert "q=1" in (await browser.ask(first)).page
    other = world.browser()
    for _ in range(10):
        await other.begin()
    assert len(other.names()) <= 5


@pytest.mark.parametrize("overrides", [{"console_scopes": ("openid",)}])
async def test_without_what_renews_one_signs_in_again_when_the_token_ends(world: World):
    browser = await world.signed_in()
    assert "backbone_refresh" not in browser.names()
    ended = world.issuer.token(ANA, now=datetime.now(UTC) - HOUR, lifetime=HOUR / 2)
    browser.change("backbone_token", lambda _: ended)
    assert urlsplit(await browser.begin()).path == "/authorize"


async def test_a_session_goes_on_by_what_renews_it_once_for_pages_side_by_side(world: World):
    world.provider.last(timedelta(0))
    browser = await world.signed_in()
    before = browser.kept("backbone_token"), browser.kept("backbone_refresh")
    world.provider.last(HOUR)
    asked = world.provider.asked
    pages = await asyncio.gather(*(browser.ask(PAGE) for _ in range(4)))
    assert {page.status for page in pages} == {HTTPStatus.OK}
    assert world.provider.asked == asked + 1
    after = browser.kept("backbone_token"), browser.kept("backbone_refresh")
    assert after[0] != before[0]
    assert after[1] != before[1]
    await browser.ask(PAGE)
    assert world.provider.asked == asked + 1


async def test_what_renews_nothing_any_more_leads_to_signing_in(world: World):
    world.provider.last(timedelta(0))
    browser = await world.signed_in()
    browser.change("backbone_refresh", lambda _: "used-up")
    assert urlsplit(await browser.begin()).path == "/authorize"


async def test_a_session_is_not_renewed_as_somebody_else(world: World):
    world.provider.last(timedelta(0))
    browser = await world.signed_in()

    def as_bob(found: dict[str, Any], _: Grant) -> None:
        now = datetime.now(UTC)
        found["access_token"] = world.issuer.token(BOB, now=now, lifetime=HOUR)
        del found["id_token"]

    world.provider.bend = as_bob
    await browser.begin()


async def test_while_the_issuer_is_away_a_session_lasts_as_long_as_its_token(world: World):
    world.provider.last(timedelta(0))
    browser = await world.signed_in()
    await world.end_issuer()
    assert (await browser.ask(PAGE)).status == HTTPStatus.OK
    ended = world.issuer.token(ANA, now=datetime.now(UTC) - HOUR, lifetime=HOUR / 2)
    browser.change("backbone_token", lambda _: ended)
    found = await browser.ask(PAGE)
    assert found.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert "The identity provider cannot be reached: try again in a moment." in found.page


async def test_who_signs_out_is_forgotten_here_and_sent_to_the_issuer(world: World):
    browser = await world.signed_in()
    page = await browser.ask(PAGE)
    (told,) = re.findall(r'name="csrf_token" value="([^"]+)"', page.page)
    refused = await browser.ask("/dev/sign-out", form={"csrf_token": "x" * 43})
    assert refused.status == HTTPStatus.FORBIDDEN
    found = await browser.ask("/dev/sign-out", form={"csrf_token": told})
    assert "/end-session?client_id=backbone-console&amp;post_logout_redirect_uri=" in found.page
    assert not browser.names() & {"backbone_token", "backbone_refresh"}
    (where,) = re.findall(r'<a href="(http[^"]+)"', found.page)
    back = await browser.ask(where.replace("&amp;", "&"))
    assert back.where == f"{world.origin}/signed-out"
    assert "Nobody is signed in here any more." in (await browser.ask(back.where)).page


@pytest.mark.parametrize("overrides", [{"console_ends_issuer_session": False}])
async def test_the_issuers_session_is_left_alone_where_it_is_told_to_be(world: World):
    browser = await world.signed_in()
    page = await browser.ask(PAGE)
    (told,) = re.findall(r'name="csrf_token" value="([^"]+)"', page.page)
    found = await browser.ask("/dev/sign-out", form={"csrf_token": told})
    assert found.where == "/signed-out"


async def test_what_is_sent_without_being_signed_in_does_nothing_and_says_so(world: World):
    browser = world.browser()
    found = await browser.ask(
        "/dev/inbox/claim", form={"csrf_token": "x"}, Referer=f"{world.origin}/dev/task?id=7"
    )
    assert found.status == HTTPStatus.UNAUTHORIZED
    assert "You are not signed in any more: nothing was done." in found.page
    assert '<a href="/dev/sign-in?to=%2Fdev%2Ftask%3Fid%3D7">' in found.page


async def test_a_part_of_a_page_has_the_whole_page_sign_in(world: World):
    found = await world.browser().ask("/dev/overview/figures", HX_Request="true")
    assert found.status == HTTPStatus.UNAUTHORIZED
    assert found.headers["hx-refresh"] == "true"


async def test_nobody_brings_a_token_along_where_one_signs_in_at_the_issuer(world: World):
    browser = await world.signed_in()
    page = await browser.ask(PAGE)
    (told,) = re.findall(r'name="csrf_token" value="([^"]+)"', page.page)
    found = await browser.ask("/dev/sign-in", form={"csrf_token": told, "token": "e30.e30.x"})
    assert found.status == HTTPStatus.NOT_FOUND


WITHOUT = {"console_client_id": None}


@pytest.mark.parametrize("overrides", [WITHOUT])
async def test_without_a_client_of_the_issuer_one_brings_a_token_along(world: World):
    browser = world.browser()
    found = await browser.ask(PAGE)
    assert found.status == HTTPStatus.UNAUTHORIZED
    assert "You have not signed in." in found.page
    (told,) = re.findall(r'name="csrf_token" value="([^"]+)"', found.page)
    bad = await browser.ask("/dev/sign-in", form={"csrf_token": told, "token": "two words"})
    assert (bad.status, "That is no token" in bad.page) == (HTTPStatus.BAD_REQUEST, True)
    token = world.issuer.token(ANA, now=datetime.now(UTC), lifetime=HOUR)
    done = await browser.ask("/dev/sign-in", form={"csrf_token": told, "token": token})
    assert (done.status, done.where) == (HTTPStatus.SEE_OTHER, "/dev/overview")
    (kept,) = [one for one in browser.cookies if one.name == "backbone_token"]
    assert kept.has_nonstandard_attr("HttpOnly")
    assert kept.get_nonstandard_attr("SameSite") == "strict"
    assert "<span>ana</span>" in (await browser.ask(PAGE)).page
    out = await browser.ask("/dev/sign-out", form={"csrf_token": told})
    assert (out.status, out.where) == (HTTPStatus.SEE_OTHER, "/dev/sign-in")
    assert (await browser.ask(PAGE)).status == HTTPStatus.UNAUTHORIZED
    assert (await browser.ask("/callback?state=x")).status == HTTPStatus.NOT_FOUND


# --- and as it should not -------------------------------------------------------------------------


async def refused(
    browser: Browser, back: str, *, status: HTTPStatus, said: str, begun: bool = True
) -> None:
    """Check that an address to come back to signs nobody in, and is told in a sentence."""
    found = await browser.ask(back)
    assert (found.status, said in found.page) == (status, True), found.page
    assert "Traceback" not in found.page
    assert "backbone_token" not in browser.names()
    if begun:
        # It was taken up: the same address says nothing more.
        again = await browser.ask(back)
        assert again.status == HTTPStatus.BAD_REQUEST
        assert "taken up already" in again.page


NOT_THIS = "What the identity provider sent is not for this sign-in"
NOT_ANY_MORE = "The identity provider does not take this sign-in any more"
UNKNOWN = "This sign-in was not begun in this browser"


async def test_another_state_signs_nobody_in(world: World):
    browser = world.browser()
    back = await world.callback(browser)
    for state in ("x" * 43, "", value(back, "state")[:-1] + "!", None):
        bad = changed(back, state=state)
        await refused(browser, bad, status=HTTPStatus.BAD_REQUEST, said=UNKNOWN, begun=False)


async def test_what_another_browser_has_begun_signs_nobody_in(world: World):
    back = await world.callback(world.browser())
    victim = world.browser()
    await refused(victim, back, status=HTTPStatus.BAD_REQUEST, said=UNKNOWN, begun=False)


async def test_what_was_taken_up_is_not_again(world: World):
    browser = world.browser()
    back = await world.callback(browser)
    await browser.ask(back)
    again = await browser.ask(back)
    assert again.status == HTTPStatus.BAD_REQUEST
    assert UNKNOWN in again.page


async def test_a_code_that_was_used_signs_nobody_in(world: World):
    browser = world.browser()
    used = await world.callback(browser)
    await browser.ask(used)
    other = world.browser()
    back = await world.callback(other)
    bad = changed(back, code=value(used, "code"))
    await refused(other, bad, status=HTTPStatus.BAD_REQUEST, said=NOT_ANY_MORE)


async def test_a_code_that_somebody_else_got_signs_nobody_in(world: World):
    theirs = await world.callback(world.browser(), BOB)
    victim = world.browser()
    back = changed(await world.callback(victim), code=value(theirs, "code"))
    await refused(victim, back, status=HTTPStatus.BAD_REQUEST, said=NOT_ANY_MORE)


async def test_a_code_without_its_verifier_is_worth_nothing(world: World):
    browser = world.browser()
    back = await world.callback(browser)
    browser.change("backbone_sign_in_", lambda kept: _with_part(kept, 2, "v" * 43))
    await refused(browser, back, status=HTTPStatus.BAD_REQUEST, said=NOT_ANY_MORE)


async def test_a_nonce_of_another_sign_in_signs_nobody_in(world: World):
    browser = world.browser()
    back = await world.callback(browser)
    browser.change("backbone_sign_in_", lambda kept: _with_part(kept, 1, "n" * 43))
    await refused(browser, back, status=HTTPStatus.BAD_REQUEST, said=NOT_THIS)


def _with_part(kept: str, number: int, value: str) -> str:
    parts = kept.split(".")
    parts[number] = value
    return ".".join(parts)


def _id_token(world: World, **claims: Any) -> Callable[[dict[str, Any], Grant], None]:
    def bend(found: dict[str, Any], grant: Grant) -> None:
        told = {"aud": issuer.CLIENT, "sub": "ana", "nonce": grant.request["nonce"], **claims}
        kept = {name: value for name, value in told.items() if value is not None}
        found["id_token"] = world.issuer.signed(
            kept, now=datetime.now(UTC), lifetime=HOUR, kind="JWT"
        )

    return bend


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": None},
        {"nonce": "n" * 43},
        {"aud": "another-client"},
        {"aud": issuer.AUDIENCE},
        {"aud": [issuer.CLIENT, "another-client"], "azp": "another-client"},
        {"aud": [issuer.CLIENT, "another-client"]},
        {"iss": "https://another.localhost"},
        {"exp": datetime.now(UTC) - HOUR},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"at_hash": 7},
    ],
)
async def test_an_id_token_for_anything_else_signs_nobody_in(world: World, claims: dict[str, Any]):
    world.provider.bend = _id_token(world, **claims)
    browser = world.browser()
    back = await world.callback(browser)
    await refused(browser, back, status=HTTPStatus.BAD_REQUEST, said=NOT_THIS)


async def test_an_id_token_that_is_all_right_is_what_the_others_differ_from(world: World):
    world.provider.bend = _id_token(world)
    await world.signed_in()


def _access_token(world: World, **claims: Any) -> Callable[[dict[str, Any], Grant], None]:
    def bend(found: dict[str, Any], grant: Grant) -> None:
        told = {"aud": issuer.AUDIENCE, "sub": "ana", **claims}
        found["access_token"] = world.issuer.signed(
            told, now=datetime.now(UTC), lifetime=HOUR, kind="at+jwt"
        )
        _id_token(world)(found, grant)

    return bend


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"aud": issuer.CLIENT}, "the token is meant for somebody else"),
        ({"iss": "https://another.localhost"}, "the token is another issuer"),
        ({"exp": datetime.now(UTC) - HOUR}, "the token has expired"),
        ({"nbf": datetime.now(UTC) + HOUR}, "the token is not valid yet"),
        ({"exp": datetime.now(UTC) + 48 * HOUR}, "the token lives longer than is taken here"),
    ],
)
async def test_a_token_that_the_services_refuse_signs_nobody_in(
    world: World, claims: dict[str, Any], said: str
):
    world.provider.bend = _access_token(world, **claims)
    browser = world.browser()
    back = await world.callback(browser)
    await refused(browser, back, status=HTTPStatus.UNAUTHORIZED, said=said)


async def test_tokens_of_two_people_sign_nobody_in(world: World):
    world.provider.bend = _access_token(world, sub="bob")
    browser = world.browser()
    back = await world.callback(browser)
    said = "tokens are of two people"
    await refused(browser, back, status=HTTPStatus.BAD_REQUEST, said=said)


async def test_a_token_of_another_key_signs_nobody_in(world: World, tmp_path: Path):
    another = Issuer(tmp_path / "another")
    another.bring()

    def bend(found: dict[str, Any], _: Grant) -> None:
        found["id_token"] = another.id_token(
            ANA, now=datetime.now(UTC), lifetime=HOUR, access=found["access_token"]
        )

    world.provider.bend = bend
    browser = world.browser()
    back = await world.callback(browser)
    await refused(browser, back, status=HTTPStatus.BAD_REQUEST, said=NOT_THIS)


@pytest.mark.parametrize("missing", ["access_token", "id_token"])
async def test_an_issuer_that_gives_too_little_is_told_of(world: World, missing: str):
    world.provider.bend = lambda found, _: found.pop(missing)
    browser = world.browser()
    back = await world.callback(browser)
    said = "The identity provider gives no"
    await refused(browser, back, status=HTTPStatus.BAD_GATEWAY, said=said)


async def test_a_token_that_fits_into_no_cookie_is_told_of(world: World):
    world.provider.bend = _access_token(world, groups=["g" * 90] * 40)
    browser = world.browser()
    back = await world.callback(browser)
    said = "3,800 fit into a cookie"
    await refused(browser, back, status=HTTPStatus.BAD_GATEWAY, said=said)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        ("access_denied", HTTPStatus.FORBIDDEN, "(access_denied)"),
        ("temporarily_unavailable", HTTPStatus.SERVICE_UNAVAILABLE, "(temporarily_unavailable)"),
        ("server_error", HTTPStatus.BAD_GATEWAY, "(server_error)"),
        ("Call +1 555", HTTPStatus.BAD_GATEWAY, "(an error)"),
    ],
)
async def test_what_the_issuer_denies_is_told_in_a_sentence(
    world: World, error: str, status: HTTPStatus, said: str
):
    browser = world.browser()
    back = changed(await world.callback(browser), code=None, error=error, error_description="Pay!")
    found = await browser.ask(back)
    assert (found.status, said in found.page) == (status, True)
    assert "Pay!" not in found.page
    assert "Call" not in found.page


async def test_who_cancels_at_the_issuer_is_not_signed_in(world: World):
    browser = world.browser()
    found = await browser.ask(await browser.begin(), form={"choice": "cancel"})
    await refused(browser, found.where, status=HTTPStatus.FORBIDDEN, said="(access_denied)")


async def test_a_wrong_password_at_the_issuer_gets_no_code(world: World):
    browser = world.browser()
    form = {"person": "ana", "password": "guess", "choice": "sign-in"}
    found = await browser.ask(await browser.begin(), form=form)
    assert found.status == HTTPStatus.FORBIDDEN
    assert "That is not the password." in found.page


async def test_another_issuer_sends_nobody_here(world: World):
    browser = world.browser()
    back = changed(await world.callback(browser), iss="https://another.localhost")
    said = "Another issuer sent you here"
    await refused(browser, back, status=HTTPStatus.BAD_REQUEST, said=said)


@pytest.mark.parametrize("code", [None, "", "c" * 2049])
async def test_without_a_code_nobody_is_signed_in(world: World, code: str | None):
    browser = world.browser()
    back = changed(await world.callback(browser), code=code)
    await refused(browser, back, status=HTTPStatus.BAD_REQUEST, said="sent no code")


async def test_an_issuer_that_is_away_is_told_of_and_tried_again(world: World):
    browser = world.browser()
    back = await world.callback(browser)
    await world.end_issuer()
    said = "The identity provider cannot be reached: try again in a moment."
    await refused(browser, back, status=HTTPStatus.SERVICE_UNAVAILABLE, said=said)


@pytest.mark.parametrize(
    "overrides", [{"console_discovery_url": "http://127.0.0.1:1/"}, {"oidc_issuer": "https://x"}]
)
async def test_an_issuer_that_is_not_there_or_another_is_told_of(world: World):
    found = await world.browser().ask(PAGE)
    assert found.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert "The identity provider cannot be reached" in found.page


async def test_a_wrong_secret_of_the_console_is_told_without_it(world: World, tmp_path: Path):
    browser = world.browser()
    back = await world.callback(browser)
    (tmp_path / "mine").mkdir()
    world.provider._issuer = Issuer(tmp_path / "mine")
    world.provider._issuer.bring()
    said = "does not give the console a token"
    await refused(browser, back, status=HTTPStatus.BAD_GATEWAY, said=said)


@pytest.mark.parametrize(
    "to", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "/rival/x"]
)
async def test_nobody_is_sent_anywhere_else_after_signing_in(world: World, to: str):
    browser = world.browser()
    back = await world.callback(browser, page=f"/dev/sign-in?{urlencode({'to': to})}")
    found = await browser.ask(back)
    assert 'content="0; url=/dev/overview"' in found.page


async def test_where_a_cookie_leads_is_judged_again(world: World):
    browser = world.browser()
    back = await world.callback(browser)
    elsewhere = b"//elsewhere.example/x".hex()
    browser.change("backbone_sign_in_", lambda kept: _with_part(kept, 3, elsewhere))
    assert 'content="0; url=/dev/overview"' in (await browser.ask(back)).page


@pytest.mark.parametrize(
    "told",
    [
        {"client_id": "another-client"},
        {"redirect_uri": "http://127.0.0.1:1/callback"},
        {"code_challenge": None},
        {"code_challenge_method": "plain"},
        {"response_type": "token"},
    ],
)
async def test_the_issuer_gives_a_code_to_nobody_else(world: World, told: dict[str, str | None]):
    browser = world.browser()
    found = await browser.ask(changed(await browser.begin(), **told))
    assert (found.status, found.where) == (HTTPStatus.BAD_REQUEST, "")
    assert "<form" not in found.page
