"""Differences: what changes in meaning, by names, and never what is only written differently."""

import contextlib
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts import kinds
from contracts.resources import ResourceKind
from registry.domain import documents
from registry.domain.differences import DifferenceKind, differences

DOCUMENTS = Path(__file__).parent / "documents"


def document(name: str) -> Any:
    return copy.deepcopy(documents.read((DOCUMENTS / f"{name}.yaml").read_bytes()).value)


def load(value: Any) -> kinds.Resource:
    return kinds.MODEL_OF[ResourceKind(value["kind"])].model_validate(value)


def told(name: str, change: Callable[[Any], Any]) -> list[tuple[str, str, str]]:
    """Return kind, path and summary of what differs after `change` of spec or of the document."""
    before, after = document(name), document(name)
    change(after)
    return [(d.kind.value, d.path, d.summary) for d in differences(load(before), load(after))]


def schedule(document: Any) -> Any:
    return document["spec"]["triggers"][0]["schedule"]


def event(document: Any) -> Any:
    return document["spec"]["triggers"][1]["event"]


def rule(document: Any, number: int = 0) -> Any:
    return document["spec"]["rules"][number]


def task(document: Any, number: int = 0) -> Any:
    return rule(document, number)["task"]


DEFINITION_CHANGES: list[tuple[Callable[[Any], Any], tuple[str, str, str]]] = [
    (
        lambda d: schedule(d)["missedRuns"].update(window="1h"),
        (
            "changed",
            "spec.triggers[hourly].schedule.missedRuns.window",
            "trigger hourly: the catch-up window shrinks from 24h to 1h",
        ),
    ),
    (
        lambda d: task(d).update(timeout="60s"),
        (
            "changed",
            "spec.rules[remind].task.timeout",
            "rule remind: the timeout grows from 30s to 60s",
        ),
    ),
    (
        lambda d: schedule(d).update(missedRuns={"policy": "catchUp", "window": "2d"}),
        (
            "changed",
            "spec.triggers[hourly].schedule.missedRuns",
            "trigger hourly: the policy for missed runs changes from compress (window 24h) to "
            "catchUp (limit 100, window 2d)",
        ),
    ),
    (
        lambda d: schedule(d).update(
            missedRuns={"policy": "catchUp", "window": "2d", "order": "newestFirst"}
        ),
        (
            "changed",
            "spec.triggers[hourly].schedule.missedRuns",
            "trigger hourly: the policy for missed runs changes from compress (window 24h) to "
            "catchUp (limit 100, order newestFirst, window 2d)",
        ),
    ),
    (
        lambda d: schedule(d).update(cron="30 9 * * *"),
        (
            "changed",
            "spec.triggers[hourly].schedule.cron",
            "trigger hourly: cron changes from 0 * * * * to 30 9 * * *",
        ),
    ),
    (
        lambda d: (
            schedule(d).pop("cron"),
            schedule(d).pop("timezone"),
            schedule(d).update(every="15m"),
        ),
        (
            "changed",
            "spec.triggers[hourly].schedule",
            "trigger hourly: it is now due every 15m, before by cron 0 * * * * in Europe/Berlin",
        ),
    ),
    (
        lambda d: schedule(d).update(timezone="UTC"),
        (
            "changed",
            "spec.triggers[hourly].schedule.timezone",
            "trigger hourly: the time zone changes from Europe/Berlin to UTC",
        ),
    ),
    (
        lambda d: schedule(d).update(overlap="allowAll"),
        (
            "changed",
            "spec.triggers[hourly].schedule.overlap",
            "trigger hourly: the overlap policy changes from skip to allowAll",
        ),
    ),
    (
        lambda d: schedule(d).update(exclusions=[{"month": "12"}]),
        (
            "added",
            "spec.triggers[hourly].schedule.exclusions[{dayOfMonth: *, dayOfWeek: *, hour: *, "
            "minute: *, month: 12, year: *}]",
            "trigger hourly: not due any more at {dayOfMonth: *, dayOfWeek: *, hour: *, "
            "minute: *, month: 12, year: *}",
        ),
    ),
    (
        lambda d: event(d).update(type="billing.payment.booked"),
        (
            "changed",
            "spec.triggers[big-payment].event.type",
            "trigger big-payment: the event type changes from billing.payment.received to "
            "billing.payment.booked",
        ),
    ),
    (
        lambda d: event(d).update(when="event.payload.currency == 'USD'"),
        (
            "changed",
            "spec.triggers[big-payment].event.when",
            'trigger big-payment: the condition changes from event.payload.currency == "EUR" to '
            "event.payload.currency == 'USD'",
        ),
    ),
    (
        lambda d: event(d).pop("when"),
        (
            "removed",
            "spec.triggers[big-payment].event.when",
            'trigger big-payment: the condition is removed: event.payload.currency == "EUR"',
        ),
    ),
    (
        lambda d: event(d).update(match={"payload": {"amount": [1]}}),
        (
            "changed",
            "spec.triggers[big-payment].event.match",
            "trigger big-payment: the pattern changes from {payload: {amount: [{numeric: [>, "
            "1000]}]}} to {payload: {amount: [1]}}",
        ),
    ),
    (
        lambda d: event(d).update(batch={"maxEvents": 100, "maxWait": "5s"}),
        (
            "added",
            "spec.triggers[big-payment].event.batch",
            "trigger big-payment: the batch is added: up to 100 events within 5s",
        ),
    ),
    (
        lambda d: d["spec"]["triggers"].pop(1),
        (
            "removed",
            "spec.triggers[big-payment]",
            "trigger big-payment is removed: on billing.payment.received",
        ),
    ),
    (
        lambda d: d["spec"]["triggers"].append({"name": "again", "manual": {}}),
        ("added", "spec.triggers[again]", "trigger again is added: by hand"),
    ),
    (
        lambda d: d["spec"]["triggers"][2].update(manual=None, event={"type": "a.b"}),
        (
            "changed",
            "spec.triggers[by-hand]",
            "trigger by-hand: it is now on a.b, before it was by hand",
        ),
    ),
    (
        lambda d: d["spec"].update(limits={"maxTasksPerRun": 20}),
        (
            "changed",
            "spec.limits.maxTasksPerRun",
            "the limit of tasks per run is lowered from 500 to 20",
        ),
    ),
    (
        lambda d: d["spec"].update(limits={"maxRuns": {"count": 3, "window": "1h"}}),
        (
            "added",
            "spec.limits.maxRuns",
            "the limit of runs is added: at most 3 runs in 1h",
        ),
    ),
    (
        lambda d: d["spec"].update(onFailure={"handler": "notify_owner"}),
        ("added", "spec.onFailure", "the handler of failures is added: notify_owner"),
    ),
    (
        lambda d: d["spec"].update(taskQueue="other-tq"),
        ("changed", "spec.taskQueue", "the task queue changes from billing-tq to other-tq"),
    ),
    (
        lambda d: d["spec"]["context"][0]["query"].update(statement="all_invoices"),
        (
            "changed",
            "spec.context[overdue].query.statement",
            "context overdue: the statement changes from overdue_invoices to all_invoices",
        ),
    ),
    (
        lambda d: d["spec"]["context"][0]["query"]["parameters"].update(until="window.end"),
        (
            "changed",
            "spec.context[overdue].query.parameters.until",
            "context overdue: parameter until changes from trigger.scheduled_for to window.end",
        ),
    ),
    (
        lambda d: d["spec"].update(context=[]),
        (
            "removed",
            "spec.context[overdue]",
            "context overdue is removed: statement overdue_invoices of billing-db",
        ),
    ),
    (
        lambda d: rule(d).update(name="urge"),
        ("removed", "spec.rules[remind]", ""),
    ),
    (
        lambda d: d["spec"]["rules"].reverse(),
        (
            "changed",
            "spec.rules",
            "the order of the rules changes from remind then call-the-customer to "
            "call-the-customer then remind",
        ),
    ),
    (
        lambda d: task(d, 1).update(assignees={"groups": ["collections", "sales"]}),
        (
            "added",
            "spec.rules[call-the-customer].task.assignees.groups[sales]",
            "rule call-the-customer: group sales is added to the assignees",
        ),
    ),
    (
        lambda d: task(d, 1).update(reminders=[{"beforeDue": "4h"}]),
        (
            "added",
            "spec.rules[call-the-customer].task.reminders[4h before it is due]",
            "rule call-the-customer: a reminder 4h before it is due is added",
        ),
    ),
    (
        lambda d: task(d, 1).update(escalation={"after": "3d", "assignees": {"users": ["ann"]}}),
        (
            "added",
            "spec.rules[call-the-customer].task.escalation",
            "rule call-the-customer: the escalation is added: after 3d to ann",
        ),
    ),
    (
        lambda d: task(d, 1).update(expiry="9d"),
        (
            "added",
            "spec.rules[call-the-customer].task.expiry",
            "rule call-the-customer: the time until it expires is added: 9d",
        ),
    ),
    (
        lambda d: task(d, 1)["assignees"].update(users=["ann"]),
        (
            "added",
            "spec.rules[call-the-customer].task.assignees.users[ann]",
            "rule call-the-customer: user ann is added to the assignees",
        ),
    ),
    (
        lambda d: task(d, 1).pop("due"),
        (
            "removed",
            "spec.rules[call-the-customer].task.due",
            "rule call-the-customer: the time until it is due is removed: 2d",
        ),
    ),
    (
        lambda d: task(d, 1)["form"]["properties"].update(reached={"type": "string"}, why={}),
        (
            "changed",
            "spec.rules[call-the-customer].task.form",
            "rule call-the-customer: the form changes: why is new, reached is different",
        ),
    ),
    (
        lambda d: task(d)["retry"].update(maximumAttempts=3),
        (
            "changed",
            "spec.rules[remind].task.retry.maximumAttempts",
            "rule remind: the number of attempts is lowered from 10 to 3",
        ),
    ),
    (
        lambda d: task(d)["input"].pop("amount"),
        (
            "removed",
            "spec.rules[remind].task.input.amount",
            "rule remind: input amount is removed: invoice.amount",
        ),
    ),
    (
        lambda d: d["metadata"]["labels"].update(tier="silver"),
        ("changed", "metadata.labels.tier", "label tier changes from gold to silver"),
    ),
    (
        lambda d: d["metadata"].update(description="Why it is there."),
        ("added", "metadata.description", "the description is added: Why it is there."),
    ),
]


@pytest.mark.parametrize(("change", "expected"), DEFINITION_CHANGES)
def test_a_change_of_a_definition_is_told_by_names(
    change: Callable[[Any], Any], expected: tuple[str, str, str]
) -> None:
    found = told("definition", change)
    if expected[2]:
        assert found == [expected]
    else:
        assert found[0][:2] == expected[:2]


def test_a_rule_of_another_name_is_another_rule() -> None:
    found = told("definition", lambda d: rule(d).update(name="urge"))
    assert found == [
        (
            "removed",
            "spec.rules[remind]",
            "rule remind is removed: for each invoice, an automated task for send_reminder on "
            "notifications-tq, when size(context.overdue) > 0",
        ),
        (
            "added",
            "spec.rules[urge]",
            "rule urge is added: for each invoice, an automated task for send_reminder on "
            "notifications-tq, when size(context.overdue) > 0",
        ),
    ]


def test_changed_times_of_a_human_task_are_told_one_by_one() -> None:
    before, after = document("definition"), document("definition")
    people = {"users": ["ann"], "groups": ["sales"]}
    task(before, 1).update(
        reminders=[{"beforeDue": "4h"}, {"afterDue": "1d"}],
        escalation={"after": "3d", "assignees": people},
        expiry="9d",
    )
    task(after, 1).update(
        # In another order, and spelled in another way, they are the same.
        reminders=[{"afterDue": "24h"}, {"beforeDue": "90m"}],
        escalation={"after": "4d", "assignees": {"users": ["bo"], "groups": ["sales"]}},
        expiry="8d",
    )
    where = "rule call-the-customer: "
    assert sorted(
        d.summary.removeprefix(where) for d in differences(load(before), load(after))
    ) == [
        "a reminder 1h30m before it is due is added",
        "it is escalated to user bo too",
        "it is no longer escalated to user ann",
        "the reminder 4h before it is due is removed",
        "the time until it expires shrinks from 9d to 8d",
        "the time until it is escalated grows from 3d to 4d",
    ]


def test_a_task_of_another_kind_is_told_once() -> None:
    def change(value: Any) -> None:
        rule(value).pop("forEach")
        rule(value)["task"] = {"type": "human", "title": "'x'", "assignees": {"users": ["ann"]}}

    assert told("definition", change) == [
        (
            "removed",
            "spec.rules[remind].forEach",
            "rule remind: the loop is removed: one task for each invoice of context.overdue",
        ),
        (
            "changed",
            "spec.rules[remind].task",
            "rule remind: it decides a human task for ann, before an automated task for "
            "send_reminder on notifications-tq",
        ),
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: schedule(d)["missedRuns"].update(window="P1D"),
        lambda d: schedule(d).update(cron="0  *  * * *", overlap="skip", exclusions=[]),
        lambda d: event(d).update(when='event.payload.currency=="EUR" // euros only'),
        lambda d: event(d).update(match={"payload": {"amount": [{"numeric": [">", 1000.0]}]}}),
        lambda d: rule(d).update(when=" size( context.overdue )>0"),
        lambda d: task(d).update(input={"amount": " invoice.amount", "invoice": "invoice.id"}),
        lambda d: task(d, 1)["form"].update(required=["reached"], type="object"),
        lambda d: task(d, 1)["assignees"].update(groups=["collections", "collections"], users=[]),
        lambda d: d["spec"].update(mode="per-trigger", whileDisabled="drop", limits={}),
        lambda d: d["spec"]["triggers"].reverse(),
    ],
)
def test_what_means_the_same_does_not_differ(change: Callable[[Any], Any]) -> None:
    assert told("definition", change) == []


EVENT_TYPE_CHANGES: list[tuple[Callable[[Any], Any], tuple[str, str, str]]] = [
    (
        lambda d: d["spec"].update(compatibility="full"),
        (
            "changed",
            "spec.compatibility",
            "the compatibility is tightened from backward to full",
        ),
    ),
    (
        lambda d: d["spec"].update(compatibility="none"),
        ("changed", "spec.compatibility", "the compatibility is loosened from backward to none"),
    ),
    (
        lambda d: d["spec"].update(compatibility="forward"),
        ("changed", "spec.compatibility", "the compatibility changes from backward to forward"),
    ),
    (
        lambda d: d["spec"]["schemas"].append(
            {"version": 3, "schema": {"properties": {"amount": {}, "paid": {}}}}
        ),
        (
            "added",
            "spec.schemas[3]",
            "schema version 3 is added: the payload is one with amount and paid",
        ),
    ),
    (
        lambda d: d["spec"]["schemas"].pop(0),
        (
            "removed",
            "spec.schemas[1]",
            "schema version 1 is removed: the payload is one with amount and currency",
        ),
    ),
]


@pytest.mark.parametrize(("change", "expected"), EVENT_TYPE_CHANGES)
def test_a_change_of_an_event_type_is_told_by_names(
    change: Callable[[Any], Any], expected: tuple[str, str, str]
) -> None:
    assert told("event-type", change) == [expected]


def key(document: Any) -> Any:
    return document["spec"]["keys"][0]


PRODUCER_CHANGES: list[tuple[Callable[[Any], Any], list[tuple[str, str, str]]]] = [
    (
        lambda d: d["spec"].update(sources=["billing/payments", "billing/refunds"]),
        [
            (
                "removed",
                "spec.sources[billing/invoices/*]",
                "events from billing/invoices/* are no longer allowed",
            ),
            (
                "added",
                "spec.sources[billing/refunds]",
                "events from billing/refunds are now allowed",
            ),
        ],
    ),
    (
        lambda d: d["spec"]["types"].append("billing.refund.paid"),
        [
            (
                "added",
                "spec.types[billing.refund.paid]",
                "events of type billing.refund.paid are now allowed",
            )
        ],
    ),
    (lambda d: d["spec"]["types"].append("billing.payment.received"), []),
    (
        lambda d: d["spec"].update(signatures="accepted"),
        [
            (
                "changed",
                "spec.signatures",
                "the treatment of signatures changes from required to accepted",
            )
        ],
    ),
    (
        lambda d: d["spec"]["keys"].append({**key(d), "id": "next", "notAfter": None}),
        [("added", "spec.keys[next]", "key next is added: in force from 2026-01-01T00:00:00Z")],
    ),
    (
        lambda d: key(d).update(notAfter="2027-06-01T00:00:00Z"),
        [
            (
                "changed",
                "spec.keys[billing-2026].notAfter",
                "key billing-2026: the time until which it is in force changes from "
                "2026-12-31T23:00:00Z to 2027-06-01T00:00:00Z",
            )
        ],
    ),
    (lambda d: key(d).update(notAfter="2027-01-01T01:00:00+02:00"), []),
    (
        lambda d: key(d).update(revokedAt="2026-06-01T00:00:00Z"),
        [
            (
                "added",
                "spec.keys[billing-2026].revokedAt",
                "key billing-2026: the time from which it is revoked is added: "
                "2026-06-01T00:00:00Z",
            )
        ],
    ),
]


@pytest.mark.parametrize(("change", "expected"), PRODUCER_CHANGES)
def test_a_change_of_a_producer_is_told_by_names(
    change: Callable[[Any], Any], expected: list[tuple[str, str, str]]
) -> None:
    assert told("producer", change) == expected


@pytest.mark.parametrize(
    ("name", "does"),
    [
        (
            "definition",
            "definition billing.overdue-invoices {}: it runs by cron 0 * * * * in Europe/Berlin, "
            "on billing.payment.received and by hand, and decides by 2 rules (remind and "
            "call-the-customer)",
        ),
        (
            "event-type",
            "event type billing.payment.received {}: it has schema versions 1 and 2, kept "
            "backward compatible",
        ),
        (
            "producer",
            "producer billing-service {}: it emits billing.payment.* from billing/payments and "
            "billing/invoices/*, signatures required with 1 key",
        ),
    ],
)
def test_a_whole_resource_comes_or_goes_with_a_summary(name: str, does: str) -> None:
    resource = load(document(name))
    (added,) = differences(None, resource)
    (removed,) = differences(resource, None)
    assert (added.kind, added.path, added.summary) == (
        DifferenceKind.ADDED,
        "",
        does.format("is new"),
    )
    assert (removed.kind, removed.path, removed.summary) == (
        DifferenceKind.REMOVED,
        "",
        does.format("is retired"),
    )
    assert differences(None, None) == []
    assert differences(resource, resource) == []


def test_values_of_both_sides_come_as_json() -> None:
    before, after = document("definition"), document("definition")
    task(after)["timeout"] = "60s"
    after["spec"]["rules"].pop(1)
    changed, removed = differences(load(before), load(after))
    assert (changed.before, changed.after) == ("30s", "60s")
    assert (removed.before["name"], removed.after) == ("call-the-customer", None)


CHANGES = [change for change, _ in DEFINITION_CHANGES]


@given(st.lists(st.sampled_from(CHANGES), max_size=5, unique=True))
def test_there_and_back_are_each_others_opposite(changes: Any) -> None:
    value = document("definition")
    before = after = load(value)
    for change in changes:
        # Not every change fits after every other.
        with contextlib.suppress(KeyError, IndexError, ValidationError):
            change(value)
            after = load(value)
    there = differences(before, after)
    back = differences(after, before)
    opposite = {
        DifferenceKind.ADDED: DifferenceKind.REMOVED,
        DifferenceKind.REMOVED: DifferenceKind.ADDED,
        DifferenceKind.CHANGED: DifferenceKind.CHANGED,
    }
    assert sorted((d.path, opposite[d.kind]) for d in there) == sorted(
        (d.path, d.kind) for d in back
    )
    assert {d.path: (d.before, d.after) for d in there} == {
        d.path: (d.after, d.before) for d in back
    }
