"""Records to workflow starts on a real Kafka, Redis and Temporal: nothing lost, nothing twice."""

import asyncio
import json
import time
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer
from redis.asyncio import Redis

from backbone.registry.v1 import registry_pb2
from contracts import identifiers
from contracts.names import Header
from contracts.switches import KillSwitch, Point
from router.adapters.temporal_starter import TemporalWorkflowStarter
from router.errors import TransientError
from router.service.kill_switches import Unswitched
from router.service.routing import Results

SESSION_S = 11.0
"""Longer than the consumer's session, which is FastStream's default of ten seconds."""


class World(NamedTuple):
    """The parts of a test: the router's neighbours, and a definition that listens to `paid`."""

    route: Any
    kafka: Any
    runs: Any
    definition_id: str
    event: Any
    eventually: Any


@pytest.fixture
def world(route, kafka, runs, registry, make, eventually, unique_name):  # noqa: PLR0917 - fixtures
    definition_id = f"d.{unique_name}"
    registry.apply(kafka.namespace, definition_id, make.definition(definition_id, {"type": "paid"}))
    return World(route, kafka, runs, definition_id, make.event, eventually)


def all_committed(kafka):
    async def all_committed():
        committed = await kafka.committed()
        ends = {
            (kafka.topic, p): await asyncio.to_thread(kafka.end, kafka.topic, p) for p in (0, 1)
        }
        return all(committed.get(place, 0) >= end for place, end in ends.items())

    return all_committed


async def test_hostile_records_become_dead_letters_and_nothing_beside_them_is_lost(world):
    good = [f"good-{number}" for number in range(24)]
    hostile = [
        ("empty", lambda: world.kafka.produce(None, key=b"k", partition=0)),
        ("malformed_json", lambda: world.kafka.produce(b"{", partition=0)),
        ("not_utf8", lambda: world.kafka.produce(b"\xff\xfe", partition=0)),
        ("duplicate_key", lambda: world.kafka.produce(b'{"type":"a","type":"b"}', partition=0)),
        ("oversize", lambda: world.kafka.produce(b'"' + b"x" * 300_000 + b'"', partition=0)),
        ("oversize", lambda: world.kafka.produce(b'"' + b"x" * 1_048_400 + b'"', partition=0)),
        ("too_deep", lambda: world.kafka.produce(b"[" * 5000, partition=0)),
        (
            "invalid_envelope",
            lambda: world.kafka.produce(
                b"[]",
                partition=0,
                headers=[("a", b"1"), ("a", b"2"), ("n", None), ("backbone-reason", b"forged")],
            ),
        ),
        (
            "unreadable_headers",
            lambda: world.kafka.produce_with_header_name(b"\xff\xfe", b"{bad header"),
        ),
        (
            "unreadable_headers",
            lambda: world.kafka.produce_with_header_name(b"\xff", world.event("odd-header")),
        ),
        (
            "duplicate_header",
            lambda: world.kafka.produce(
                world.event("twice"), partition=0, headers=[("content-type", b"x")] * 2
            ),
        ),
        (
            "invalid_header",
            lambda: world.kafka.produce(
                world.event("null"), partition=0, headers=[("content-type", None)]
            ),
        ),
        (
            "invalid_header",
            lambda: world.kafka.produce(
                b"{}", partition=0, headers=[("ce_specversion", b"1.0"), ("ce_id", b"\xff")]
            ),
        ),
        ("invalid_number", lambda: world.kafka.produce(b"[NaN]", partition=0)),
        ("invalid_number", lambda: world.kafka.produce(b"9" * 400, partition=0)),
        ("oversize", lambda: world.kafka.produce(b'"' + b"x" * 262_143 + b'"', partition=0)),
        (
            "wrong_namespace",
            lambda: world.kafka.produce(
                world.event("elsewhere", namespace="elsewhere"), partition=0
            ),
        ),
    ]
    for number, event_id in enumerate(good):
        world.kafka.produce(world.event(event_id), partition=number % 2)
        if number < len(hostile):
            world.kafka.flush()
            hostile[number][1]()
    world.kafka.flush()
    await world.route(batch_records=7)
    await world.eventually(lambda: world.runs.all_started(world.definition_id, good))
    await world.eventually(all_committed(world.kafka))
    letters = await world.kafka.dead_letters()
    headers = [dict(letter.headers()) for letter in letters]
    assert sorted(h[Header.REASON].decode() for h in headers) == sorted(r for r, _ in hostile)
    assert {h[Header.ORIGIN_TOPIC] for h in headers} == {world.kafka.topic.encode()}
    assert len({h[Header.ORIGIN_OFFSET] for h in headers}) == len(hostile)
    by_value = {(letter.value() or b"")[:20]: letter for letter in letters}
    assert by_value[b""].key() == b"k"
    pairs = by_value[b"[]"].headers()
    assert pairs[:4] == [
        ("a", b"1"),
        ("a", b"2"),
        ("n", None),
        ("sender-backbone-reason", b"forged"),
    ]
    assert dict(by_value[b"{bad header"].headers())[Header.HEADERS_UNREADABLE] == b"true"
    cut = [h for h in headers if Header.VALUE_CUT_FROM in h]
    assert [h[Header.VALUE_CUT_FROM] for h in cut] == [b"1048402"]


async def test_records_stay_in_kafka_while_a_kill_switch_stops_what_comes_in(world):
    switches = Unswitched()
    switches.hear([KillSwitch("s-1", Point.INGRESS, {}, "ana", "an incident")], [], asked=0)
    read_again = asyncio.Event()

    def watch(route):
        async def watched(records, *, attempts, may_begin):
            if any(attempts(record) > 1 for record in records):
                read_again.set()
            return await route(records, attempts=attempts, may_begin=may_begin)

        return watched

    events = [f"e-{number}" for number in range(10)]
    for number, event_id in enumerate(events):
        world.kafka.produce(world.event(event_id), partition=number % 2)
    world.kafka.flush()
    await world.route(switches=switches, wrap=watch)
    async with asyncio.timeout(30):
        await read_again.wait()
    assert not await all_committed(world.kafka)()
    assert not await world.runs.all_started(world.definition_id, events[:1])
    switches.hear([], [], asked=0)
    await world.eventually(lambda: world.runs.all_started(world.definition_id, events))
    await world.eventually(all_committed(world.kafka))


async def test_a_temporal_that_is_away_holds_the_records_and_recovers_without_loss(
    world, proxy, temporal_address
):
    between = await proxy(temporal_address)
    between.cut()
    held = []

    def watch(route):
        async def watched(records, *, attempts, may_begin):
            held.extend(record.offset for record in records if attempts(record) > 1)
            return await route(records, attempts=attempts, may_begin=may_begin)

        return watched

    events = [f"e-{number}" for number in range(20)]
    for event_id in events:
        world.kafka.produce(world.event(event_id), partition=0)
    for number in range(5):
        world.kafka.produce(world.event(f"other-{number}", type="unheard"), partition=1)
    world.kafka.flush()
    await world.route(temporal_at=between.address, wrap=watch)
    # The partition that needs no Temporal flows while the other one is held.
    await world.eventually(lambda: _committed(world.kafka, 1, 5))
    await world.eventually(lambda: len(held) >= 2)
    assert not await _committed(world.kafka, 0, 1)
    await between.mend()
    await world.eventually(lambda: world.runs.all_started(world.definition_id, events))
    await world.eventually(all_committed(world.kafka))
    assert await world.kafka.dead_letters() == []


async def test_a_ledger_that_is_away_holds_the_records_and_every_decision_is_kept(
    world, proxy, ledger
):
    between = await proxy(ledger.address)
    between.cut()
    held = []

    def watch(route):
        async def watched(records, *, attempts, may_begin):
            held.extend(record.offset for record in records if attempts(record) > 1)
            return await route(records, attempts=attempts, may_begin=may_begin)

        return watched

    events = [f"e-{number}" for number in range(20)]
    for event_id in events:
        world.kafka.produce(world.event(event_id), partition=0)
    world.kafka.produce(b"{", partition=1)
    for number in range(5):
        world.kafka.produce(world.event(f"other-{number}", type="unheard"), partition=1)
    world.kafka.flush()
    await world.route(ledger_at=between.address, wrap=watch)
    await world.eventually(lambda: world.runs.all_started(world.definition_id, events))
    await world.eventually(lambda: len(held) >= 40)
    # What was parked before anything had to be recorded is done, and was done once.
    assert await _committed(world.kafka, 1, 1)
    assert not await _committed(world.kafka, 0, 1)
    assert not await _committed(world.kafka, 1, 2)
    await between.mend()
    await world.eventually(all_committed(world.kafka))
    assert await ledger.outcomes() == {
        (event_id, world.definition_id, "started"): 1 for event_id in events
    }
    assert await ledger.unrouted() == 5
    assert len(await world.kafka.dead_letters()) == 1


async def test_the_lag_is_what_has_no_durable_outcome_yet(world, proxy, temporal_address):
    between = await proxy(temporal_address)
    between.cut()
    for number in range(7):
        world.kafka.produce(world.event(f"e-{number}"), partition=0)
    for number in range(5):
        world.kafka.produce(world.event(f"other-{number}", type="unheard"), partition=1)
    world.kafka.flush()
    routed = await world.route(temporal_at=between.address)
    await world.eventually(lambda: routed.consumer.lag() == {world.kafka.topic: 7})
    await between.mend()
    await world.eventually(lambda: routed.consumer.lag() == {world.kafka.topic: 0})
    assert await _committed(world.kafka, 0, 7)
    await routed.consumer.stop()
    assert routed.consumer.lag() == {}


async def test_cloudevents_start_runs_in_either_mode(world, ledger):
    await world.route()
    event = {"specversion": "1.0", "id": "structured", "source": "shop", "type": "paid", "data": {}}
    world.kafka.produce(
        json.dumps(event).encode(),
        headers=[("content-type", b"application/cloudevents+json; charset=UTF-8")],
    )
    attributes = event | {"id": "binary"}
    del attributes["data"]
    world.kafka.produce(
        b"{}", headers=[(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    )
    world.kafka.flush()
    await world.eventually(
        lambda: world.runs.all_started(world.definition_id, ["structured", "binary"])
    )
    await world.eventually(all_committed(world.kafka))
    assert await world.kafka.dead_letters() == []


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_records_are_read_however_they_are_compressed(world, codec):
    producer = Producer(
        {"bootstrap.servers": world.kafka.bootstrap, "compression.type": codec, "linger.ms": 100}
    )
    events = [f"{codec}-{number}" for number in range(30)]
    for number, event_id in enumerate(events):
        producer.produce(world.kafka.topic, world.event(event_id), partition=number % 2)
    assert producer.flush(30) == 0
    await world.route()
    await world.eventually(lambda: world.runs.all_started(world.definition_id, events))
    await world.eventually(all_committed(world.kafka))


async def test_where_a_sender_asks_for_an_answer_nothing_is_sent(world):
    answers = f"{world.kafka.namespace}.answers"
    world.kafka.create(answers)
    await world.route()
    headers = [("reply_to", answers.encode()), ("reply_to", None), ("correlation_id", b"\xff")]
    world.kafka.produce(world.event("asks"), headers=headers, partition=0)
    world.kafka.produce(b"{", headers=headers, partition=0)
    world.kafka.flush()
    await world.eventually(lambda: world.runs.started(world.definition_id, "asks"))
    await world.eventually(all_committed(world.kafka))
    assert await asyncio.to_thread(world.kafka.end, answers, 0) == 0


async def test_what_no_producer_may_emit_and_no_schema_allows_becomes_a_dead_letter(
    world, registry
):
    def document(kind, name, spec):
        metadata = {"id": name, "namespace": world.kafka.namespace, "owner": "tests"}
        head = {"apiVersion": "backbone/v1", "kind": kind, "metadata": metadata}
        return json.dumps(head | {"spec": spec}).encode()

    spec = {"sources": ["shop"], "types": ["*"]}
    registry.apply(
        world.kafka.namespace, "shop", document("Producer", "shop", spec),
        registry_pb2.RESOURCE_KIND_PRODUCER,
    )  # fmt: skip
    spec = {"schemas": [{"version": 1, "schema": {"required": ["amount"]}}]}
    registry.apply(
        world.kafka.namespace, "paid", document("EventType", "paid", spec),
        registry_pb2.RESOURCE_KIND_EVENT_TYPE,
    )  # fmt: skip
    await world.route()
    world.kafka.produce(world.event("forged", source="stranger"), partition=0)
    world.kafka.produce(world.event("broken", payload={}), partition=0)
    world.kafka.produce(world.event("newer", schema_version=2), partition=0)
    world.kafka.produce(world.event("own", type="backbone.TaskCompleted"), partition=0)
    world.kafka.produce(world.event("sound"), partition=0)
    world.kafka.flush()
    await world.eventually(lambda: world.runs.started(world.definition_id, "sound"))
    await world.eventually(all_committed(world.kafka))
    reasons = [dict(one.headers())[Header.REASON] for one in await world.kafka.dead_letters()]
    assert sorted(reasons) == [
        b"producer_not_allowed", b"reserved_type", b"schema_violation", b"unknown_schema_version",
    ]  # fmt: skip


async def _committed(kafka, partition, at_least):
    return (await kafka.committed()).get((kafka.topic, partition), 0) >= at_least


async def test_duplicates_start_one_workflow_even_after_it_ended_and_redis_forgot(
    world, redis_url, ledger
):
    await world.route()
    for number in range(40):
        world.kafka.produce(world.event("twin"), partition=number % 2)
    world.kafka.flush()
    await world.eventually(all_committed(world.kafka))
    first = await world.runs.started(world.definition_id, "twin")
    assert first is not None
    key = identifiers.event_trigger_key("shop", "twin")
    await world.runs.client.get_workflow_handle(
        identifiers.run_id(world.definition_id, key)
    ).terminate("test")
    redis = Redis.from_url(redis_url)
    await redis.flushdb()
    await redis.aclose()
    world.kafka.produce(world.event("twin"), partition=0)
    world.kafka.flush()
    await world.eventually(all_committed(world.kafka))
    assert await world.runs.started(world.definition_id, "twin") == first
    assert await world.kafka.dead_letters() == []
    assert await ledger.outcomes() == {
        ("twin", world.definition_id, "started"): 1,
        ("twin", world.definition_id, "duplicate"): 40,
    }


@pytest.mark.parametrize("remembered", [True, False])
async def test_other_bytes_under_a_settled_event_id_become_a_dead_letter(
    world, redis_url, remembered
):
    await world.route()
    world.kafka.produce(world.event("one", payload={"amount": 1}), partition=0)
    world.kafka.flush()
    await world.eventually(all_committed(world.kafka))
    if not remembered:
        redis = Redis.from_url(redis_url)
        await redis.flushdb()
        await redis.aclose()
    world.kafka.produce(world.event("one", payload={"amount": 2}), partition=0)
    world.kafka.flush()
    await world.eventually(all_committed(world.kafka))
    (letter,) = await world.kafka.dead_letters()
    assert dict(letter.headers())[Header.REASON] == b"id_conflict"
    assert await world.runs.started(world.definition_id, "one") is not None


@pytest.mark.parametrize("fault", ["cut", "hush"])
async def test_a_redis_that_is_away_or_silent_stops_nothing(world, proxy, redis_url, fault):
    between = await proxy(redis_url.removeprefix("redis://").partition("/")[0])
    getattr(between, fault)()
    routed = await world.route(redis_at=f"redis://{between.address}/0")
    events = [f"e-{number}" for number in range(40)]
    for event_id in events:
        world.kafka.produce(world.event(event_id), partition=0)
    world.kafka.flush()
    await world.eventually(lambda: world.runs.all_started(world.definition_id, events))
    await world.eventually(all_committed(world.kafka))
    assert routed.misses
    assert await world.kafka.dead_letters() == []


async def test_a_topic_that_is_missing_at_the_start_is_read_as_soon_as_it_exists(world):
    late = f"{world.kafka.namespace}.late"
    await world.route(topics=(world.kafka.topic, late))
    world.kafka.produce(world.event("early"), partition=0)
    world.kafka.flush()
    await world.eventually(lambda: world.runs.started(world.definition_id, "early"))
    world.kafka.create(late)
    world.kafka.produce(world.event("late"), topic=late)
    world.kafka.flush()
    await world.eventually(lambda: world.runs.started(world.definition_id, "late"))


async def test_a_missing_dead_letter_topic_holds_the_record_until_it_exists(world):
    world.kafka._admin.delete_topics([world.kafka.dead_letter_topic])[
        world.kafka.dead_letter_topic
    ].result()
    await world.route()
    world.kafka.produce(b"{", partition=0)
    world.kafka.produce(world.event("behind"), partition=0)
    world.kafka.produce(world.event("beside"), partition=1)
    world.kafka.flush()
    await world.eventually(lambda: world.runs.started(world.definition_id, "beside"))
    assert not await _committed(world.kafka, 0, 1)
    world.kafka.create(world.kafka.dead_letter_topic)
    await world.eventually(lambda: _committed(world.kafka, 0, 2))
    assert await world.runs.started(world.definition_id, "behind") is not None
    assert [letter.value() for letter in await world.kafka.dead_letters()] == [b"{"]


async def test_a_stop_in_the_middle_of_a_batch_commits_what_is_done_and_leaves_the_rest(
    world, monkeypatch
):
    begun, go_on = asyncio.Event(), asyncio.Event()
    tried = []
    start = TemporalWorkflowStarter.start

    async def slow(self, run, *, task_queue):
        tried.append(run.trigger.events[0].event_id)
        if len(tried) == 4:
            begun.set()
            await go_on.wait()
        return await start(self, run, task_queue=task_queue)

    monkeypatch.setattr(TemporalWorkflowStarter, "start", slow)
    events = [f"e-{number}" for number in range(10)]
    for event_id in events:  # One key, so that they are settled one after another.
        world.kafka.produce(world.event(event_id), key=b"k", partition=0)
    world.kafka.flush()
    first = await world.route()
    await begun.wait()
    stopping = asyncio.create_task(first.consumer.stop())
    await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert tried == events[:4]
    assert (await world.kafka.committed())[world.kafka.topic, 0] == 4
    await world.route()
    await world.eventually(lambda: world.runs.all_started(world.definition_id, events))


async def test_a_batch_that_takes_longer_than_a_session_does_not_cost_the_membership(world):
    routed = []

    def slow(route):
        async def slow(records, *, attempts, may_begin):
            if not routed:
                began = time.monotonic()
                await world.eventually(lambda: time.monotonic() - began > SESSION_S)
            routed.extend(records)
            return await route(records, attempts=attempts, may_begin=may_begin)

        return slow

    events = [f"e-{number}" for number in range(10)]
    for event_id in events:
        world.kafka.produce(world.event(event_id), partition=0)
    world.kafka.flush()
    subject = await world.route(wrap=slow)
    await world.eventually(lambda: subject.consumer._owned)
    owned = dict(subject.consumer._owned)
    await world.eventually(all_committed(world.kafka))
    assert subject.consumer._owned == owned
    assert len(routed) == len(events)


async def test_a_fault_outside_of_the_records_sends_the_batch_back(world):
    routed = await world.route()
    whole, faults = routed.consumer._settle, []

    async def faulty(*args):
        if not faults:
            faults.append(1)
            raise RuntimeError("a fault of ours")
        return await whole(*args)

    routed.consumer._settle = faulty
    events = [f"e-{number}" for number in range(6)]
    for event_id in events:
        world.kafka.produce(world.event(event_id), partition=0)
    world.kafka.flush()
    await world.eventually(lambda: world.runs.all_started(world.definition_id, events))
    await world.eventually(all_committed(world.kafka))
    assert faults


async def test_two_routers_share_the_partitions_and_one_takes_over_from_the_other(world):
    first = await world.route()
    second = await world.route()
    await world.eventually(lambda: len(first.consumer._owned) == len(second.consumer._owned) == 1)
    events = [f"e-{number}" for number in range(60)]
    for number, event_id in enumerate(events):
        world.kafka.produce(world.event(event_id), partition=number % 2)
        if number == 30:
            world.kafka.flush()
            await first.consumer.stop()
    world.kafka.flush()
    await world.eventually(lambda: world.runs.all_started(world.definition_id, events))
    await world.eventually(all_committed(world.kafka))


async def test_a_partition_that_rested_when_it_was_taken_away_is_read_when_it_comes_back(
    world, monkeypatch
):
    away = True

    def failing(route):
        async def failing(records, *, attempts, may_begin):
            if away:
                failed = {n: TransientError("away") for n, _ in enumerate(records)}
                return Results(failed=failed)
            return await route(records, attempts=attempts, may_begin=may_begin)

        return failing

    first = await world.route(wrap=failing)
    seek, went = first.consumer._seek, asyncio.Event()

    async def seek_when_taken_away(place, offset):
        # A poll may come before it, and take the partition away.
        await world.eventually(lambda: went.is_set() or place not in first.consumer._owned)
        went.set()
        return await seek(place, offset)

    world.kafka.produce(world.event("e-0"), partition=0)
    world.kafka.produce(world.event("e-1"), partition=1)
    world.kafka.flush()
    await world.eventually(lambda: len(first.consumer._rests) == 2)
    monkeypatch.setattr(first.consumer, "_seek", seek_when_taken_away)
    second = await world.route(wrap=failing)
    await world.eventually(went.is_set)
    monkeypatch.setattr(first.consumer, "_seek", seek)
    await second.consumer.stop()
    away = False
    await world.eventually(lambda: world.runs.all_started(world.definition_id, ["e-0", "e-1"]))


async def test_starting_is_waited_for_no_longer_than_it_may_take(world, proxy, temporal_address):
    between = await proxy(temporal_address)
    between.hush()
    took = []

    def timed(route):
        async def timed(records, *, attempts, may_begin):
            began = time.monotonic()
            try:
                return await route(records, attempts=attempts, may_begin=may_begin)
            finally:
                took.append(time.monotonic() - began)

        return timed

    world.kafka.produce(world.event("slow"), partition=0)
    world.kafka.flush()
    await world.route(temporal_at=between.address, wrap=timed)
    await world.eventually(lambda: took)
    assert took[0] < 5.0
