import json
from datetime import timedelta

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from contracts.names import Header
from contracts.producers import ProducerKey
from runtime import kafkaspans, telemetry
from sdk import PermanentError
from sdk.errors import HandlerFailedError
from sdk.inbox import MemoryInboxStore, Order, arrival
from sdk.inbox.authentication import Authentication
from sdk.inbox.processing import Outcome, Processor
from sdk.inbox.records import Record
from signing.keys import Keyring, SigningKey

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Handler:
    """Notes each event it is run for, then fails as it is told to."""

    def __init__(self):
        self.failure = None

    async def __call__(self, event, effects):
        effects.setdefault("seen", []).append(event.event_id)
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def store():
    return MemoryInboxStore()


@pytest.fixture
def handler():
    return Handler()


@pytest.fixture
def processor(store, handler):
    return Processor(store, handler, namespace="dev", group="reports")


def record(event_id, *, version=None, stream="run:1", offset=0, headers=(), **fields):
    event = {
        "event_id": event_id,
        "type": "backbone.TaskCreated",
        "source": "backbone/ledger",
        "occurred_at": "2026-01-01T00:00:00Z",
        "payload": {},
    }
    if version is not None:
        headers = [
            (Header.STREAM.value, stream.encode()),
            (Header.STREAM_VERSION.value, str(version).encode()),
        ]
    return Record("dev.events", 0, offset, json.dumps(event | fields).encode(), headers)


async def refusals(store):
    return await store.refusals("dev", "reports", limit=10)


async def test_handler_runs_once_for_copies_of_an_event(processor, store):
    assert await processor.process(record("e1", version=1)) is Outcome.HANDLED
    assert await processor.process(record("e1", version=1, offset=1)) is Outcome.DUPLICATE
    assert await processor.process(record("e3", version=3, offset=2)) is Outcome.HANDLED
    assert store.effects == {"seen": ["e1", "e3"]}


async def test_failure_leaves_nothing_and_the_next_try_works(processor, store, handler):
    handler.failure = ConnectionError("the mail server is away")
    with pytest.raises(HandlerFailedError, match="ConnectionError: the mail server is away"):
        await processor.process(record("e1", version=1))
    assert store.effects == {}
    handler.failure = None
    assert await processor.process(record("e1", version=1)) is Outcome.HANDLED
    assert store.effects == {"seen": ["e1"]}


async def test_permanent_error_refuses_the_event_without_its_effects(processor, store, handler):
    handler.failure = PermanentError("no such invoice")
    assert await processor.process(record("e1", version=1)) is Outcome.REFUSED
    handler.failure = None
    assert await processor.process(record("e1", version=1)) is Outcome.DUPLICATE
    assert await processor.process(record("e2", version=2)) is Outcome.HANDLED
    assert store.effects == {"seen": ["e2"]}
    (refusal,) = await refusals(store)
    assert (refusal.event_id, refusal.reason) == ("e1", "permanent_error")
    assert refusal.detail == "PermanentError: no such invoice"
    assert refusal.body == record("e1").value


async def test_same_id_with_other_bytes_is_refused(processor, store):
    await processor.process(record("e1"))
    assert await processor.process(record("e1", payload={"n": 2}, offset=1)) is Outcome.REFUSED
    assert store.effects == {"seen": ["e1"]}
    (refusal,) = await refusals(store)
    assert (refusal.offset, refusal.reason) == (1, "id_conflict")


async def test_record_that_is_no_event_is_refused_and_blocks_nothing(processor, store):
    garbage = Record("dev.events", 3, 9, b"\xff", None)
    assert await processor.process(garbage) is Outcome.REFUSED
    (refusal,) = await refusals(store)
    assert (refusal.partition, refusal.offset, refusal.body) == (3, 9, b"\xff")
    assert (refusal.source, refusal.event_id) == (None, None)


async def test_event_that_was_overtaken_is_refused_and_not_lost(processor, store):
    await processor.process(record("e2", version=2))
    assert await processor.process(record("e1", version=1, offset=1)) is Outcome.REFUSED
    assert store.effects == {"seen": ["e2"]}
    (refusal,) = await refusals(store)
    assert (refusal.event_id, refusal.reason) == ("e1", "out_of_order")


async def test_event_that_was_overtaken_is_handled_once_where_order_does_not_matter(store, handler):
    processor = Processor(store, handler, namespace="dev", group="reports", order=Order.ANY)
    for event_id, version in (("e2", 2), ("e1", 1), ("e2", 2), ("e1", 1)):
        await processor.process(record(event_id, version=version))
    assert store.effects == {"seen": ["e2", "e1"]}
    assert await refusals(store) == []


@pytest.fixture
def gapless(store, handler):
    return Processor(
        store,
        handler,
        namespace="dev",
        group="reports",
        topics=["dev.events"],
        order=Order.GAPLESS,
    )


async def test_early_events_are_handled_in_order_once_what_is_missing_has_come(gapless, store):
    outcomes = [
        await gapless.process(record(f"e{version}", version=version)) for version in (3, 2, 3, 1)
    ]
    assert outcomes == [Outcome.WAITING, Outcome.WAITING, Outcome.DUPLICATE, Outcome.HANDLED]
    assert store.effects == {"seen": ["e1", "e2", "e3"]}


async def test_waiting_event_that_fails_is_tried_again_with_the_one_it_waited_for(
    gapless, store, handler
):
    await gapless.process(record("e2", version=2))

    async def fail_at_the_second(event, effects):
        if event.event_id == "e2":
            raise ConnectionError("away")
        await Handler()(event, effects)

    failing = Processor(
        store,
        fail_at_the_second,
        namespace="dev",
        group="reports",
        topics=["dev.events"],
        order=Order.GAPLESS,
    )
    with pytest.raises(HandlerFailedError):
        await failing.process(record("e1", version=1))
    assert store.effects == {"seen": ["e1"]}
    assert await gapless.process(record("e1", version=1)) is Outcome.DUPLICATE
    assert store.effects == {"seen": ["e1", "e2"]}


async def test_waiting_event_that_is_refused_lets_the_stream_go_on(gapless, store, handler):
    refused = record("e2", version=2)
    await gapless.process(refused)
    await gapless.process(record("e3", version=3))

    async def refuse_the_second(event, effects):
        if event.event_id == "e2":
            raise PermanentError("no such invoice")
        await Handler()(event, effects)

    refusing = Processor(
        store,
        refuse_the_second,
        namespace="dev",
        group="reports",
        topics=["dev.events"],
        order=Order.GAPLESS,
    )
    assert await refusing.process(record("e1", version=1)) is Outcome.HANDLED
    assert store.effects == {"seen": ["e1", "e3"]}
    (refusal,) = await refusals(store)
    assert (refusal.event_id, refusal.body) == ("e2", refused.value)


async def test_second_event_of_a_place_that_waits_is_refused(gapless, store):
    await gapless.process(record("e2", version=2))
    assert await gapless.process(record("another", version=2)) is Outcome.REFUSED
    (refusal,) = await refusals(store)
    assert (refusal.event_id, refusal.reason) == ("another", "out_of_order")


async def test_release_handles_what_a_skipped_gap_held_back(gapless, store):
    for version in (1, 4, 5):
        await gapless.process(record(f"e{version}", version=version))
    (gap,) = await store.gaps("dev", "reports", limit=10)
    await store.skip("dev", "reports", gap)
    await gapless.release(within=timedelta(seconds=20))
    assert store.effects == {"seen": ["e1", "e4", "e5"]}


async def test_release_of_a_stream_that_fails_leaves_the_others_alone(gapless, store, handler):
    streams = ("run:1", "run:2")
    for stream in streams:
        await gapless.process(record(f"{stream}-2", version=2, stream=stream))
    for gap in await store.gaps("dev", "reports", limit=10):
        await store.skip("dev", "reports", gap)

    async def fail_in_the_first(event, effects):
        if event.event_id == "run:1-2":
            raise ConnectionError("away")
        await Handler()(event, effects)

    failing = Processor(
        store,
        fail_in_the_first,
        namespace="dev",
        group="reports",
        topics=["dev.events"],
        order=Order.GAPLESS,
    )
    await failing.release(within=timedelta(seconds=20))
    assert store.effects == {"seen": ["run:2-2"]}
    await gapless.release(within=timedelta(seconds=20))
    assert store.effects == {"seen": ["run:2-2", "run:1-2"]}


async def test_republished_copies_are_duplicates_unless_they_are_asked_for(store, handler):
    republished = [(Header.REPUBLISHED.value, b"request-1")]
    for asks, expected in ((False, Outcome.DUPLICATE), (True, Outcome.HANDLED)):
        processor = Processor(store, handler, namespace="dev", group="reports", republished=asks)
        await processor.process(record("e1"))
        assert await processor.process(record("e1", headers=republished)) is expected
    assert await processor.process(record("e1", headers=republished)) is Outcome.DUPLICATE
    assert store.effects == {"seen": ["e1", "e1"]}


async def test_republished_copy_of_an_event_that_never_came_is_that_event(processor, store):
    republished = [(Header.REPUBLISHED.value, b"request-1")]
    assert await processor.process(record("e1", headers=republished)) is Outcome.HANDLED
    assert await processor.process(record("e1")) is Outcome.DUPLICATE


async def test_handler_can_ask_what_it_is_called_for(store):
    asked = []

    async def handler(event, effects):
        asked.append(arrival())

    processor = Processor(store, handler, namespace="dev", group="reports")
    await processor.process(record("e1", version=7))
    (found,) = asked
    assert (found.topic, found.stream, found.version) == ("dev.events", "run:1", 7)
    assert found.republish_id is None
    with pytest.raises(LookupError):
        arrival()


async def test_records_are_counted_by_outcome_and_reason(processor, handler, monkeypatch):
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    monkeypatch.setattr(telemetry, "meter", provider.get_meter)
    counted = Processor(MemoryInboxStore(), handler, namespace="dev", group="reports")
    for event_id in ("e1", "e1", "e2"):
        await counted.process(record(event_id))
    await counted.process(Record("dev.events", 0, 1, None, ()))

    data = reader.get_metrics_data().to_json()
    (metric,) = json.loads(data)["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    assert metric["name"] == "backbone.inbox.records"
    found = {
        (
            point["attributes"]["backbone.outcome"],
            point["attributes"].get("backbone.reason"),
        ): point["value"]
        for point in metric["data"]["data_points"]
    }
    assert found == {("handled", None): 2, ("duplicate", None): 1, ("refused", "empty"): 1}


@pytest.mark.parametrize("where", ["event", "header"])
async def test_handler_works_in_the_trace_of_the_event(store, where):
    seen = []

    async def handler(event, effects):
        seen.append(telemetry.traceparent())

    processor = Processor(store, handler, namespace="dev", group="reports")
    if where == "event":
        await processor.process(record("e1", traceparent=TRACEPARENT))
    else:
        header = (Header.TRACEPARENT.value, TRACEPARENT.encode())
        await processor.process(record("e1", headers=[header]))
    assert seen == [TRACEPARENT]


@pytest.fixture
def spans(monkeypatch):
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(kafkaspans, "_TRACER", provider.get_tracer("test"))
    return kept


async def test_processing_goes_on_from_the_last_hop_of_the_events_trace(store, spans):
    told = []

    async def handler(event, effects):
        told.append(structlog.contextvars.get_contextvars())

    processor = Processor(store, handler, namespace="dev", group="reports")
    relayed = TRACEPARENT.replace("b7ad6b7169203331", "00f067aa0ba902b7")
    elsewhere = relayed.replace("0af7", "0af8")
    for event_id, carried in (("e1", relayed), ("e2", elsewhere)):
        header = (Header.TRACEPARENT.value, carried.encode())
        await processor.process(record(event_id, traceparent=TRACEPARENT, headers=[header]))
    found = spans.get_finished_spans()
    assert [trace.format_span_id(span.parent.span_id) for span in found] == [
        "00f067aa0ba902b7",
        "b7ad6b7169203331",
    ]
    for number, span in enumerate(found):
        event_id = f"e{number + 1}"
        assert trace.format_trace_id(span.context.trace_id) == TRACEPARENT.split("-")[1]
        assert (span.name, span.kind) == ("backbone.process", trace.SpanKind.CONSUMER)
        assert span.attributes["backbone.event.id"] == event_id
        assert told[number] == {"namespace": "dev", "group": "reports", "event_id": event_id}


async def test_of_what_a_handler_raises_a_span_says_only_the_type(store, spans):
    async def handler(event, effects):
        raise ValueError("canary-4711")

    processor = Processor(store, handler, namespace="dev", group="reports")
    with pytest.raises(HandlerFailedError):
        await processor.process(record("e1"))
    (found,) = spans.get_finished_spans()
    assert found.attributes["error.type"] == "ValueError"
    assert not found.status.is_ok
    assert "canary-4711" not in found.to_json()


NOW_MS = 1_796_000_000_000
DAY = timedelta(days=1)


@pytest.fixture
def keys():
    return {name: SigningKey.generate(signer=name, key_id="1") for name in ("ledger", "registry")}


@pytest.fixture
def sign(keys):
    """Sign a record for its topic, or for another one."""

    def sign(record, *, by="ledger", topic="", at_ms=NOW_MS, mark=()):
        signature = keys[by].sign_record(
            topic=topic or record.topic,
            issued_at_ms=at_ms,
            key=record.key,
            headers=record.headers,
            value=record.value,
        )
        headers = [*record.headers, signature.header(), *mark]
        return Record(
            record.topic, record.partition, record.offset, record.value, headers, record.key
        )

    return sign


@pytest.fixture
def authenticating(store, handler, keys):
    ring = Keyring.of(
        {name: [ProducerKey(id="1", public_key=key.public_key)] for name, key in keys.items()}
    )

    def authenticating(**how):
        authentication = Authentication(ring, oldest=DAY, clock=lambda: NOW_MS, **how)
        return Processor(
            store, handler, namespace="dev", group="reports", authentication=authentication,
            order=Order.GAPLESS, topics=["dev.events"],
        )  # fmt: skip

    return authenticating


async def test_an_inbox_takes_what_a_service_signed_and_nothing_else(authenticating, store, sign):
    processor = authenticating()
    forged = sign(record("e2", version=2, offset=3))
    forged.headers[1] = (Header.STREAM_VERSION.value, b"1")
    cases = [
        (record("e1", version=1, offset=0), "unsigned"),
        (sign(record("e1", version=1, offset=1), by="registry"), "producer_not_allowed"),
        (sign(record("e1", version=1, offset=2), topic="dev.other"), "wrong_audience"),
        (forged, "bad_signature"),
        (sign(record("e1", version=1, offset=4), at_ms=NOW_MS - 86_400_001), "signature_expired"),
        (Record("dev.events", 0, 5, b"{", [("backbone-signature", b"x")]), "malformed_signature"),
    ]
    for one, _ in cases:
        assert await processor.process(one) is Outcome.REFUSED
    assert store.effects == {}
    reasons = {refusal.offset: refusal.reason for refusal in await refusals(store)}
    assert reasons == {one.offset: reason for one, reason in cases}
    assert await processor.process(sign(record("e1", version=1))) is Outcome.HANDLED


async def test_what_is_signed_and_waits_for_its_turn_is_handled_then(authenticating, store, sign):
    processor = authenticating()
    assert await processor.process(sign(record("e2", version=2))) is Outcome.WAITING
    assert await processor.process(sign(record("e1", version=1, offset=1))) is Outcome.HANDLED
    assert store.effects == {"seen": ["e1", "e2"]}


async def test_a_marked_republish_is_of_any_age(authenticating, store, sign):
    mark = [(Header.REPUBLISHED.value, b"r-1")]
    old = sign(record("e1", version=1), at_ms=NOW_MS - 9 * 86_400_000, mark=mark)
    assert await authenticating().process(old) is Outcome.HANDLED


async def test_unsigned_is_accepted_where_that_is_said_and_forged_is_not(
    authenticating, store, sign
):
    processor = authenticating(accept_unsigned=True)
    assert await processor.process(record("e1", version=1)) is Outcome.HANDLED
    forged = sign(record("e2", version=2, offset=1), topic="dev.other")
    assert await processor.process(forged) is Outcome.REFUSED
