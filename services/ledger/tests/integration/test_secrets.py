"""A ledger with canaries for secrets: it works with them, and nothing that it shows has them."""

import asyncio
import os
import signal
import sys
import urllib.request
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from devstack.infrastructure.endpoints import PostgresEndpoint
from signing import keyfiles
from signing.keys import SigningKey

CANARY = "canary-4f1d7c"


@pytest.fixture(scope="session")
def template() -> None:
    """Nothing: the process migrates."""


@pytest.fixture
async def roles(database: PostgresEndpoint, unique_name: str) -> AsyncIterator[dict[str, str]]:
    """Roles like the ledger's and its owner's, of this test alone; their password is the canary."""
    roles = {like: f"{unique_name}_{like}" for like in ("ledger", "ledger_owner")}
    connection = await asyncpg.connect(database.dsn())
    for like, role in roles.items():
        await connection.execute(
            f"CREATE ROLE {role} LOGIN PASSWORD '{CANARY}'; GRANT {like} TO {role};"
            f"ALTER ROLE {role} SET role TO {like};"
            f'GRANT CONNECT ON DATABASE "{database.database}" TO {role}'
        )
    yield roles
    for role in roles.values():
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await connection.close()


@pytest.fixture
def sign_in(database: PostgresEndpoint, roles: dict[str, str]) -> Callable[[str], dict[str, str]]:
    """The variable that signs in as one like the role of this name."""

    def variable(like: str) -> dict[str, str]:
        address = f"{database.host}:{database.port}/{database.database}"
        return {"BACKBONE_POSTGRES_DSN": f"postgresql://{roles[like]}@{address}"}

    return variable


@pytest.fixture
def environment(
    sign_in: Callable[[str], dict[str, str]], tmp_path: Path, unused_port: Callable[[], int]
) -> dict[str, str]:
    (tmp_path / "password").write_text(f"{CANARY}\n")
    for signer in ("ledger", "checkpoints"):
        key = SigningKey.generate(signer=signer, key_id="1")
        keyfiles.write_private(tmp_path / f"{signer}.key", key)
    return {
        "PATH": os.environ["PATH"],
        "BACKBONE_ENVIRONMENT": "local",
        "BACKBONE_LOG_LEVEL": "debug",
        "BACKBONE_HTTP_LISTEN": f"127.0.0.1:{unused_port()}",
        **sign_in("ledger"),
        "BACKBONE_POSTGRES_PASSWORD_FILE": str(tmp_path / "password"),
        "BACKBONE_SIGNING_KEY": str(tmp_path / "ledger.key"),
        "BACKBONE_CHECKPOINT_KEY": str(tmp_path / "checkpoints.key"),
    }


async def said(environment: dict[str, str], word: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ledger", word),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode()


async def listening(process: Process) -> str:
    """Return what was logged until it served."""
    assert process.stderr is not None
    log = ""
    async with asyncio.timeout(120):
        while line := (await process.stderr.readline()).decode():
            log += line
            if '"grpc_listening"' in line:
                return log
    raise AssertionError(f"the ledger ended before it listened: {log}")


def secrets(folder: Path) -> list[str]:
    keys = (path.read_text().splitlines()[2] for path in sorted(folder.glob("*.key")))
    return [CANARY, *keys]


async def test_what_it_is_given_in_files_is_shown_nowhere(
    environment: dict[str, str], sign_in: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    code, migrated = await said({**environment, **sign_in("ledger_owner")}, "migrate")
    assert code == 0, migrated
    code, checked = await said(environment, "check")
    assert code == 0, checked
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ledger", "serve"),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        log = await listening(process)
        served = [
            await asyncio.to_thread(_get, f"http://{environment['BACKBONE_HTTP_LISTEN']}{path}")
            for path in ("/metrics", "/livez")
        ]
        environ = await asyncio.to_thread(Path(f"/proc/{process.pid}/environ").read_text)
    finally:
        process.send_signal(signal.SIGTERM)
        _, rest = await asyncio.wait_for(process.communicate(), 60)
    shown = [migrated, checked, log + rest.decode(), environ, *served]
    assert all(shown)
    assert [text for text in shown for secret in secrets(tmp_path) if secret in text] == []


@pytest.mark.parametrize(
    ("said_instead", "says"),
    [
        ({"BACKBONE_POSTGRES_PASSWORD_FILE": "/none"}, "/none cannot be read"),
        ({"BACKBONE_POSTGRES_DSN": f"postgresql://u:{CANARY}/x@db/b"}, "is malformed"),
        ({"BACKBONE_NAMESPACES": f'["{CANARY}"'}, "namespaces"),
    ],
)
async def test_what_is_wrong_is_told_without_it(
    environment: dict[str, str], said_instead: dict[str, str], says: str
) -> None:
    code, output = await said({**environment, **said_instead}, "serve")
    assert code in {1, 2}
    assert CANARY not in output
    assert says in output, output


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - http
        return response.read().decode()
