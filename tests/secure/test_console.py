"""The console where a token says who one is: who signs in sees what the token may see."""

import http.cookiejar
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pytest

from contracts.roles import Role
from devstack.issuer import Person
from devstack.suite import Suite


class Caller:
    """Somebody with a browser's memory for cookies, who trusts the stack's authority alone."""

    def __init__(self, suite: Suite) -> None:
        certificates = suite.endpoints.certificates
        assert certificates is not None
        trust = ssl.create_default_context(cafile=certificates.authority)
        self._url, self.cookies = suite.console_url, http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=trust),
            urllib.request.HTTPCookieProcessor(self.cookies),
        )

    def ask(self, path: str, **form: str) -> tuple[int, str]:
        """Open a page, or send a form; return the status and the page."""
        body = urllib.parse.urlencode(form).encode() if form else None
        try:
            with self._opener.open(self._url + path, data=body, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def sign_in(self, token: str) -> tuple[int, str]:
        _, page = self.ask("/dev/sign-in")
        (told,) = re.findall(r'name="csrf_token" value="([^"]+)"', page)
        return self.ask("/dev/sign-in", csrf_token=told, token=token)


def token(suite: Suite, *roles: Role, namespaces: tuple[str, ...] = ("dev",)) -> str:
    person = Person("kim", list(roles), list(namespaces), [])
    return suite.issuer.token(person, now=datetime.now(UTC), lifetime=timedelta(minutes=10))


@pytest.fixture
def caller(suite: Suite) -> Caller:
    return Caller(suite)


def test_who_has_not_signed_in_is_shown_nothing_but_where_to(caller: Caller) -> None:
    status, page = caller.ask("/dev/overview")
    assert status == HTTPStatus.UNAUTHORIZED
    assert "<h1>Sign in</h1>" in page
    assert "What ran" not in page


def test_who_signs_in_sees_what_the_token_may_see(caller: Caller, suite: Suite) -> None:
    status, page = caller.sign_in(token(suite, Role.VIEWER))
    assert (status, "What ran" in page) == (HTTPStatus.OK, True)
    assert "kim" in page
    (kept,) = [one for one in caller.cookies if one.name == "__Host-backbone_token"]
    assert kept.secure
    assert kept.has_nonstandard_attr("HttpOnly")
    assert kept.get_nonstandard_attr("SameSite") == "strict"

    status, page = caller.ask("/rival/overview")
    assert status == HTTPStatus.FORBIDDEN
    assert "You may not do that" in page


def test_who_may_see_nothing_is_told_so(caller: Caller, suite: Suite) -> None:
    status, page = caller.sign_in(token(suite, Role.TASK_WORKER))
    assert status == HTTPStatus.FORBIDDEN
    assert "You may not do that" in page


@pytest.mark.parametrize("bad", ["e30.e30.x", "two words"])
def test_what_is_no_token_of_the_issuers_lets_nobody_in(caller: Caller, bad: str) -> None:
    status, page = caller.sign_in(bad)
    assert status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.BAD_REQUEST)
    assert "<h1>Sign in</h1>" in page


def test_who_signs_out_is_forgotten(caller: Caller, suite: Suite) -> None:
    _, page = caller.sign_in(token(suite, Role.VIEWER))
    (told,) = re.findall(r'name="csrf_token" value="([^"]+)"', page)
    caller.ask("/dev/sign-out", csrf_token=told)
    assert caller.ask("/dev/overview")[0] == HTTPStatus.UNAUTHORIZED
