"""What the processes of the secure stack were given in files is nowhere else."""

import json
import re
from pathlib import Path

import pytest

from devstack.suite import Suite

SERVICES = ("registry", "ledger", "router", "orchestrator-worker", "outbox-relay")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.+?)\n-----END", re.DOTALL)


def secrets(folder: Path) -> dict[str, str]:
    """Return a part of each key, token and password of the stack that nothing else has."""
    found = {}
    for path in sorted(folder.rglob("*.key")):
        (body,) = _PEM.findall(path.read_text())
        # The first line of the body says the algorithm as well, and is as long as it is secret.
        found[path.name] = body.splitlines()[-2 if "\n" in body else 0]
    for path in sorted(folder.rglob("*.token")):
        # What it says is no secret; what signs it is.
        found[path.name] = path.read_text().strip().rpartition(".")[2]
    found["redis"] = (folder / "redis-password").read_text()
    return found


@pytest.fixture
def given(suite: Suite) -> dict[str, str]:
    found = secrets(suite.log("ledger").parents[1])
    assert {"redis", "ledger.key", "registry.key", "checkpoints.key", "router.token"} <= set(found)
    return found


def holding(text: str, given: dict[str, str]) -> list[str]:
    return [name for name, secret in given.items() if secret in text]


@pytest.mark.parametrize("service", SERVICES)
def test_no_secret_is_in_the_environment_the_arguments_or_the_log(
    suite: Suite, given: dict[str, str], service: str
) -> None:
    (status,) = [one for one in suite.status() if one.name == service]
    process = Path(f"/proc/{status.pid}")
    environment = (process / "environ").read_text()
    assert "BACKBONE_TLS_PRIVATE_KEY=" in environment
    assert holding(environment, given) == []
    assert holding((process / "cmdline").read_text(), given) == []
    log = suite.log(service).read_text()
    assert log
    assert holding(log, given) == []


def test_a_password_is_read_from_its_file(suite: Suite, given: dict[str, str]) -> None:
    told = suite.environment("router")
    assert Path(told["BACKBONE_REDIS_PASSWORD_FILE"]).read_text() == given["redis"]
    assert holding(json.dumps(told), given) == []
