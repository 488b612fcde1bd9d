"""Mutual TLS on real sockets: who gets in, who does not, and certificates that change meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from backbone.router.v1 import router_pb2, router_pb2_grpc
from contracts.roles import Role
from contracts.services import Service as Ours
from runtime import authorisation, grpcclient, identity, reloading
from runtime.authority import Authority, Issued, Request
from runtime.errors import ConfigurationError
from runtime.grpcserver import GrpcServer, Service
from runtime.settings import ServiceSettings
from runtime.tls import Certificates, TlsFiles

ROUTER = "backbone.router.v1.RouterService"
REGISTRY = "backbone.registry.v1.RegistryService"
NOW = datetime.now(UTC)
HOSTS = ("127.0.0.1", "localhost")


class Servicer(router_pb2_grpc.RouterServiceServicer):
    """Answers who called."""

    async def TriggerDefinition(self, request, context):
        return router_pb2.TriggerDefinitionResponse(run_id=identity.current_identity().subject)


class Watched(registry_pb2_grpc.RegistryServiceServicer):
    """Tells something, waits until it may go on, tells something else."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def WatchResources(self, request, context):
        yield registry_pb2.WatchResourcesResponse(resource=registry_pb2.Resource(resource_id="a"))
        await self.go_on.wait()
        yield registry_pb2.WatchResourcesResponse(resource=registry_pb2.Resource(resource_id="b"))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at on every use."""
    monkeypatch.setattr(reloading, "_LOOK_S", 0.0)


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ours", now=NOW)


@pytest.fixture
def theirs(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "theirs", now=NOW)


def service(ours: Authority, name: Ours, **when) -> Issued:
    request = Request(name=name, uris=(identity.service_uri("backbone", name),), hosts=HOSTS)
    return ours.issue(request, **{"now": NOW, **when})


def member(ours: Authority, role: Role, *, namespace: str = "dev") -> Issued:
    uri = identity.member_uri("backbone", namespace=namespace, role=role, name="ana")
    return ours.issue(Request(name="dev.ana", uris=(uri,)), now=NOW)


def files(issued: Issued, trusted: Authority) -> TlsFiles:
    return TlsFiles(issued.certificate, issued.private_key, trusted.certificate)


class Server:
    def __init__(self, address: str, watched: Watched) -> None:
        self.address = address
        self.watched = watched


@pytest.fixture
async def server(ours: Authority) -> AsyncIterator[Server]:
    """A server of the router's certificate: operators may trigger, services may watch."""
    watched = Watched()
    running = GrpcServer(
        listen="127.0.0.1:0",
        services=[
            Service(
                name=ROUTER,
                add=router_pb2_grpc.add_RouterServiceServicer_to_server,
                servicer=Servicer(),
                policy=authorisation.policy(
                    ROUTER, {"TriggerDefinition": {Role.OPERATOR, Role.SERVICE}}
                ),
            ),
            Service(
                name=REGISTRY,
                add=registry_pb2_grpc.add_RegistryServiceServicer_to_server,
                servicer=watched,
                policy=authorisation.policy(REGISTRY, {"WatchResources": {Role.SERVICE}}),
            ),
        ],
        authenticator=identity.CertificateAuthenticator(),
        tls=files(service(ours, Ours.ROUTER), ours),
        grace=timedelta(seconds=0),
    )
    await running.start()
    yield Server(f"127.0.0.1:{running.port}", watched)
    watched.go_on.set()
    await running.stop()


Call = Callable[..., Awaitable[str]]


@pytest.fixture
async def call(server: Server) -> AsyncIterator[Call]:
    """Call as whom a certificate names, on a channel of its own."""
    channels = []

    async def called(credentials: TlsFiles | None, *, namespace: str = "dev") -> str:
        channels.append(grpcclient.channel(server.address, actor="nobody", tls=credentials))
        stub = router_pb2_grpc.RouterServiceStub(channels[-1])
        request = router_pb2.TriggerDefinitionRequest(namespace=namespace)
        return (await stub.TriggerDefinition(request, timeout=5)).run_id

    yield called
    for channel in channels:
        await channel.close(None)


async def test_a_service_is_known_by_its_certificate(ours: Authority, call: Call) -> None:
    assert await call(files(service(ours, Ours.LEDGER), ours)) == "ledger"


async def test_a_member_is_known_by_its_certificate(ours: Authority, call: Call) -> None:
    assert await call(files(member(ours, Role.OPERATOR), ours)) == "dev/ana"


async def refused(call: Call, credentials: TlsFiles | None, **how) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(credentials, **how)
    return caught.value.code()


async def test_plaintext_is_refused(call: Call) -> None:
    assert await refused(call, None) is grpc.StatusCode.UNAVAILABLE


async def test_who_shows_no_certificate_is_refused(server: Server, ours: Authority) -> None:
    credentials = grpc.ssl_channel_credentials(root_certificates=ours.certificate.read_bytes())
    async with grpc.aio.secure_channel(server.address, credentials) as channel:
        stub = router_pb2_grpc.RouterServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.TriggerDefinition(router_pb2.TriggerDefinitionRequest(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_another_authoritys_certificate_is_refused(
    ours: Authority, theirs: Authority, call: Call
) -> None:
    forged = files(service(theirs, Ours.LEDGER), ours)
    assert await refused(call, forged) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_has_ended_is_refused(ours: Authority, call: Call) -> None:
    ended = service(ours, Ours.LEDGER, now=NOW - timedelta(hours=2), lifetime=timedelta(hours=1))
    assert await refused(call, files(ended, ours)) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_names_nobody_is_refused(ours: Authority, call: Call) -> None:
    # Such as a broker's or a database's, of the same authority.
    broker = ours.issue(Request(name="kafka", hosts=HOSTS), now=NOW)
    assert await refused(call, files(broker, ours)) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_wrong_role_is_refused(ours: Authority, call: Call) -> None:
    viewer = files(member(ours, Role.VIEWER), ours)
    assert await refused(call, viewer) is grpc.StatusCode.PERMISSION_DENIED


async def test_a_wrong_namespace_is_refused(ours: Authority, call: Call) -> None:
    operator = files(member(ours, Role.OPERATOR), ours)
    assert await refused(call, operator, namespace="prod") is grpc.StatusCode.PERMISSION_DENIED


async def test_a_server_of_another_authority_is_not_spoken_with(
    ours: Authority, theirs: Authority, call: Call
) -> None:
    ledger = service(ours, Ours.LEDGER)
    assert await refused(call, files(ledger, theirs)) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.usefixtures("at_once")
async def test_both_ends_change_over_to_another_authority_without_a_restart(
    tmp_path: Path, ours: Authority, theirs: Authority, server: Server
) -> None:
    client = files(service(ours, Ours.LEDGER), ours)
    async with grpcclient.channel(server.address, actor="ledger", tls=client) as channel:
        router = router_pb2_grpc.RouterServiceStub(channel)
        registry = registry_pb2_grpc.RegistryServiceStub(channel)

        async def asked() -> str:
            request = router_pb2.TriggerDefinitionRequest(namespace="dev")
            return (await router.TriggerDefinition(request, timeout=5)).run_id

        assert await asked() == "ledger"
        watch = registry.WatchResources(registry_pb2.WatchResourcesRequest())
        first = await watch.read()
        # As cert-manager does with another root: the files of all are replaced.
        renamed = {Ours.LEDGER: Ours.REGISTRY, Ours.ROUTER: Ours.ROUTER}
        for name, new_name in renamed.items():
            new = service(theirs, new_name)
            for path in (new.certificate, new.private_key):
                path.replace(tmp_path / "ours" / f"{name}{path.suffix}")
        (tmp_path / "ours" / "ca.crt").write_bytes(theirs.certificate.read_bytes())
        # The client's new certificate is of an authority that the server trusts only since.
        assert await asked() == "registry"
        # The stream goes on where it is.
        server.watched.go_on.set()
        second = await watch.read()
        assert (first.resource.resource_id, second.resource.resource_id) == ("a", "b")
        assert await watch.read() is grpc.aio.EOF
        assert await asked() == "registry"


@pytest.mark.usefixtures("at_once")
async def test_who_still_has_the_old_authoritys_certificate_is_refused(
    tmp_path: Path, ours: Authority, theirs: Authority, call: Call
) -> None:
    old = service(ours, Ours.LEDGER)
    kept = tmp_path / "kept.crt"
    kept.write_bytes(ours.certificate.read_bytes())
    stale = TlsFiles(old.certificate, old.private_key, kept)
    assert await call(stale) == "ledger"
    (tmp_path / "ours" / "ca.crt").write_bytes(theirs.certificate.read_bytes())
    assert await refused(call, stale) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.usefixtures("at_once")
def test_files_that_do_not_fit_change_nothing(ours: Authority) -> None:
    issued = service(ours, Ours.LEDGER)
    certificates = Certificates(files(issued, ours))
    first = certificates.newest()
    old_key = issued.private_key.read_bytes()
    service(ours, Ours.LEDGER)
    new_key = issued.private_key.read_bytes()
    issued.private_key.write_bytes(old_key)
    assert certificates.newest() is first
    issued.private_key.unlink()
    assert certificates.newest() is first
    issued.private_key.write_bytes(new_key)
    assert certificates.newest() != first


def test_an_unchanged_certificate_is_the_same(ours: Authority) -> None:
    certificates = Certificates(files(service(ours, Ours.LEDGER), ours))
    assert certificates.newest() is certificates.newest()


ENCRYPTED = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"


@pytest.mark.parametrize("suffix", [".crt", ".key"])
@pytest.mark.parametrize("content", [None, "", "no PEM", ENCRYPTED])
def test_files_that_cannot_be_used_are_told_with_their_names(
    ours: Authority, suffix: str, content: str | None
) -> None:
    issued = service(ours, Ours.LEDGER)
    path = issued.certificate.with_suffix(suffix)
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=str(path)):
        Certificates(files(issued, ours))


def test_without_tls_a_service_is_local_or_not_at_all() -> None:
    assert TlsFiles.required(ServiceSettings(environment="local")) is None
    for environment in ("dev", "stage", "prod"):
        with pytest.raises(ConfigurationError, match="BACKBONE_TLS_CERTIFICATE"):
            TlsFiles.required(ServiceSettings(environment=environment))


def test_with_tls_every_environment_is_served(ours: Authority) -> None:
    issued = service(ours, Ours.LEDGER)
    settings = ServiceSettings(
        environment="prod",
        tls_certificate=issued.certificate,
        tls_private_key=issued.private_key,
        tls_client_ca=ours.certificate,
    )
    assert TlsFiles.required(settings) == files(issued, ours)
