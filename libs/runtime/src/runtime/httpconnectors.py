"""Requests to the catalogue's HTTP connectors: one host each, pinned, bounded, never redirected.

What comes back is a stranger's: it decides nothing about where we go (no redirect is followed, no
proxy of the environment is used), how long we wait, or how much memory it takes. `httpcore` does
the protocol, and nothing else by itself.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import urlsplit

import httpcore

from contracts import strictjson
from contracts.catalogue import HttpConnector
from contracts.rejections import EventRejectedError
from runtime import pinnednetwork
from runtime.errors import ConfigurationError, RuntimeLibraryError
from runtime.pinnednetwork import PinnedNetwork, Resolve

_IDLE_S = 30.0
_PORTS = {"https": 443, "http": 80}
_FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)
# 401, 403, 407: a person repairs credentials as well as an outage.
_NOT_NOW = frozenset({401, 403, 407, 408, 425, 429})


class HostUnavailableError(RuntimeLibraryError):
    """A connector's host does not answer, or did not in time; the same may work later."""


class AnswerUnusableError(RuntimeLibraryError):
    """A host's answer cannot be used: too large, encoded, no JSON."""


class Answer:
    """A host's answer, whose body is still to be read."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response
        self.status = response.status
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in response.headers
        }

    @property
    def is_not_now(self) -> bool:
        """Whether the status says that the same may work later."""
        return self.status in _NOT_NOW or self.status >= 500

    @property
    def content_type(self) -> str:
        """The media type alone, in lower case; empty without one."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_json(self) -> bool:
        """Whether the body calls itself JSON."""
        kind = self.content_type
        return kind == "application/json" or (
            kind.startswith("application/") and kind.endswith("+json")
        )

    async def read(self, *, limit: int) -> bytes:
        """Return the body.

        Raises:
            AnswerUnusableError: it has more than `limit` bytes, or is encoded.
        """
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            raise AnswerUnusableError(f"the answer is encoded ({encoding[:40]}), unasked")
        body = bytearray()
        async for chunk in self._response.aiter_stream():
            body += chunk
            if len(body) > limit:
                raise AnswerUnusableError(
                    f"the answer has more than the {limit} bytes that are allowed"
                )
        return bytes(body)


class HttpConnectors:
    """Connections to the hosts of connectors; one opens with the first request to its host."""

    def __init__(
        self,
        connectors: Mapping[str, HttpConnector],
        *,
        token: Callable[[str, HttpConnector], str | None],
        agent: str,
        resolve: Resolve = pinnednetwork.by_system,
    ) -> None:
        """Ask `connectors` as `agent`; `token(name, connector)` reads the secret each time."""
        self._connectors = connectors
        self._token = token
        self._agent = agent
        self._resolve = resolve
        self._pools: dict[str, httpcore.AsyncConnectionPool] = {}

    def get(self, name: str) -> HttpConnector | None:
        """Return a connector, None for one that there is not."""
        return self._connectors.get(name)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        name: str,
        method: str,
        target: str,
        *,
        headers: Mapping[str | bytes, str | bytes] | None = None,
        body: bytes | None = None,
    ) -> AsyncIterator[Answer]:
        """Send a request to a connector and have its answer, all within the connector's timeout.

        `target` is path and query, percent-encoded (`contracts.targets`).

        Raises:
            HostUnavailableError: it does not answer in time, or its secret cannot be read.
            AddressRefusedError: it is where it may not be.
        """
        connector = self._connectors[name]
        try:
            pool = self._pool(name, connector)
            sent = self._headers(name, connector) | dict(headers or {})
        except (ConfigurationError, OSError) as exc:
            raise HostUnavailableError(str(exc)) from exc
        host, port = _host(connector)
        url = httpcore.URL(
            scheme=urlsplit(connector.url).scheme, host=host, port=port, target=target
        )
        limit = connector.timeout.total_seconds()
        try:
            async with (
                asyncio.timeout(limit),
                pool.stream(method, url, headers=sent, content=body) as response,
            ):
                yield Answer(response)
        except TimeoutError as exc:
            raise HostUnavailableError(f"there is no whole answer within {limit:g} s") from exc
        except _FAILURES as exc:
            raise HostUnavailableError(
                f"the host does not answer: {exc or type(exc).__name__}"
            ) from exc

    async def check(self, name: str) -> None:
        """Connect to a connector's host, TLS included; nothing is asked for.

        Raises:
            HostUnavailableError: it does not answer, or its certificate is not the host's.
            ConfigurationError: its secret cannot be read.
            AddressRefusedError: it is where it may not be.
        """
        connector = self._connectors[name]
        try:
            self._headers(name, connector)
            async with asyncio.timeout(connector.timeout.total_seconds()):
                stream = await self._network(connector).connect_tcp(*_host(connector))
                if connector.url.startswith("https:"):
                    stream = await stream.start_tls(_trust(connector), _host(connector)[0])
                await stream.aclose()
        except (*_FAILURES, OSError, TimeoutError) as exc:
            raise HostUnavailableError(
                f"{connector.url} does not answer: {exc or type(exc).__name__}"
            ) from exc

    async def close(self) -> None:
        """Close every connection."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.aclose()

    def _headers(self, name: str, connector: HttpConnector) -> dict[str | bytes, str | bytes]:
        headers: dict[str | bytes, str | bytes] = {
            "Accept": "application/json",
            # What is not compressed cannot be a decompression bomb.
            "Accept-Encoding": "identity",
            "User-Agent": self._agent,
        }
        token = self._token(name, connector)
        if token is not None:
            headers[connector.token_header] = connector.token_prefix + token
        return headers

    def _pool(self, name: str, connector: HttpConnector) -> httpcore.AsyncConnectionPool:
        pool = self._pools.get(name)
        if pool is None:
            pool = httpcore.AsyncConnectionPool(
                ssl_context=_trust(connector),
                max_connections=connector.pool_size,
                keepalive_expiry=_IDLE_S,
                network_backend=self._network(connector),
            )
            self._pools[name] = pool
        return pool

    def _network(self, connector: HttpConnector) -> PinnedNetwork:
        return PinnedNetwork(connector.networks, resolve=self._resolve)


def json_of(body: bytes) -> object:
    """Return the JSON in an answer's body.

    Raises:
        AnswerUnusableError: it is none.
    """
    try:
        found: object = strictjson.parse(body)
    except EventRejectedError as exc:
        raise AnswerUnusableError(f"the answer is not usable JSON: {exc.detail}") from exc
    return found


def _host(connector: HttpConnector) -> tuple[str, int]:
    parts = urlsplit(connector.url)
    return parts.hostname or "", parts.port or _PORTS[parts.scheme]


def _trust(connector: HttpConnector) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=connector.ca_file)
