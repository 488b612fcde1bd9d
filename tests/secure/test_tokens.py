"""People without a certificate, on the secure stack: what a token opens, and what it does not."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contracts.roles import Role
from devstack.issuer import Issuer, Person
from devstack.suite import Suite

Run = subprocess.CompletedProcess[str]
SHIFT = timedelta(hours=1)


@pytest.fixture
def person(suite: Suite, tmp_path: Path) -> Callable[..., Run]:
    """The command in the hands of somebody who has a token, and nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKBONE_")}
    token = tmp_path / "token"

    def run(*words: str, shown: str | None) -> Run:
        env = {**kept, **suite.people_environment()}
        if shown is None:
            del env["BACKBONE_TOKEN_FILE"]
        else:
            token.write_text(shown)
            env["BACKBONE_TOKEN_FILE"] = str(token)
        return subprocess.run(
            [sys.executable, "-m", "cli", *words],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def token(
    issuer: Issuer,
    *roles: Role,
    name: str = "ana",
    namespace: str = "dev",
    ago: timedelta = timedelta(0),
) -> str:
    made = Person(name, roles, [namespace])
    return issuer.token(made, now=datetime.now(UTC) - ago, lifetime=SHIFT)


def denials(suite: Suite, service: str, actor: str) -> Iterator[dict[str, str]]:
    for line in suite.log(service).read_text().splitlines():
        if '"rpc_denied"' in line and (told := json.loads(line))["actor"] == actor:
            yield told


@pytest.mark.parametrize("words", [("runs",), ("get",), ("dlq", "list")])
def test_every_service_answers_whom_a_token_lets(
    suite: Suite, person: Callable[..., Run], words: tuple[str, ...]
) -> None:
    done = person(*words, shown=token(suite.issuer, Role.VIEWER))
    assert done.returncode == 0, done.stderr


def test_a_viewer_changes_nothing_and_the_attempt_is_logged(
    suite: Suite, person: Callable[..., Run]
) -> None:
    name = f"viewer-{uuid.uuid4().hex[:8]}"
    viewer = token(suite.issuer, Role.VIEWER, name=name)
    done = person("disable", "shop.orders", "--reason", "to see", shown=viewer)
    assert done.returncode == 1
    assert f"oidc:{name} may not call" in done.stderr
    (denied,) = denials(suite, "registry", f"oidc:{name}")
    assert denied["reason"] == "ROLE_DENIED"
    assert denied["namespace"] == "dev"
    assert denied["method"] == "/backbone.registry.v1.RegistryService/DisableDefinition"


def test_who_is_of_one_namespace_sees_no_other(suite: Suite, person: Callable[..., Run]) -> None:
    other = token(suite.issuer, Role.VIEWER, Role.OPERATOR, namespace="prod")
    done = person("runs", shown=other)
    assert done.returncode == 1
    assert "may not ask for this namespace" in done.stderr


def test_a_token_that_has_ended_opens_nothing(suite: Suite, person: Callable[..., Run]) -> None:
    done = person("runs", shown=token(suite.issuer, Role.VIEWER, ago=2 * SHIFT))
    assert done.returncode == 1
    assert "your token has expired: get a new one" in done.stderr


def test_another_issuers_token_opens_nothing(
    suite: Suite, person: Callable[..., Run], tmp_path: Path
) -> None:
    other = Issuer(tmp_path / "other")
    other.bring()
    done = person("runs", shown=token(other, Role.VIEWER))
    assert done.returncode == 1
    assert "does not take your token" in done.stderr


def test_without_token_and_certificate_nothing_opens(
    suite: Suite, person: Callable[..., Run]
) -> None:
    done = person("runs", shown=None)
    assert done.returncode == 1
    assert "does not know who you are" in done.stderr


def test_what_people_do_stands_in_the_history_with_their_name(
    suite: Suite, person: Callable[..., Run]
) -> None:
    author = token(suite.issuer, Role.AUTHOR, Role.VIEWER, name="ben")
    folder = Path(__file__).parents[1] / "chaos" / "definitions"
    files = [str(folder / f"{name}.yaml") for name in ("orders", "order-placed")]
    words = ("apply", "-f", files[0], "-f", files[1], "--reason", uuid.uuid4().hex)
    applied = person("-n", "dev", *words, shown=author)
    assert applied.returncode == 0, applied.stderr
    logged = suite.log("registry").read_text().splitlines()
    told = [json.loads(line) for line in logged if '"rpc_allowed"' in line]
    assert any(
        (line["actor"], line["method"].rpartition("/")[2]) == ("oidc:ben", "ApplyResources")
        for line in told
    )
