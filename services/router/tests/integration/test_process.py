"""The router as a process: check, readiness, starts by hand, a clean end, kills at fault points."""

import asyncio
import json
import signal
import urllib.error
import urllib.request
from typing import Any, NamedTuple

import grpc
import pytest

from backbone.registry.v1 import registry_pb2
from backbone.router.v1 import router_pb2, router_pb2_grpc
from contracts.names import Header
from runtime import grpcclient


@pytest.fixture
def environment(process_environment):
    return process_environment


@pytest.fixture
def run(run_router):
    return run_router


@pytest.fixture
def ready(environment):
    def look():
        url = f"http://{environment['BACKBONE_HTTP_LISTEN']}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as exc:
            with exc:
                return json.loads(exc.read())
        except OSError:
            return {"ready": False, "problems": {}}

    async def ready():
        return await asyncio.to_thread(look)

    return ready


@pytest.fixture
def applied(registry, make, unique_name):
    definition_id = f"p.{unique_name}"
    registry.apply("dev", definition_id, make.definition(definition_id, {"type": "paid"}))
    return definition_id


class World(NamedTuple):
    """The process's neighbours, and a definition that listens to `paid`."""

    run: Any
    ready: Any
    kafka: Any
    runs: Any
    registry: Any
    definition_id: str
    event: Any
    eventually: Any
    topic: str
    name: str


@pytest.fixture
def world(run, ready, kafka, runs, registry, applied, make, eventually, unique_name):  # noqa: PLR0917 - fixtures
    topic = f"dev.{unique_name}"
    return World(
        run, ready, kafka, runs, registry, applied, make.event, eventually, topic, unique_name
    )


async def test_check_names_what_is_missing_and_passes_when_it_is_there(run, kafka, unique_name):
    process = await run("check")
    _, said = await process.communicate()
    assert process.returncode == 1
    assert f"missing topics, which have to be created: dev.{unique_name}" in said.decode()
    kafka.create(f"dev.{unique_name}")
    process = await run("check", BACKBONE_REDIS_URL="redis://127.0.0.1:1/0")
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert "ok   redis: warning: away" in said.decode()


async def test_a_process_is_ready_once_topics_and_registry_are_and_ends_cleanly(world):
    await world.registry.stop()
    process = await world.run("serve")

    async def problems():
        return (await world.ready())["problems"]

    async def unready():
        return {"definitions", "topics"} <= set(await problems())

    await world.eventually(unready)
    assert world.topic in (await problems())["topics"]
    await world.registry.start()
    world.kafka.create(world.topic)

    async def is_ready():
        return (await world.ready())["ready"]

    await world.eventually(is_ready)
    world.kafka.produce(world.event(world.name), topic=world.topic)
    world.kafka.flush()
    await world.eventually(lambda: world.runs.started(world.definition_id, world.name))
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_a_run_is_started_by_hand_once_for_each_request_id(world, environment):
    world.kafka.create(world.topic)
    await world.run("serve")

    async def is_ready():
        return (await world.ready())["ready"]

    await world.eventually(is_ready)
    channel = grpcclient.channel(environment["BACKBONE_GRPC_LISTEN"], actor="ada")
    stub = router_pb2_grpc.RouterServiceStub(channel)
    request = router_pb2.TriggerDefinitionRequest(
        namespace="dev",
        definition_id=world.definition_id,
        request_id="r1",
        input=b'{"x": 1}',
        reason="test",
    )
    first = await stub.TriggerDefinition(request)
    assert (first.run_id, first.definition_version, first.started) == (
        f"{world.definition_id}:manual:r1",
        1,
        True,
    )
    again = await stub.TriggerDefinition(request)
    assert (again.run_id, again.definition_version, again.started) == (first.run_id, 1, False)
    history = await world.runs.client.get_workflow_handle(first.run_id).fetch_history()
    (payload,) = history.events[0].workflow_execution_started_event_attributes.input.payloads
    trigger = json.loads(payload.data)["trigger"]
    assert (trigger["actor"], trigger["reason"]) == ("local/ada", "test")
    for changes, code in [
        ({"input": b'{"x": 2}'}, grpc.StatusCode.ALREADY_EXISTS),
        ({"definition_id": world.definition_id[:-1]}, grpc.StatusCode.NOT_FOUND),
        ({"request_id": ""}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"namespace": "mars"}, grpc.StatusCode.INVALID_ARGUMENT),
    ]:
        assert (await refused(stub, request, **changes)).code() is code
    for state, code in [
        (registry_pb2.RESOURCE_STATE_DISABLED, grpc.StatusCode.FAILED_PRECONDITION),
        (registry_pb2.RESOURCE_STATE_RETIRED, grpc.StatusCode.NOT_FOUND),
    ]:
        world.registry.turn(world.definition_id, state)
        error = await refused(stub, request, request_id="r2")
        assert error.code() is code
        assert world.definition_id in (error.details() or "")
    await channel.close(None)


async def refused(stub, request, **changes):
    """Return the error of a request with other fields."""
    wrong = router_pb2.TriggerDefinitionRequest()
    wrong.CopyFrom(request)
    for name, value in changes.items():
        setattr(wrong, name, value)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.TriggerDefinition(wrong)
    return raised.value


@pytest.mark.parametrize(
    "point",
    [
        "router.after_poll:1",
        "router.before_start:3",
        "router.after_start:3",
        "router.before_record_routing:1",
        "router.after_record_routing:1",
        "router.before_dead_letter:1",
        "router.after_dead_letter:1",
        "router.before_commit:1",
        "router.after_commit:1",
    ],
)
async def test_a_router_killed_at_any_point_loses_nothing(world, point):
    world.kafka.create(world.topic)
    events = [f"{world.name}-{number}" for number in range(8)]
    for event_id in events:
        world.kafka.produce(world.event(event_id), topic=world.topic)
    world.kafka.produce(b"{", topic=world.topic, key=world.name.encode())
    world.kafka.flush()
    killed = await world.run("serve", BACKBONE_FAULTPOINT=point)
    assert await asyncio.wait_for(killed.wait(), 60) == -signal.SIGKILL
    await world.run("serve")
    await world.eventually(lambda: world.runs.all_started(world.definition_id, events), within_s=90)
    letters = await world.eventually(lambda: parked(world), within_s=90)
    assert {(m.key(), m.value()) for m in letters} == {(world.name.encode(), b"{")}


async def parked(world):
    """Return the dead letters of the test's topic; one may be there twice."""
    world.kafka.dead_letter_topic = "dev.backbone.dead-letters"
    letters = await world.kafka.dead_letters()
    return [m for m in letters if dict(m.headers())[Header.ORIGIN_TOPIC] == world.topic.encode()]


async def test_routers_that_join_and_leave_under_load_lose_nothing_and_start_nothing_twice(
    world, ledger
):
    world.kafka.create(world.topic, partitions=4)
    events = [f"{world.name}-{number}" for number in range(200)]
    anywhere = {"BACKBONE_HTTP_LISTEN": "127.0.0.1:0", "BACKBONE_GRPC_LISTEN": "127.0.0.1:0"}

    async def take(first):
        """Produce the next fifty, and wait until the first of them is started."""
        for event_id in events[first : first + 50]:
            world.kafka.produce(world.event(event_id), topic=world.topic, key=event_id.encode())
        world.kafka.flush()
        await world.eventually(
            lambda: world.runs.started(world.definition_id, events[first]), within_s=90
        )

    leaving = await world.run("serve", **anywhere)
    await take(0)
    killed = await world.run("serve", **anywhere)
    await take(50)
    leaving.send_signal(signal.SIGTERM)
    await take(100)
    killed.kill()
    await world.run("serve", **anywhere)
    await take(150)
    await world.eventually(lambda: world.runs.all_started(world.definition_id, events), within_s=90)
    assert await asyncio.wait_for(leaving.wait(), 30) == 0

    async def recorded():
        found = await ledger.outcomes()
        return all(found[event_id, world.definition_id, "started"] == 1 for event_id in events)

    await world.eventually(recorded)
    query = f'WorkflowId STARTS_WITH "{world.definition_id}:"'

    async def counted():
        return (await world.runs.client.count_workflows(query)).count == len(events)

    await world.eventually(counted)


async def test_a_broker_that_is_killed_and_comes_back_costs_nothing_and_needs_nobody(
    world, ledger, infrastructure
):
    world.kafka.create(world.topic, partitions=4)
    events = [f"{world.name}-{number}" for number in range(300)]
    process = await world.run("serve")

    def send(some):
        for event_id in some:
            world.kafka.produce(world.event(event_id), topic=world.topic, key=event_id.encode())

    send(events[:100])
    world.kafka.flush()
    await world.eventually(lambda: world.runs.started(world.definition_id, events[0]), within_s=90)
    send(events[100:200])
    world.kafka.produce(b"{", topic=world.topic)
    await asyncio.to_thread(infrastructure.kill, "kafka")
    send(events[200:])
    await asyncio.to_thread(infrastructure.wait_ready, "kafka")
    world.kafka.flush()

    await world.eventually(lambda: world.runs.all_started(world.definition_id, events), within_s=90)
    letters = await world.eventually(lambda: parked(world), within_s=60)
    assert {m.value() for m in letters} == {b"{"}

    ends = {(world.topic, p): world.kafka.end(world.topic, p) for p in range(4)}

    async def committed():
        offsets = await world.kafka.committed("dev")
        return all(offsets.get(place, 0) == end for place, end in ends.items())

    await world.eventually(committed, within_s=60)
    found = await ledger.outcomes()
    assert {found[event_id, world.definition_id, "started"] for event_id in events} == {1}
    query = f'WorkflowId STARTS_WITH "{world.definition_id}:"'

    async def counted():
        return (await world.runs.client.count_workflows(query)).count == len(events)

    await world.eventually(counted)
    assert (await world.ready())["ready"]
    assert process.returncode is None
