"""Asking an issuer of tokens: over its own authority, bounded in time and size, and once.

Redirects are followed nowhere: what an issuer is asked for may hold a secret.
"""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path

import httpcore

from runtime.errors import ConfigurationError, RuntimeLibraryError

TIMEOUT_S = 5.0
MAX_BYTES = 64 * 1024

_FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)


class IssuerUnavailableError(RuntimeLibraryError):
    """The issuer does not say what it was asked for; the same may work in a moment."""


class IssuerHttp:
    """Asks the documents of one issuer, and whatever else it answers."""

    def __init__(self, authority: Path | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        """`authority` is whom to trust beside nobody; without one those whom this machine trusts.

        Raises:
            ConfigurationError: `authority` cannot be read.
        """
        try:
            self._context = ssl.create_default_context(cafile=authority)
        except OSError as exc:
            raise ConfigurationError(f"{authority} (BACKBONE_OIDC_CA): {exc}") from exc
        self._timeout_s = timeout_s

    async def get(self, url: str) -> bytes:
        """Return the document at `url`.

        Raises IssuerUnavailableError, also for every status but 200.
        """
        status, body = await self._asked("GET", url, {}, b"")
        if status != 200:
            raise IssuerUnavailableError(f"the issuer answered with status {status}")
        return body

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Return the status and the body of an answer. Raises IssuerUnavailableError."""
        return await self._asked("POST", url, headers, body)

    async def _asked(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        told = [(name.encode(), value.encode()) for name, value in headers.items()]
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                httpcore.AsyncConnectionPool(ssl_context=self._context, max_connections=1) as pool,
                pool.stream(
                    method,
                    url,
                    headers=[(b"Accept", b"application/json"), *told],
                    content=body or None,
                ) as response,
            ):
                return response.status, await _body(response)
        except TimeoutError as exc:
            message = f"{url} did not answer within {self._timeout_s:g} s"
            raise IssuerUnavailableError(message) from exc
        except _FAILURES as exc:
            raise IssuerUnavailableError(f"{url}: {exc or type(exc).__name__}") from exc


async def _body(response: httpcore.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise IssuerUnavailableError(f"the issuer's answer has more than {MAX_BYTES} bytes")
    return bytes(body)
