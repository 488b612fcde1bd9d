"""The small HTTP server beside every service: is it alive, is it ready, its figures."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

import uvicorn
from prometheus_client import make_asgi_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from runtime import httpconnections, logs
from runtime.errors import ConfigurationError
from runtime.httpconnections import Limits
from runtime.tls import Certificates, TlsFiles

_CHECK_TIMEOUT_S = 2.0
_log = logs.get_logger(__name__)

HealthCheck = Callable[[], Awaitable[None]]


class Health:
    """Whether the process should be given work: said by its lifecycle and by named checks."""

    def __init__(self) -> None:
        self._serving = False
        self._checks: dict[str, HealthCheck] = {}
        self._cautions: dict[str, HealthCheck] = {}

    def add_check(self, name: str, check: HealthCheck) -> None:
        """Ask `check` at each readiness probe; it raises when the service cannot do its work."""
        self._checks[name] = check

    def add_caution(self, name: str, check: HealthCheck) -> None:
        """Ask `check` likewise; what it raises is told, and keeps nobody from being ready."""
        self._cautions[name] = check

    def set_serving(self, serving: bool) -> None:  # noqa: FBT001 - a setter
        """Say that start-up is done, or that the end has begun."""
        self._serving = serving

    async def problems(self) -> dict[str, str]:
        """Return what keeps the process from being ready, by name; empty when it is."""
        if not self._serving:
            return {"process": "starting or stopping"}
        return await _failing(self._checks)

    async def warnings(self) -> dict[str, str]:
        """Return what the process does its work without, by name; empty when nothing is amiss."""
        return await _failing(self._cautions)


async def _failing(checks: Mapping[str, HealthCheck]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, check in checks.items():
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await check()
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is what is to be told
            found[name] = str(exc) or type(exc).__name__
    return found


class WebServer:
    """Serves an application to strangers: bounded in connections, heads and waiting."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        listen: str,
        name: str = "http",
        setting: str = "BACKBONE_HTTP_LISTEN",
        limits: Limits = httpconnections.DEFAULT,
        tls: TlsFiles | None = None,
    ) -> None:
        """`setting` is where `listen` (host:port) comes from; with `tls` it speaks nothing else.

        A certificate that is replaced is shown from the next connection. Raises ConfigurationError
        when `listen` is malformed or the files of `tls` cannot be used.
        """
        host, _, port = listen.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigurationError(f"not host:port: {listen!r} ({setting})")
        self.name = name
        self._listen = listen
        self._setting = setting
        self._server = _Server(
            uvicorn.Config(
                app,
                host=host,
                port=int(port),
                log_config=None,
                access_log=False,
                lifespan="off",
                http=httpconnections.bounded(limits),
                h11_max_incomplete_event_size=limits.head_bytes,
                ws="none",
                # Nobody's word is taken for who they are, and nobody is told what we run.
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=5,
                ssl_certfile=None if tls is None else tls.certificate,
                ssl_keyfile=None if tls is None else tls.private_key,
            ),
            tls,
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen and serve. Raises ConfigurationError when the address is taken."""
        self._task = asyncio.create_task(self._server.serve(), name=self.name)
        while not self._server.started:
            if self._task.done():
                raise ConfigurationError(
                    f"cannot listen on {self._listen} ({self._setting})"
                ) from self._task.exception()
            await asyncio.sleep(0.01)
        _log.info("http_listening", listen=self._listen)

    async def stop(self) -> None:
        """Answer what is running and close."""
        self._server.should_exit = True
        if self._task is not None:
            with contextlib.suppress(SystemExit):
                await self._task


class HttpServer(WebServer):
    """Serves `/livez`, `/readyz`, `/metrics` and the routes of the service itself."""

    def __init__(
        self,
        *,
        listen: str,
        health: Health,
        routes: Sequence[BaseRoute] = (),
        limits: Limits = httpconnections.DEFAULT,
    ) -> None:
        self._health = health
        app = Starlette(
            routes=[
                Route("/livez", _alive),
                Route("/readyz", self._ready),
                Mount("/metrics", app=make_asgi_app()),
                *routes,
            ]
        )
        super().__init__(app, listen=listen, limits=limits)

    async def _ready(self, _request: Request) -> Response:
        problems = await self._health.problems()
        return JSONResponse(
            {
                "ready": not problems,
                "problems": problems,
                "warnings": await self._health.warnings(),
            },
            status_code=503 if problems else 200,
        )


async def _alive(_request: Request) -> Response:
    return JSONResponse({"alive": True})


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own, and with the certificate of now.

    Signals are the process's lifecycle's.
    """

    def __init__(self, config: uvicorn.Config, tls: TlsFiles | None) -> None:
        super().__init__(config)
        self._tls = tls
        self._certificates = None if tls is None else Certificates(tls)
        self._shown = None if self._certificates is None else self._certificates.newest()

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 - as its base
        yield

    async def serve(self, sockets=None) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        # uvicorn leaves the process when its address is taken; here that is the lifecycle's choice.
        try:
            await super().serve(sockets)
        except SystemExit as exc:
            raise ConfigurationError("the address is taken or not ours") from exc

    async def on_tick(self, counter: int) -> bool:
        """Look after what may have changed; ten times a second, by uvicorn."""
        self._show_the_newest()
        return await super().on_tick(counter)

    def _show_the_newest(self) -> None:
        context = self.config.ssl
        if self._tls is None or self._certificates is None or context is None:
            return
        newest = self._certificates.newest()
        if newest is self._shown:
            return
        # Connections that are there keep what they were shown. Files that are replaced at this very
        # moment are looked at again.
        with contextlib.suppress(OSError):
            context.load_cert_chain(self._tls.certificate, self._tls.private_key)
            self._shown = newest
