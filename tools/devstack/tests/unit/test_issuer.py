"""The stack's own issuer makes tokens that services believe, and only for who reads its folder."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from typer.testing import CliRunner

from contracts.roles import Role
from devstack import issuer
from devstack.command import application
from devstack.errors import DevstackError
from devstack.issuer import Issuer, Person
from runtime.jwks import IssuerKeys
from runtime.rpcerrors import UnauthenticatedError
from runtime.tokens import Expected, TokenAuthenticator

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
ANA = Person("ana", [Role.OPERATOR, Role.VIEWER], ["dev"], ["billing"])


@pytest.fixture
def ours(tmp_path: Path) -> Issuer:
    made = Issuer(tmp_path / issuer.NAME)
    made.bring()
    return made


def believing(folder: Path) -> TokenAuthenticator:
    async def fetch() -> bytes:
        return (folder / issuer.NAME / issuer.KEYS).read_bytes()

    expected = Expected(issuer=issuer.ISSUER, audience=issuer.AUDIENCE)
    return TokenAuthenticator(expected, IssuerKeys(fetch))


async def test_a_token_is_believed_and_says_what_it_was_made_for(ours, tmp_path):
    found = await believing(tmp_path).authenticate(
        f"Bearer {ours.token(ANA, now=NOW, lifetime=HOUR)}"
    )
    assert found.subject == "oidc:ana"
    assert found.roles == {Role.OPERATOR, Role.VIEWER}
    assert found.namespaces == {"dev"}
    assert found.groups == {"billing"}


async def test_it_ends_after_its_lifetime(ours, tmp_path):
    ended = ours.token(ANA, now=NOW - timedelta(hours=1), lifetime=timedelta(minutes=59))
    with pytest.raises(UnauthenticatedError, match="has expired"):
        await believing(tmp_path).authenticate(f"Bearer {ended}")


def test_the_key_is_made_once_and_nobody_else_reads_it(ours, tmp_path):
    folder = tmp_path / issuer.NAME
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ours.bring()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert folder.stat().st_mode & 0o77 == 0
    assert (folder / "key.pem").stat().st_mode & 0o77 == 0
    (public,) = json.loads(before[issuer.KEYS])["keys"]
    assert "d" not in public


def test_a_stack_that_was_never_secure_has_no_key(tmp_path):
    with pytest.raises(DevstackError, match="devstack up --secure"):
        Issuer(tmp_path / issuer.NAME).token(ANA, now=NOW, lifetime=HOUR)


async def test_the_command_writes_a_token_for_its_user_alone(ours, tmp_path):
    words = ("token", "ana", "--role", "author", "--namespace", "dev", "--minutes", "5")
    done = CliRunner().invoke(application, [*words, "--state", str(tmp_path)])
    assert done.exit_code == 0, done.output
    written = tmp_path / "token"
    assert written.stat().st_mode & 0o77 == 0
    token = written.read_text().strip()
    assert token not in done.output
    assert (await believing(tmp_path).authenticate(f"Bearer {token}")).roles == {Role.AUTHOR}


def said(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def test_whom_something_was_granted_has_a_token_for_temporal_and_nobody_else(ours):
    ours.grant({"router": ["dev:write"], "gone": ["dev:write"]}, now=NOW)
    ours.grant({"router": ["dev:write", "rival:write"]}, now=NOW)
    assert not ours.token_file("gone").exists()
    file = ours.token_file("router")
    assert file.stat().st_mode & 0o77 == 0
    claims = said(file.read_text().strip())
    assert claims["permissions"] == ["dev:write", "rival:write"]
    assert (claims["sub"], claims["aud"]) == ("router", issuer.TEMPORAL_AUDIENCE)
    assert claims["exp"] - claims["iat"] == HOUR.total_seconds()


def test_it_is_written_anew_before_it_ends(ours):
    ours.grant({"router": ["dev:write"]}, now=NOW)
    ours.renew(now=NOW + HOUR / 2)
    ends = said(ours.token_file("router").read_text().strip())["exp"]
    assert ends == int((NOW + HOUR * 1.5).timestamp())


async def test_a_token_for_temporal_opens_nothing_of_backbone(ours, tmp_path):
    made = ours.temporal_token("router", ["dev:write"], now=NOW, lifetime=HOUR)
    with pytest.raises(UnauthenticatedError):
        await believing(tmp_path).authenticate(f"Bearer {made}")


async def test_what_an_old_key_signed_is_believed_until_it_is_retired(ours, tmp_path):
    before = ours.token(ANA, now=NOW, lifetime=HOUR)
    ours.rotate()
    after = ours.token(ANA, now=NOW, lifetime=HOUR)
    for token in (before, after):
        await believing(tmp_path).authenticate(f"Bearer {token}")
    ours.retire()
    await believing(tmp_path).authenticate(f"Bearer {after}")
    with pytest.raises(UnauthenticatedError):
        await believing(tmp_path).authenticate(f"Bearer {before}")
