"""Forms, as they come over HTTP: read from a page of ours, and from nowhere else."""

import asyncio
from datetime import timedelta
from typing import Any, Never
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from console.adapters.forms import FIELD, Forms, Limits
from console.errors import (
    BadRequestError,
    ConsoleError,
    ForgedRequestError,
    SlowRequestError,
    TooLargeError,
)

TOKEN = "t" * 43
FORMS = Forms(cookie="c", limits=Limits(bytes=1000, time=timedelta(milliseconds=50)), origin=None)
URLENCODED = "application/x-www-form-urlencoded"


def request(body: bytes | None, **headers: str) -> Request:
    """Return a POST; without a body the form never comes."""
    told = {"cookie": f"c={TOKEN}", "content-type": URLENCODED, "host": "console.example"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    messages = iter([] if body is None else [{"type": "http.request", "body": body}])

    async def receive() -> Any:
        for message in messages:
            return message
        return await _never()

    scope = {
        "type": "http",
        "method": "POST",
        "headers": [(name.encode(), value.encode()) for name, value in told.items()],
    }
    return Request(scope, receive)


async def _never() -> Never:
    await asyncio.Event().wait()
    raise AssertionError


def body(**fields: str) -> bytes:
    return urlencode({FIELD: TOKEN} | fields).encode()


async def test_the_form_of_a_page_is_read() -> None:
    form = await FORMS.read(request(body(reason="it is dark"), origin="http://console.example"))
    assert form["reason"] == "it is dark"


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (request(b"reason=x"), ForgedRequestError),
        (request(urlencode({FIELD: "other" * 9}).encode()), ForgedRequestError),
        (request(urlencode({FIELD: ""}).encode(), cookie="c="), ForgedRequestError),
        (request(body(), cookie=""), ForgedRequestError),
        (request(body(), origin="https://other.example"), ForgedRequestError),
        (request(body(), origin="null"), ForgedRequestError),
        (request(body(), sec_fetch_site="cross-site"), ForgedRequestError),
        (request(body(), sec_fetch_site="same-site"), ForgedRequestError),
        (request(body(reason="x" * 1000)), TooLargeError),
        (request(body(), content_length="1001"), TooLargeError),
        (request(body(), content_length="9" * 30), TooLargeError),
        (request(None), SlowRequestError),
        (request(body(), content_type="application/json"), BadRequestError),
        (request(b"--", content_type="multipart/form-data"), BadRequestError),
    ],
)
async def test_what_another_site_sends_or_does_not_come_right_is_refused(
    refused: Request, error: type[ConsoleError]
) -> None:
    with pytest.raises(error):
        await FORMS.read(refused)


async def test_behind_something_that_ends_tls_its_origin_is_ours() -> None:
    behind = Forms(cookie="c", limits=Limits(1000, timedelta(1)), origin="https://c.example")
    await behind.read(request(body(), origin="https://c.example"))
    with pytest.raises(ForgedRequestError):
        await behind.read(request(body(), origin="http://console.example"))


def test_who_has_no_token_of_ours_gets_a_new_one() -> None:
    one, other = (FORMS.token(request(b"", cookie="c=short")) for _ in "12")
    assert len(one) >= 32
    assert one != other
    assert FORMS.token(request(b"")) == TOKEN
