"""What another version would have made of an event that was applied to an instance."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts import canonical
from contracts.definitions import ActivityDefinition
from contracts.envelope import Envelope
from contracts.triggers import TimerOf, Trigger, TriggerKind
from rules import backtests
from rules.backtests import Again, PastRun, Verdict, Version

EVENT = Envelope(
    event_id="1",
    type="paid",
    source="shop",
    occurred_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
    payload={"invoice": "A", "customer": "B", "other": "A", "amount": 5},
)
TRIGGER = Trigger(kind=TriggerKind.EVENT, names=["paid"], definition_version=7, events=[EVENT])
TASK = {"type": "automated", "handler": "send", "taskQueue": "mail-tq"}
COUNTED = {"initial": {"n": "0"}, "update": {"n": "state.n + 1"}}


def version(
    number: int,
    when: str = "state.n == 3",
    *,
    correlate: str | None = "event.payload.invoice",
    instance: Any = COUNTED,
) -> Version:
    spec: dict[str, Any] = {
        "taskQueue": "a-tq",
        "triggers": [{"name": "paid", "event": {"type": "paid", "correlate": correlate}}],
        "rules": [{"name": "send", "when": when, "task": TASK}],
    }
    if instance is not None:
        spec |= {"mode": "stateful", "instance": instance}
    definition = ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "a.b", "namespace": "dev", "owner": "me"},
            "spec": spec,
        }
    )
    return Version.of(definition, number)


def recorded(own: Version, n: int, trigger: Trigger = TRIGGER) -> PastRun:
    """The record that a worker leaves of a cause that met an instance with `n` in its state."""
    decision, step = own.decide(
        namespace="dev", run_id="a.b:event:x", trigger=trigger, snapshot={}, state={"n": n}
    )
    return PastRun(
        namespace="dev",
        run_id="a.b:event:x",
        trigger=canonical.render(trigger),
        snapshot=b"{}",
        decision=canonical.render(decision),
        state=None if step is None else step.before,
    )


OWN = version(7)


@pytest.mark.parametrize(
    ("other", "n", "verdict", "reason"),
    [
        (version(8), 2, Verdict.SAME, ""),
        (version(8, "state.n == 4"), 1, Verdict.SAME, ""),
        (version(8, "state.n == 4"), 2, Verdict.DIFFERENT, ""),
        (
            version(8, instance=COUNTED | {"update": {"n": "state.n + 2"}}, when="state.n == 9"),
            1,
            Verdict.DIFFERENT,
            "version 8 leaves another state behind, or ends the instance otherwise",
        ),
        (
            version(8, instance=COUNTED | {"endWhen": "true"}),
            1,
            Verdict.DIFFERENT,
            "version 8 leaves another state behind, or ends the instance otherwise",
        ),
        (
            version(8, correlate="event.payload.customer"),
            2,
            Verdict.NOT_COMPARABLE,
            "version 8 gives the event to another instance",
        ),
        # Another way to the same key.
        (version(8, correlate="event.payload.other"), 2, Verdict.SAME, ""),
        (
            version(8, instance=COUNTED | {"initial": {"n": "1"}}),
            0,
            Verdict.NOT_COMPARABLE,
            "version 8 begins instances otherwise, and this one may have begun with it",
        ),
        (version(8, instance=COUNTED | {"initial": {"n": "1"}}), 2, Verdict.SAME, ""),
        (
            version(8, "true", correlate=None, instance=None),
            2,
            Verdict.NOT_COMPARABLE,
            "version 8 is not stateful",
        ),
    ],
)
def test_an_applied_event_is_judged_upon_the_state_that_it_met(
    other: Version, n: int, verdict: Verdict, reason: str
) -> None:
    judged = backtests.judge(recorded(OWN, n), own=OWN, other=other)
    assert (judged.verdict, judged.reason) == (verdict, reason)
    assert judged.again is Again.SAME_HASH


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"state": None}, "the state of its instance is gone"),
        (
            {"decision": None, "snapshot": None, "state": None},
            "it failed, and the state of its instance is not on record",
        ),
    ],
)
def test_what_is_not_on_record_is_not_guessed(missing: dict[str, Any], reason: str) -> None:
    judged = backtests.judge(replace(recorded(OWN, 2), **missing), own=OWN, other=version(8))
    assert (judged.verdict, judged.reason) == (Verdict.NOT_COMPARABLE, reason)


def test_what_a_timer_fired_is_not_compared() -> None:
    timer = TimerOf(key_hash="a" * 26, generation=1, sequence=2)
    fired = Trigger(
        kind=TriggerKind.TIMER,
        names=["silent"],
        definition_version=7,
        timer=timer,
        scheduled_for=EVENT.occurred_at,
    )
    judged = backtests.judge(recorded(OWN, 2, fired), own=OWN, other=version(8))
    assert (judged.verdict, judged.reason) == (
        Verdict.NOT_COMPARABLE,
        "a timer of its own version fired it",
    )
    assert judged.again is Again.SAME_HASH


def test_runs_from_before_a_definition_was_stateful_are_not_comparable() -> None:
    before = version(6, "true", correlate=None, instance=None)
    judged = backtests.judge(recorded(before, 0), own=before, other=version(8))
    assert (judged.verdict, judged.reason) == (Verdict.NOT_COMPARABLE, "version 8 is stateful")
