"""Which triggers a cause satisfies, in the version at hand and in another one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.definitions import ActivityDefinition
from contracts.envelope import Envelope
from contracts.triggers import Trigger, TriggerKind, Window
from rules.errors import GatheredOtherwiseError, NotTriggeredError
from rules.triggers import Finding, Triggers

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def definition(*triggers: dict[str, Any]) -> ActivityDefinition:
    task = {"type": "automated", "handler": "send", "taskQueue": "mail-tq"}
    return ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "a.b", "namespace": "dev", "owner": "me"},
            "spec": {
                "taskQueue": "a-tq",
                "triggers": triggers,
                "rules": [{"name": "r", "task": task}],
            },
        }
    )


def on(name: str, event_type: str = "paid", **event: Any) -> dict[str, Any]:
    return {"name": name, "event": {"type": event_type, **event}}


def every(name: str, period: str) -> dict[str, Any]:
    missed = {"policy": "skip", "tolerance": "1m"}
    return {"name": name, "schedule": {"every": period, "missedRuns": missed}}


def event(amount: int, **fields: Any) -> Envelope:
    facts = {"event_id": "1", "type": "paid", "source": "shop", "occurred_at": NOON}
    return Envelope.model_validate({**facts, "payload": {"amount": amount}, **fields})


def started(*names: str, amount: int = 5) -> Trigger:
    return Trigger(
        kind=TriggerKind.EVENT, names=list(names), definition_version=1, events=[event(amount)]
    )


def replayed(*names: str) -> Trigger:
    return Trigger(
        kind=TriggerKind.REPLAY,
        names=list(names),
        definition_version=1,
        events=[event(5)],
        replay_id="r-1",
    )


def gathered(*names: str, amounts: tuple[int, ...] = (5, 6)) -> Trigger:
    return Trigger(
        kind=TriggerKind.BATCH,
        names=list(names),
        definition_version=1,
        events=[event(amount) for amount in amounts],
        batch_id="a" * 26,
    )


def due(*names: str, at: datetime = NOON) -> Trigger:
    return Trigger(
        kind=TriggerKind.SCHEDULE,
        names=list(names),
        definition_version=1,
        scheduled_for=at,
        window=Window(start=at - timedelta(hours=1), end=at),
    )


BATCH = {"maxEvents": 10, "maxWait": "5s"}
BIG = {"payload": {"amount": [{"numeric": [">", 9]}]}}


def test_an_event_is_held_against_each_trigger_with_the_reason() -> None:
    triggers = Triggers(
        definition(
            on("all"),
            on("big", match=BIG),
            on("five", when="event.payload.amount == 5"),
            on("six", when="event.payload.amount == 6"),
            on("wrong", when="event.payload.tip > 1"),
            on("other", "sent"),
        )
    )
    found = triggers.of_event(event(5))
    assert found[:4] == [
        Finding("all", matched=True),
        Finding("big", matched=False, detail='payload.amount: wanted [{"numeric":[">",9]}], saw 5'),
        Finding("five", matched=True),
        Finding("six", matched=False, detail="event.payload.amount == 6 is false"),
    ]
    assert "tip" in found[4].detail
    assert found[5] == Finding("other", matched=False, detail="it listens to 'sent'")


def test_only_a_due_time_satisfies_a_schedule() -> None:
    triggers = Triggers(definition(every("hourly", "1h"), every("daily", "1d")))
    assert [one.matched for one in triggers.of_due_time(NOON)] == [True, False]
    assert not any(one.matched for one in triggers.of_due_time(NOON + timedelta(seconds=1)))


def test_a_start_by_hand_has_to_fit_the_schema() -> None:
    schema = {"type": "object", "required": ["why"]}
    triggers = Triggers(definition({"name": "hand", "manual": {"input": schema}}))
    assert [one.matched for one in triggers.of_input({"why": "x"})] == [True]
    (refused,) = triggers.of_input({})
    assert not refused.matched
    assert "why" in refused.detail


@pytest.mark.parametrize(
    ("before", "after", "trigger", "names"),
    [
        # The same triggers: the names stay, whatever would be found now.
        ([on("a", match=BIG)], [on("a", match=BIG)], started("a"), ["a"]),
        ([on("a")], [on("a"), on("b", when="event.payload.amount == 5")], started("a"), ["a", "b"]),
        ([on("a")], [on("b")], started("a"), ["b"]),
        ([on("a")], [on("b")], replayed("a"), ["b"]),
        ([on("a", batch=BATCH)], [on("a", batch=BATCH), every("t", "1h")], gathered("a"), ["a"]),
        ([every("t", "1h")], [every("t", "30m")], due("t"), ["t"]),
        # `u` was due too and did not run: its policy left it out, and would again.
        (
            [every("t", "1h"), every("u", "1h")],
            [every("t", "30m"), every("u", "1h")],
            due("t"),
            ["t"],
        ),
    ],
)
def test_names_are_those_of_the_other_version(
    before: Any, after: Any, trigger: Trigger, names: list[str]
) -> None:
    again = Triggers(definition(*after)).again(
        trigger, before=definition(*before), definition_version=7
    )
    assert again == trigger.model_copy(update={"names": names, "definition_version": 7})


@pytest.mark.parametrize(
    ("before", "after", "trigger", "said"),
    [
        ([on("a")], [on("a", match=BIG)], started("a"), "a: payload.amount: wanted"),
        ([on("a")], [on("a", when="event.payload.amount > 5")], started("a"), "is false"),
        ([on("a")], [every("t", "1h")], started("a"), "no trigger of that kind"),
        ([on("a", batch=BATCH)], [on("a", batch=BATCH, match=BIG)], gathered("a"), "wanted"),
        ([every("t", "1h")], [every("t", "5h")], due("t"), "not due at this time"),
        ([every("t", "1h")], [on("a")], due("t"), "no trigger of that kind"),
    ],
)
def test_a_cause_that_satisfies_no_trigger_any_more_is_told(
    before: Any, after: Any, trigger: Trigger, said: str
) -> None:
    with pytest.raises(NotTriggeredError, match=said):
        Triggers(definition(*after)).again(
            trigger, before=definition(*before), definition_version=7
        )


@pytest.mark.parametrize(
    ("before", "after", "trigger"),
    [
        ([on("a")], [on("a", batch=BATCH)], started("a")),
        ([on("a", batch=BATCH)], [on("a", batch=BATCH | {"maxEvents": 9})], gathered("a")),
        (
            [on("a", batch=BATCH)],
            [on("a", batch=BATCH, match=BIG)],
            gathered("a", amounts=(5, 50)),
        ),
    ],
)
def test_events_that_would_be_gathered_otherwise_are_not_guessed(
    before: Any, after: Any, trigger: Trigger
) -> None:
    with pytest.raises(GatheredOtherwiseError):
        Triggers(definition(*after)).again(
            trigger, before=definition(*before), definition_version=7
        )


def test_a_start_by_hand_of_a_version_without_manual_triggers_has_no_names() -> None:
    by_hand = Trigger(
        kind=TriggerKind.MANUAL, names=["hand"], definition_version=1, request_id="r", input={}
    )
    hand = {"name": "hand", "manual": {}}
    again = Triggers(definition(on("a"))).again(
        by_hand, before=definition(hand), definition_version=2
    )
    assert again.names == []
