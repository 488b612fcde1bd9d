"""Answers context queries from HTTP APIs: listed paths, read with GET, JSON only."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from contracts import targets
from contracts.definitions import HttpQuery
from orchestrator_worker.errors import (
    AddressRefusedError,
    ConnectorError,
    ContextUnavailableError,
    ResponseError,
)
from runtime import errors, httpconnectors
from runtime.faultpoints import faultpoint
from runtime.httpconnectors import (
    Answer,
    AnswerUnusableError,
    HostUnavailableError,
    HttpConnectors,
)

_OK = 200


class HttpContextSource:
    """Asks the catalogue's HTTP connectors."""

    def __init__(self, http: HttpConnectors) -> None:
        self._http = http

    async def query(self, where: str, query: HttpQuery, parameters: Mapping[str, Any]) -> Any:
        """Return the JSON that a path answers (see `ports.ContextSource`)."""
        connector = self._http.get(query.connector)
        if connector is None:
            raise ConnectorError(f"{where}: there is no HTTP connector {query.connector}")
        path = connector.paths.get(query.path)
        if path is None:
            raise ConnectorError(f"{where}: the connector has no such path")
        others = targets.other_parameters(path, parameters)
        if others is not None:
            raise ConnectorError(f"{where}: {others}")
        try:
            base = urlsplit(connector.url).path
            target = targets.target(base, query.path, path, parameters)
        except ValueError as exc:
            raise ResponseError(f"{where}: {exc}") from exc
        try:
            body = await self._get(query.connector, target, limit=path.max_bytes)
            return httpconnectors.json_of(body)
        except (HostUnavailableError, _NotNowError) as exc:
            raise ContextUnavailableError(f"{where}: {exc}") from exc
        except errors.AddressRefusedError as exc:
            raise AddressRefusedError(str(exc)) from exc
        except AnswerUnusableError as exc:
            raise ResponseError(f"{where}: {exc}") from exc

    async def check(self, name: str) -> str:
        """Connect to a connector's host, TLS included; return what was found.

        Nothing is asked for, as only the paths with their parameters are known.

        Raises:
            ContextUnavailableError: it does not answer, or its certificate is not the host's.
            AddressRefusedError: it is where it may not be.
        """
        try:
            await self._http.check(name)
        except HostUnavailableError as exc:
            raise ContextUnavailableError(str(exc)) from exc
        except errors.AddressRefusedError as exc:
            raise AddressRefusedError(str(exc)) from exc
        connector = self._http.get(name)
        assert connector is not None  # noqa: S101 - it was just reached
        return f"{connector.url} answers; {len(connector.paths)} paths"

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def _get(self, name: str, target: str, *, limit: int) -> bytes:
        http = self._http
        faultpoint("worker.before_http_get")
        async with http.stream(name, "GET", target) as answer:
            _refuse(answer)
            body = await answer.read(limit=limit)
        faultpoint("worker.after_http_get")
        return body


class _NotNowError(Exception):
    """The host answers that it cannot now."""


def _refuse(answer: Answer) -> None:
    status = answer.status
    if answer.is_not_now:
        raise _NotNowError(f"the host answers {status}")
    if 300 <= status < 400:
        raise AnswerUnusableError(
            f"the host answers with a redirect ({status}), which is not followed; "
            "the operator's catalogue has to name where it leads"
        )
    if status != _OK:
        raise AnswerUnusableError(f"the host answers {status}")
    if not answer.is_json:
        raise AnswerUnusableError(
            f"the answer is of the type {answer.content_type[:80] or '(none)'}, "
            "not application/json"
        )
