"""The process: migrate, check, serve, rebuild, and a clean end, with its neighbours away."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from backbone.outbox.v1 import outbox_pb2, outbox_pb2_grpc
from backbone.registry.v1 import registry_pb2 as pb
from backbone.registry.v1 import registry_pb2_grpc
from contracts.names import outbox_channel
from runtime import grpcclient, rpcerrors
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
async def started(environment: dict[str, str]) -> AsyncIterator[Any]:
    """Starts a registry; gives the process and a channel."""
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
    try:
        port = await ready(process)
        reader = asyncio.create_task(process.stderr.read())
        channel = grpcclient.channel(f"127.0.0.1:{port}", actor="ada")
        yield process, channel
        await channel.close()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    await reader


@pytest.fixture
def serving(started: Any) -> Any:
    """The process of a registry and a stub."""
    process, channel = started
    return process, registry_pb2_grpc.RegistryServiceStub(channel)


async def ready(process: Any) -> int:
    """Read the log until the process serves; return its gRPC port."""
    port = 0
    async with asyncio.timeout(60):
        while line := await process.stderr.readline():
            entry = json.loads(line)
            port = entry.get("port", port)
            if entry["event"] == "ready":
                return port
    pytest.fail("the registry ended before it was ready")


async def test_migrate_twice_applies_once(environment: dict[str, str]) -> None:
    code, told = await run(environment, "migrate")
    assert code == 0
    assert "0001_pre_resources" in told
    assert "0001_pre_event_store" in told
    assert await run(environment, "migrate") == (0, "nothing to apply\n")


async def test_check_names_everything_that_is_missing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text("handlers: [send_reminder]")
    code, told = await run({**environment, "BACKBONE_CATALOGUE": str(file)}, "check")
    assert code == 1
    lines = told.splitlines()
    for beginning in (
        "FAIL postgres: migrations are missing",
        f"FAIL catalogue: catalogue {file}: handlers: ",
        "FAIL ledger",
        "FAIL temporal dev",
    ):
        assert any(line.startswith(beginning) for line in lines), beginning


async def test_check_is_content_when_everything_answers(
    environment: dict[str, str], temporal_address: str, tmp_path: Path
) -> None:
    await run(environment, "migrate")
    ledger = GrpcServer(listen="127.0.0.1:0", services=[], authenticator=LocalAuthenticator())
    await ledger.start()
    environment |= {
        "BACKBONE_TEMPORAL_ADDRESS": temporal_address,
        "BACKBONE_LEDGER_ADDRESS": f"127.0.0.1:{ledger.port}",
    }
    file = tmp_path / "catalogue.yaml"
    file.write_text("handlers: {send_reminder: {taskQueue: notifications-tq}}")
    code, told = await run(environment, "check")
    code_with, told_with = await run({**environment, "BACKBONE_CATALOGUE": str(file)}, "check")
    await ledger.stop()
    assert (code, code_with) == (0, 0), told + told_with
    assert "ok   postgres: reachable, migrated" in told
    assert "ok   catalogue: none (BACKBONE_CATALOGUE): connectors, statements" in told
    assert f"ok   catalogue: {file}: 0 connectors, 1 handlers" in told_with


async def test_without_tls_only_a_local_registry_serves(environment: dict[str, str]) -> None:
    code, told = await run({**environment, "BACKBONE_ENVIRONMENT": "prod"}, "serve")
    assert code == 1
    assert "without TLS nobody can be told apart" in told


async def test_catalogue_that_cannot_be_used_stops_the_start_in_one_sentence(
    environment: dict[str, str], tmp_path: Path
) -> None:
    missing = tmp_path / "catalogue.yaml"
    code, told = await run({**environment, "BACKBONE_CATALOGUE": str(missing)}, "serve")
    assert code == 1
    assert told.startswith(f"registry: catalogue {missing} cannot be read")
    assert len(told.splitlines()) == 1


async def test_rebuild_needs_the_tables(environment: dict[str, str]) -> None:
    code, told = await run(environment, "rebuild")
    assert code == 1
    assert told.startswith("registry: migrations are missing: ")


async def test_unknown_command_is_answered_with_the_usage(environment: dict[str, str]) -> None:
    code, told = await run(environment, "rewind")
    assert (code, told) == (2, "usage: python -m registry serve | check | migrate | rebuild\n")


def applying(*documents: bytes, **fields: Any) -> pb.ApplyResourcesRequest:
    return pb.ApplyResourcesRequest(
        documents=[pb.Document(content=content) for content in documents],
        reason="why",
        **fields,
    )


def naming(definition_id: str) -> dict[str, Any]:
    return {
        "namespace": "dev",
        "kind": pb.RESOURCE_KIND_ACTIVITY_DEFINITION,
        "resource_id": definition_id,
    }


async def test_definition_is_applied_and_looked_at_while_ledger_and_temporal_are_away(
    serving: Any, document: Callable[..., bytes]
) -> None:
    _, registry = serving
    planned = await registry.ApplyResources(applying(document(every="1h"), validate_only=True))
    assert [result.action for result in planned.results] == [pb.APPLY_ACTION_CREATE]
    assert len(planned.results[0].schedules[0].due_after) == 5
    applied = await registry.ApplyResources(
        applying(document(every="1h"), plan_sha256=planned.plan_sha256)
    )
    assert applied.results[0].action == pb.APPLY_ACTION_CREATE
    await registry.ApplyResources(applying(document(every="2h")))
    names = naming("billing.overdue")
    first = (await registry.GetResource(pb.GetResourceRequest(**names, version=1))).resource
    assert (first.version, first.current_version, first.applied.actor) == (1, 2, "local/ada")
    assert json.loads(first.content)["spec"]["triggers"]
    diff = await registry.DiffVersions(pb.DiffVersionsRequest(**names))
    assert (diff.from_version, diff.to_version) == (1, 2)
    assert diff.differences
    who = {"namespace": "dev", "definition_id": "billing.overdue", "reason": "stop it"}
    disabled = await registry.DisableDefinition(pb.DisableDefinitionRequest(**who))
    assert (disabled.changed, disabled.resource.state) == (True, pb.RESOURCE_STATE_DISABLED)
    assert (await registry.EnableDefinition(pb.EnableDefinitionRequest(**who))).changed
    activated = await registry.ActivateVersion(
        pb.ActivateVersionRequest(**names, version=1, reason="back")
    )
    assert (activated.resource.version, activated.resource.current_version) == (1, 1)
    retired = await registry.RetireResource(pb.RetireResourceRequest(**names, reason="enough"))
    assert retired.resource.state == pb.RESOURCE_STATE_RETIRED
    changes = await registry.ListChanges(pb.ListChangesRequest(**naming("billing.overdue")))
    assert [change.change for change in changes.changes] == [
        pb.CHANGE_KIND_RETIRED,
        pb.CHANGE_KIND_ACTIVATED,
        pb.CHANGE_KIND_ENABLED,
        pb.CHANGE_KIND_DISABLED,
        pb.CHANGE_KIND_APPLIED,
        pb.CHANGE_KIND_APPLIED,
    ]
    listed = await registry.ListResources(
        pb.ListResourcesRequest(namespace="dev", kind=names["kind"])
    )
    assert not listed.resources


async def test_problems_are_told_with_their_places_in_the_text(serving: Any) -> None:
    _, registry = serving
    text = b"apiVersion: backbone/v1\nkind: ActivityDefinition\nmetadata:\n  id: a\n  ownr: b\n"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await registry.ApplyResources(
            pb.ApplyResourcesRequest(
                documents=[pb.Document(content=text, name="a.yaml")], reason="why"
            )
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    documents = pb.InvalidDocuments()
    assert rpcerrors.detail_of(caught.value, documents)
    (unknown,) = [problem for problem in documents.problems if "ownr" in problem.message]
    assert (unknown.document, unknown.line, unknown.column) == ("a.yaml", 5, 3)
    assert "owner" in unknown.message


async def test_drift_without_temporal_is_unavailable_and_names_it(serving: Any) -> None:
    _, registry = serving
    with pytest.raises(grpc.aio.AioRpcError, match="Temporal does not answer") as caught:
        await registry.GetDrift(pb.GetDriftRequest(namespace="dev"), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_relays_are_told_of_a_change_and_operators_of_the_outbox(
    started: Any, postgres_dsn: str, document: Callable[..., bytes]
) -> None:
    _, channel = started
    told: asyncio.Queue[str] = asyncio.Queue()
    relay = await asyncpg.connect(postgres_dsn)
    await relay.add_listener(
        outbox_channel("registry"), lambda *message: told.put_nowait(message[3])
    )
    registry: Any = registry_pb2_grpc.RegistryServiceStub(channel)
    await registry.ApplyResources(applying(document("a")))
    assert await asyncio.wait_for(told.get(), 20) == ""
    await relay.close()
    outbox: Any = outbox_pb2_grpc.OutboxServiceStub(channel)
    state = await outbox.GetOutbox(outbox_pb2.GetOutboxRequest(namespace="dev"))
    assert (state.pending, state.parked) == (1, 0)


async def test_rebuild_makes_the_tables_again_from_the_events(
    serving: Any, environment: dict[str, str], document: Callable[..., bytes]
) -> None:
    _, registry = serving
    await registry.ApplyResources(applying(document("a"), document("b", every="1h")))
    names = naming("a")
    await registry.RetireResource(pb.RetireResourceRequest(**names, reason="enough"))
    history = pb.ListChangesRequest(namespace="dev")
    before = await registry.ListChanges(history)
    database = await asyncpg.connect(environment["BACKBONE_POSTGRES_DSN"])
    try:
        await database.execute("TRUNCATE registry.resource_versions CASCADE")
    finally:
        await database.close()
    code, told = await run(environment, "rebuild")
    assert (code, told.splitlines()[-1]) == (0, "dev: rebuilt from 3 events")
    assert await registry.ListChanges(history) == before
    got = await registry.GetResource(pb.GetResourceRequest(**naming("b"), version=1))
    assert json.loads(got.resource.content)["metadata"]["id"] == "b"


async def test_sigterm_ends_watches_and_process_cleanly(
    serving: Any, document: Callable[..., bytes]
) -> None:
    process, registry = serving
    await registry.ApplyResources(applying(document()))
    watch = registry.WatchResources(pb.WatchResourcesRequest(namespace="dev"))
    assert (await watch.read()).HasField("snapshot_start")
    assert (await watch.read()).resource.resource_id == "billing.overdue"
    assert (await watch.read()).HasField("bookmark")
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        while (answer := await watch.read()) is not grpc.aio.EOF:
            assert answer.HasField("bookmark")
        assert await watch.code() is grpc.StatusCode.OK
        assert await process.wait() == 0
