"""An issuer's keys: which are taken, when they are asked for, and what a bad answer does."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from runtime import issuerhttp, jwks
from runtime.authority import Authority, Request
from runtime.errors import ConfigurationError
from runtime.issuerhttp import IssuerUnavailableError
from runtime.jwks import ASK_AGAIN_S, FRESH_S, KEPT_S, IssuerKeys

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def an_rsa(**more) -> dict:
    return {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "r", **more}


def an_ec(**more) -> dict:
    return {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "e", **more}


def an_ed(**more) -> dict:
    return {**OKPAlgorithm.to_jwk(ED_KEY.public_key(), as_dict=True), "kid": "o", **more}


def jwks_of(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


# --- which keys are taken -------------------------------------------------------------------------


def test_a_key_verifies_the_algorithms_of_its_kind():
    found = jwks.parsed(jwks_of(an_rsa(key_ops=["verify"]), an_ec(use="sig"), an_ed()))
    assert {kid: sorted(one.algorithms) for kid, one in found.items()} == {
        "r": ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"],
        "e": ["ES256"],
        "o": ["EdDSA"],
    }


def test_a_key_that_names_its_algorithm_verifies_no_other():
    assert jwks.parsed(jwks_of(an_rsa(alg="PS256")))["r"].algorithms == {"PS256"}


SHORT = RSAAlgorithm.to_jwk(
    rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key(),  # noqa: S505 - to be refused
    as_dict=True,
)
SECRET = {"kty": "oct", "kid": "s", "k": base64.urlsafe_b64encode(b"x" * 32).decode()}


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(SECRET, id="a secret, which who verifies could sign with"),
        pytest.param({**SHORT, "kid": "r"}, id="too short"),
        pytest.param(an_rsa(use="enc"), id="for encrypting"),
        pytest.param(an_rsa(key_ops=["sign"]), id="for signing"),
        pytest.param(an_rsa(key_ops="verify"), id="with operations that are no list"),
        pytest.param(an_rsa(alg="HS256"), id="for a symmetric algorithm"),
        pytest.param(an_ec(alg="ES384"), id="for the algorithm of another curve"),
        pytest.param({**ECAlgorithm.to_jwk(EC_KEY, as_dict=True), "kid": "e"}, id="a private key"),
        pytest.param({k: v for k, v in an_ec().items() if k != "kid"}, id="without an id"),
        pytest.param(an_ec(kid=7), id="with an id that is no text"),
        pytest.param(an_ec(x="!"), id="damaged"),
        pytest.param("key", id="no object"),
    ],
)
def test_a_key_that_cannot_be_used_is_left_out_and_the_others_serve(key):
    assert set(jwks.parsed(jwks_of(key, an_ed()))) == {"o"}


def test_of_keys_with_one_id_none_is_taken():
    assert set(jwks.parsed(jwks_of(an_rsa(kid="same"), an_ec(kid="same"), an_ed()))) == {"o"}


@pytest.mark.parametrize(
    "document",
    [b"", b"<html>", b"[]", b'{"keys": {}}', b'{"keys": ' + b"[" * 5000, jwks_of(*[an_ed()] * 101)],
)
def test_what_is_no_list_of_keys_is_no_answer(document):
    with pytest.raises(IssuerUnavailableError):
        jwks.parsed(document)


# --- when they are asked for ----------------------------------------------------------------------


class Issuer:
    """Answers with what it is given, and counts."""

    def __init__(self, *keys: object) -> None:
        self.keys = keys
        self.asked = 0
        self.was_asked = asyncio.Event()
        self.away = False
        self.answering = asyncio.Event()
        self.answering.set()

    async def __call__(self) -> bytes:
        self.asked += 1
        self.was_asked.set()
        await self.answering.wait()
        if self.away:
            raise IssuerUnavailableError("away")
        return jwks_of(*self.keys)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_the_issuer_is_asked_once_for_all_who_wait(clock):
    issuer = Issuer(an_ec())
    keys = IssuerKeys(issuer, clock=clock)
    found = await asyncio.gather(*(keys.key("e") for _ in range(20)))
    assert all(found)
    assert issuer.asked == 1


async def test_a_new_key_is_known_with_its_first_token(clock):
    issuer = Issuer(an_ec())
    keys = IssuerKeys(issuer, clock=clock)
    assert await keys.key("e") is not None
    issuer.keys = (an_ec(), an_ed())
    clock.now += ASK_AGAIN_S
    assert await keys.key("o") is not None


async def test_unknown_ids_have_the_issuer_asked_only_so_often(clock):
    issuer = Issuer(an_ec())
    keys = IssuerKeys(issuer, clock=clock)
    for number in range(100):
        assert await keys.key(f"made-up-{number}") is None
        clock.now += ASK_AGAIN_S / 100
    assert issuer.asked == 1
    assert await keys.key("made-up") is None
    assert issuer.asked == 2
    assert await keys.key("e") is not None


async def test_who_gives_up_waiting_ends_nobody_elses_asking(clock):
    issuer = Issuer(an_ec())
    issuer.answering.clear()
    keys = IssuerKeys(issuer, clock=clock)
    stranger = asyncio.ensure_future(keys.key("made-up"))
    waiting = asyncio.ensure_future(keys.key("e"))
    await issuer.was_asked.wait()
    stranger.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stranger
    issuer.answering.set()
    assert await waiting is not None
    assert issuer.asked == 1


async def test_a_key_that_was_withdrawn_is_believed_no_longer_than_keys_are_fresh(clock):
    issuer = Issuer(an_ec(), an_ed())
    keys = IssuerKeys(issuer, clock=clock)
    assert await keys.key("e") is not None
    issuer.keys = (an_ed(),)
    clock.now += FRESH_S
    assert await keys.key("e") is None


async def test_keys_serve_while_the_issuer_is_away_but_not_for_ever(clock):
    issuer = Issuer(an_ec())
    keys = IssuerKeys(issuer, clock=clock)
    assert await keys.key("e") is not None
    issuer.away = True
    clock.now += KEPT_S - 1
    assert await keys.key("e") is not None
    clock.now += 1
    with pytest.raises(IssuerUnavailableError):
        await keys.key("e")
    issuer.away = False
    clock.now += ASK_AGAIN_S
    assert await keys.key("e") is not None


async def test_an_unknown_key_of_an_issuer_that_is_away_is_told_so(clock):
    issuer = Issuer()
    issuer.away = True
    with pytest.raises(IssuerUnavailableError):
        await IssuerKeys(issuer, clock=clock).key("e")


# --- over the network -----------------------------------------------------------------------------

Serve = Callable[[bytes], "asyncio.Future[str]"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ca", now=datetime.now(UTC))


@pytest.fixture
async def serve(authority: Authority) -> AsyncIterator[Callable]:
    """Answers each request with the same bytes, over TLS; None never answers."""
    issued = authority.issue(Request("issuer", hosts=("127.0.0.1",)), now=datetime.now(UTC))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.private_key)
    servers, closed = [], asyncio.Event()

    async def start(answer: bytes | None) -> str:
        async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await closed.wait()
            else:
                writer.write(answer)
            writer.close()

        server = await asyncio.start_server(answered, "127.0.0.1", 0, ssl=context)
        servers.append(server)
        return f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"

    yield start
    closed.set()
    for server in servers:
        server.close()
        await server.wait_closed()


def response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def test_keys_are_fetched_over_tls(serve, authority):
    url = await serve(response(jwks_of(an_ec())))
    fetch = jwks.fetching(url, authority=authority.certificate)
    assert await IssuerKeys(fetch).key("e") is not None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (response(b"x" * (issuerhttp.MAX_BYTES + 1)), "more than 65536 bytes"),
        (response(b"", "302 Found", "location: https://127.0.0.1/elsewhere"), "status 302"),
        (response(b"", "500 Internal Server Error"), "status 500"),
        (b"what?\r\n\r\n", "illegal"),
        (None, "did not answer within 0.2 s"),
    ],
)
async def test_another_answer_is_none(serve, authority, answer, said):
    url = await serve(answer)
    fetch = jwks.fetching(url, authority=authority.certificate, timeout_s=0.2 if not answer else 5)
    with pytest.raises(IssuerUnavailableError, match=said):
        await fetch()


async def test_an_issuer_whom_nobody_vouches_for_is_not_heard(serve, tmp_path):
    other = Authority.create(tmp_path / "other", now=datetime.now(UTC))
    url = await serve(response(jwks_of(an_ec())))
    for trusted in (other.certificate, None):
        with pytest.raises(IssuerUnavailableError, match="certificate verify failed"):
            await jwks.fetching(url, authority=trusted)()


def test_an_authority_that_is_not_there_is_told_at_the_start(tmp_path):
    with pytest.raises(ConfigurationError, match="BACKBONE_OIDC_CA"):
        jwks.fetching("https://127.0.0.1/", authority=tmp_path / "absent.crt")
