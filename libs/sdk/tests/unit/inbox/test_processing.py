import json

import pytest

from contracts.names import Header
from runtime import telemetry
from sdk import PermanentError
from sdk.inbox import MemoryInboxStore, OutOfOrder
from sdk.inbox.arrivals import Record
from sdk.inbox.processing import Outcome, Processor

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


def record(event_id, *, version=None, offset=0, headers=(), **fields):
    event = {
        "event_id": event_id,
        "type": "backbone.TaskCreated",
        "source": "backbone/ledger",
        "occurred_at": "2026-01-01T00:00:00Z",
        "payload": {},
    }
    if version is not None:
        headers = [
            (Header.STREAM.value, b"run:1"),
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
    with pytest.raises(ConnectionError):
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
    processor = Processor(
        store, handler, namespace="dev", group="reports", out_of_order=OutOfOrder.HANDLE
    )
    for event_id, version in (("e2", 2), ("e1", 1), ("e2", 2), ("e1", 1)):
        await processor.process(record(event_id, version=version))
    assert store.effects == {"seen": ["e2", "e1"]}
    assert await refusals(store) == []


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
