"""Dead letters of a router process on real servers: redriven once, discarded, never lost."""

import asyncio
import json
import signal
from typing import Any, NamedTuple

import grpc
import pytest

from backbone.router.v1 import router_pb2 as pb
from backbone.router.v1 import router_pb2_grpc
from devstack.infrastructure import ensure_topics
from runtime import datakeys, grpcclient
from runtime.datakeys import KeyDocument

NEEDS_COLOUR = {"type": "paid", "when": "event.payload.colour == 'red'"}
"""Erred on by an event without a colour."""


class World(NamedTuple):
    """A router process of a namespace `dev` with a topic of its own, and its neighbours."""

    kafka: Any
    runs: Any
    ledger: Any
    registry: Any
    stub: Any
    serve: Any
    definition_id: str
    apply: Any
    event: Any
    topic: str
    name: str
    eventually: Any

    def filter(self, **fields: Any) -> pb.DeadLetterFilter:
        """The topic of dead letters is everybody's; these are ours."""
        return pb.DeadLetterFilter(origin_topic=self.topic, **fields)

    async def letters(self, **fields: Any) -> list[pb.DeadLetter]:
        found, token = [], ""
        while True:
            page = await self.stub.ListDeadLetters(
                pb.ListDeadLettersRequest(
                    namespace="dev", filter=self.filter(**fields), page_token=token
                )
            )
            found += page.dead_letters
            token = page.next_page_token
            if not token:
                return found

    async def parked(self, count: int) -> list[pb.DeadLetter]:
        async def there() -> Any:
            found = await self.letters()
            return found if len(found) == count else None

        return await self.eventually(there, within_s=60)

    async def redrive(self, request_id: str = "", **changes: Any) -> list[tuple[str, str]]:
        answer = await self.stub.RedriveDeadLetters(self.order(request_id, **changes))
        return [(one.outcome, one.dead_letter.state) for one in answer.redriven]

    def order(self, request_id: str = "", **changes: Any) -> pb.RedriveDeadLettersRequest:
        return pb.RedriveDeadLettersRequest(
            namespace="dev",
            request_id=request_id or f"r-{self.name}",
            reason="fixed",
            limit=1000,
            **({"filter": self.filter(state="open")} | changes),
        )


@pytest.fixture
async def world(  # noqa: PLR0917 - fixtures
    process_environment, run_router, kafka, runs, ledger, registry, make, eventually, unique_name
):
    environment = process_environment
    topic = json.loads(environment["BACKBONE_TOPICS"])[0]
    ensure_topics(kafka.bootstrap, {topic: 1})
    definition_id = f"l.{unique_name}"

    def apply(trigger):
        registry.apply("dev", definition_id, make.definition(definition_id, trigger))

    apply(NEEDS_COLOUR)
    channel = grpcclient.channel(environment["BACKBONE_GRPC_LISTEN"], actor="ada", timeout_s=30)
    stub = router_pb2_grpc.RouterServiceStub(channel)

    async def serve(**changes):
        process = await run_router("serve", **changes)
        request = pb.ListDeadLettersRequest(namespace="dev", page_size=1)

        async def answers():
            try:
                return await stub.ListDeadLetters(request)
            except grpc.aio.AioRpcError:
                return None

        await eventually(answers)
        return process

    yield World(
        kafka, runs, ledger, registry, stub, serve, definition_id, apply, make.event, topic,
        unique_name, eventually,
    )  # fmt: skip
    await channel.close(None)


async def test_after_a_fix_a_redrive_starts_exactly_one_run(world):
    await world.serve()
    world.kafka.produce(
        world.event(world.name), topic=world.topic, key=b"", headers=[("a", b"\xff"), ("b", None)]
    )
    world.kafka.flush()
    (letter,) = await world.parked(1)
    assert (letter.reason, letter.state, letter.type) == ("expression_error", "open", "paid")
    assert (letter.source, letter.event_id, letter.origin.topic) == (
        *("shop", world.name),
        world.topic,
    )
    got = await world.stub.GetDeadLetter(
        pb.GetDeadLetterRequest(
            namespace="dev", place=letter.place, reveal=True, reason="a test", request_id="r-1"
        )
    )
    assert (got.key, got.key_null, got.value) == (b"", False, world.event(world.name))
    assert [(h.name, h.value, h.null) for h in got.headers] == [
        ("a", b"\xff", False),
        ("b", b"", True),
    ]
    # Nothing is mended yet: it stays open, and there is no second dead letter.
    assert await world.redrive() == [("refused", "open")]
    assert len(await world.letters()) == 1

    world.apply({"type": "paid"})

    async def would_start():
        answer = await world.stub.RedriveDeadLetters(world.order(dry_run=True))
        return [one.outcome for one in answer.redriven] == ["started"]

    await world.eventually(would_start)
    assert not await world.runs.started(world.definition_id, world.name)
    assert await world.ledger.resolutions() == []
    before = world.kafka.end(world.topic, 0)
    place = pb.DeadLetterFilter(places=[letter.place])
    both = await asyncio.gather(world.redrive(filter=place), world.redrive("other", filter=place))
    assert sorted(one for each in both for one in each) == [
        ("resolved", "redriven"),
        ("started", "redriven"),
    ]
    first = await world.runs.started(world.definition_id, world.name)
    assert first
    assert world.kafka.end(world.topic, 0) == before
    # The decision stands under the place that the record came from.
    assert await world.ledger.causes(world.topic) >= {"", f"redrive:r-{world.name}"}
    assert await world.ledger.resolutions() == [("redriven", "local/ada", "fixed")]

    assert await world.redrive("third", filter=place) == [("resolved", "redriven")]
    assert await world.runs.started(world.definition_id, world.name) == first
    (letter,) = await world.letters()
    assert (letter.state, letter.resolved_by, letter.resolution) == (
        "redriven",
        "local/ada",
        "fixed",
    )
    assert await world.letters(state="open") == []


@pytest.mark.parametrize(
    "point", ["router.before_resolve_dead_letters", "router.after_resolve_dead_letters"]
)
async def test_a_crash_beside_the_resolution_starts_nothing_twice(world, point):
    process = await world.serve(BACKBONE_FAULTPOINT=f"{point}:1")
    events = [f"{world.name}-{number}" for number in range(3)]
    for event_id in events:
        world.kafka.produce(world.event(event_id), topic=world.topic)
    world.kafka.flush()
    await world.parked(3)
    world.apply({"type": "paid"})

    async def dies():
        try:
            await world.redrive()
        except grpc.aio.AioRpcError:
            return process.returncode is not None
        return False

    await world.eventually(dies)
    assert process.returncode == -signal.SIGKILL
    started = [await world.runs.started(world.definition_id, each) for each in events]
    assert all(started)
    await world.serve()
    # The same request again: those that were recorded are told as they were then.
    assert await world.redrive() == [("started", "redriven")] * 3
    assert [await world.runs.started(world.definition_id, each) for each in events] == started
    assert await world.letters(state="open") == []


async def test_discarding_and_filtering(world):
    await world.serve()
    world.kafka.produce(b"{", topic=world.topic)
    world.kafka.produce(b'"' + b"x" * 1_048_400 + b'"', topic=world.topic)
    world.kafka.produce(world.event(world.name), topic=world.topic)
    world.kafka.flush()
    await world.parked(3)
    assert [one.reason for one in await world.letters(reason="malformed_json")] == [
        "malformed_json"
    ]
    assert [one.event_id for one in await world.letters(event_id=world.name)] == [world.name]
    assert await world.letters(type="other") == []
    # What was cut is not routed, and says why.
    answer = await world.stub.RedriveDeadLetters(
        world.order(filter=world.filter(reason="oversize"))
    )
    assert [(one.outcome, one.dead_letter.state) for one in answer.redriven] == [
        ("refused", "open")
    ]
    assert "1048402 bytes" in answer.redriven[0].detail

    request = pb.DiscardDeadLettersRequest(
        namespace="dev",
        filter=world.filter(reason="malformed_json"),
        request_id=f"d-{world.name}",
        reason="a typing error",
    )
    for _ in range(2):
        answer = await world.stub.DiscardDeadLetters(request)
        assert [(one.state, one.resolution) for one in answer.discarded] == [
            ("discarded", "a typing error")
        ]
    assert {one.reason for one in await world.letters(state="open")} == {
        *("oversize", "expression_error"),
    }
    assert len(await world.letters(state="discarded")) == 1


async def test_the_ledger_being_away_is_told_and_harms_nothing(world):
    await world.serve()
    world.kafka.produce(world.event(world.name), topic=world.topic)
    world.kafka.flush()
    await world.parked(1)
    await world.ledger.stop()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await world.redrive()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "the ledger" in (raised.value.details() or "")
    assert not await world.runs.started(world.definition_id, world.name)


async def test_with_keys_kafka_keeps_nothing_of_it_and_who_sees_it_is_recorded(world, tmp_path):
    ring = tmp_path / "data-keys.json"
    datakeys.write_document(ring, KeyDocument(active="1", keys={"1": datakeys.generate()}))
    process = await world.serve(BACKBONE_DATA_KEYS=str(ring))
    canary = b"canary-4711"
    value = json.loads(world.event(world.name))
    value["payload"] = {"shape": canary.decode()}
    sent = json.dumps(value).encode()
    world.kafka.produce(sent, topic=world.topic, key=canary, headers=[("a", canary)])
    world.kafka.flush()
    (letter,) = await world.parked(1)
    assert (letter.type, letter.source, letter.size) == ("paid", "shop", len(sent))
    place = pb.Place(partition=letter.place.partition, offset=letter.place.offset)
    kept = await asyncio.to_thread(
        world.kafka.at, letter.place.topic, place.partition, place.offset
    )
    assert canary not in repr((kept.key(), kept.value(), kept.headers())).encode()
    assert ("backbone-data-key", b"1") in kept.headers()
    request = pb.GetDeadLetterRequest(namespace="dev", place=place)
    told = await world.stub.GetDeadLetter(request)
    assert (told.value, list(told.headers), told.revealed) == (b"", [], False)
    request.reveal = True
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await world.stub.GetDeadLetter(request)
    assert "reason: say why" in (raised.value.details() or "")
    assert await world.ledger.openings() == []
    request.reason, request.request_id = "the producer asks", "r-9"
    told = await world.stub.GetDeadLetter(request)
    assert (told.value, told.key, told.headers[0].value) == (sent, canary, canary)
    assert await world.ledger.openings() == [(place.offset, "local/ada", "the producer asks")]
    # What it opens, it redrives too.
    world.apply({"type": "paid"})

    async def started():
        return ("started", "redriven") in await world.redrive()

    await world.eventually(started)
    assert process.returncode is None


async def test_malformed_requests_are_refused(world):
    await world.serve()
    for wrong in (
        world.order(filter=pb.DeadLetterFilter(state="closed")),
        world.order(filter=pb.DeadLetterFilter(places=[pb.Place(topic="dev.events")])),
        world.order("a b"),
        world.order(page_token="x"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await world.stub.RedriveDeadLetters(wrong)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await world.stub.GetDeadLetter(
            pb.GetDeadLetterRequest(namespace="dev", place=pb.Place(offset=10**12))
        )
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
