"""Temporal with the newest certificate: a client connects anew when the files have changed.

Calls under way end on the connection that they began on. A worker is told of the new one by
`temporalworker`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from google.protobuf.message import Message
from temporalio.client import ClientConfig, Plugin
from temporalio.service import ConnectConfig, ServiceClient, ServiceResponse, TLSConfig

from runtime import logs
from runtime.tls import Certificates, Material, TlsFiles

_AGAIN_S = 5.0
_Connect = Callable[[ConnectConfig], Awaitable[ServiceClient]]
_log = logs.get_logger(__name__)


class RenewedService(ServiceClient):
    """What `connect` makes with the newest certificate."""

    def __init__(
        self, config: ConnectConfig, connect: _Connect, certificates: Certificates
    ) -> None:
        super().__init__(config)
        self._connect = connect
        self._certificates = certificates
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

    def __init__(self, files: TlsFiles) -> None:
        """Read the files. Raises ConfigurationError when they cannot be used."""
        self._certificates = Certificates(files)

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """Leave it as it is."""
        return config

    async def connect_service_client(
        self,
        config: ConnectConfig,
        next: _Connect,  # noqa: A002 - the SDK's
    ) -> ServiceClient:
        """Connect, or be ready to."""
        service = RenewedService(config, next, self._certificates)
        await service.current()
        return service


def _tls(material: Material) -> TLSConfig:
    return TLSConfig(
        server_root_ca_cert=material.client_ca,
        client_cert=material.certificate,
        client_private_key=material.private_key,
    )
