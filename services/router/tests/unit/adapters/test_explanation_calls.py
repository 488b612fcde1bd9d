from datetime import UTC, datetime

import pytest

from backbone.router.v1 import router_pb2 as pb
from contracts.rejections import Reason
from router.adapters.explanation_calls import ExplanationCalls
from router.domain.authentication import Authentication
from router.errors import (
    DefinitionAbsentError,
    DefinitionUnusableError,
    RecordGoneError,
    TransientError,
)
from router.ports import Search
from router.service.explaining import EventExplainer
from runtime import rpcerrors

PLACE = pb.Place(topic="dev.events", partition=0, offset=0)


class Kafka:
    """One record, or none for the given reason."""

    def __init__(self, record):
        self.record = record
        self.error = None

    async def at(self, topic, partition, offset):
        if self.error is not None:
            raise self.error
        return self.record

    async def search(self, topics, *, since, until, look):
        if self.error is not None:
            raise self.error
        found = look(self.record)
        return Search([found] if found else [], 1, complete=False)


class History:
    """Nothing was there before."""

    async def at(self, namespace, definition_id, moment):
        raise DefinitionAbsentError("did not exist", retired=False)

    async def changed_since(self, namespace, moment):
        return None


@pytest.fixture
def kafka(make):
    return Kafka(make.record(make.event("e-1")))


@pytest.fixture
def calls(definitions, kafka):
    explainer = EventExplainer(
        definitions=definitions,
        history=History(),
        records=kafka,
        topics={"dev": ("dev.events",)},
        clock=lambda: datetime(2026, 11, 29, tzinfo=UTC),
        authentication=Authentication(clock=lambda: 0, is_open=True),
    )
    return ExplanationCalls(explainer)


def at_place(**more):
    return pb.EvaluateEventRequest(namespace="dev", place=PLACE, **more)


async def test_an_evaluation_is_told_whole(calls, definitions):
    definitions.put("d.one", {"type": "paid", "when": "event.payload.amount > 99"}, version=4)
    told = await calls.evaluate(at_place())
    assert (told.source, told.event_id, told.type) == ("shop", "e-1", "paid")
    assert (told.rejection, told.listening) == ("", 1)
    (evaluation,) = told.evaluations
    assert (evaluation.definition_id, evaluation.definition_version) == ("d.one", 4)
    assert evaluation.outcome == "filtered"
    assert evaluation.triggers[0] == pb.TriggerEvaluation(
        name="t0",
        outcome="filtered",
        clause="event.payload.amount > 99",
        seen="event.payload.amount = 10",
    )


async def test_bytes_that_are_no_event_are_an_answer(calls):
    told = await calls.evaluate(pb.EvaluateEventRequest(namespace="dev", event=b"{"))
    assert told.rejection == Reason.MALFORMED_JSON
    assert told.detail
    assert not told.evaluations


async def test_what_cannot_be_counted_is_minus_one(calls):
    request = at_place()
    request.as_of.FromJsonString("2026-11-01T00:00:00Z")
    assert (await calls.evaluate(request)).listening == -1


async def test_a_found_event_has_its_place_whatever_its_time(calls, kafka, make):
    request = pb.FindEventRequest(namespace="dev", event_id="e-1")
    told = await calls.find(request)
    assert (told.records_looked_at, told.incomplete) == (1, True)
    assert (told.found[0].place, told.found[0].source) == (PLACE, "shop")
    for odd in (2**63 - 1, -(2**63)):
        kafka.record = type(kafka.record)("dev.events", 0, 0, odd, None, make.event("e-1"), ())
        assert not (await calls.find(request)).found[0].HasField("timestamp")


@pytest.mark.parametrize(
    "request_",
    [
        pb.EvaluateEventRequest(namespace="dev"),
        pb.EvaluateEventRequest(namespace="dev", place=PLACE, event=b"{}"),
        pb.EvaluateEventRequest(namespace="prod", event=b"{}"),
        pb.EvaluateEventRequest(namespace="dev", place=pb.Place(topic="prod.events")),
    ],
)
async def test_malformed_evaluations_are_refused(calls, request_):
    with pytest.raises(rpcerrors.InvalidArgumentError):
        await calls.evaluate(request_)


@pytest.mark.parametrize("event_id", ["", "x" * 257])
async def test_malformed_searches_are_refused(calls, event_id):
    with pytest.raises(rpcerrors.InvalidArgumentError):
        await calls.find(pb.FindEventRequest(namespace="dev", event_id=event_id))


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RecordGoneError("gone"), rpcerrors.NotFoundError, "RECORD_GONE"),
        (TransientError("away"), rpcerrors.UnavailableError, "UNAVAILABLE"),
        (
            DefinitionUnusableError("odd"),
            rpcerrors.FailedPreconditionError,
            "DEFINITION_UNREADABLE",
        ),
    ],
)
async def test_errors_have_their_statuses_and_reasons(calls, kafka, error, status, reason):
    kafka.error = error
    with pytest.raises(status) as raised:
        await calls.evaluate(at_place())
    assert raised.value.reason == reason


async def test_definitions_that_are_not_there_are_told_apart(calls, definitions):
    definitions.put("d.new", {"type": "paid"})
    for name, reason in (("d.new", "DEFINITION_ABSENT"), ("d.none", "DEFINITION_UNKNOWN")):
        request = at_place(definition_id=name)
        request.as_of.FromJsonString("2026-11-01T00:00:00Z")
        with pytest.raises(rpcerrors.NotFoundError) as raised:
            await calls.evaluate(request)
        assert raised.value.reason == reason
