"""Temporal with the newest certificate and token: a client takes up what has changed in the files.

For a certificate it connects anew: calls under way end on the connection that they began on, and a
worker is told of the new one by `temporalworker`. A token is shown by the next call.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from temporalio.client import ClientConfig, Plugin
from temporalio.service import ConnectConfig, ServiceClient, ServiceResponse, TLSConfig

from runtime import logs, secretfiles
from runtime.errors import ConfigurationError
from runtime.reloading import Reloaded
from runtime.tls import Certificates, Material, TlsFiles

_AGAIN_S = 5.0
_Connect = Callable[[ConnectConfig], Awaitable[ServiceClient]]
_log = logs.get_logger(__name__)


class Token:
    """The token in a file, which is read again when it has changed; for any thread."""

    def __init__(self, file: Path) -> None:
        """Read it. Raises ConfigurationError when it cannot be used."""
        self._file = file
        self._read = Reloaded("token for Temporal", (file,), self._look)

    def newest(self) -> str:
        """Return it, as of at most a second ago."""
        return self._read.newest()

    def _look(self) -> str:
        token = secretfiles.read(self._file)
        # It becomes a header. What is wrong with it is told without what it is.
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ConfigurationError(
                f"{self._file} (BACKBONE_TEMPORAL_TOKEN_FILE) holds no token, which is one word"
            )
        return token


class RenewedService(ServiceClient):
    """What `connect` makes with the newest certificate, and the newest token if there is one."""

    def __init__(
        self,
        config: ConnectConfig,
        connect: _Connect,
        certificates: Certificates,
        *,
        token: Token | None = None,
    ) -> None:
        super().__init__(config)
        self._connect = connect
        self._certificates = certificates
        self._token = token
        self._made_of: Material | None = None
        self._service: ServiceClient | None = None
        self._not_before = 0.0
        self._turns = asyncio.Lock()

    async def current(self) -> ServiceClient:
        """Return the connection for the next call.

        One that cannot be made while the server is away leaves the one before in use.

        Raises:
            RuntimeError: there is none yet, and the server does not answer (never when lazy).
        """
        self._show_token()
        newest = self._certificates.newest()
        if self._service is not None and newest is self._made_of:
            return self._service
        async with self._turns:
            if self._service is None:
                self._service = await self._connected(newest)
            elif newest is not self._made_of and time.monotonic() >= self._not_before:
                try:
                    self._service = await self._connected(newest)
                except RuntimeError as exc:
                    self._not_before = time.monotonic() + _AGAIN_S
                    _log.warning("temporal_connection_kept", error=str(exc))
            return self._service

    def _show_token(self) -> None:
        if self._token is not None and (newest := self._token.newest()) != self.config.api_key:
            self.update_api_key(newest)

    async def _connected(self, material: Material) -> ServiceClient:
        made = await self._connect(replace(self.config, tls=_tls(material)))
        self._made_of = material
        return made

    @property
    def worker_service_client(self) -> Any:
        """The connection that a worker is made with, or told of."""
        if self._service is None:
            message = "there is no connection yet"
            raise RuntimeError(message)
        return self._service.worker_service_client

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        """Update those of the connection and of those after it."""
        self.config.rpc_metadata = metadata
        if self._service is not None:
            self._service.update_rpc_metadata(metadata)

    def update_api_key(self, api_key: str | None) -> None:
        """Update that of the connection and of those after it."""
        self.config.api_key = api_key
        if self._service is not None:
            self._service.update_api_key(api_key)

    async def _rpc_call(
        self,
        rpc: str,
        req: Message,
        resp_type: type[ServiceResponse],
        *,
        service: str,
        retry: bool,
        metadata: Mapping[str, str | bytes],
        timeout: timedelta | None,  # noqa: ASYNC109 - the SDK's
    ) -> ServiceResponse:
        current = await self.current()
        return await current._rpc_call(  # noqa: SLF001 - the method that who wraps a service has
            rpc,
            req,
            resp_type,
            service=service,
            retry=retry,
            metadata=metadata,
            timeout=timeout,
        )


class Renewal(Plugin):
    """Has a client connect by a `RenewedService`."""

    def __init__(self, files: TlsFiles, *, token: Path | None = None) -> None:
        """Read the files. Raises ConfigurationError when they cannot be used."""
        self._certificates = Certificates(files)
        self._token = None if token is None else Token(token)

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """Leave it as it is."""
        return config

    async def connect_service_client(
        self,
        config: ConnectConfig,
        next: _Connect,  # noqa: A002 - the SDK's
    ) -> ServiceClient:
        """Connect, or be ready to."""
        service = RenewedService(config, next, self._certificates, token=self._token)
        await service.current()
        return service


def _tls(material: Material) -> TLSConfig:
    return TLSConfig(
        server_root_ca_cert=material.client_ca,
        client_cert=material.certificate,
        client_private_key=material.private_key,
    )
