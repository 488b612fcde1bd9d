"""Decisions: which tasks a run gets, always the same ones, and why there is none."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts import canonical, identifiers
from contracts.decisions import AutomatedInstance, Decision, HumanInstance
from contracts.definitions import MAX_TASKS_PER_RUN, ActivityDefinition
from contracts.envelope import Envelope
from contracts.identifiers import RunId
from contracts.triggers import Trigger, TriggerKind, Window
from rules import decisions
from rules.errors import DecisionError

DUE = datetime(2026, 3, 2, 12, tzinfo=UTC)
RUN = RunId("billing.overdue:2026-03-02T12:00:00Z")
SCHEDULED = Trigger(
    kind=TriggerKind.SCHEDULE,
    names=["hourly"],
    definition_version=3,
    scheduled_for=DUE,
    window=Window(start=DUE - timedelta(hours=1), end=DUE),
    coalesced=[DUE - timedelta(minutes=30)],
)
PAID = Trigger(
    kind=TriggerKind.EVENT,
    names=["paid"],
    definition_version=3,
    events=[
        Envelope(
            event_id="1",
            type="billing.payment.received",
            source="shop",
            occurred_at=DUE,
            payload={"amount": 12.5, "currency": "EUR"},
        )
    ],
)
GATHERED = Trigger(
    kind=TriggerKind.BATCH,
    names=["paid"],
    definition_version=3,
    batch_id="a" * 26,
    events=[
        PAID.events[0],
        PAID.events[0].model_copy(update={"event_id": "2", "payload": {"amount": 3.5}}),
    ],
)
MANUAL = Trigger(
    kind=TriggerKind.MANUAL,
    definition_version=3,
    request_id="r-1",
    input={"dry": True},
    actor="ann",
    reason="try it",
)


def automated(**fields: Any) -> dict[str, Any]:
    return {"type": "automated", "handler": "send", "taskQueue": "mail-tq", **fields}


def human(**fields: Any) -> dict[str, Any]:
    return {"type": "human", "title": "'Call'", "assignees": {"groups": ["desk"]}, **fields}


def definition(
    *rules: dict[str, Any], context: list[dict[str, Any]] | None = None
) -> ActivityDefinition:
    return ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "billing.overdue", "namespace": "dev", "owner": "billing"},
            "spec": {
                "taskQueue": "billing-tq",
                "context": context or [],
                "rules": [{"name": f"r{i}", **rule} for i, rule in enumerate(rules)],
            },
        }
    )


def overdue(**parameters: str) -> list[dict[str, Any]]:
    query = {"connector": "db", "statement": "overdue", "parameters": parameters}
    return [{"name": "overdue", "query": query}]


def decide(decided: ActivityDefinition, trigger: Trigger = SCHEDULED, **context: Any) -> Decision:
    return decisions.decide(
        decided,
        definition_version=3,
        namespace="dev",
        run_id=RUN,
        trigger=trigger,
        snapshot=context,
    )


INVOICES = [{"id": "a", "amount": 10}, {"id": "b", "amount": 20000.5}]
REMIND = {
    "when": "size(context.overdue) > 0",
    "forEach": {"item": "invoice", "in": "context.overdue"},
    "task": automated(
        key="invoice.id",
        input={"invoice": "invoice.id", "amount": "invoice.amount", "until": "window.end"},
        timeout="30s",
        retry={"maximumAttempts": 10},
    ),
}


def test_each_item_of_a_list_is_a_task() -> None:
    decision = decide(definition(REMIND, context=overdue()), overdue=INVOICES)
    first, second = decision.tasks
    assert isinstance(first, AutomatedInstance)
    assert first == AutomatedInstance(
        task_id=identifiers.task_id("dev", RUN, "r0", "a"),
        rule="r0",
        key="a",
        handler="send",
        task_queue="mail-tq",
        input={"invoice": "a", "amount": 10, "until": "2026-03-02T12:00:00Z"},
        timeout=timedelta(seconds=30),
        retry=first.retry,
    )
    assert first.retry.maximum_attempts == 10
    assert second.input["amount"] == 20000.5
    assert [task.task_id for task in decision.tasks] == decision.rules[0].tasks
    assert (decision.definition_id, decision.definition_version) == ("billing.overdue", 3)


def test_no_task_is_a_decision_too_and_its_trace_says_why() -> None:
    decision = decide(definition(REMIND, {**REMIND, "when": "true"}, context=overdue()), overdue=[])
    assert decision.tasks == []
    assert [(t.rule, t.when, t.items) for t in decision.rules] == [
        ("r0", False, None),
        ("r1", True, 0),
    ]


def test_a_human_task_carries_what_its_inbox_shows() -> None:
    rule = {
        "when": "context.overdue.exists(i, i.amount > 10000.0)",
        "task": human(
            title="'Call about ' + string(size(context.overdue)) + ' invoices'",
            input={"ids": "context.overdue.map(i, i.id)"},
            due="P2D",
            reminders=[{"beforeDue": "4h"}, {"afterDue": "1d"}],
            escalation={"after": "5d", "assignees": {"users": ["ann"]}},
            expiry="9d",
            form={"type": "object"},
        ),
    }
    [task] = decide(definition(rule, context=overdue()), overdue=INVOICES).tasks
    assert isinstance(task, HumanInstance)
    assert task.title == "Call about 2 invoices"
    assert task.input == {"ids": ["a", "b"]}
    assert task.key == ""
    assert task.task_id == identifiers.task_id("dev", RUN, "r0", "")
    assert (task.due, task.form, task.assignees.groups) == (
        timedelta(days=2),
        {"type": "object"},
        ["desk"],
    )
    assert [one.from_due for one in task.reminders or ()] == [
        timedelta(hours=-4),
        timedelta(days=1),
    ]
    assert task.escalation is not None
    assert (task.escalation.after, task.escalation.assignees.users) == (timedelta(days=5), ["ann"])
    assert (task.expiry, task.has_timers) == (timedelta(days=9), True)


def test_the_same_run_gives_the_same_bytes() -> None:
    program = decisions.compile_definition(definition(REMIND, context=overdue()))
    rendered = {
        canonical.render(
            program.decide(
                definition_version=3,
                namespace="dev",
                run_id=RUN,
                trigger=SCHEDULED,
                snapshot=snapshot,
            )
        )
        for snapshot in (
            {"overdue": INVOICES},
            {"overdue": [dict(reversed(invoice.items())) for invoice in INVOICES]},
            json.loads(canonical.render({"overdue": INVOICES})),
        )
    }
    assert len(rendered) == 1


def test_the_snapshot_is_named_by_its_canonical_digest() -> None:
    decision = decide(definition(REMIND, context=overdue()), overdue=INVOICES)
    assert decision.snapshot_sha256 == canonical.digest(canonical.render({"overdue": INVOICES}))


def test_task_ids_differ_by_namespace_run_rule_and_key() -> None:
    program = decisions.compile_definition(definition(REMIND, REMIND, context=overdue()))
    ids = {
        task.task_id
        for namespace in ("dev", "prod")
        for run in (RUN, RunId("billing.overdue:manual:1"))
        for task in program.decide(
            definition_version=3,
            namespace=namespace,
            run_id=run,
            trigger=SCHEDULED,
            snapshot={"overdue": INVOICES},
        ).tasks
    }
    assert len(ids) == 2 * 2 * 2 * 2


@pytest.mark.parametrize(
    ("trigger", "text", "expected"),
    [
        (SCHEDULED, "event == null", True),
        (SCHEDULED, "trigger.kind", "schedule"),
        (SCHEDULED, "trigger.names", ["hourly"]),
        (SCHEDULED, "trigger.scheduled_for", "2026-03-02T12:00:00Z"),
        (SCHEDULED, "trigger.coalesced", ["2026-03-02T11:30:00Z"]),
        (SCHEDULED, "trigger.definition_version", 3),
        (SCHEDULED, "window", {"start": "2026-03-02T11:00:00Z", "end": "2026-03-02T12:00:00Z"}),
        (PAID, "event.payload.amount", 12.5),
        (PAID, "event.occurred_at", "2026-03-02T12:00:00Z"),
        (PAID, "has(event.subject)", False),
        (PAID, "size(events) == 1 && events[0] == event", True),
        (SCHEDULED, "size(events)", 0),
        (GATHERED, "events.map(e, e.payload.amount)", [12.5, 3.5]),
        (GATHERED, "event == null && trigger.kind == 'batch'", True),
        (PAID, "window == null && trigger.scheduled_for == null", True),
        (MANUAL, "trigger.input.dry", True),
        (MANUAL, "[trigger.actor, trigger.reason, trigger.request_id]", ["ann", "try it", "r-1"]),
    ],
)
def test_rules_read_the_cause(trigger: Trigger, text: str, expected: Any) -> None:
    [task] = decide(definition({"task": automated(input={"v": text})}), trigger).tasks
    assert task.input["v"] == expected


def test_trigger_has_exactly_the_fields_that_are_published() -> None:
    inputs = decisions.trigger_inputs(SCHEDULED)
    assert tuple(inputs["trigger"]) == decisions.TRIGGER_FIELDS
    assert tuple(inputs["window"]) == decisions.WINDOW_FIELDS
    assert set(inputs) == set(decisions.TRIGGER_VARIABLES)


def test_parameters_of_the_context_come_from_the_cause() -> None:
    program = decisions.compile_definition(
        definition({"task": automated()}, context=overdue(since="window.start", limit="10"))
    )
    assert program.context_parameters(SCHEDULED) == {
        "overdue": {"since": "2026-03-02T11:00:00Z", "limit": 10}
    }
    with pytest.raises(DecisionError) as caught:
        program.context_parameters(PAID)
    assert caught.value.path == "context.overdue.parameters.since"


EACH = {"item": "i", "in": "context.overdue"}


@pytest.mark.parametrize(
    ("rule", "path", "message"),
    [
        ({"when": "event.payload.x"}, "when", "has no fields"),
        ({"when": "'yes'"}, "when", "expected true or false, found string"),
        ({"when": "context.overdue[0].missing == 1"}, "when", 'no field "missing"'),
        ({"forEach": {"item": "i", "in": "5"}, "task": automated(key="'a'")}, "forEach.in",
         "expected a list, found a number"),
        ({"forEach": {"item": "i", "in": "context.overdue[0]"}, "task": automated(key="i")},
         "forEach.in", "expected a list, found an object"),
        ({"forEach": EACH, "task": automated(key="'same'")}, "task.key of item 1",
         "the key 'same' comes a second time"),
        ({"forEach": EACH, "task": automated(key="i.amount")}, "task.key of item 1",
         "expected a text or a whole number, found a number"),
        ({"forEach": EACH, "task": automated(key="i.id == 'a'")}, "task.key of item 0",
         "found true or false"),
        ({"task": automated(key="''")}, "task.key", "the key is empty"),
        ({"task": automated(key=repr("k" * 257))}, "task.key", "at most 256 characters"),
        ({"forEach": EACH, "task": automated(key="i.id", input={"x": "i.nope"})},
         "task.input.x of item 0", 'no field "nope"'),
        ({"task": human(title="1")}, "task.title", "expected a text, found a number"),
        ({"task": human(title="' '")}, "task.title", "1 to 500 characters"),
        ({"when": "contxt.overdue"}, "when", "did you mean 'context'"),
        ({"task": automated(input={"x": "i.id"})}, "task.input.x", "unknown variable 'i'"),
    ],
)  # fmt: skip
def test_a_fault_names_the_rule_and_the_field(
    rule: dict[str, Any], path: str, message: str
) -> None:
    broken = definition({"task": automated()}, {"task": automated(), **rule}, context=overdue())
    with pytest.raises(DecisionError, match=message) as caught:
        decide(broken, overdue=INVOICES)
    assert (caught.value.rule, caught.value.path) == ("r1", path)


def test_whole_numbers_are_keys_as_they_are_written() -> None:
    rule = {"forEach": {"item": "i", "in": "[1, 20]"}, "task": automated(key="i")}
    assert [task.key for task in decide(definition(rule)).tasks] == ["1", "20"]


def test_a_run_has_a_bounded_number_of_tasks() -> None:
    rule = {"forEach": {"item": "i", "in": "context.overdue"}, "task": automated(key="i")}
    full = definition(rule, context=overdue())
    assert len(decide(full, overdue=list(range(MAX_TASKS_PER_RUN))).tasks) == MAX_TASKS_PER_RUN
    with pytest.raises(DecisionError, match="at most 500 tasks, the most that any definition may"):
        decide(definition(rule, {"task": automated()}, context=overdue()),
               overdue=list(range(MAX_TASKS_PER_RUN)))  # fmt: skip


def test_a_list_of_ten_thousand_is_refused_before_a_task_is_made() -> None:
    rule = {"forEach": {"item": "i", "in": "context.overdue"}, "task": automated(key="i.missing")}
    with pytest.raises(DecisionError) as caught:
        decide(definition(rule, context=overdue()), overdue=[{}] * 10_000)
    assert str(caught.value) == (
        "rule 'r0', forEach.in: a task for each of 10000 items is too much: a run decides at most "
        "500 tasks, the most that any definition may; filter or group the items"
    )


def test_what_is_kept_of_a_snapshot_is_what_the_decision_names() -> None:
    rule = {"when": "context.overdue[0].email == 'ann'", "task": automated()}
    made = decisions.decide(
        definition(rule, context=overdue()),
        definition_version=3,
        namespace="dev",
        run_id=RUN,
        trigger=SCHEDULED,
        snapshot={"overdue": [{"email": "ann"}]},
        kept={"overdue": [{"email": {"$redacted": None}}]},
    )
    assert len(made.tasks) == 1
    assert made.snapshot_sha256 == canonical.digest(b'{"overdue":[{"email":{"$redacted":null}}]}')


def test_a_definition_has_a_limit_of_its_own_and_its_error_says_so() -> None:
    rule = {"forEach": {"item": "i", "in": "context.overdue"}, "task": automated(key="i")}
    spec = definition(rule, context=overdue()).model_dump(by_alias=True, mode="json")
    spec["spec"]["limits"] = {"maxTasksPerRun": 3}
    limited = ActivityDefinition.model_validate(spec)
    assert len(decide(limited, overdue=[1, 2, 3]).tasks) == 3
    with pytest.raises(DecisionError) as caught:
        decide(limited, overdue=[1, 2, 3, 4])
    assert caught.value.message == (
        "a task for each of 4 items is too much: a run decides at most 3 tasks, by this "
        "definition's spec.limits.maxTasksPerRun; filter or group the items"
    )
    assert (caught.value.rule, caught.value.path) == ("r0", "forEach.in")


def test_context_that_is_missing_or_not_json_is_refused() -> None:
    needs = definition({"task": automated()}, context=overdue())
    with pytest.raises(DecisionError, match="no value was given for overdue"):
        decide(needs)
    with pytest.raises(DecisionError, match="the snapshot is not JSON"):
        decide(needs, overdue=DUE)
    with pytest.raises(DecisionError, match=r"context\.overdue is a number that 64 bits"):
        decide(needs, overdue=2**64)
