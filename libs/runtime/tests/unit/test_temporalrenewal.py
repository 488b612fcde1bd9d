"""A client of Temporal connects anew when its files have changed, and not before it can."""

from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.service import ConnectConfig, ServiceClient, TLSConfig

from runtime import reloading, temporal, temporalrenewal
from runtime.authority import Authority, Request
from runtime.errors import ConfigurationError
from runtime.temporalrenewal import RenewedService, Token
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


def service(ours: Authority, server: Server, *, token: Token | None = None) -> RenewedService:
    issued = ours.issue(ROUTER, now=NOW)
    files = TlsFiles(issued.certificate, issued.private_key, ours.certificate)
    return RenewedService(
        ConnectConfig("127.0.0.1:1", lazy=True), server.connect, Certificates(files), token=token
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


class Door(grpc.GenericRpcHandler):
    """Answers every call with nothing, and keeps what was shown to it."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.peers: set[str] = set()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def answer(_request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self.peers.add(context.peer())
            return b""

        if handler_call_details.method.endswith("/DescribeNamespace"):
            metadata = dict(handler_call_details.invocation_metadata)
            self.shown.append(str(metadata.get("authorization")))
        return grpc.unary_unary_rpc_method_handler(answer)


async def test_a_replaced_token_is_shown_by_the_connection_that_is_there(
    ours: Authority, tmp_path: Path
) -> None:
    here = ours.issue(Request(name="server", hosts=("127.0.0.1",)), now=NOW)
    pair = (here.private_key.read_bytes(), here.certificate.read_bytes())
    door, server = Door(), grpc.aio.server()
    server.add_generic_rpc_handlers((door,))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    file = tmp_path / "token"
    issued = ours.issue(ROUTER, now=NOW)
    try:
        file.write_text("first\n")
        client = await temporal.connect(
            f"127.0.0.1:{port}",
            namespace="dev",
            identity="test",
            tls=TlsFiles(issued.certificate, issued.private_key, ours.certificate),
            token_file=file,
        )
        asked = DescribeNamespaceRequest(namespace="dev")
        await client.workflow_service.describe_namespace(asked)
        file.write_text("second")
        await client.workflow_service.describe_namespace(asked)
    finally:
        await server.stop(None)
    assert door.shown == ["Bearer first", "Bearer second"]
    assert len(door.peers) == 1


async def test_a_connection_that_is_made_anew_shows_the_newest_token(
    ours: Authority, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    renewed = service(ours, Server(), token=Token(file))
    await renewed.current()
    file.write_text("second")
    ours.issue(ROUTER, now=NOW)
    assert (await renewed.current()).config.api_key == "second"


@pytest.mark.parametrize("bad", ["", "two words", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "a\nb"])
async def test_the_token_is_kept_while_the_file_holds_none(
    ours: Authority, tmp_path: Path, bad: str
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    renewed = service(ours, Server(), token=Token(file))
    file.write_text(bad)
    assert (await renewed.current()).config.api_key == "first"


def test_what_is_no_token_is_told_by_its_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("two words")
    with pytest.raises(ConfigurationError) as caught:
        Token(file)
    assert str(file) in str(caught.value)
    assert "words" not in str(caught.value)


async def test_a_token_is_shown_to_nobody_in_the_clear(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("token")
    with pytest.raises(ConfigurationError, match="BACKBONE_TLS_CERTIFICATE"):
        await temporal.connect(
            "127.0.0.1:1", namespace="dev", identity="test", token_file=file, lazy=True
        )
