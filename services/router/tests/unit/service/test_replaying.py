from dataclasses import replace
from datetime import UTC, datetime

import pytest

from contracts.eventtypes import EventType
from contracts.routing import RoutingOutcome
from router.domain.authentication import Authentication
from router.domain.replaying import Mode, Order, Plan, Question
from router.errors import RequestInvalidError, TransientError
from router.service.replaying import ReplayPlanner

SINCE, UNTIL = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
TOPIC = "dev.events"
ORDER = Order(
    namespace="dev",
    replay_id="r-1",
    question=Question(TOPIC, SINCE, UNTIL, frozenset(), Mode.MISSING, 20),
    actor="ann",
    reason="it was broken",
)


class FakeTopic:
    """A topic in memory, which is handed out a few records at a time."""

    def __init__(self):
        self.records = []
        self.at_a_time = 100

    async def stretches(self, topic, *, since, until):
        assert (topic, since, until) == (TOPIC, SINCE, UNTIL)
        return {0: (0, len(self.records))}

    async def read(self, topic, left, *, most):
        assert topic == TOPIC
        first, end = left[0]
        behind = min(end, first + min(most, self.at_a_time))
        rest = {} if behind == end else {0: (behind, end)}
        return self.records[first:behind], rest


class FakeReplays:
    """Plans as the ledger keeps them."""

    def __init__(self):
        self.plan = None
        self.pages = []
        self.away = False

    async def get(self, namespace, replay_id):
        return self.plan

    async def create(self, order, stretches):
        if self.plan is None:
            left = {p: s for p, s in stretches.items() if s[0] < s[1]}
            total = sum(end - first for first, end in left.values())
            self.plan = Plan(left, 0, total, complete=not left)
        return self.plan

    async def add(self, namespace, replay_id, page):
        if self.away:
            raise TransientError("away")
        if page.before != self.plan.left:
            raise TransientError("somebody else has read on")
        self.pages.append(page)
        self.plan = replace(
            self.plan,
            left=dict(page.after),
            records=self.plan.records + page.records,
            complete=not page.after,
        )
        return self.plan


class World:
    def __init__(self, definitions, make):
        self.definitions, self.make = definitions, make
        self.topic, self.replays = FakeTopic(), FakeReplays()

    def planner(self, **how):
        return ReplayPlanner(
            topics={"dev": {TOPIC}},
            definitions=self.definitions,
            records=self.topic,
            replays=self.replays,
            authentication=Authentication(clock=lambda: 0, is_open=True),
            **how,
        )

    def had(self, *values, key=None):
        for value in values:
            offset = len(self.topic.records)
            self.topic.records.append(self.make.record(value, offset=offset, key=key))

    @property
    def events(self):
        return [event for page in self.replays.pages for event in page.events]


@pytest.fixture
def world(definitions, make):
    return World(definitions, make)


async def test_each_event_is_told_with_what_it_means_and_the_rest_is_counted(world):
    world.definitions.put("d.all", {"type": "paid"}, version=7)
    world.definitions.put("d.big", {"type": "paid", "when": "event.payload.amount > 99"})
    world.definitions.put("d.off", {"type": "paid"}, disabled=True)
    event = world.make.event
    world.had(event("e-1"), b"\xff", event("e-2", type="other"), event("e-3"), key=b"k")
    plan = await world.planner().plan(ORDER)
    assert (plan.complete, plan.records, plan.records_total) == (True, 4, 4)
    [page] = world.replays.pages
    assert (page.records, page.unrouted, dict(page.refused)) == (4, 1, {"not_utf8": 1})
    first = world.events[0]
    assert (first.event_id, first.record.offset, bool(first.envelope)) == ("e-1", 0, True)
    made = {d.definition.definition_id: d for d in first.decisions}
    assert {name: d.outcome for name, d in made.items()} == {
        "d.all": RoutingOutcome.LIMITED,
        "d.big": RoutingOutcome.FILTERED,
        "d.off": RoutingOutcome.DISABLED,
    }
    assert (made["d.all"].definition.version, made["d.all"].wait.key) == (7, "k")
    assert made["d.big"].wait is None


async def test_only_the_definitions_that_are_named_are_planned_for(world):
    world.definitions.put("d.one", {"type": "paid"})
    world.definitions.put("d.two", {"type": "paid"})
    world.had(world.make.event("e-1"))
    question = replace(ORDER.question, definition_ids=frozenset({"d.two"}))
    await world.planner().plan(replace(ORDER, question=question))
    [event] = world.events
    assert [one.definition.definition_id for one in event.decisions] == ["d.two"]


async def test_a_definition_keeps_its_key_its_batch_and_its_limits(world):
    batch = {"maxEvents": 3, "maxWait": "5s"}
    world.definitions.put(
        "d.gathers",
        {"type": "paid", "correlate": "string(event.payload.amount)", "batch": batch},
        limits={"concurrency": {"maxOpenRuns": 2}},
    )
    world.had(world.make.event("e-1", payload={"amount": 5}), key=b"other")
    await world.planner().plan(ORDER)
    [decision] = world.events[0].decisions
    wait = decision.wait
    assert (wait.key, wait.batch.max_events, wait.max_open_runs) == ("5", 3, 2)


async def test_a_key_that_cannot_be_evaluated_is_an_error_and_no_start(world):
    batch = {"maxEvents": 3, "maxWait": "5s"}
    world.definitions.put(
        "d.wrong", {"type": "paid", "correlate": "event.payload.none", "batch": batch}
    )
    world.had(world.make.event("e-1"))
    await world.planner().plan(ORDER)
    [decision] = world.events[0].decisions
    assert (decision.outcome, decision.wait) == (RoutingOutcome.ERRORED, None)


async def test_a_plan_goes_on_where_it_was_interrupted(world):
    world.definitions.put("d.one", {"type": "paid"})
    world.had(*(world.make.event(f"e-{n}") for n in range(10)))
    world.topic.at_a_time = 4
    hasty = world.planner(time_s=0)
    assert (await hasty.plan(ORDER)).records == 0
    world.replays.away = True
    with pytest.raises(TransientError):
        await world.planner().plan(ORDER)
    world.replays.away = False
    plan = await world.planner().plan(ORDER)
    assert plan.complete
    assert [event.event_id for event in world.events] == [f"e-{n}" for n in range(10)]
    assert [page.records for page in world.replays.pages] == [4, 4, 2]


async def test_the_ledger_is_told_no_more_at_once_than_a_message_holds(world):
    world.definitions.put("d.one", {"type": "paid"})
    payload = {"amount": 1, "note": "x" * 200_000}
    world.had(*(world.make.event(f"e-{n}", payload=payload) for n in range(9)))
    plan = await world.planner().plan(ORDER)
    assert plan.complete
    assert [len(page.events) for page in world.replays.pages] == [4, 4, 1]
    assert [page.before for page in world.replays.pages[1:]] == [
        page.after for page in world.replays.pages[:-1]
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"namespace": "prod"}, "not served here"),
        ({"question": replace(ORDER.question, topic="dev.other")}, "no topic that the router"),
        ({"question": replace(ORDER.question, definition_ids={"d.none"})}, "d.none"),
    ],
)
async def test_what_cannot_be_planned_is_refused(world, change, told):
    with pytest.raises(RequestInvalidError, match=told):
        await world.planner().plan(replace(ORDER, **change))


async def test_what_is_sensitive_is_kept_before_the_ledger_is_told(world, sensitive_values):
    schema = {"properties": {"who": {}, "email": {"sensitive": True}}}
    world.definitions.policies["dev"].put_event_type(
        EventType.model_validate(
            {
                "apiVersion": "backbone/v1",
                "kind": "EventType",
                "metadata": {"id": "paid", "namespace": "dev", "owner": "tests"},
                "spec": {"subject": "payload.who", "schemas": [{"version": 1, "schema": schema}]},
            }
        )
    )
    world.definitions.put("d.one", {"type": "paid", "when": "event.payload.email == 'canary'"})
    world.had(
        world.make.event("e-1", payload={"who": "ada", "email": "canary"}),
        world.make.event("e-2", payload={"email": "canary"}),
        world.make.event("e-3", payload={"who": "ada"}),
    )
    await world.planner(sensitive_values=sensitive_values).plan(ORDER)
    [page] = world.replays.pages
    assert dict(page.refused) == {"subject_missing": 1}
    [first, second] = page.events
    assert b"canary" not in first.envelope
    assert b"$sensitive" in first.envelope
    assert (second.event_id, sensitive_values.calls) == ("e-3", 1)
