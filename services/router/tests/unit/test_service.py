"""What becomes of a record, and of a start by hand."""

import pytest

from contracts import identifiers
from contracts.rejections import Reason
from contracts.triggers import TriggerKind
from router.errors import (
    DefinitionDisabledError,
    DefinitionUnknownError,
    RequestIdReusedError,
    RequestInvalidError,
    TransientError,
)
from router.service import ManualTrigger, Router, Settled

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def router(definitions, starter, seen, dead_letters, counts):
    return Router(
        definitions=definitions,
        starter=starter,
        seen=seen,
        dead_letters=dead_letters,
        observer=counts,
    )


@pytest.fixture
def settle(router, make):
    async def settle(value, *, attempts=1, **record):
        return await router.settle(make.record(value, **record), namespace="dev", attempts=attempts)

    return settle


async def test_an_event_starts_one_run_of_each_definition_that_matches(
    settle, definitions, starter, make
):
    definitions.put("a", {"type": "paid"}, {"type": "paid"}, version=3)
    definitions.put("b", {"type": "paid"})
    definitions.put("c", {"type": "paid", "when": "false"})
    assert await settle(make.event()) is Settled.STARTED
    key = identifiers.event_trigger_key("shop", "e-1")
    assert set(starter.runs) == {identifiers.run_id("a", key), identifiers.run_id("b", key)}
    run = starter.runs[identifiers.run_id("a", key)]
    assert run.trigger.kind is TriggerKind.EVENT
    assert run.trigger.names == ["t0", "t1"]
    assert run.trigger.definition_version == 3
    assert run.trigger.events[0].payload == {"amount": 10}
    assert starter.queues[run.run_id] == "test-tq"


async def test_outcomes_are_counted_by_definition(settle, definitions, counts, make):
    definitions.put("a", {"type": "paid", "when": "event.payload.nope == 1"})
    definitions.put("b", {"type": "paid", "when": "false"})
    await settle(make.event())
    assert counts.outcomes == ["dead_letter"]
    assert counts.seen == [("a", "errored"), ("b", "filtered")]


async def test_a_disabled_definition_starts_nothing_and_the_event_is_decided(
    settle, definitions, starter, counts, make
):
    definitions.put("off", {"type": "paid"}, {"type": "paid", "when": "nope"}, disabled=True)
    assert await settle(make.event("1")) is Settled.NO_MATCH
    definitions.put("on", {"type": "paid"})
    assert await settle(make.event("2")) is Settled.STARTED
    assert [run.definition_id for run in starter.runs.values()] == ["on"]
    assert counts.seen == [("off", "disabled"), ("off", "disabled"), ("on", "matched")]
    # What was decided while it was disabled is not decided again.
    definitions.put("off", {"type": "paid"}, version=2)
    assert await settle(make.event("1")) is Settled.DUPLICATE
    assert await settle(make.event("3")) is Settled.STARTED
    assert {run.definition_id for run in starter.runs.values()} == {"on", "off"}


async def test_an_event_that_nobody_wants_is_settled(settle, make, seen):
    assert await settle(make.event()) is Settled.NO_MATCH
    assert seen.digests


async def test_a_repeated_event_does_no_work(settle, definitions, starter, make):
    definitions.put("a", {"type": "paid"})
    await settle(make.event())
    assert await settle(make.event()) is Settled.DUPLICATE
    assert starter.calls == 1


async def test_a_repeated_event_starts_nothing_twice_when_the_memory_has_forgotten(
    settle, definitions, starter, seen, make
):
    definitions.put("a", {"type": "paid"})
    await settle(make.event())
    seen.digests.clear()
    assert await settle(make.event()) is Settled.STARTED
    assert len(starter.runs) == 1


async def test_other_bytes_under_a_known_event_id_are_parked(
    settle, definitions, starter, dead_letters, make
):
    definitions.put("a", {"type": "paid"})
    await settle(make.event(payload={"amount": 1}))
    assert await settle(make.event(payload={"amount": 2})) is Settled.DEAD_LETTER
    assert dead_letters.reasons == [Reason.ID_CONFLICT]
    assert len(starter.runs) == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EMPTY),
        (b"{", Reason.MALFORMED_JSON),
        (b"\xff", Reason.NOT_UTF8),
        (b'{"a":1,"a":2}', Reason.DUPLICATE_KEY),
        (b'"' + b"x" * 300_000 + b'"', Reason.OVERSIZE),
        (b"[]", Reason.INVALID_ENVELOPE),
    ],
)
async def test_a_record_that_is_no_event_is_parked_with_its_reason(
    settle, dead_letters, value, reason
):
    assert await settle(value, attempts=2) is Settled.DEAD_LETTER
    assert dead_letters.reasons == [reason]
    assert dead_letters.parked[0][3] == 2


async def test_an_event_of_another_namespace_is_parked(settle, dead_letters, starter, make):
    assert await settle(make.event(namespace="prod")) is Settled.DEAD_LETTER
    assert dead_letters.reasons == [Reason.WRONG_NAMESPACE]
    assert not starter.runs


async def test_an_error_in_one_condition_lets_the_others_start_and_parks_the_event(
    settle, definitions, starter, dead_letters, make
):
    definitions.put("broken", {"type": "paid", "when": "event.payload.nope == 1"})
    definitions.put("sound", {"type": "paid"})
    assert await settle(make.event()) is Settled.DEAD_LETTER
    assert [run.definition_id for run in starter.runs.values()] == ["sound"]
    assert dead_letters.reasons == [Reason.EXPRESSION_ERROR]
    assert "broken" in dead_letters.parked[0][2]


async def test_a_parked_event_can_be_routed_again_once_its_definition_is_mended(
    settle, definitions, starter, make
):
    definitions.put("a", {"type": "paid", "when": "event.payload.nope == 1"}, version=1)
    await settle(make.event())
    definitions.put("a", {"type": "paid"}, version=2)
    assert await settle(make.event()) is Settled.STARTED
    assert len(starter.runs) == 1


async def test_a_start_that_is_refused_lets_the_others_start_and_parks_the_event(
    settle, definitions, starter, dead_letters, make
):
    definitions.put("a", {"type": "paid"})
    definitions.put("b", {"type": "paid"})
    starter.refuses.add("a")
    assert await settle(make.event()) is Settled.DEAD_LETTER
    assert [run.definition_id for run in starter.runs.values()] == ["b"]
    assert dead_letters.reasons == [Reason.UNROUTABLE]


async def test_an_event_without_outcome_is_neither_remembered_nor_parked(
    settle, definitions, starter, dead_letters, make
):
    definitions.put("a", {"type": "paid"})
    starter.away = True
    with pytest.raises(TransientError):
        await settle(make.event())
    assert not dead_letters.parked
    starter.away = False
    assert await settle(make.event()) is Settled.STARTED


async def test_a_dead_letter_that_cannot_be_written_leaves_the_record_without_outcome(
    settle, dead_letters
):
    dead_letters.away = True
    with pytest.raises(TransientError):
        await settle(b"{")


async def test_a_fault_of_the_router_parks_the_record(settle, definitions, dead_letters, make):
    del definitions.indexes["dev"]
    assert await settle(make.event()) is Settled.DEAD_LETTER
    assert dead_letters.reasons == [Reason.UNROUTABLE]


async def test_the_header_gives_the_trace_context_that_the_event_lacks(
    settle, definitions, starter, make
):
    definitions.put("a", {"type": "paid"})
    await settle(make.event("1"), headers=(("traceparent", TRACEPARENT.encode()),))
    own = TRACEPARENT.replace("01", "00", 1)
    await settle(make.event("2", traceparent=own), headers=(("traceparent", TRACEPARENT.encode()),))
    traces = {r.trigger.events[0].event_id: r.trigger.traceparent for r in starter.runs.values()}
    assert traces == {"1": TRACEPARENT, "2": own}


@pytest.fixture
def trigger(definitions, starter):
    manual = ManualTrigger(definitions=definitions, starter=starter)

    async def trigger(**changes):
        request = {
            "namespace": "dev",
            "definition_id": "a",
            "request_id": "r-1",
            "input_json": b'{"x": 1}',
            "actor": "local/ada",
            "reason": "a test",
        }
        return await manual.trigger(**(request | changes))

    return trigger


async def test_a_start_by_hand_carries_who_why_and_the_input(trigger, definitions, starter):
    definitions.put("a", version=4)
    start = await trigger()
    assert (start.run_id, start.definition_version, start.started) == ("a:manual:r-1", 4, True)
    cause = starter.runs[start.run_id].trigger
    assert (cause.kind, cause.actor, cause.reason) == (TriggerKind.MANUAL, "local/ada", "a test")
    assert cause.input == {"x": 1}


async def test_a_repeated_request_gives_the_first_ones_run_and_version(
    trigger, definitions, starter
):
    definitions.put("a", version=1)
    await trigger()
    definitions.put("a", version=2)
    again = await trigger()
    assert (again.run_id, again.definition_version, again.started) == ("a:manual:r-1", 1, False)
    assert len(starter.runs) == 1


async def test_a_request_id_names_one_input(trigger, definitions):
    definitions.put("a")
    await trigger()
    with pytest.raises(RequestIdReusedError):
        await trigger(input_json=b'{"x": 2}')


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": ""},
        {"request_id": "a:b"},
        {"definition_id": "A B"},
        {"namespace": "elsewhere"},
        {"input_json": b"{"},
        {"input_json": b'"' + b"x" * 300_000 + b'"'},
    ],
)
async def test_a_wrong_request_is_refused_before_anything_is_asked(
    trigger, definitions, starter, changes
):
    definitions.put("a")
    with pytest.raises(RequestInvalidError):
        await trigger(**changes)
    assert starter.calls == 0


async def test_an_unknown_definition_cannot_be_started(trigger):
    with pytest.raises(DefinitionUnknownError):
        await trigger()


async def test_a_disabled_definition_cannot_be_started(trigger, definitions, starter):
    definitions.put("a", disabled=True)
    with pytest.raises(DefinitionDisabledError, match="'a' is disabled"):
        await trigger()
    assert starter.calls == 0


async def test_a_repeated_request_is_answered_though_the_definition_is_disabled_by_now(
    trigger, definitions, starter
):
    definitions.put("a", version=1)
    await trigger()
    definitions.put("a", version=2, disabled=True)
    again = await trigger()
    assert (again.run_id, again.definition_version, again.started) == ("a:manual:r-1", 1, False)
    with pytest.raises(RequestIdReusedError):
        await trigger(input_json=b'{"x": 2}')
    assert starter.calls == 1


NUMBER = {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}
TEXT = {"type": "object", "required": ["x"], "properties": {"x": {"type": "string"}}}


async def test_the_run_names_the_manual_triggers_that_take_its_input(trigger, definitions, starter):
    definitions.put(
        "a",
        {"type": "paid"},
        manual={"number": {"input": NUMBER}, "text": {"input": TEXT}, "anything": {}},
    )
    start = await trigger()
    assert starter.runs[start.run_id].trigger.names == ["number", "anything"]


async def test_an_input_that_no_manual_trigger_takes_is_refused_before_anything_is_started(
    trigger, definitions, starter
):
    definitions.put("a", manual={"text": {"input": TEXT}})
    for value in (b'{"x": 1}', b"{}", b""):
        with pytest.raises(RequestInvalidError, match="no manual trigger takes this input: text: "):
            await trigger(input_json=value)
    assert starter.calls == 0


async def test_a_definition_without_manual_triggers_takes_any_input(trigger, definitions, starter):
    definitions.put("a", {"type": "paid"})
    start = await trigger(input_json=b"[1]")
    assert starter.runs[start.run_id].trigger.names == []
