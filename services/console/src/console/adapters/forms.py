"""What visitors send: read within bounds, and only from a page of ours.

Each form carries a token that is also in a cookie of the visitor's. Another site can make a browser
send the cookie at most, and does not know it.
"""

import asyncio
import hmac
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from starlette.datastructures import FormData
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from console.errors import BadRequestError, ForgedRequestError, SlowRequestError, TooLargeError

FIELD = "csrf_token"
"""The hidden field of each form."""
_MAX_FIELDS = 1000
_MAX_FILES = 1000
_SHORTEST = 32


@dataclass(frozen=True)
class Limits:
    """What a form may take: bytes, files included, and time."""

    bytes: int
    time: timedelta


class Forms:
    """Reads forms, and keeps those of other sites out."""

    def __init__(self, *, cookie: str, limits: Limits, origin: str | None) -> None:
        """`origin` is where the pages are reached; None for what the request's Host says."""
        self.cookie = cookie
        self._limits = limits
        self._origin = origin

    def token(self, request: Request) -> str:
        """Return the visitor's token for forms, a new one for who has none."""
        said = request.cookies.get(self.cookie, "")
        return said if len(said) >= _SHORTEST else secrets.token_urlsafe(32)

    async def read(self, request: Request) -> FormData:
        """Return the fields of a form that one of our pages sent.

        Raises:
            ForgedRequestError: it did not come from one.
            BadRequestError, TooLargeError, SlowRequestError: it cannot be read.
        """
        self._check_origin(request)
        form = await self._parsed(request, await self._body(request))
        expected = request.cookies.get(self.cookie, "")
        told = form.get(FIELD, "")
        if (
            not isinstance(told, str)
            or len(expected) < _SHORTEST
            or not hmac.compare_digest(told.encode(), expected.encode())
        ):
            raise ForgedRequestError(
                "This form is not from a page of this console, or the page is too old: load it "
                "again, and send it once more."
            )
        return form

    def _check_origin(self, request: Request) -> None:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise ForgedRequestError("Another site has sent this form: nothing was done.")
        said = request.headers.get("origin")
        if said is None:
            return
        host = request.headers.get("host", "")
        if said != self._origin and (self._origin is not None or urlsplit(said).netloc != host):
            raise ForgedRequestError("Another site has sent this form: nothing was done.")

    async def _body(self, request: Request) -> bytes:
        size = self._limits.bytes
        said = request.headers.get("content-length", "")
        body = bytearray()
        try:
            if said.isdigit() and (len(said) > 18 or int(said) > size):
                raise _too_large(size)
            async with asyncio.timeout(self._limits.time.total_seconds()):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > size:
                        raise _too_large(size)
        except TimeoutError as exc:
            raise SlowRequestError(
                f"The form was not there after {self._limits.time.total_seconds():g} s: send less "
                "at a time."
            ) from exc
        except ClientDisconnect as exc:
            raise BadRequestError("The form did not come whole.") from exc
        return bytes(body)

    async def _parsed(self, request: Request, body: bytes) -> FormData:
        async def stream() -> AsyncGenerator[bytes, None]:
            yield body
            yield b""

        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            if kind == "application/x-www-form-urlencoded":
                return await FormParser(request.headers, stream()).parse()
            if kind == "multipart/form-data":
                return await MultiPartParser(
                    request.headers,
                    stream(),
                    max_files=_MAX_FILES,
                    max_fields=_MAX_FIELDS,
                    max_part_size=self._limits.bytes,
                ).parse()
        except (MultiPartException, UnicodeDecodeError, ValueError) as exc:
            raise BadRequestError("The form cannot be read.") from exc
        raise BadRequestError("This is no form.")


def _too_large(size: int) -> TooLargeError:
    return TooLargeError(f"A form has at most {size:,} bytes, and this one has more.")
