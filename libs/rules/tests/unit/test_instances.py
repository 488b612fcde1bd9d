"""The state of instances: how it begins, changes and ends, and what is refused."""

import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from contracts.definitions import ActivityDefinition
from contracts.triggers import Trigger
from rules import checks, decisions
from rules.errors import DecisionError
from rules.instances import InstanceProgram

COUNTING = {
    "initial": {"count": "0", "last": "null"},
    "update": {"count": "state.count + 1", "last": "event.payload.word"},
    "endWhen": "state.last == 'goodbye'",
}


def definition(**spec: Any) -> ActivityDefinition:
    return ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "d", "namespace": "dev", "owner": "o"},
            "spec": {
                "taskQueue": "d-tq",
                "mode": "stateful",
                "triggers": [
                    {
                        "name": "said",
                        "event": {"type": "said", "correlate": "event.payload.who"},
                    }
                ],
                "instance": COUNTING,
                "rules": [
                    {
                        "name": "second",
                        "when": "state.count == 2",
                        "task": {
                            "type": "automated",
                            "handler": "send",
                            "taskQueue": "mail-tq",
                            "input": {"count": "state.count"},
                        },
                    }
                ],
                **spec,
            },
        }
    )


def said(word: str) -> Trigger:
    event = {
        "event_id": word[:100],
        "type": "said",
        "source": "s",
        "occurred_at": "2026-11-01T12:00:00Z",
        "payload": {"who": "anna", "word": word},
    }
    return Trigger.model_validate(
        {"kind": "event", "names": ["said"], "definition_version": 1, "events": [event]}
    )


def found(**spec: Any) -> list[str]:
    return [f"{one.path}: {one.message}" for one in checks.problems(definition(**spec))]


def test_a_state_begins_changes_and_ends() -> None:
    program = InstanceProgram(definition())
    first = program.advance(said("hello"), snapshot={}, state=None)
    assert json.loads(first.before) == {"count": 0, "last": None}
    assert json.loads(first.after) == {"count": 1, "last": "hello"}
    second = program.advance(said("goodbye"), snapshot={}, state=first.state)
    assert second.before == first.after
    assert (first.ended, second.ended) == (False, True)
    assert second.change.before_sha256 == first.change.after_sha256


def test_rules_read_the_state_after_the_event() -> None:
    program, made = InstanceProgram(definition()), definition()
    state: Any = None
    tasks = []
    for word in ("one", "two", "three"):
        step = program.advance(said(word), snapshot={}, state=state)
        state = step.state
        decision = decisions.compile_definition(made).decide(
            definition_version=1,
            namespace="dev",
            run_id=f"d:event:{word}",
            trigger=said(word),
            snapshot={},
            state=state,
        )
        tasks.append([task.input for task in decision.tasks])
    assert tasks == [[], [{"count": 2}], []]


def test_fields_that_an_event_does_not_change_stay() -> None:
    program = InstanceProgram(
        definition(instance={"initial": {"a": "1", "b": "2"}, "update": {"a": "state.b"}}, rules=[
            {"name": "r", "task": {"type": "human", "title": "'t'", "assignees": {"users": ["u"]}}}
        ])
    )  # fmt: skip
    step = program.advance(said("x"), snapshot={}, state=None)
    assert json.loads(step.after) == {"a": 2, "b": 2}
    assert not step.ended


@pytest.mark.parametrize(
    ("instance", "path"),
    [
        ({"initial": {"n": "event.payload.none"}}, "instance.initial.n"),
        ({"initial": {"n": "0"}, "update": {"n": "state.n / 0"}}, "instance.update.n"),
        ({"initial": {"n": "0"}, "endWhen": "state.n"}, "instance.endWhen"),
        ({"initial": {"n": "'x'"}, "update": {"n": "state.n + event.payload.word"}}, "instance"),
    ],
)
def test_what_cannot_be_evaluated_or_kept_is_an_error(instance: dict[str, Any], path: str) -> None:
    program = InstanceProgram(definition(instance=instance))
    with pytest.raises(DecisionError) as caught:
        program.advance(said("x" * 70_000), snapshot={}, state=None)
    assert path in str(caught.value)


def test_a_definition_of_each_event_its_run_has_no_state() -> None:
    with pytest.raises(DecisionError, match="not stateful"):
        InstanceProgram(definition(mode="per-trigger", instance=None))


def test_a_stateful_definition_has_no_problems() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"instance": None, "rules": [{"name": "r", "task": {"type": "human", "title": "'t'",
          "assignees": {"users": ["u"]}}}]}, "spec.instance: mode: stateful needs instance"),
        ({"mode": "per-trigger"}, "spec.instance: only a stateful definition has one"),
        ({"instance": {**COUNTING, "update": {**COUNTING["update"], "cuont": "1"}}},
         "spec.instance.update.cuont: unknown field of the state 'cuont'; did you mean 'count'?; "
         "give it a value in initial"),
        ({"instance": {**COUNTING, "endWhen": "state.cont == 1"}}, "spec.instance.endWhen: "),
        ({"instance": {**COUNTING, "endWhen": "'a'"}},
         "spec.instance.endWhen: expected true or false"),
        ({"instance": {**COUNTING, "initial": {"count": "state.count", "last": "1"}}},
         "spec.instance.initial.count: "),
        ({"limits": {"maxRuns": {"count": 1, "window": "1h"}}},
         "spec.limits.maxRuns: an instance takes its events in turn"),
        ({"limits": {"concurrency": {"maxOpenRuns": 1}}},
         "spec.limits.concurrency: an instance takes its events in turn"),
    ],
)  # fmt: skip
def test_what_a_stateful_definition_cannot_say(spec: dict[str, Any], problem: str) -> None:
    assert any(one.startswith(problem) for one in found(**spec)), found(**spec)


@pytest.mark.parametrize(
    ("trigger", "problem"),
    [
        ({"name": "t", "manual": {}}, "spec.triggers[0].manual: a stateful definition takes"),
        ({"name": "t", "schedule": {"every": "1h",
          "missedRuns": {"policy": "skip", "tolerance": "1m"}}},
         "spec.triggers[0].schedule: a stateful definition takes"),
        ({"name": "t", "event": {"type": "said"}}, "spec.triggers[0].event: mode: stateful needs"),
        ({"name": "t", "event": {"type": "said", "correlate": "event.type",
          "batch": {"maxEvents": 2, "maxWait": "1s"}}},
         "spec.triggers[0].event.batch: an instance takes its events one by one"),
    ],
)  # fmt: skip
def test_what_cannot_start_a_stateful_definition(trigger: dict[str, Any], problem: str) -> None:
    assert any(one.startswith(problem) for one in found(triggers=[trigger]))


TIMED = {
    **COUNTING,
    "update": {
        "count": "state.count + (event == null ? 0 : 1)",
        "last": "event == null ? 'silence' : event.payload.word",
    },
    "timers": [
        {"name": "quiet", "after": "2h"},
        {"name": "late", "after": "3d", "when": "state.count > 1"},
    ],
}


def silence(name: str = "quiet") -> Trigger:
    return Trigger.model_validate(
        {
            "kind": "timer",
            "names": [name],
            "definition_version": 1,
            "timer": {"key_hash": "a" * 26, "generation": 1, "sequence": 1},
            "scheduled_for": "2026-11-01T14:00:00Z",
        }
    )


def test_an_event_sets_the_timers_whose_condition_holds_upon_the_state_after_it() -> None:
    program = InstanceProgram(definition(instance=TIMED))
    first = program.advance(said("hello"), snapshot={}, state=None)
    assert [(timer.name, timer.after) for timer in first.timers] == [("quiet", timedelta(hours=2))]
    second = program.advance(said("again"), snapshot={}, state=first.state)
    assert [timer.name for timer in second.timers] == ["quiet", "late"]
    last = program.advance(said("goodbye"), snapshot={}, state=second.state)
    assert (last.ended, last.timers) == (True, ())


def test_a_timer_is_applied_without_an_event() -> None:
    program = InstanceProgram(definition(instance=TIMED))
    step = program.advance(silence(), snapshot={}, state={"count": 1, "last": "hello"})
    assert step.state == {"count": 1, "last": "silence"}
    assert silence().key == f"timer:{'a' * 26}:1:1:quiet"


def test_apply_takes_timers_whose_expressions_ask_for_the_event() -> None:
    assert found(instance=TIMED) == []


@pytest.mark.parametrize(
    ("change", "path", "sentence"),
    [
        ({"update": COUNTING["update"]}, "spec.instance.update.last", "event is null"),
        ({"endWhen": "event.payload.word == 'x'"}, "spec.instance.endWhen", "event is null"),
        (
            {"timers": [{"name": "said", "after": "2h"}]},
            "spec.instance.timers[0].name",
            "is the name of a trigger",
        ),
        (
            {"timers": [{"name": "q", "after": "2h", "when": "event.payload.word == 'x'"}]},
            "spec.instance.timers[0].when",
            "event",
        ),
    ],
)
def test_apply_says_what_a_timer_cannot_have(
    change: dict[str, Any], path: str, sentence: str
) -> None:
    [problem] = found(instance={**TIMED, **change})
    assert problem.startswith(f"{path}: ")
    assert sentence in problem


@pytest.mark.parametrize("after", ["0s", "366d", "soon"])
def test_a_timer_is_from_a_second_to_a_year(after: str) -> None:
    with pytest.raises(ValidationError, match="after"):
        definition(instance={**COUNTING, "timers": [{"name": "q", "after": after}]})
