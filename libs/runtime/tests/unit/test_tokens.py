"""People's tokens: what is believed, and each way to forge, swap, stretch or damage one."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from contracts.roles import Role
from runtime import tokens
from runtime.issuerhttp import IssuerUnavailableError
from runtime.jwks import IssuerKeys
from runtime.rpcerrors import RpcError, UnavailableError
from runtime.tokens import Claims, Expected, TokenAuthenticator

EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS = [
    {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "e"},
    {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "r", "alg": "RS256"},
]
ISSUER, AUDIENCE = "https://issuer.example", "backbone"


def claims(**more) -> dict:
    now = datetime.now(UTC)
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ana",
        "iat": now,
        "exp": now + timedelta(minutes=5),
        "backbone_roles": ["operator"],
        "backbone_namespaces": ["dev"],
        **more,
    }
    return {name: value for name, value in said.items() if value is not None}


def token(key=EC_KEY, algorithm="ES256", headers=None, **more) -> str:
    return jwt.encode(
        claims(**more), key, algorithm=algorithm, headers={"kid": "e"} | (headers or {})
    )


def by_hand(header: dict, payload: bytes, signature: bytes = b"x" * 64) -> str:
    parts = (json.dumps(header).encode(), payload, signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


async def keys_are() -> bytes:
    return json.dumps({"keys": KEYS}).encode()


async def known(shown: str, *, scheme: str = "Bearer", fetch=keys_are, **expected):
    authenticator = TokenAuthenticator(
        Expected(issuer=ISSUER, audience=AUDIENCE, **expected), IssuerKeys(fetch)
    )
    return await authenticator.authenticate(f"{scheme} {shown}")


async def refused(shown: str, **how) -> str:
    with pytest.raises(RpcError) as caught:
        await known(shown, **how)
    assert shown not in caught.value.message
    return caught.value.reason


# --- what is believed -----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_token_says_who_calls_and_what_they_may(scheme):
    found = await known(token(groups=["billing"]), scheme=scheme)
    assert (found.subject, found.user) == ("oidc:ana", "ana")
    assert found.roles == {Role.OPERATOR}
    assert found.namespaces == {"dev"}
    assert found.groups == {"billing"}
    assert 300 < found.until - datetime.now(UTC).timestamp() <= 330  # with the leeway


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
async def test_it_may_be_an_access_token(kind):
    assert await known(token(headers={"typ": kind}))


async def test_it_may_be_for_others_too():
    assert await known(token(aud=["somebody", AUDIENCE]))


async def test_rsa_keys_serve_as_well():
    assert await known(token(RSA_KEY, "RS256", {"kid": "r"}))


async def test_clocks_may_differ_by_the_leeway():
    now = datetime.now(UTC)
    ahead = now + timedelta(seconds=20)
    assert await known(token(iat=ahead, nbf=ahead))
    ended = now - timedelta(seconds=20)
    assert await known(token(iat=ended - timedelta(minutes=1), exp=ended))
    assert await refused(token(exp=ended), leeway=timedelta(0)) == "TOKEN_EXPIRED"


# --- what is not ----------------------------------------------------------------------------------

PAST = datetime.now(UTC) - timedelta(hours=1)
LATER = datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"exp": PAST}, "TOKEN_EXPIRED"),
        ({"nbf": LATER}, "TOKEN_NOT_YET_VALID"),
        ({"iat": LATER, "exp": LATER}, "TOKEN_NOT_YET_VALID"),
        ({"aud": "somebody"}, "TOKEN_AUDIENCE"),
        ({"aud": ["somebody", "backbone "]}, "TOKEN_AUDIENCE"),
        ({"aud": []}, "TOKEN_INVALID"),
        ({"iss": f"{ISSUER}/"}, "TOKEN_ISSUER"),
        ({"iss": "https://another.example"}, "TOKEN_ISSUER"),
        ({"exp": datetime.now(UTC) + timedelta(days=2)}, "TOKEN_INVALID"),
        ({"exp": "soon"}, "TOKEN_INVALID"),
        ({"iat": "lately"}, "TOKEN_INVALID"),
        ({"exp": 1e400}, "TOKEN_INVALID"),
        *(({claim: None}, "TOKEN_INVALID") for claim in ("iss", "aud", "exp", "iat", "sub")),
    ],
)
async def test_another_token_is_refused(more, reason):
    assert await refused(token(**more)) == reason


@pytest.mark.parametrize("scheme", ["Basic", "", "Token"])
async def test_another_scheme_is_refused(scheme):
    assert await refused(token(), scheme=scheme) == "TOKEN_INVALID"


def payload(**more) -> bytes:
    said = claims(**more)
    times = {name: said[name].timestamp() for name in ("iat", "exp")}
    return json.dumps(said | times).encode()


async def test_no_signature_is_none():
    for algorithm in ("none", "None", "NONE", "", ["none"], {"none": 1}, None):
        unsigned = by_hand({"alg": algorithm, "kid": "e", "typ": "JWT"}, payload(), b"")
        assert await refused(unsigned) == "TOKEN_INVALID"


async def test_a_public_key_is_no_secret():
    """Signed by HMAC with what everybody knows: the key's text in each form it has."""
    public = EC_KEY.public_key()
    forms = [
        public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        json.dumps(KEYS[0]).encode(),
    ]
    header = {"alg": "HS256", "kid": "e", "typ": "JWT"}
    for secret in forms:
        signed = by_hand(header, payload()).rpartition(".")[0]
        mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        forged = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        assert await refused(forged) == "TOKEN_INVALID"


async def test_anothers_signature_is_refused():
    assert await refused(token(OTHER)) == "TOKEN_INVALID"


async def test_the_key_says_which_algorithm_it_is_for():
    assert await refused(token(RSA_KEY, "PS256", {"kid": "r"})) == "TOKEN_INVALID"
    assert await refused(token(RSA_KEY, "RS256", {"kid": "e"})) == "TOKEN_INVALID"
    assert await refused(token(headers={"kid": "r"})) == "TOKEN_INVALID"


async def test_a_key_that_the_token_brings_along_is_not_looked_at():
    own = {**ECAlgorithm.to_jwk(OTHER.public_key(), as_dict=True), "kid": "mine"}
    brought = {"jwk": own, "jku": "https://127.0.0.1:1/jwks.json", "x5u": "https://127.0.0.1:1/"}
    assert await refused(token(OTHER, headers=brought)) == "TOKEN_INVALID"
    assert await refused(token(OTHER, headers={**brought, "kid": "mine"})) == "TOKEN_KEY_UNKNOWN"


@pytest.mark.parametrize(
    "headers",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"typ": "logout+jwt"},
        {"typ": 7},
        {"kid": ""},
        {"kid": "k" * 257},
    ],
)
async def test_a_header_that_is_not_understood_is_refused(headers):
    assert await refused(token(headers=headers)) == "TOKEN_INVALID"


async def test_a_token_without_a_key_id_is_refused():
    nameless = jwt.encode(claims(), EC_KEY, algorithm="ES256")
    assert await refused(nameless) == "TOKEN_INVALID"


async def test_a_token_that_is_too_long_is_not_looked_at():
    assert await refused(token(groups=["x" * 50] * 200)) == "TOKEN_INVALID"


async def test_one_changed_character_makes_it_another_token():
    shown = token()
    head, body, signature = shown.split(".")
    for place in range(len(head) + 1, len(head) + 1 + len(body)):
        changed = "A" if shown[place] != "A" else "B"
        assert await refused(shown[:place] + changed + shown[place + 1 :]) == "TOKEN_INVALID"
    assert await refused(f"{head}.{body}.{signature[:-4]}") == "TOKEN_INVALID"


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda b: b.decode("latin-1"))))
async def test_anything_else_is_refused(shown):
    with pytest.raises(RpcError) as caught:
        await known(shown)
    assert caught.value.reason == "TOKEN_INVALID"


async def test_deep_json_is_refused():
    deep = by_hand({"alg": "ES256", "kid": "e"}, b"{}").split(".")
    deep[0] = base64.urlsafe_b64encode(b"[" * 4000).decode()
    assert await refused(".".join(deep)) == "TOKEN_INVALID"


async def test_while_the_issuer_is_away_the_same_may_work_later():
    async def away() -> bytes:
        raise IssuerUnavailableError("away")

    with pytest.raises(UnavailableError) as caught:
        await known(token(), fetch=away)
    assert caught.value.reason == "TOKEN_ISSUER_UNAVAILABLE"


# --- what its claims give -------------------------------------------------------------------------


def identified(where: Claims | None = None, **said):
    return tokens.identity_of({"sub": "ana", **said}, where or Claims())


def test_no_token_makes_somebody_a_service():
    found = identified(backbone_roles=["service", "Service", "viewer", "admin", 7, None])
    assert found.roles == {Role.VIEWER}


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.SERVICE}))
def test_every_other_role_can_be_given(role):
    assert identified(backbone_roles=[role.value]).roles == {role}


def test_without_claims_nothing_is_allowed():
    found = identified()
    assert (found.roles, found.namespaces, found.groups) == (frozenset(), frozenset(), frozenset())


def test_a_star_alone_is_all_namespaces():
    assert identified(backbone_namespaces=["*"]).namespaces is None
    assert identified(backbone_namespaces=["*", "dev"]).namespaces == {"dev"}


@pytest.mark.parametrize("namespace", ["", "Dev", "dev ", "dev/../prod", "x" * 64, 7])
def test_a_namespace_that_there_cannot_be_is_none(namespace):
    assert identified(backbone_namespaces=[namespace]).namespaces == frozenset()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["author"]}}),
        ("https://example.com/roles", {"https://example.com/roles": ["author"]}),
    ],
)
def test_claims_are_found_where_the_issuer_has_them(path, said):
    assert identified(Claims(roles=path), **said).roles == {Role.AUTHOR}


def test_a_path_that_leads_nowhere_gives_nothing():
    assert identified(Claims(roles="realm.roles"), realm="x").roles == frozenset()


@pytest.mark.parametrize("roles", ["operator", {"operator": True}, ["operator"] * 257])
def test_what_is_no_list_is_refused(roles):
    with pytest.raises(RpcError):
        identified(backbone_roles=roles)


@pytest.mark.parametrize("name", ["", " ana", "ana/b", "a\nb", "ä", "x" * 101, 7, None])
def test_a_name_that_no_audit_can_show_is_refused(name):
    with pytest.raises(RpcError) as caught:
        identified(sub=name)
    assert caught.value.reason == "TOKEN_NAME_UNUSABLE"


def test_the_name_may_stand_in_another_claim():
    assert identified(Claims(name="email"), email="ana@example.com").user == "ana@example.com"
