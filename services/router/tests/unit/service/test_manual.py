"""What becomes of a start by hand."""

import pytest

from contracts.envelope import MAX_HOPS
from contracts.triggers import Chain, TriggerKind
from router.errors import (
    DefinitionDisabledError,
    DefinitionUnknownError,
    RequestIdReusedError,
    RequestInvalidError,
    TooManyHopsError,
)
from router.service.kill_switches import Unswitched
from router.service.manual import ManualTrigger


@pytest.fixture
def trigger(definitions, starter):
    manual = ManualTrigger(definitions=definitions, starter=starter, switches={"dev": Unswitched()})

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


async def test_a_start_by_a_task_goes_on_with_its_chain(trigger, definitions, starter):
    definitions.put("a")
    chain = Chain(correlation_id="order-1", causation_id="e-1", hops=MAX_HOPS)
    start = await trigger(chain=chain)
    assert starter.runs[start.run_id].trigger.chain == chain


async def test_a_chain_that_has_come_too_far_ends(trigger, definitions, starter):
    definitions.put("a")
    with pytest.raises(TooManyHopsError, match="17 hops: definitions seem to start one another"):
        await trigger(chain=Chain(correlation_id="order-1", hops=MAX_HOPS + 1))
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


async def test_a_stateful_definition_is_not_started_by_hand(trigger, definitions, starter):
    correlated = {"type": "paid", "correlate": "event.payload.amount"}
    definitions.put("a", correlated, mode="stateful", instance={"initial": {"count": "0"}})
    with pytest.raises(RequestInvalidError, match="it takes events only"):
        await trigger()
    assert starter.runs == {}


async def test_no_input_hands_in_a_reference(trigger, definitions, starter):
    definitions.put("a")
    with pytest.raises(RequestInvalidError, match="reserved"):
        await trigger(input_json=b'{"deep": [{"$sensitive": "b", "hash": "h"}]}')
    assert starter.runs == {}
