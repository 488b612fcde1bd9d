"""The console where people sign in at the issuer: who does sees what their token may see."""

import base64
import html
import http.cookiejar
import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus

import pytest

from contracts.roles import Role
from devstack.issuer import PEOPLE, Person
from devstack.suite import Suite


class Caller:
    """Somebody with a browser's memory for cookies, who trusts the stack's authority alone."""

    def __init__(self, suite: Suite) -> None:
        certificates = suite.endpoints.certificates
        assert certificates is not None
        trust = ssl.create_default_context(cafile=certificates.authority)
        self._suite, self.origin, self.at = suite, suite.console_url, suite.console_url
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=trust),
            urllib.request.HTTPCookieProcessor(self.cookies),
        )

    def ask(self, path: str, **form: str) -> tuple[int, str]:
        """Open a page, or send a form; return the status and the page one is led to."""
        body = urllib.parse.urlencode(form).encode() if form else None
        url = urllib.parse.urljoin(self.origin, path)
        try:
            with self._opener.open(url, data=body, timeout=30) as answer:
                self.at = answer.url
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def sign_in(self, *roles: Role) -> tuple[int, str]:
        """Sign in at the issuer with these roles; return the overview as they see it."""
        person = Person("kim", list(roles), ["dev"])
        self._suite.issuer.admit([*PEOPLE, person])
        _, page = self.ask("/dev/overview")
        (action,) = re.findall(r'action="([^"]+)"', page)
        url = urllib.parse.urljoin(self.at, html.unescape(action))
        password = self._suite.issuer.password()
        self.ask(url, person=person.name, password=password, choice="sign-in")
        return self.ask("/dev/overview")


@pytest.fixture
def caller(suite: Suite) -> Caller:
    return Caller(suite)


def test_who_has_not_signed_in_is_shown_nothing_but_where_to(caller: Caller) -> None:
    status, page = caller.ask("/dev/overview")
    assert status == HTTPStatus.OK
    assert urllib.parse.urlsplit(caller.at).path == "/authorize"
    assert "What ran" not in page


def test_who_signs_in_sees_what_the_token_may_see(caller: Caller) -> None:
    status, page = caller.sign_in(Role.VIEWER)
    assert (status, "What ran" in page) == (HTTPStatus.OK, True)
    assert "kim" in page
    for name in ("__Host-backbone_token", "__Host-backbone_refresh"):
        (kept,) = [one for one in caller.cookies if one.name == name]
        assert kept.secure
        assert kept.has_nonstandard_attr("HttpOnly")
        assert kept.get_nonstandard_attr("SameSite") == "strict"

    status, page = caller.ask("/rival/overview")
    assert status == HTTPStatus.FORBIDDEN
    assert "You may not do that" in page


def test_who_may_see_nothing_is_told_so(caller: Caller) -> None:
    status, page = caller.sign_in(Role.TASK_WORKER)
    assert status == HTTPStatus.FORBIDDEN
    assert "You may not do that" in page


def test_what_is_no_token_of_the_issuers_lets_nobody_in(caller: Caller) -> None:
    caller.sign_in(Role.VIEWER)
    (kept,) = [one for one in caller.cookies if one.name == "__Host-backbone_token"]
    claims = json.dumps({"sub": "kim", "exp": time.time() + 600}).encode()
    kept.value = f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.x"
    status, page = caller.ask("/dev/overview")
    assert status == HTTPStatus.UNAUTHORIZED
    assert "<h1>Sign in</h1>" in page
    assert "What ran" not in page


def test_who_signs_out_is_forgotten_here_and_at_the_issuer(caller: Caller) -> None:
    _, page = caller.sign_in(Role.VIEWER)
    (told,) = re.findall(r'name="csrf_token" value="([^"]+)"', page)
    _, page = caller.ask("/dev/sign-out", csrf_token=told)
    caller.ask("/dev/overview")
    # Without a word from anybody: the issuer still knows who it is.
    assert caller.at.startswith(f"{caller.origin}/callback")
    _, page = caller.ask("/dev/overview")
    (told,) = re.findall(r'name="csrf_token" value="([^"]+)"', page)
    _, page = caller.ask("/dev/sign-out", csrf_token=told)
    (where,) = re.findall(r'<a href="(https://localhost[^"]+)"', page)
    _, page = caller.ask(html.unescape(where))
    assert "<h1>Signed out</h1>" in page
    caller.ask("/dev/overview")
    assert urllib.parse.urlsplit(caller.at).path == "/authorize"
