"""Answers context queries from HTTP APIs: listed paths, one host, pinned, bounded, JSON only.

What comes back is a stranger's: it decides nothing about where we go (no redirect is followed, no
proxy of the environment is used), how long we wait, or how much memory it takes.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpcore

from contracts import strictjson
from contracts.catalogue import HttpConnector, HttpPath
from contracts.definitions import HttpQuery
from contracts.rejections import EventRejectedError
from orchestrator_worker.adapters import pinned_network
from orchestrator_worker.adapters.pinned_network import PinnedNetwork, Resolve
from orchestrator_worker.domain import targets
from orchestrator_worker.errors import (
    ConnectorError,
    ContextUnavailableError,
    ResponseError,
)
from runtime.errors import ConfigurationError
from runtime.faultpoints import faultpoint

_IDLE_S = 30.0
_PORTS = {"https": 443, "http": 80}
_OK = 200

# Statuses that say "not now": a person repairs credentials as well as an outage.
_TRANSIENT = frozenset({401, 403, 407, 408, 425, 429})
_FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)


class HttpContextSource:
    """Asks the catalogue's HTTP connectors; a connection opens with the first question."""

    def __init__(
        self,
        connectors: Mapping[str, HttpConnector],
        *,
        token: Callable[[str, HttpConnector], str | None],
        resolve: Resolve = pinned_network.by_system,
    ) -> None:
        """Ask `connectors`; `token(name, connector)` reads the secret for each question."""
        self._connectors = connectors
        self._token = token
        self._resolve = resolve
        self._pools: dict[str, httpcore.AsyncConnectionPool] = {}

    async def query(self, where: str, query: HttpQuery, parameters: Mapping[str, Any]) -> Any:
        """Return the JSON that a path answers (see `ports.ContextSource`)."""
        connector = self._connectors.get(query.connector)
        if connector is None:
            raise ConnectorError(f"{where}: there is no HTTP connector {query.connector}")
        path = connector.paths.get(query.path)
        if path is None:
            raise ConnectorError(f"{where}: the connector has no such path")
        _refuse_others(where, path, parameters)
        try:
            base = urlsplit(connector.url).path
            target = targets.target(base, query.path, path, parameters)
        except ValueError as exc:
            raise ResponseError(f"{where}: {exc}") from exc
        limit = connector.timeout.total_seconds()
        try:
            async with asyncio.timeout(limit):
                return await self._ask(where, query.connector, target, limit=path.max_bytes)
        except TimeoutError as exc:
            raise ContextUnavailableError(
                f"{where}: there is no whole answer within {limit:g} s"
            ) from exc

    async def check(self, name: str) -> str:
        """Connect to a connector's host, TLS included; return what was found.

        Nothing is asked for, as only the paths with their parameters are known.

        Raises:
            ContextUnavailableError: it does not answer, or its certificate is not the host's.
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
            raise ContextUnavailableError(
                f"{connector.url} does not answer: {exc or type(exc).__name__}"
            ) from exc
        return f"{connector.url} answers; {len(connector.paths)} paths"

    async def close(self) -> None:
        """Close every connection."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.aclose()

    async def _ask(self, where: str, name: str, target: str, *, limit: int) -> Any:
        connector = self._connectors[name]
        host, port = _host(connector)
        try:
            http = self._pool(name)
            headers = self._headers(name, connector)
        except (ConfigurationError, OSError) as exc:
            raise ContextUnavailableError(f"{where}: {exc}") from exc
        url = httpcore.URL(
            scheme=urlsplit(connector.url).scheme, host=host, port=port, target=target
        )
        body = bytearray()
        faultpoint("worker.before_http_get")
        try:
            async with http.stream("GET", url, headers=headers) as response:
                _refuse_answer(where, response)
                async for chunk in response.aiter_stream():
                    body += chunk
                    if len(body) > limit:
                        raise ResponseError(
                            f"{where}: the answer has more than the {limit} bytes that are allowed"
                        )
        except _FAILURES as exc:
            raise ContextUnavailableError(
                f"{where}: the host does not answer: {exc or type(exc).__name__}"
            ) from exc
        faultpoint("worker.after_http_get")
        try:
            return strictjson.parse(bytes(body))
        except EventRejectedError as exc:
            raise ResponseError(f"{where}: the answer is not usable JSON: {exc.detail}") from exc

    def _headers(self, name: str, connector: HttpConnector) -> dict[bytes | str, bytes | str]:
        headers: dict[bytes | str, bytes | str] = {
            "Accept": "application/json",
            # What is not compressed cannot be a decompression bomb.
            "Accept-Encoding": "identity",
            "User-Agent": "backbone-orchestrator-worker",
        }
        token = self._token(name, connector)
        if token is not None:
            headers[connector.token_header] = connector.token_prefix + token
        return headers

    def _pool(self, name: str) -> httpcore.AsyncConnectionPool:
        pool = self._pools.get(name)
        if pool is None:
            connector = self._connectors[name]
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


def _host(connector: HttpConnector) -> tuple[str, int]:
    parts = urlsplit(connector.url)
    return parts.hostname or "", parts.port or _PORTS[parts.scheme]


def _trust(connector: HttpConnector) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=connector.ca_file)


def _refuse_others(where: str, path: HttpPath, given: Mapping[str, Any]) -> None:
    declared = [parameter.name for parameter in path.parameters]
    if set(declared) != set(given):
        raise ConnectorError(
            f"{where}: it takes the parameters {', '.join(declared) or '(none)'}"
            f" and was given {', '.join(given) or '(none)'}"
        )


def _refuse_answer(where: str, response: httpcore.Response) -> None:
    status = response.status
    if status in _TRANSIENT or status >= 500:
        raise ContextUnavailableError(f"{where}: the host answers {status}")
    if 300 <= status < 400:
        raise ResponseError(
            f"{where}: the host answers with a redirect ({status}), which is not followed; "
            "the operator's catalogue has to name where it leads"
        )
    if status != _OK:
        raise ResponseError(f"{where}: the host answers {status}")
    headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
    encoding = headers.get(b"content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise ResponseError(f"{where}: the answer is encoded ({encoding[:40]}), unasked")
    kind = headers.get(b"content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        raise ResponseError(
            f"{where}: the answer is of the type {kind[:80] or '(none)'}, not application/json"
        )
