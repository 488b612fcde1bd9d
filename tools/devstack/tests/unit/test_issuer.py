"""The stack's own issuer makes tokens that services believe, and only for who reads its folder."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
