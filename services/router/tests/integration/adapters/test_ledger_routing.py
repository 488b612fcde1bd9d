"""Decisions told to a ledger over real gRPC."""

from datetime import timedelta

import grpc
import pytest

from backbone.ledger.v1 import routing_pb2, routing_pb2_grpc
from contracts import canonical
from contracts.rejections import Reason
from contracts.routing import RoutingOutcome
from router.adapters import ledger_routing
from router.adapters.ledger_routing import LedgerDecisionLog
from router.domain.decisions import Decision, RoutedEvent, UnroutedRange
from router.errors import RouterError, TransientError
from runtime import grpcclient


class Ledger(routing_pb2_grpc.RoutingServiceServicer):
    """A ledger that shows what it was told, and refuses the ids that a test wants it to."""

    def __init__(self):
        self.events = {}
        self.unrouted = []
        self.calls = 0
        self._digests = {}
        self._server = None
        self.address = ""

    async def start(self):
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        routing_pb2_grpc.add_RoutingServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self):
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def RecordRouting(self, request, context):
        self.calls += 1
        if any(event.event_id == "never" for event in request.events):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "such an id is not kept")
        verdicts = []
        for index, event in enumerate(request.events):
            identity = event.source, event.event_id
            if self._digests.setdefault(identity, event.digest) != event.digest:
                verdicts.append(routing_pb2.RoutingVerdict(event=index, id_conflict=True))
                continue
            place = event.place
            self.events[place.topic, place.partition, place.offset, event.cause] = event
        self.unrouted += request.unrouted
        return routing_pb2.RecordRoutingResponse(verdicts=verdicts)


@pytest.fixture
async def ledger():
    subject = Ledger()
    await subject.start()
    yield subject
    await subject.stop()


@pytest.fixture
async def log(ledger):
    channel = grpcclient.channel(ledger.address, actor="router")
    yield LedgerDecisionLog(channel, timeout=timedelta(seconds=3))
    await channel.close(None)


@pytest.fixture
def routed(make, definitions):
    active = definitions.put("a", {"type": "paid"}, version=3)

    def routed(event_id, *outcomes, offset=0, value=b"v", **told):
        return RoutedEvent(
            record=make.record(value, offset=offset),
            source="shop",
            event_id=event_id,
            type="paid",
            digest=canonical.digest(value),
            revision=9,
            decisions=[Decision(active, outcome, **told) for outcome in outcomes],
        )

    return routed


DECIDED = [
    outcome
    for outcome in RoutingOutcome
    if outcome not in {RoutingOutcome.SIGNALLED, RoutingOutcome.DISCARDED}
]
"""What the router itself decides."""
RANGE = UnroutedRange("dev.events", 1, 5, 9, 3, 9)


async def test_all_that_was_decided_arrives_in_one_call(log, ledger, routed):
    event = routed(
        "e-1", RoutingOutcome.FILTERED, triggers=("t0",), clause="x > 1", seen="x = 0", detail="d",
        run_id="r",
    )  # fmt: skip
    assert await log.record("dev", [event, routed("e-2", *DECIDED, offset=1)], [RANGE]) == {}
    assert ledger.calls == 1
    told = ledger.events["dev.events", 0, 0, ""]
    assert (told.source, told.event_id, told.type) == ("shop", "e-1", "paid")
    assert (told.digest.hex(), told.registry_revision) == (canonical.digest(b"v"), 9)
    (candidate,) = told.candidates
    assert candidate == routing_pb2.RoutedCandidate(
        definition_id="a", definition_version=3, outcome=routing_pb2.ROUTING_OUTCOME_FILTERED,
        trigger_names=["t0"], run_id="r", clause="x > 1", seen="x = 0", detail="d",
    )  # fmt: skip
    outcomes = [c.outcome for c in ledger.events["dev.events", 0, 1, ""].candidates]
    assert [
        routing_pb2.RoutingOutcome.Name(o).removeprefix("ROUTING_OUTCOME_") for o in outcomes
    ] == [outcome.name for outcome in DECIDED]
    assert ledger.unrouted == [
        routing_pb2.UnroutedRange(
            topic="dev.events", partition=1, first_offset=5, last_offset=9, records=3,
            registry_revision=9,
        )
    ]  # fmt: skip


async def test_an_id_that_stands_for_other_bytes_is_rejected(log, routed):
    await log.record("dev", [routed("e-1", RoutingOutcome.STARTED)], [])
    events = [
        routed("e-2", RoutingOutcome.STARTED),
        routed("e-1", RoutingOutcome.STARTED, value=b"w"),
    ]
    rejections = await log.record("dev", events, [])
    assert {n: rejection.reason for n, rejection in rejections.items()} == {1: Reason.ID_CONFLICT}
    assert "'e-1'" in rejections[1].detail


async def test_many_events_are_told_in_parts_and_rejections_keep_their_places(
    log, ledger, routed, monkeypatch
):
    monkeypatch.setattr(ledger_routing, "MAX_WEIGHT", 2 * 400)
    await log.record("dev", [routed("e-3", RoutingOutcome.STARTED)], [])
    events = [
        routed(f"e-{n}", RoutingOutcome.STARTED, offset=n, value=b"w" if n == 3 else b"v")
        for n in range(5)
    ]
    assert set(await log.record("dev", events, [RANGE])) == {3}
    assert ledger.calls == 4
    assert len(ledger.unrouted) == 1


async def test_what_the_ledger_never_takes_is_rejected_and_the_rest_is_kept(log, ledger, routed):
    events = [
        routed("e-1", RoutingOutcome.STARTED),
        routed("never", RoutingOutcome.STARTED, offset=1),
        routed("e-3", RoutingOutcome.STARTED, offset=2),
    ]
    rejections = await log.record("dev", events, [RANGE])
    assert {n: rejection.reason for n, rejection in rejections.items()} == {1: Reason.UNROUTABLE}
    assert {event.event_id for event in ledger.events.values()} == {"e-1", "e-3"}
    assert len(ledger.unrouted) == 1


async def test_a_ledger_that_is_away_is_a_matter_of_time(log, ledger, routed):
    await log.ping("dev")
    await ledger.stop()
    with pytest.raises(TransientError, match="the ledger: UNAVAILABLE"):
        await log.record("dev", [routed("e-1", RoutingOutcome.STARTED)], [])
    with pytest.raises(RouterError, match="UNAVAILABLE"):
        await log.ping("dev")
    await ledger.start()
    assert await log.record("dev", [routed("e-1", RoutingOutcome.STARTED)], []) == {}
