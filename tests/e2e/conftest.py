"""What the end-to-end tests share: letters that wait, and routers beside the suite's own."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from letters import Letters
from temporalio.client import Client

from devstack import ports
from devstack.suite import Suite, answers_ok

DEFINITIONS = Path(__file__).parent / "definitions"


@pytest.fixture
async def letters(suite: Suite, backbone: Callable[..., str]) -> AsyncIterator[Letters]:
    """Letters of the test's own, and the definitions that they wait for."""
    files = ["letter-sent", "letters-held", "letters-gathered", "letters-limited", "letters-rated"]
    named = [word for name in files for word in ("-f", str(DEFINITIONS / f"{name}.yaml"))]
    backbone("apply", *named, "--reason", "letters")
    ledger = await asyncpg.connect(suite.endpoints.postgres.dsn())
    temporal = await Client.connect(suite.endpoints.temporal_address, namespace="dev")
    yield Letters(suite, backbone, ledger=ledger, temporal=temporal)
    await ledger.close()


@dataclass(frozen=True)
class OtherRouter:
    """A router process beside the suite's, which nobody starts again."""

    process: subprocess.Popen[bytes]
    http: str

    async def is_ready(self) -> bool:
        assert self.process.poll() is None, "it has ended"
        return answers_ok(f"http://{self.http}/readyz")


@pytest.fixture
def another_router(suite: Suite, tmp_path: Path) -> Iterator[Callable[..., OtherRouter]]:
    """Start one more router of the suite's settings; what is left of them ends with the test."""
    started: list[OtherRouter] = []

    def start(**env: str) -> OtherRouter:
        http = f"127.0.0.1:{ports.unused()}"
        listen = {"BACKBONE_HTTP_LISTEN": http, "BACKBONE_GRPC_LISTEN": "127.0.0.1:0"}
        with (tmp_path / f"router-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "router", "serve"],
                env={**suite.environment("router"), **listen, **env},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        started.append(OtherRouter(process, http))
        return started[-1]

    yield start
    for router in started:
        router.process.kill()
        router.process.wait()
