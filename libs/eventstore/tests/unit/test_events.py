"""What an event looks like before it is written."""

from datetime import UTC, datetime

import pytest

from contracts import envelope as envelopes
from contracts import identifiers
from contracts.envelope import Envelope
from contracts.events import RunCompleted
from contracts.names import EventType, Header
from eventstore import events
from eventstore.errors import EventTooLargeError
from eventstore.events import GENESIS, Cause, Fact, Rendered

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def completed(run_id: str = "billing:manual:1") -> Fact:
    return Fact(
        payload=RunCompleted(run_id=run_id, definition_id="billing", definition_version=1),
        key=run_id,
    )


def rendered(fact: Fact, *, cause: Cause, previous: bytes = GENESIS) -> Rendered:
    return events.render(
        fact,
        source="backbone/ledger",
        namespace="dev",
        stream="run:billing:manual:1",
        version=3,
        previous_hash=previous,
        occurred_at=datetime(2026, 11, 1, tzinfo=UTC),
        cause=cause,
    )


def test_event_id_follows_from_its_place_in_the_stream() -> None:
    result = rendered(completed(), cause=Cause(correlation_id="c"))
    assert result.envelope.event_id == identifiers.emitted_event_id(
        "dev", "backbone/ledger", "run:billing:manual:1", 3
    )
    assert result.topic == "dev.backbone.run-events"
    assert dict(result.headers)[Header.STREAM_VERSION] == "3"


def test_body_is_read_back_by_the_strict_reader_to_the_same_envelope() -> None:
    result = rendered(completed(), cause=Cause(correlation_id="c", traceparent=TRACEPARENT))
    assert envelopes.parse(result.body) == result.envelope
    assert events.payload_of(result.envelope) == result.payload
    assert result.envelope.type == EventType.RUN_COMPLETED


def test_chain_of_causes_goes_on_with_one_hop_more() -> None:
    cause = Envelope.model_validate(
        {
            "event_id": "e-1",
            "type": "paid",
            "source": "shop",
            "occurred_at": "2026-11-01T00:00:00Z",
            "payload": {},
            "hops": 2,
            "traceparent": TRACEPARENT,
        }
    )
    envelope = rendered(completed(), cause=Cause.of(cause)).envelope
    assert envelope.correlation_id == "e-1"
    assert envelope.causation_id == "e-1"
    assert envelope.hops == 3
    assert envelope.traceparent == TRACEPARENT
    assert envelope.trace_id == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("traceparent", ["not one", f"{TRACEPARENT} and more", f"{TRACEPARENT}\n"])
def test_malformed_trace_context_is_left_out(traceparent: str) -> None:
    result = rendered(completed(), cause=Cause(correlation_id="c", traceparent=traceparent))
    assert result.envelope.traceparent is None
    assert Header.TRACEPARENT not in dict(result.headers)


def test_hash_depends_on_the_previous_one_and_on_every_byte() -> None:
    first = rendered(completed(), cause=Cause(correlation_id="c"))
    assert first.hash == events.link(GENESIS, first.body)
    other = rendered(completed(), cause=Cause(correlation_id="c"), previous=first.hash)
    assert other.body == first.body
    assert other.hash != first.hash


def test_event_that_nobody_could_read_is_refused() -> None:
    fact = Fact(
        payload=RunCompleted(run_id="x" * 300_000, definition_id="billing", definition_version=1),
        key="billing:manual:1",
    )
    with pytest.raises(EventTooLargeError, match="more than the 262144"):
        rendered(fact, cause=Cause(correlation_id="c"))
