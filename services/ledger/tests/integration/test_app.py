"""The process: `python -m ledger migrate | check | serve`, and a crash beside a commit."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import Process

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from backbone.ledger.v1 import ledger_pb2 as pb
from backbone.ledger.v1 import ledger_pb2_grpc as pb_grpc
from backbone.ledger.v1 import routing_pb2, routing_pb2_grpc
from backbone.outbox.v1 import outbox_pb2, outbox_pb2_grpc
from contracts import canonical, identifiers, names
from contracts.decisions import Decision
from contracts.triggers import Trigger, TriggerKind
from devstack.infrastructure.endpoints import PostgresEndpoint
from runtime import grpcclient


@pytest.fixture(scope="session")
def template() -> None:
    """Nothing: the process migrates."""


async def run(database: PostgresEndpoint, word: str, **more: str) -> Process:
    environment = {
        "PATH": os.environ["PATH"],
        "BACKBONE_POSTGRES_DSN": database.dsn("ledger_owner" if word == "migrate" else "ledger"),
        "BACKBONE_ENVIRONMENT": "local",
        **more,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ledger", word, env=environment, stderr=asyncio.subprocess.PIPE
    )


async def said(process: Process) -> tuple[int, str]:
    _, output = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def listening(process: Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while line := (await process.stderr.readline()).decode():
            if match := re.search(r'"grpc_listening".*', line) and re.search(
                r'"port": (\d+)', line
            ):
                return f"127.0.0.1:{match.group(1)}"
    raise AssertionError("the ledger ended before it listened")


def request() -> pb.RecordRunRequest:
    trigger = Trigger(kind=TriggerKind.MANUAL, definition_version=1, request_id="1")
    decision = Decision(
        definition_id="billing",
        definition_version=1,
        snapshot_sha256=canonical.digest(b"{}"),
        tasks=[],
        rules=[],
    )
    return pb.RecordRunRequest(
        namespace="dev",
        run_id=identifiers.run_id("billing", trigger.key),
        definition_id="billing",
        trigger=canonical.render(trigger),
        snapshot=b"{}",
        decision=canonical.render(decision),
        workflow_run_id="w-1",
    )


async def test_process_migrates_checks_serves_and_ends(database: PostgresEndpoint) -> None:
    code, output = await said(await run(database, "check"))
    assert code == 1
    assert "migrations are missing" in output
    code, output = await said(await run(database, "migrate"))
    assert (code, output.splitlines()) == (
        0,
        [
            *("applied 0001_pre_event_store", "applied 0002_pre_outbox", "applied 0003_pre_months"),
            *("applied 0004_pre_audit", "applied 0005_pre_tenancy"),
            *("applied 0001_pre_ledger", "applied 0002_pre_routing"),
            *("applied 0003_pre_dead_letters", "applied 0004_pre_pending_starts"),
            *("applied 0005_pre_replays", "applied 0006_pre_human_tasks"),
            *("applied 0008_pre_redaction", "applied 0009_pre_control"),
            *("applied 0010_pre_shadows", "applied 0011_pre_instances"),
            *("applied 0012_pre_instance_events", "applied 0013_pre_telling"),
            *("applied 0014_pre_schedule_runs", "applied 0015_pre_backfills"),
            *("applied 0016_pre_dead_letter_openings", "applied 0017_pre_tenancy"),
            *("applied 0018_pre_subjects", "applied 0019_pre_kill_switches"),
            "applied 0020_pre_overview",
            "applied 0021_pre_requests",
        ],
    )
    assert (await said(await run(database, "migrate")))[1] == "nothing to apply\n"
    assert (await said(await run(database, "check")))[0] == 0

    serving = await run(database, "serve")
    channel = grpcclient.channel(await listening(serving), actor="tester")
    health = health_pb2_grpc.HealthStub(channel)
    answer = await health.Check(  # type: ignore[attr-defined]
        health_pb2.HealthCheckRequest()
    )
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await channel.close()
    serving.send_signal(signal.SIGTERM)
    assert (await said(serving))[0] == 0


async def test_relays_are_told_of_what_is_recorded_and_operators_of_the_outbox(
    database: PostgresEndpoint,
) -> None:
    assert (await said(await run(database, "migrate")))[0] == 0
    told: asyncio.Queue[str] = asyncio.Queue()
    relay = await asyncpg.connect(database.dsn("relay"))
    await relay.add_listener(
        names.outbox_channel("ledger"), lambda *message: told.put_nowait(message[3])
    )
    serving = await run(database, "serve", BACKBONE_EVENT_RETENTION="P400D")
    channel = grpcclient.channel(await listening(serving), actor="tester")
    await pb_grpc.LedgerServiceStub(channel).RecordRun(request())
    assert await asyncio.wait_for(told.get(), 20) == ""
    outbox: outbox_pb2_grpc.OutboxServiceAsyncStub = outbox_pb2_grpc.OutboxServiceStub(channel)
    state = await outbox.GetOutbox(outbox_pb2.GetOutboxRequest(namespace="dev"))
    assert (state.pending, state.parked) == (2, 0)
    await channel.close()
    await relay.close()
    serving.send_signal(signal.SIGTERM)
    assert (await said(serving))[0] == 0


@pytest.mark.parametrize("setting", ["BACKBONE_EVENT_RETENTION", "BACKBONE_DECISION_RETENTION"])
async def test_what_happened_is_kept_for_35_days_at_least(
    database: PostgresEndpoint, setting: str
) -> None:
    code, output = await said(await run(database, "serve", **{setting: "P34D"}))
    assert code == 2
    assert setting in output.upper()


async def test_without_tls_it_serves_only_locally(database: PostgresEndpoint) -> None:
    code, output = await said(await run(database, "serve", BACKBONE_ENVIRONMENT="prod"))
    assert code == 1
    assert "BACKBONE_TLS_CERTIFICATE" in output


@pytest.mark.parametrize(
    ("fault_point", "outcome"),
    [
        ("ledger.before_record_run", pb.RECORD_OUTCOME_RECORDED),
        ("ledger.after_record_run", pb.RECORD_OUTCOME_REPEATED),
    ],
)
async def test_run_is_recorded_once_whichever_side_of_the_commit_it_dies(
    database: PostgresEndpoint, fault_point: str, outcome: pb.RecordOutcome.ValueType
) -> None:
    assert (await said(await run(database, "migrate")))[0] == 0
    dying = await run(database, "serve", BACKBONE_FAULTPOINT=f"{fault_point}:1")
    channel = grpcclient.channel(await listening(dying), actor="tester", timeout_s=5)
    with pytest.raises(grpc.aio.AioRpcError):
        await pb_grpc.LedgerServiceStub(channel).RecordRun(request())
    await channel.close()
    assert (await said(dying))[0] == -signal.SIGKILL

    serving = await run(database, "serve")
    channel = grpcclient.channel(await listening(serving), actor="tester")
    response = await pb_grpc.LedgerServiceStub(channel).RecordRun(request())
    assert response.outcome == outcome
    await channel.close()
    serving.send_signal(signal.SIGTERM)
    await said(serving)


@pytest.mark.parametrize(
    "fault_point", ["ledger.before_record_routing", "ledger.after_record_routing"]
)
async def test_a_batch_is_recorded_once_whichever_side_of_the_commit_it_dies(
    database: PostgresEndpoint, fault_point: str
) -> None:
    candidate = routing_pb2.RoutedCandidate(
        definition_id="billing",
        definition_version=1,
        outcome=routing_pb2.ROUTING_OUTCOME_STARTED,
        run_id="billing:event:x",
    )
    told = routing_pb2.RecordRoutingRequest(
        namespace="dev",
        events=[
            routing_pb2.RoutedEvent(
                place=routing_pb2.RecordPlace(topic="dev.payments", offset=offset),
                source="shop",
                event_id="e-1",
                type="billing.payment.received",
                digest=bytes(32),
                candidates=[candidate],
            )
            for offset in (1, 2)
        ],
        unrouted=[
            routing_pb2.UnroutedRange(
                topic="dev.payments", first_offset=3, last_offset=3, records=1
            )
        ],
    )
    assert (await said(await run(database, "migrate")))[0] == 0
    dying = await run(database, "serve", BACKBONE_FAULTPOINT=f"{fault_point}:1")
    channel = grpcclient.channel(await listening(dying), actor="tester", timeout_s=5)
    with pytest.raises(grpc.aio.AioRpcError):
        await routing_pb2_grpc.RoutingServiceStub(channel).RecordRouting(told)
    await channel.close()
    assert (await said(dying))[0] == -signal.SIGKILL

    serving = await run(database, "serve")
    channel = grpcclient.channel(await listening(serving), actor="tester")
    routing: routing_pb2_grpc.RoutingServiceAsyncStub = routing_pb2_grpc.RoutingServiceStub(channel)
    assert not (await routing.RecordRouting(told)).verdicts
    answer = await routing.ListRoutingDecisions(
        routing_pb2.ListRoutingDecisionsRequest(namespace="dev")
    )
    assert [(one.place.offset, one.outcome) for one in answer.decisions] == [
        (2, routing_pb2.ROUTING_OUTCOME_DUPLICATE),
        (1, routing_pb2.ROUTING_OUTCOME_STARTED),
    ]
    await channel.close()
    serving.send_signal(signal.SIGTERM)
    await said(serving)
