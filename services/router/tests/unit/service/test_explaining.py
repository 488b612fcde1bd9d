from datetime import UTC, datetime, timedelta

import pytest

from contracts.eventtypes import EventType
from contracts.rejections import Reason
from router.domain import routing
from router.domain.authentication import Authentication
from router.errors import (
    DefinitionAbsentError,
    DefinitionUnknownError,
    RecordGoneError,
    RequestInvalidError,
)
from router.ports import Search
from router.service import explaining
from router.service.explaining import EventExplainer

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=1)
PLACE = ("dev.events", 0, 0)


class FakeHistory:
    """Definitions as they were; `changed` is None for too much."""

    def __init__(self):
        self.were = {}
        self.changed = set()
        self.asked = []

    async def at(self, namespace, definition_id, moment):
        self.asked.append((definition_id, moment))
        if definition_id not in self.were:
            raise DefinitionAbsentError(f"{definition_id} did not exist", retired=False)
        if self.were[definition_id] is None:
            raise DefinitionAbsentError(f"{definition_id} was retired", retired=True)
        return self.were[definition_id]

    async def changed_since(self, namespace, moment):
        return self.changed


class FakeRecords:
    """Topics in memory."""

    def __init__(self):
        self.records = []
        self.searched = []

    async def at(self, topic, partition, offset):
        for record in self.records:
            if (record.topic, record.partition, record.offset) == (topic, partition, offset):
                return record
        raise RecordGoneError("gone")

    async def search(self, topics, *, since, until, look):
        self.searched.append((tuple(topics), since, until))
        found = [look(record) for record in self.records if record.topic in topics]
        return Search([one for one in found if one], len(self.records), complete=True)


class World:
    def __init__(self, definitions, make):
        self.definitions = definitions
        self.history = FakeHistory()
        self.records = FakeRecords()
        self.make = make
        self.explainer = EventExplainer(
            definitions=definitions,
            history=self.history,
            records=self.records,
            topics={"dev": ("dev.events", "dev.more")},
            clock=lambda: NOW,
            authentication=Authentication(clock=lambda: 0, is_open=True),
        )

    def was(self, definition_id, *triggers, version=1, disabled=False):
        content = self.make.definition(definition_id, *triggers)
        self.history.were[definition_id] = routing.compile_definition(
            content, version=version, revision=version, disabled=disabled
        )

    async def outcomes(self, **how):
        found = await self.explainer.evaluate_at("dev", PLACE, **how)
        return {
            one.definition.definition_id: (str(one.outcome), one.definition.version)
            for one in found.evaluations
        }


@pytest.fixture
def world(definitions, make):
    world = World(definitions, make)
    world.records.records.append(make.record(make.event("e-1")))
    return world


async def test_a_named_definition_is_evaluated_as_it_is(world):
    world.definitions.put("d.one", {"type": "paid", "when": "event.payload.amount > 99"}, version=4)
    world.definitions.put("d.two", {"type": "paid"})
    assert await world.outcomes(definition_id="d.one") == {"d.one": ("filtered", 4)}
    assert world.history.asked == []


async def test_a_named_definition_is_evaluated_as_it_was(world):
    world.definitions.put("d.one", {"type": "paid"}, version=2)
    world.was("d.one", {"type": "paid", "match": {"payload": {"amount": [5]}}}, version=1)
    assert await world.outcomes(definition_id="d.one", as_of=BEFORE) == {"d.one": ("filtered", 1)}
    assert world.history.asked == [("d.one", BEFORE)]


async def test_all_that_listen_are_evaluated_what_means_most_first(world):
    world.definitions.put("d.filtered", {"type": "paid", "match": {"payload": {"amount": [5]}}})
    world.definitions.put("d.off", {"type": "paid"}, disabled=True)
    world.definitions.put("d.on", {"type": "paid"})
    world.definitions.put("d.deaf", {"type": "refunded"})
    found = await world.explainer.evaluate_at("dev", PLACE)
    ids = [one.definition.definition_id for one in found.evaluations]
    assert ids == ["d.on", "d.off", "d.filtered"]
    assert found.listening == 3
    assert (found.event.document["event_id"], found.rejection) == ("e-1", None)


async def test_as_of_a_time_those_that_changed_are_asked_for_and_no_others(world):
    world.definitions.put("d.same", {"type": "paid"})
    world.definitions.put("d.new", {"type": "paid"})
    world.definitions.put("d.now-deaf", {"type": "refunded"}, version=2)
    world.was("d.now-deaf", {"type": "paid"})
    world.was("d.since-retired", {"type": "paid"})
    world.history.were["d.was-retired"] = None
    world.history.changed = {"d.new", "d.now-deaf", "d.since-retired", "d.was-retired"}
    assert await world.outcomes(as_of=BEFORE) == {
        "d.same": ("matched", 1),
        "d.now-deaf": ("matched", 1),
        "d.since-retired": ("matched", 1),
    }
    assert {name for name, _ in world.history.asked} == world.history.changed


async def test_when_too_much_changed_it_is_not_said_how_many_there_are(world):
    world.definitions.put("d.one", {"type": "paid"}, version=2)
    world.was("d.one", {"type": "paid"}, version=1)
    world.history.changed = None
    found = await world.explainer.evaluate_at("dev", PLACE, as_of=BEFORE)
    assert found.listening is None
    assert [one.definition.version for one in found.evaluations] == [1]


async def test_no_more_than_a_hundred_are_evaluated_and_the_wanting_are_among_them(world):
    for number in range(150):
        pattern = {"payload": {"amount": [5 if number < 149 else 10]}}
        world.definitions.put(f"d.n{number:03}", {"type": "paid", "match": pattern})
    found = await world.explainer.evaluate_at("dev", PLACE)
    assert (len(found.evaluations), found.listening) == (100, 150)
    assert found.evaluations[0].definition.definition_id == "d.n149"


async def test_an_unknown_definition_is_told_from_one_that_was_not_there_yet(world):
    world.definitions.put("d.new", {"type": "paid"})
    world.history.were["d.old"] = None
    with pytest.raises(DefinitionUnknownError):
        await world.outcomes(definition_id="d.none")
    with pytest.raises(DefinitionUnknownError):
        await world.outcomes(definition_id="d.none", as_of=BEFORE)
    with pytest.raises(DefinitionAbsentError, match="did not exist"):
        await world.outcomes(definition_id="d.new", as_of=BEFORE)
    with pytest.raises(DefinitionAbsentError, match="was retired"):
        await world.outcomes(definition_id="d.old", as_of=BEFORE)


async def test_what_is_no_event_has_its_reason_and_no_evaluation(world):
    world.definitions.put("d.one", {"type": "paid"})
    found = await world.explainer.evaluate("dev", b'{"event_id": "e-1"')
    assert (found.event, found.rejection.reason) == (None, Reason.MALFORMED_JSON)
    assert list(found.evaluations) == []


async def test_what_the_policy_of_now_refuses_is_evaluated_all_the_same(world, policy, make):
    world.definitions.policies["dev"] = policy
    world.definitions.put("d.one", {"type": "paid"})
    found = await world.explainer.evaluate("dev", make.event("e-1", source="stranger"))
    assert found.rejection.reason is Reason.PRODUCER_NOT_ALLOWED
    assert [str(one.outcome) for one in found.evaluations] == ["matched"]


async def test_only_served_namespaces_and_their_topics_are_read(world):
    with pytest.raises(RequestInvalidError, match="'prod' is not served"):
        await world.explainer.find("prod", "e-1")
    with pytest.raises(RequestInvalidError, match=r"did you mean 'dev.events'"):
        await world.explainer.find("dev", "e-1", topics=["dev.event"])
    with pytest.raises(RequestInvalidError, match=r"unknown topic 'prod.events'"):
        await world.explainer.evaluate_at("dev", ("prod.events", 0, 0))
    with pytest.raises(RequestInvalidError, match="below zero"):
        await world.explainer.evaluate_at("dev", ("dev.events", 0, -1))
    with pytest.raises(RecordGoneError):
        await world.explainer.evaluate_at("dev", ("dev.events", 0, 7))


async def test_an_event_is_looked_for_in_the_last_day_of_every_topic(world):
    found = await world.explainer.find("dev", "e-1")
    assert [(one.record.offset, one.source) for one in found.found] == [(0, "shop")]
    await world.explainer.find("dev", "e-1", since=BEFORE, topics=["dev.more"])
    await world.explainer.find("dev", "e-1", until=BEFORE)
    assert world.records.searched == [
        (("dev.events", "dev.more"), NOW - explaining.SEARCHED_FOR, None),
        (("dev.more",), BEFORE, None),
        (("dev.events", "dev.more"), BEFORE - explaining.SEARCHED_FOR, BEFORE),
    ]
    with pytest.raises(RequestInvalidError, match="event_id is required"):
        await world.explainer.find("dev", "")
    with pytest.raises(RequestInvalidError, match="not after since"):
        await world.explainer.find("dev", "e-1", since=NOW, until=BEFORE)


async def test_what_was_seen_of_an_event_with_sensitive_fields_is_left_out(world, make):
    schema = {"properties": {"email": {"sensitive": True}}}
    world.definitions.policies["dev"].put_event_type(
        EventType.model_validate(
            {
                "apiVersion": "backbone/v1",
                "kind": "EventType",
                "metadata": {"id": "paid", "namespace": "dev", "owner": "tests"},
                "spec": {"subject": "subject", "schemas": [{"version": 1, "schema": schema}]},
            }
        )
    )
    world.definitions.put("d.by-pattern", {"type": "paid", "match": {"payload": {"email": ["b"]}}})
    world.definitions.put("d.filtered", {"type": "paid", "when": "event.payload.email == 'b'"})
    world.definitions.put("d.errs", {"type": "paid", "when": "int(event.payload.email) > 1"})
    for payload, is_told in (({"email": "canary"}, False), ({"plan": "canary"}, True)):
        found = await world.explainer.evaluate("dev", make.event("e-1", payload=payload))
        assert len(found.evaluations) == 3
        assert "canary" not in repr(found.evaluations)
        assert ("left out" in repr(found.evaluations)) == (not is_told)
