"""The process: migrate, check, serve, and a clean end, with its neighbours away."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from backbone.registry.v1 import registry_pb2, registry_pb2_grpc
from runtime import grpcclient
from runtime.grpcserver import GrpcServer
from runtime.identity import LocalAuthenticator


@pytest.fixture
def environment(postgres_dsn: str, unused_tcp_port_factory: Any) -> Any:
    """Settings of a registry whose ledger and Temporal are away."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("BACKBONE_")},
        "BACKBONE_ENVIRONMENT": "local",
        "BACKBONE_POSTGRES_DSN": postgres_dsn,
        "BACKBONE_LEDGER_ADDRESS": f"127.0.0.1:{unused_tcp_port_factory()}",
        "BACKBONE_TEMPORAL_ADDRESS": f"127.0.0.1:{unused_tcp_port_factory()}",
    }


async def run(environment: dict[str, str], command: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "registry",
        command,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await process.communicate()
    return process.returncode, told.decode()


@pytest.fixture
async def serving(environment: dict[str, str]) -> AsyncIterator[Any]:
    """Starts a registry; gives the process and a stub."""
    code, told = await run(environment, "migrate")
    assert code == 0, told
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "registry",
        "serve",
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    port = None
    async with asyncio.timeout(30):
        while line := await process.stderr.readline():
            entry = json.loads(line)
            port = entry.get("port", port)
            if entry["event"] == "ready":
                break
    assert port, "the registry ended before it was ready"
    reader = asyncio.create_task(process.stderr.read())
    channel = grpcclient.channel(f"127.0.0.1:{port}", actor="ada")
    yield process, registry_pb2_grpc.RegistryServiceStub(channel)
    await channel.close()
    if process.returncode is None:
        process.kill()
    await process.wait()
    await reader


async def test_migrate_twice_applies_once(environment: dict[str, str]) -> None:
    code, told = await run(environment, "migrate")
    assert code == 0
    assert "0001_pre_definitions" in told
    assert "0001_pre_event_store" in told
    assert await run(environment, "migrate") == (0, "nothing to apply\n")


async def test_check_names_everything_that_is_missing(environment: dict[str, str]) -> None:
    code, told = await run(environment, "check")
    assert code == 1
    lines = told.splitlines()
    assert any(line.startswith("FAIL postgres: migrations are missing") for line in lines)
    assert any(line.startswith("FAIL ledger") for line in lines)
    assert any(line.startswith("FAIL temporal dev") for line in lines)


async def test_check_is_content_when_everything_answers(
    environment: dict[str, str], temporal_address: str
) -> None:
    await run(environment, "migrate")
    ledger = GrpcServer(listen="127.0.0.1:0", services=[], authenticator=LocalAuthenticator())
    await ledger.start()
    environment |= {
        "BACKBONE_TEMPORAL_ADDRESS": temporal_address,
        "BACKBONE_LEDGER_ADDRESS": f"127.0.0.1:{ledger.port}",
    }
    code, told = await run(environment, "check")
    await ledger.stop()
    assert code == 0, told
    assert "ok   postgres: reachable, migrated" in told


async def test_without_tls_only_a_local_registry_serves(environment: dict[str, str]) -> None:
    code, told = await run({**environment, "BACKBONE_ENVIRONMENT": "prod"}, "serve")
    assert code == 1
    assert "without TLS nobody can be told apart" in told


async def test_apply_works_while_ledger_and_temporal_are_away(
    serving: Any, document: Callable[..., bytes]
) -> None:
    _, registry = serving
    request = registry_pb2.ApplyDefinitionRequest(document=document(every="1h"), reason="why")
    assert (await registry.ApplyDefinition(request)).changed


async def test_sigterm_ends_watches_and_process_cleanly(
    serving: Any, document: Callable[..., bytes]
) -> None:
    process, registry = serving
    watch = registry.WatchDefinitions(registry_pb2.WatchDefinitionsRequest(namespace="dev"))
    assert (await watch.read()).HasField("snapshot_start")
    assert (await watch.read()).HasField("bookmark")
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        while (answer := await watch.read()) is not grpc.aio.EOF:
            assert answer.HasField("bookmark")
        assert await watch.code() is grpc.StatusCode.OK
        assert await process.wait() == 0
