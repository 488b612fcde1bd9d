"""What is malformed is refused before anything is looked up, with the path of the field."""

import hashlib
from typing import Any, cast

import pytest

from backbone.ledger.v1 import routing_pb2 as pb
from ledger.adapters import pages
from ledger.adapters.decision_calls import DecisionCalls
from ledger.adapters.postgres_routing import PostgresRoutingStore
from ledger.adapters.requests import RequestReader
from ledger.errors import InvalidRequestError
from ledger.service.instance_events import InstanceEvents
from ledger.service.pending import PendingLedger
from ledger.service.routing import RoutingLedger
from runtime.postgres import Postgres

DEFINITION = "billing.large-payment"
STARTED, FILTERED = pb.ROUTING_OUTCOME_STARTED, pb.ROUTING_OUTCOME_FILTERED

# There is no database: nothing that is malformed comes so far.
CALLS = DecisionCalls(
    RoutingLedger(
        database=cast("Postgres", None),
        routing=PostgresRoutingStore(),
        pending=cast("PendingLedger", None),
        instance_events=cast("InstanceEvents", None),
    ),
    reader=RequestReader(["dev"]),
)


def candidate(outcome: int = STARTED, **more: Any) -> pb.RoutedCandidate:
    fields = {
        "definition_id": DEFINITION,
        "definition_version": 3,
        "run_id": f"{DEFINITION}:event:x",
        **more,
    }
    return pb.RoutedCandidate(
        outcome=outcome,  # type: ignore[arg-type]
        **fields,
    )


def event(**more: Any) -> pb.RoutedEvent:
    fields = {
        "place": pb.RecordPlace(topic="dev.payments", partition=0, offset=41),
        "source": "shop",
        "event_id": "e-1",
        "type": "billing.payment.received",
        "digest": hashlib.sha256(b"{}").digest(),
        "candidates": [candidate()],
        **more,
    }
    return pb.RoutedEvent(**fields)


def unrouted(first: int, last: int, **more: Any) -> pb.UnroutedRange:
    fields = {"topic": "dev.payments", "records": last - first + 1, **more}
    return pb.UnroutedRange(first_offset=first, last_offset=last, **fields)


async def refusal(*events: pb.RoutedEvent, unrouted: Any = ()) -> str:
    request = pb.RecordRoutingRequest(namespace="dev", events=events, unrouted=unrouted)
    with pytest.raises(InvalidRequestError) as caught:
        await CALLS.record(request)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"digest": b"short"}, "events[1].digest has 5 bytes, not the 32 of a SHA-256"),
        ({"event_id": ""}, "events[1].event_id is missing"),
        ({"event_id": "x" * 257}, "events[1].event_id is longer than 256 characters"),
        ({"source": "a\x00b"}, "events[1].source is longer than 256 characters or holds a NUL"),
        ({"type": ""}, "events[1].type is missing"),
        ({"registry_revision": -1}, "events[1].registry_revision is -1, but has to be at least 0"),
        ({"cause": "because"}, "events[1].cause is 'because', but has to be empty, redrive:"),
        ({"cause": "replay:r-1\n"}, "events[1].cause is 'replay:r-1\\n'"),
        ({"candidates": []}, "events[1].candidates is empty"),
        (
            {"place": pb.RecordPlace(topic="t", partition=-1)},
            "events[1].place.partition is -1, but has to be at least 0",
        ),
        ({"place": pb.RecordPlace(topic="t", offset=-5)}, "events[1].place.offset is -5"),
        ({"place": pb.RecordPlace()}, "events[1].place.topic is missing"),
        (
            {"candidates": [candidate(), candidate(FILTERED)]},
            "events[1].candidates[1].definition_id is 'billing.large-payment' once more",
        ),
        (
            {"candidates": [candidate(0)]},
            "events[1].candidates[0].outcome is missing, or none that a router decides",
        ),
        (
            {"candidates": [candidate(pb.ROUTING_OUTCOME_DISCARDED)]},
            "events[1].candidates[0].outcome is missing, or none that a router decides",
        ),
        ({"candidates": [candidate(77)]}, "events[1].candidates[0].outcome is 77, which"),
        (
            {"candidates": [candidate(STARTED, run_id="")]},
            "events[1].candidates[0].run_id is missing",
        ),
        (
            {"candidates": [candidate(STARTED, definition_version=0)]},
            "events[1].candidates[0].definition_version is 0, but has to be at least 1",
        ),
        (
            {"candidates": [pb.RoutedCandidate(definition_id="No", outcome=FILTERED)]},
            "events[1].candidates[0].definition_id: not a definition id: 'No'",
        ),
        (
            {"candidates": [candidate(STARTED, trigger_names=["x"] * 101)]},
            "events[1].candidates[0].trigger_names: 101, more than the 100 that are taken",
        ),
        (
            {"candidates": [candidate(STARTED, trigger_names=[""])]},
            "events[1].candidates[0].trigger_names is missing",
        ),
    ],
)
async def test_a_malformed_event_is_refused_with_its_path(
    change: dict[str, Any], words: str
) -> None:
    assert (await refusal(event(), event(**change))).startswith(words)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (unrouted(5, 4, records=1), "unrouted[0].last_offset is 4, but has to be from 5 to"),
        (unrouted(5, 6, records=0), "unrouted[0].records is 0, but has to be from 1 to 2"),
        (unrouted(5, 6, records=3), "unrouted[0].records is 3, but has to be from 1 to 2"),
        (unrouted(5, 2**63 - 1, records=1), "unrouted[0].last_offset is 9223372036854775807"),
        (unrouted(-1, 1, records=1), "unrouted[0].first_offset is -1, but has to be from 0 to"),
        (unrouted(1, 1, topic=""), "unrouted[0].topic is missing"),
        (unrouted(1, 1, topic="t" * 250), "unrouted[0].topic is longer than 249 characters"),
    ],
)
async def test_a_malformed_range_is_refused_with_its_path(
    wrong: pb.UnroutedRange, words: str
) -> None:
    assert (await refusal(unrouted=[wrong])).startswith(words)


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"source": "shop"}, "source goes with event_id"),
        ({"event_id": "x" * 300}, "event_id is longer than 256 characters"),
        ({"definition_id": "No"}, "definition_id: not a definition id: 'No'"),
        ({"outcome": 77}, "outcome is 77, which is not known here"),
        ({"page_size": 1001}, "page_size is 1001, but has to be from 0 to 1000"),
        ({"page_token": "!"}, "page_token is not one of this service"),
        ({"namespace": "nowhere"}, "the namespace 'nowhere' is not served here"),
    ],
)
async def test_a_malformed_list_is_refused(filters: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await CALLS.list(pb.ListRoutingDecisionsRequest(**{"namespace": "dev", **filters}))
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    "key",
    ["2026-11-29T00:00:00 5", "2026-11-29T00:00:00+00:00 -1", f"2026-11-29T00:00:00Z {2**63}"],
)
async def test_a_token_of_no_place_is_refused(key: str) -> None:
    token = pages.token(key, "decisions")
    with pytest.raises(InvalidRequestError, match="not one of this service"):
        pages.moment_and_id(token, "decisions")


async def test_a_place_that_is_none_is_refused() -> None:
    request = pb.GetUnroutedRangeRequest(namespace="dev")
    with pytest.raises(InvalidRequestError, match=r"^place\.topic is missing$"):
        await CALLS.unrouted(request)
