"""A client of Temporal connects anew when its files have changed, and not before it can."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.service import ConnectConfig, ServiceClient, TLSConfig

from runtime import reloading, temporalrenewal
from runtime.authority import Authority, Request
from runtime.temporalrenewal import RenewedService
from runtime.tls import Certificates, TlsFiles

NOW = datetime.now(UTC)
ROUTER = Request(name="router")


class Server:
    """Takes connections while it is up; each is told by the certificate that it was shown."""

    def __init__(self) -> None:
        self.is_up = True

    async def connect(self, config: ConnectConfig) -> ServiceClient:
        if not self.is_up:
            raise RuntimeError("nobody answers")
        assert isinstance(config.tls, TLSConfig)
        # One that is lazy is real, and asks nobody.
        return await ServiceClient.connect(config)


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setattr(reloading, "_LOOK_S", 0.0)
    monkeypatch.setattr(temporalrenewal, "_AGAIN_S", 0.0)
    return Authority.create(tmp_path, now=NOW)


def service(ours: Authority, server: Server) -> RenewedService:
    issued = ours.issue(ROUTER, now=NOW)
    files = TlsFiles(issued.certificate, issued.private_key, ours.certificate)
    return RenewedService(
        ConnectConfig("127.0.0.1:1", lazy=True), server.connect, Certificates(files)
    )


def shown(connection: ServiceClient) -> bytes | None:
    assert isinstance(connection.config.tls, TLSConfig)
    return connection.config.tls.client_cert


async def test_a_replaced_certificate_is_shown_by_the_next_connection(ours: Authority) -> None:
    renewed = service(ours, Server())
    first = await renewed.current()
    assert await renewed.current() is first
    issued = ours.issue(ROUTER, now=NOW)
    second = await renewed.current()
    assert shown(first) != shown(second) == issued.certificate.read_bytes()
    assert renewed.worker_service_client is second.worker_service_client


async def test_the_connection_is_kept_while_there_can_be_no_other(ours: Authority) -> None:
    server = Server()
    renewed = service(ours, server)
    first = await renewed.current()
    ours.issue(ROUTER, now=NOW)
    server.is_up = False
    assert await renewed.current() is first
    server.is_up = True
    assert await renewed.current() is not first


async def test_without_a_first_connection_it_is_told_that_nobody_answers(ours: Authority) -> None:
    server = Server()
    server.is_up = False
    with pytest.raises(RuntimeError, match="nobody answers"):
        await service(ours, server).current()
