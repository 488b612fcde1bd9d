"""`POST /events` on a real broker: 202 is said after its acknowledgement, and never without."""

import asyncio
import contextlib
import json
import time
from datetime import timedelta
from functools import partial

import pytest
from confluent_kafka import Consumer, TopicPartition

from contracts.switches import KillSwitch, Point
from router.adapters.http_events import HttpEvents
from router.adapters.kafka_event_publisher import KafkaEventPublisher
from router.domain.authentication import Authentication
from router.domain.ingress import Ingress
from router.service.kill_switches import Unswitched
from router.service.receiving import EventDoor, Inlet
from runtime.httpserver import Health, HttpServer
from runtime.kafka import KafkaProducer

JSON = {"content-type": "application/json"}
STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}


def cloudevent(event_id, **attributes):
    return {"specversion": "1.0", "id": event_id, "source": "shop", "type": "paid", **attributes}


def request_bytes(headers, body, *, query="", length=None):
    head = {"host": "x", "content-length": str(len(body) if length is None else length), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items() if value is not None)
    return f"POST /events{query} HTTP/1.1\r\n{lines}\r\n".encode() + body


class Client:
    """Speaks HTTP by hand: a body may come in pieces, late or never."""

    def __init__(self, port):
        self.port = port

    async def post(self, body, headers=None, **kwargs):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        async with self.sending(request_bytes(headers or JSON, body, **kwargs)) as (reader, _):
            return await answer(reader)

    @contextlib.asynccontextmanager
    async def sending(self, data):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            yield reader, writer
        finally:
            writer.close()


async def answer(reader):
    """Return status, headers and document."""
    async with asyncio.timeout(20):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, json.loads(body)


@pytest.fixture
async def door(kafka, counts, policy, unused_port):
    """Opens doors: `await door(brokers=…, in_flight=…, body_timeout=…, known=…)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def door(
            *,
            brokers=kafka.bootstrap,
            in_flight=8,
            body_timeout_s=5.0,
            ack_timeout_s=5.0,
            known=lambda: True,
            switches=None,
            more=(),
        ):
            publisher = KafkaEventPublisher(
                partial(KafkaProducer, brokers, client_id="t", delivery_timeout_s=ack_timeout_s)
            )
            stack.push_async_callback(publisher.close)

            def inlet(namespace):
                ingress = Ingress(namespace, Authentication(clock=lambda: 0, is_open=True))
                return Inlet(
                    f"{namespace}.events",
                    lambda record: ingress.admit(record, policy).document,
                    (switches or Unswitched()).refuse_halted_ingress,
                )

            namespaces = (kafka.namespace, *more)
            events = HttpEvents(
                EventDoor(
                    {namespace: inlet(namespace) for namespace in namespaces},
                    publisher=publisher,
                    observer=counts,
                ),
                known=known,
                observer=counts,
                in_flight=in_flight,
                body_timeout=timedelta(seconds=body_timeout_s),
            )
            port = unused_port()
            server = HttpServer(listen=f"127.0.0.1:{port}", health=Health(), routes=[events.route])
            await server.start()
            stack.push_async_callback(server.stop)
            return Client(port)

        yield door


@pytest.fixture
def records(kafka):
    """Reads what is in a topic: (key, value, headers) of each record."""

    def read(topic=kafka.topic):
        consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "r"})
        found = []
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            end = kafka.end(topic, partition)
            consumer.assign([TopicPartition(topic, partition, 0)])
            while end and (not found or found[-1][3] != (partition, end - 1)):
                message = consumer.poll(10)
                assert message is not None
                assert message.error() is None
                found.append(
                    (
                        message.key(),
                        message.value(),
                        dict(message.headers() or ()),
                        (partition, message.offset()),
                    )
                )
        consumer.close()
        return [one[:3] for one in found]

    async def records(topic=kafka.topic):
        return await asyncio.to_thread(read, topic)

    return records


async def test_an_envelope_is_published_byte_for_byte_under_its_subject(door, records, make):
    client = await door()
    with_subject = make.event("e-1", subject="order-7")
    status, _, document = await client.post(with_subject)
    assert (status, document) == (202, {"accepted": 1})
    assert (await client.post(make.event("e-2")))[0] == 202
    found = await records()
    assert {(key, value) for key, value, _ in found} == {
        (b"order-7", with_subject),
        (None, make.event("e-2")),
    }
    assert {h["backbone-event-id"] for _, _, h in found} == {b"e-1", b"e-2"}


async def test_cloudevents_come_in_structured_binary_and_as_a_batch(door, records):
    client = await door()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    structured = json.dumps(cloudevent("s", data={"amount": 1.10}), indent=1).encode()
    assert (await client.post(structured, {**STRUCTURED, "traceparent": trace}))[0] == 202
    binary = {
        **JSON,
        "ce-specversion": "1.0",
        "ce-id": "b",
        "ce-source": "shop",
        "ce-type": "paid",
        "ce-subject": "caf%C3%A9",
    }
    assert (await client.post(b'{"amount":2}', binary))[0] == 202
    batch = [cloudevent("1", subject="a"), cloudevent("2", subject="a"), cloudevent("3")]
    status, _, document = await client.post(batch, BATCH)
    assert (status, document) == (202, {"accepted": 3})
    found = {
        headers["backbone-event-id"]: (key, value, headers)
        for key, value, headers in await records()
    }
    assert found[b"s"][1] == structured
    assert found[b"s"][2]["traceparent"] == trace.encode()
    assert found[b"s"][2]["content-type"] == b"application/cloudevents+json"
    key, value, headers = found[b"b"]
    assert (key, value) == ("café".encode(), b'{"amount":2}')
    assert (headers["ce_id"], headers["ce_subject"]) == (b"b", "café".encode())
    assert json.loads(found[b"2"][1]) == batch[1]
    assert len(found) == 5


@pytest.fixture
async def brokers(proxy, kafka):
    return await proxy(kafka.bootstrap, is_kafka=True)


async def test_nothing_is_said_before_the_broker_has_it(door, records, brokers, make):
    client = await door(brokers=brokers.address, ack_timeout_s=20)
    assert (await client.post(make.event("e-0")))[0] == 202
    brokers.cut()
    posted = asyncio.create_task(client.post(make.event("e-1")))
    done, _ = await asyncio.wait([posted], timeout=1.5)
    assert not done
    assert {value for _, value, _ in await records()} == {make.event("e-0")}
    await brokers.mend()
    status, _, _ = await posted
    assert status == 202
    assert {value for _, value, _ in await records()} == {make.event("e-0"), make.event("e-1")}


async def test_without_an_acknowledgement_in_time_it_is_503_and_a_repeat_is_taken(
    *, door, records, brokers, counts, make, eventually
):
    client = await door(brokers=brokers.address, ack_timeout_s=1)
    assert (await client.post(make.event("e-0")))[0] == 202
    brokers.hush()
    began = time.monotonic()
    status, headers, document = await client.post(make.event("e-1"))
    assert status == 503
    assert time.monotonic() - began < 5
    assert headers["retry-after"] == "1"
    assert headers["content-type"] == "application/problem+json"
    assert "0 of 1" in document["detail"]
    assert counts.received_events == [("accepted", 1), ("unavailable", 1)]
    brokers.cut()
    await brokers.mend()

    async def taken():
        return (await client.post(make.event("e-1")))[0] == 202

    await eventually(taken)
    assert {value for _, value, _ in await records()} == {make.event("e-0"), make.event("e-1")}


async def test_brokers_that_are_away_are_503_within_the_time(door, make):
    client = await door(brokers="127.0.0.1:1", ack_timeout_s=0.5)
    status, headers, _ = await client.post(make.event("e-1"))
    assert (status, headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"{", JSON, 400, "malformed_json"),
        (b"", JSON, 400, "empty"),
        (b"{}", JSON, 400, "invalid_envelope"),
        (b"{}", STRUCTURED, 400, "invalid_cloudevent"),
        ({**cloudevent("1"), "specversion": "2.0"}, STRUCTURED, 400, "unsupported_specversion"),
        (cloudevent("1", type="backbone.TaskCompleted"), STRUCTURED, 400, "reserved_type"),
        (cloudevent("1", source="stranger"), STRUCTURED, 400, "producer_not_allowed"),
        (cloudevent("1", source="strict"), STRUCTURED, 400, "unsigned"),
        (cloudevent("1", data=[1]), STRUCTURED, 400, "schema_violation"),
        (cloudevent("1", namespace="mars"), STRUCTURED, 400, "wrong_namespace"),
        (b"[]", BATCH, 400, "empty"),
        (b"{}", BATCH, 400, "malformed_json"),
        (b"[" * 5000, BATCH, 400, "too_deep"),
        (b'"' + b"x" * 262_143 + b'"', JSON, 413, "oversize"),
        ([cloudevent("1", data="x" * 262_144)], BATCH, 413, "oversize"),
        (b"[" + b" " * 1_048_575 + b"]", BATCH, 413, "oversize"),
        ([1] * 1001, BATCH, 413, "oversize"),
    ],
)
async def test_what_is_refused_says_why_and_publishes_nothing(
    door, records, *, body, headers, status, reason
):
    client = await door()
    got, sent, document = await client.post(body, headers)
    assert (got, document["reason"], document["status"]) == (status, reason, status)
    assert sent["content-type"] == "application/problem+json"
    assert document["type"].startswith("urn:backbone:problem:")
    assert document["detail"]
    assert document["action"]
    assert await records() == []


def signature(make, kafka, value, *, key=b"k-1", headers=()):
    """Return the header that signs the record which becomes of a request."""
    signed = make.signed(value, topic=kafka.topic, key=key, headers=headers).headers[-1]
    return {signed[0]: signed[1].decode()}


async def test_what_is_signed_is_published_as_it_was_signed(*, door, records, kafka, make, policy):
    client = await door()
    value = make.event(source="strict", subject="k-1")
    signed = signature(make, kafka, value)
    status, _, document = await client.post(value, JSON | signed)
    assert (status, document) == (202, {"accepted": 1})
    [(key, published, headers)] = await records()
    assert (key, published) == (b"k-1", value)
    assert headers["backbone-signature"].decode() == signed["backbone-signature"]
    # Whoever reads the topic finds it signed, too.
    record = make.record(value, topic=kafka.topic, key=key, headers=tuple(headers.items()))
    assert Ingress(kafka.namespace, Authentication(clock=lambda: 0)).admit(record, policy)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"key": None}, "bad_signature"),
        ({"key": b"k-2"}, "bad_signature"),
        ({"headers": (("ce_id", b"1"),)}, "bad_signature"),
    ],
)
async def test_a_signature_of_another_record_is_refused(*, door, records, kafka, make, how, reason):
    client = await door()
    value = make.event(source="strict", subject="k-1")
    status, _, document = await client.post(value, JSON | signature(make, kafka, value, **how))
    assert (status, document["reason"]) == (400, reason)
    status, _, document = await client.post(b"{", JSON | signature(make, kafka, b"{"))
    assert (status, document["reason"]) == (400, "malformed_json")
    assert await records() == []


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-type": "text/plain"}, {"content-type": "application/cloudevents+avro"}],
)
async def test_other_media_types_are_415(door, headers):
    client = await door()
    status, _, document = await client.post(b"{}", {"content-type": None, **headers})
    assert status == 415
    assert "application/cloudevents+json" in document["action"]


async def test_a_batch_is_taken_whole_or_not_at_all(door, records, counts):
    client = await door()
    batch = [cloudevent("1"), cloudevent("2", data=[1]), cloudevent("3"), {"id": 1}]
    status, _, document = await client.post(batch, BATCH)
    assert status == 400
    assert [(one["index"], one["reason"]) for one in document["events"]] == [
        (1, "schema_violation"),
        (3, "invalid_cloudevent"),
    ]
    assert document["detail"].startswith("2 of 4 events are refused")
    assert await records() == []
    assert counts.received_events == [("refused", 4)]


async def test_the_namespace_is_the_requests_or_the_events(door, records, kafka, make):
    other = f"{kafka.namespace}-b"
    kafka.create(f"{other}.events")
    client = await door(more=(other,))
    status, _, document = await client.post(make.event("e-1"))
    assert (status, document["reason"]) == (400, "wrong_namespace")
    assert other in document["detail"]
    assert (await client.post(make.event("e-2"), query=f"?namespace={other}"))[0] == 202
    assert (await client.post(make.event("e-3", namespace=kafka.namespace)))[0] == 202
    status, _, document = await client.post(
        make.event("e-4", namespace=kafka.namespace), query=f"?namespace={other}"
    )
    assert (status, document["reason"]) == (400, "wrong_namespace")
    assert [value for _, value, _ in await records(f"{other}.events")] == [make.event("e-2")]
    assert [h["backbone-event-id"] for _, _, h in await records()] == [b"e-3"]


async def test_a_body_that_grows_too_large_is_cut_off(door, records, eventually):
    client = await door()
    head = request_bytes({**JSON, "content-length": None, "transfer-encoding": "chunked"}, b"")
    piece = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    async with client.sending(head) as (reader, writer):
        told = asyncio.create_task(answer(reader))
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not told.done() and sent < 1000:
                writer.write(piece)
                await writer.drain()
                sent += 1
                await asyncio.sleep(0)
        status, headers, document = await told
    assert (status, document["reason"], headers["connection"]) == (413, "oversize", "close")
    assert sent < 1000
    assert await records() == []


async def test_a_length_that_is_too_large_is_refused_before_the_body_comes(door):
    client = await door()
    async with client.sending(request_bytes(JSON, b"", length=10**9)) as (reader, _):
        status, _, document = await answer(reader)
    assert (status, document["reason"]) == (413, "oversize")


async def test_a_body_that_does_not_come_is_waited_for_no_longer_than_it_may_take(door):
    client = await door(body_timeout_s=0.3)
    async with client.sending(request_bytes(JSON, b"{", length=100)) as (reader, _):
        status, headers, document = await answer(reader)
        assert await reader.read() == b""
    assert (status, headers["connection"]) == (408, "close")
    assert "0.3 s" in document["detail"]


async def test_more_requests_than_are_taken_at_a_time_are_429_and_room_comes_back(
    door, counts, make, eventually
):
    client = await door(in_flight=1)
    async with client.sending(request_bytes(JSON, b"{", length=100)):

        async def limited():
            status, headers, _ = await client.post(make.event("e-1"))
            return status == 429 and headers["retry-after"] == "1"

        await eventually(limited)
    assert ("limited", 1) in counts.received_events

    # Who went away leaves the room that it took.
    async def taken():
        return (await client.post(make.event("e-1")))[0] == 202

    await eventually(taken)


async def test_nothing_is_taken_while_a_kill_switch_stops_what_comes_in(door, records, make):
    switches = Unswitched()
    client = await door(switches=switches)
    switches.hear([KillSwitch("s-1", Point.INGRESS, {}, "ana", "an incident")], [], asked=0)
    status, headers, problem = await client.post(make.event("e-1"))
    assert (status, headers["retry-after"]) == (503, "30")
    assert problem["detail"] == "ingress is stopped by kill switch s-1 of ana: an incident"
    assert await records() == []
    switches.hear([], [], asked=0)
    assert (await client.post(make.event("e-1")))[0] == 202
    assert len(await records()) == 1


async def test_nothing_is_taken_before_it_is_known_what_may_come_in(door, records, make):
    known = False
    client = await door(known=lambda: known)
    status, headers, _ = await client.post(make.event("e-1"))
    assert (status, headers["retry-after"]) == (503, "1")
    assert await records() == []
    known = True
    assert (await client.post(make.event("e-1")))[0] == 202
