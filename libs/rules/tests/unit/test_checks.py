"""What is found wrong in a definition before it ever runs."""

from typing import Any

import pytest

from contracts.definitions import ActivityDefinition
from rules import checks

MISSED = {"policy": "compress", "window": "24h"}


def spec(**fields: Any) -> ActivityDefinition:
    whole = {
        "taskQueue": "billing-tq",
        "triggers": [],
        "context": [
            {"name": "overdue", "query": {"connector": "db", "statement": "overdue"}},
        ],
        "rules": [rule()],
        **fields,
    }
    return ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "billing.overdue", "namespace": "dev", "owner": "billing"},
            "spec": whole,
        }
    )


def rule(name: str = "remind", **fields: Any) -> dict[str, Any]:
    return {"name": name, "task": automated(), **fields}


def automated(**fields: Any) -> dict[str, Any]:
    return {"type": "automated", "handler": "send", "taskQueue": "mail-tq", **fields}


def human(**fields: Any) -> dict[str, Any]:
    return {"type": "human", "title": "'Call'", "assignees": {"groups": ["desk"]}, **fields}


def scheduled(**fields: Any) -> dict[str, Any]:
    return {"triggers": [{"name": "tick", "schedule": {"missedRuns": MISSED, **fields}}]}


def event(**fields: Any) -> dict[str, Any]:
    return {"triggers": [{"name": "paid", "event": {"type": "paid", **fields}}]}


def found(**fields: Any) -> list[str]:
    return [str(problem) for problem in checks.problems(spec(**fields))]


def test_a_definition_that_uses_all_of_the_language_has_no_problem() -> None:
    assert (
        found(
            triggers=[
                {
                    "name": "hourly",
                    "schedule": {
                        "cron": "0 8-18 * * mon-fri",
                        "timezone": "Europe/Berlin",
                        "missedRuns": MISSED,
                    },
                },
                {"name": "often", "schedule": {"every": "1s", "missedRuns": MISSED}},
                {
                    "name": "by-day",
                    "schedule": {
                        "every": "15m",
                        "timezone": "Europe/Berlin",
                        "exclusions": [{"hour": "0-7"}, {"dayOfWeek": "sat,sun"}],
                        "jitter": "14m",
                        "missedRuns": MISSED,
                    },
                },
                # Over since long: what is applied again has to stay as good as it was.
                {
                    "name": "once",
                    "schedule": {
                        "calendars": [{"month": "1", "dayOfMonth": "1", "year": "2020"}],
                        "end": "2021-01-01T00:00:00Z",
                        "missedRuns": MISSED,
                    },
                },
                {
                    "name": "paid",
                    "event": {
                        "type": "paid",
                        "match": {"payload": {"amount": [{"numeric": [">", 1000]}]}},
                        "when": 'event.payload.currency == "EUR"',
                    },
                },
            ],
            context=[
                {
                    "name": "overdue",
                    "query": {
                        "connector": "db",
                        "statement": "overdue",
                        "parameters": {"until": "window.end", "by": "trigger.actor"},
                    },
                }
            ],
            rules=[
                rule(
                    when="size(context.overdue) > 0",
                    forEach={"item": "invoice", "in": "context.overdue"},
                    task=automated(key="invoice.id", input={"id": "invoice.id"}),
                ),
                rule(
                    name="call",
                    when="event != null && event.payload.urgent",
                    task=human(
                        form={
                            "type": "object",
                            "properties": {"done": {"type": "boolean"}},
                            "required": ["done"],
                        }
                    ),
                ),
            ],
        )
        == []
    )


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (scheduled(cron="61 * * * *"), "spec.triggers[0].schedule.cron: minute: 61"),
        (scheduled(cron="0 0 30 2 *"), "spec.triggers[0].schedule.cron: never due"),
        (scheduled(cron="0 * * * *", timezone="Europe/Berln"),
         "spec.triggers[0].schedule.timezone: unknown time zone 'Europe/Berln'; did you mean "
         "'Europe/Berlin'?"),
        (scheduled(cron="0 * * * *", timezone="Xyzzy/Quux"),
         "spec.triggers[0].schedule.timezone: unknown time zone 'Xyzzy/Quux'; write an IANA name"),
        (scheduled(cron="0 0 * 2 mon#5", exclusions=[{"dayOfMonth": "29"}]),
         "spec.triggers[0].schedule.exclusions: never due: the exclusions leave no time; narrow"),
        (scheduled(every="1h", exclusions=[{}], end="2027-01-01T00:00:00Z"),
         "spec.triggers[0].schedule.exclusions: never due: the exclusions leave no time between"),
        (scheduled(every="1h", start="2026-01-01T00:10:00Z", end="2026-01-01T00:50:00Z"),
         "spec.triggers[0].schedule.end: never due: nothing falls between start and end; move end"),
        (scheduled(every="1h", start="9999-01-01T00:00:00Z"),
         "spec.triggers[0].schedule.start: never due: the start is the end of the calendar"),
        (scheduled(calendars=[{"dayOfMonth": "30", "month": "feb"}]),
         "spec.triggers[0].schedule.calendars[0].dayOfMonth: never due: no month of 'feb'"),
        (scheduled(calendars=[{"dayOfMonth": "29", "month": "2", "year": "2026,2027"}]),
         "spec.triggers[0].schedule.calendars: never due: no day of the next decades"),
        (scheduled(calendars=[{}, {"hour": "25"}]),
         "spec.triggers[0].schedule.calendars[1].hour: hour: 25 does not lie between 0 and 23"),
        (scheduled(every="1m", exclusions=[{"dayOfWeek": "monday"}]),
         "spec.triggers[0].schedule.exclusions[0].dayOfWeek: day of week: cannot read 'monday'"),
        (scheduled(every="1m", timezone="Mars", exclusions=[{"hour": "1"}]),
         "spec.triggers[0].schedule.timezone: unknown time zone 'Mars'"),
        (scheduled(cron="0 0 1 * *", jitter="13h"),
         "spec.triggers[0].schedule.jitter: a jitter is at most 12h"),
        (scheduled(every="5m", jitter="5m"),
         "spec.triggers[0].schedule.jitter: the jitter is not shorter than the period"),
        (scheduled(every="1m", timezone="Europe/Berlin"),
         "spec.triggers[0].schedule.timezone: every counts"),
        (scheduled(every="1m", missedRuns={"policy": "catchUp", "window": "1h"}),
         "spec.triggers[0].schedule.overlap: catchUp starts several runs at once"),
        (scheduled(every="1m", missedRuns={"policy": "catchUp", "window": "1h"},
                   overlap="cancelOther"),
         "spec.triggers[0].schedule.overlap: catchUp starts several runs at once, of which "
         "overlap: cancelOther would let only one run"),
        (event(match={"payload": {"n": "x"}}), "spec.triggers[0].event.match.payload.n: expected"),
        (event(match={}), "spec.triggers[0].event.match: an empty object"),
        (event(when="event.n +"), "spec.triggers[0].event.when: column 10"),
        (event(when="size(event.type)"),
         "spec.triggers[0].event.when: expected true or false, but this gives a whole number"),
        (event(when="context.overdue == []"),
         "spec.triggers[0].event.when: unknown variable 'context'; there is: event"),
        ({"rules": [rule(when="size(context.overdu) > 0")]},
         "spec.rules[0].when: unknown context entry 'overdu'; did you mean 'overdue'?"),
        ({"rules": [rule(when="context['late'].size() > 0")]},
         "spec.rules[0].when: unknown context entry 'late'; there is: overdue"),
        ({"rules": [rule(when="trigger.name == 'x'")]},
         "spec.rules[0].when: unknown field of trigger 'name'; did you mean 'names'?"),
        ({**scheduled(every="1m"), "rules": [rule(when="window.begin == ''")]},
         "spec.rules[0].when: unknown field of window 'begin'; there is: end, start"),
        ({"rules": [rule(when="window.end == ''")]},
         "spec.rules[0].when: window is null in every run of this definition, which has no "
         "schedule trigger"),
        ({"rules": [rule(when="'yes'")]},
         "spec.rules[0].when: expected true or false, but this gives a text"),
        ({"rules": [rule(forEach={"item": "i", "in": "1"}, task=automated(key="i"))]},
         "spec.rules[0].forEach.in: expected a list, but this gives a whole number"),
        ({"rules": [rule(forEach={"item": "event", "in": "[1]"}, task=automated(key="event"))]},
         "spec.rules[0].forEach.item: 'event' is a variable already"),
        ({"rules": [rule(forEach={"item": "i", "in": "i"}, task=automated(key="i"))]},
         "spec.rules[0].forEach.in: unknown variable 'i'"),
        ({"rules": [rule(task=automated(key="[1]"))]},
         "spec.rules[0].task.key: expected a text or a whole number, but this gives a list"),
        ({"rules": [rule(task=automated(input={"to": "invoice.id"}))]},
         "spec.rules[0].task.input.to: unknown variable 'invoice'"),
        ({"rules": [rule(task=automated(taskQueue="billing-tq"))]},
         "spec.rules[0].task.taskQueue: 'billing-tq' is the queue that"),
        ({"rules": [rule(task=human(reminders=[{"beforeDue": "1h"}]))]},
         "spec.rules[0].task.reminders: reminders are counted from when the task is due"),
        ({"rules": [rule(task=human(due="1d", reminders=[{"beforeDue": "24h"}]))]},
         "spec.rules[0].task.reminders[0].beforeDue: the task does not exist yet by then"),
        ({"rules": [rule(task=human(due="1d", reminders=[{"afterDue": "1d"}], expiry="2d"))]},
         "spec.rules[0].task.reminders[0].afterDue: the task has expired by then"),
        ({"rules": [rule(task=human(
            due="1d", reminders=[{"afterDue": "1h"}, {"afterDue": "60m"}]))]},
         "spec.rules[0].task.reminders[1].afterDue: there is a reminder at this time already"),
        ({"rules": [rule(task=human(due="2d", expiry="48h"))]},
         "spec.rules[0].task.expiry: the task expires before it is late"),
        ({"rules": [rule(task=human(
            escalation={"after": "2d", "assignees": {"users": ["u"]}}, expiry="1d"))]},
         "spec.rules[0].task.escalation.after: the task has expired by then"),
        ({"rules": [rule(task=human(title="1.5"))]},
         "spec.rules[0].task.title: expected a text, but this gives a number with decimals"),
        ({"rules": [rule(task=human(form={"type": "string"}))]},
         "spec.rules[0].task.form.type: its values are objects: write type: object"),
        ({"rules": [rule(task=human(form={"type": "object", "properties": {"a": 1}}))]},
         "spec.rules[0].task.form.properties.a: expected a JSON Schema"),
        ({"rules": [rule(task=human(form={"type": "object", "properties": []}))]},
         "spec.rules[0].task.form.properties: expected an object"),
        ({"rules": [rule(task=human(form={"type": "object", "required": "a"}))]},
         "spec.rules[0].task.form.required: expected a list"),
        ({"rules": [rule(task=human(
            form={"type": "object", "properties": {"done": {}}, "required": ["don"]}))]},
         "spec.rules[0].task.form.required: unknown field 'don'; did you mean 'done'?"),
    ],
)  # fmt: skip
def test_a_problem_has_its_path_and_a_way_out(fields: dict[str, Any], problem: str) -> None:
    [only] = found(**fields)
    assert only.startswith(problem)


def test_parameters_of_the_context_read_the_cause_only() -> None:
    query = {"connector": "db", "statement": "s", "parameters": {"x": "context.y"}}
    assert found(context=[{"name": "y", "query": query}]) == [
        "spec.context[0].query.parameters.x: unknown variable 'context'; "
        "there is: event, events, trigger, window"
    ]


def test_all_problems_are_told_at_once_in_the_order_of_the_text() -> None:
    paths = [
        problem.path
        for problem in checks.problems(
            spec(
                **scheduled(cron="x * * * *", timezone="Mars"),
                rules=[
                    rule(when="1"),
                    rule(name="two", task=automated(key="a + b", input={"x": "("})),
                ],
            )
        )
    ]
    assert paths == [
        "spec.triggers[0].schedule.cron",
        "spec.triggers[0].schedule.timezone",
        "spec.rules[0].when",
        "spec.rules[1].task.key",
        "spec.rules[1].task.input.x",
    ]


def test_all_that_is_wrong_with_a_schedule_is_told_at_once() -> None:
    told = found(
        **scheduled(
            calendars=[{"hour": "25", "minute": "x"}, {"year": "1999"}],
            exclusions=[{"month": "13"}],
            timezone="Mars",
            jitter="2d",
        )
    )
    paths = [problem.split(":")[0] for problem in told]
    assert [path.removeprefix("spec.triggers[0].schedule.") for path in paths] == [
        "calendars[0].minute",
        "calendars[0].hour",
        "calendars[1].year",
        "exclusions[0].month",
        "timezone",
        "jitter",
    ]
