"""A service's two doors on real sockets: who comes in at which, and as whom."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from jwt.algorithms import ECAlgorithm
from pydantic import ValidationError

from backbone.router.v1 import router_pb2, router_pb2_grpc
from contracts.roles import Role
from contracts.services import Service as Ours
from runtime import authorisation, grpcclient, grpcserving, identity, jwks, rpcerrors
from runtime.authority import Authority, Issued, Request, service_request
from runtime.grpcserver import Service
from runtime.settings import GrpcServerSettings
from runtime.tls import TlsFiles

ROUTER = "backbone.router.v1.RouterService"
KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER, AUDIENCE, JWKS = "https://issuer.example", "backbone", "https://issuer.example/keys"
TOKENS = {"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE, "oidc_jwks_url": JWKS}
NOW = datetime.now(UTC)


class Servicer(router_pb2_grpc.RouterServiceServicer):
    """Answers who called."""

    async def TriggerDefinition(self, request, context):
        return router_pb2.TriggerDefinitionResponse(run_id=identity.current_identity().subject)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ca", now=NOW)


def files(issued: Issued, authority: Authority) -> TlsFiles:
    return TlsFiles(issued.certificate, issued.private_key, authority.certificate)


def token(*, name: str = "ana", role: str = "operator", **more: object) -> str:
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": name,
        "iat": NOW,
        "exp": NOW + timedelta(hours=1),
        "backbone_namespaces": ["dev"],
        "backbone_roles": [role],
        **more,
    }
    return jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": "1"})


@pytest.fixture
def settings(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> GrpcServerSettings:
    async def fetch() -> bytes:
        public = ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
        return json.dumps({"keys": [{**public, "kid": "1"}]}).encode()

    monkeypatch.setattr(jwks, "fetching", lambda *_, **__: fetch)
    own = files(authority.issue(service_request(Ours.ROUTER), now=NOW), authority)
    return GrpcServerSettings(
        tls_certificate=own.certificate,
        tls_private_key=own.private_key,
        tls_client_ca=own.client_ca,
        people_listen="127.0.0.1:0",
        **TOKENS,
    )


@pytest.fixture
async def doors(settings: GrpcServerSettings) -> AsyncIterator[list[str]]:
    """The addresses of the services' door and of the people's."""
    policy = authorisation.policy(ROUTER, {"TriggerDefinition": {Role.OPERATOR, Role.SERVICE}})
    service = Service(
        name=ROUTER,
        add=router_pb2_grpc.add_RouterServiceServicer_to_server,
        servicer=Servicer(),
        policy=policy,
    )
    running = grpcserving.servers(
        settings,
        services=[service],
        tls=TlsFiles.required(settings),
        grace=timedelta(0),
    )
    for server in running:
        await server.start()
    yield [f"127.0.0.1:{server.port}" for server in running]
    for server in running:
        await server.stop()


async def called(
    address: str,
    *,
    authority: Authority,
    tls: TlsFiles | None = None,
    shown: str | None = None,
    namespace: str = "dev",
) -> str:
    """Return who called in the server's eyes, or the reason why it did not let them."""
    how = {"tls": tls} if tls else {"trusted": authority.certificate}
    token = None if shown is None else lambda: shown
    async with grpcclient.channel(address, actor="nobody", token=token, **how) as channel:
        stub = router_pb2_grpc.RouterServiceStub(channel)
        request = router_pb2.TriggerDefinitionRequest(namespace=namespace)
        try:
            return (await stub.TriggerDefinition(request, timeout=10)).run_id
        except grpc.aio.AioRpcError as exc:
            info = error_details_pb2.ErrorInfo()
            return info.reason if rpcerrors.detail_of(exc, info) else exc.code().name


async def test_people_come_in_by_token_and_need_no_certificate(doors, authority):
    _, people = doors
    assert await called(people, authority=authority, shown=token()) == "oidc:ana"
    assert await called(people, authority=authority) == "UNAUTHENTICATED"
    assert await called(people, authority=authority, shown="nonsense") == "TOKEN_INVALID"


async def test_a_token_gives_no_more_than_it_says(doors, authority):
    _, people = doors
    viewer = token(role="viewer")
    assert await called(people, authority=authority, shown=viewer) == "ROLE_DENIED"
    posing = token(role="service", name="ledger")
    assert await called(people, authority=authority, shown=posing) == "ROLE_DENIED"
    found = await called(people, authority=authority, shown=token(), namespace="prod")
    assert found == "NAMESPACE_DENIED"


async def test_a_certificate_says_nothing_at_the_door_of_people(doors, authority):
    _, people = doors
    ledger = files(authority.issue(service_request(Ours.LEDGER), now=NOW), authority)
    assert await called(people, authority=authority, tls=ledger) == "UNAUTHENTICATED"


async def test_the_door_of_services_stays_shut_without_a_certificate(doors, authority):
    services, _ = doors
    assert await called(services, authority=authority, shown=token()) == "UNAVAILABLE"


async def test_who_shows_both_is_whom_the_token_names(doors, authority):
    services, _ = doors
    ledger = files(authority.issue(service_request(Ours.LEDGER), now=NOW), authority)
    assert await called(services, authority=authority, tls=ledger) == "ledger"
    assert await called(services, authority=authority, tls=ledger, shown=token()) == "oidc:ana"
    viewer = token(role="viewer")
    found = await called(services, authority=authority, tls=ledger, shown=viewer)
    assert found == "ROLE_DENIED"


async def test_a_bad_token_is_not_passed_over_for_a_good_certificate(doors, authority):
    services, _ = doors
    ledger = files(authority.issue(service_request(Ours.LEDGER), now=NOW), authority)
    ended = token(iat=NOW - timedelta(hours=2), exp=NOW - timedelta(hours=1))
    for shown, reason in ((ended, "TOKEN_EXPIRED"), ("", "TOKEN_INVALID")):
        assert await called(services, authority=authority, tls=ledger, shown=shown) == reason


async def test_a_certificate_that_names_nobody_lets_a_token_in(doors, authority):
    services, _ = doors
    nobody = files(authority.issue(Request("somebody"), now=NOW), authority)
    assert await called(services, authority=authority, tls=nobody) == "UNAUTHENTICATED"
    assert await called(services, authority=authority, tls=nobody, shown=token()) == "oidc:ana"


async def test_health_is_told_at_both_doors(doors, authority):
    _, people = doors
    async with grpcclient.channel(people, actor="nobody", trusted=authority.certificate) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=ROUTER)
        )
    assert answer.status is health_pb2.HealthCheckResponse.SERVING


async def test_where_no_issuer_is_believed_no_token_is_taken(authority, settings):
    bare = settings.model_copy(update={"people_listen": None, "oidc_issuer": None})
    (server,) = grpcserving.servers(
        bare,
        services=[
            Service(
                name=ROUTER,
                add=router_pb2_grpc.add_RouterServiceServicer_to_server,
                servicer=Servicer(),
                policy=authorisation.policy(ROUTER, {"TriggerDefinition": {Role.SERVICE}}),
            )
        ],
        tls=TlsFiles.required(bare),
        grace=timedelta(0),
    )
    await server.start()
    ledger = files(authority.issue(service_request(Ours.LEDGER), now=NOW), authority)
    address = f"127.0.0.1:{server.port}"
    assert await called(address, authority=authority, tls=ledger) == "ledger"
    found = await called(address, authority=authority, tls=ledger, shown=token())
    assert found == "TOKENS_NOT_TAKEN"
    await server.stop()


# --- settings -------------------------------------------------------------------------------------

TLS = {"tls_certificate": "c", "tls_private_key": "k", "tls_client_ca": "a"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**TLS, "oidc_issuer": ISSUER}, "BACKBONE_OIDC_JWKS_URL together"),
        ({**TLS, "people_listen": "127.0.0.1:0"}, "BACKBONE_PEOPLE_LISTEN is for people"),
        (TOKENS, "needs BACKBONE_TLS_CERTIFICATE"),
        ({**TLS, **TOKENS, "oidc_jwks_url": "http://issuer.example/keys"}, "https://"),
        ({**TLS, **TOKENS, "oidc_jwks_url": "file:///keys", "environment": "local"}, "https://"),
        ({**TLS, **TOKENS, "oidc_leeway": timedelta(hours=1)}, "less than or equal to 5 minutes"),
    ],
)
def test_settings_that_would_let_somebody_in_are_refused(given, said):
    with pytest.raises(ValidationError, match=said):
        GrpcServerSettings(**given)


def test_on_a_machine_of_ones_own_the_issuer_may_be_without_tls():
    given = {**TLS, **TOKENS, "oidc_jwks_url": "http://127.0.0.1/keys", "environment": "local"}
    assert GrpcServerSettings(**given).oidc_jwks_url == "http://127.0.0.1/keys"
