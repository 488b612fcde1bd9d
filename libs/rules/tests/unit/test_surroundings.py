"""What is found wrong in a definition in what is registered and configured around it."""

import time
from typing import Any

import pytest

from contracts.catalogue import Catalogue
from contracts.definitions import ActivityDefinition
from contracts.eventtypes import EventType
from contracts.producers import Producer
from rules import checks
from rules.checks import Surroundings

PAID = {
    "type": "object",
    "required": ["amount"],
    "properties": {
        "amount": {"type": "number"},
        "currency": {"enum": ["EUR", "USD"]},
        "note": {"type": ["string", "null"]},
        "lines": {
            "type": "array",
            "items": {"type": "object", "properties": {"sku": {"type": "string"}}},
        },
    },
}
PAID_2 = {**PAID, "properties": {**PAID["properties"], "paid_by": {"type": "string"}}}
ROWS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"id": {"type": "string"}, "amount": {"type": "number"}},
        "additionalProperties": False,
    },
}
CATALOGUE = Catalogue.model_validate(
    {
        "connectors": {
            "billing-db": {
                "postgres": {
                    "dsnEnv": "DSN",
                    "statements": {
                        "overdue": {
                            "sql": "SELECT 1",
                            "parameters": [
                                {"name": "until", "type": "timestamptz"},
                                {"name": "top", "type": "integer", "nullable": True},
                            ],
                            "result": ROWS,
                        },
                        "everything": {"sql": "SELECT 1"},
                    },
                }
            },
            "crm": {
                "http": {
                    "url": "https://crm.test",
                    "timeout": "3s",
                    "paths": {
                        "/customers/{id}": {
                            "parameters": [
                                {"name": "id", "type": "text"},
                                {"name": "top", "type": "integer"},
                            ],
                            "result": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["gold"],
                                "properties": {"gold": {"type": "boolean"}},
                            },
                        }
                    },
                }
            },
        },
        "handlers": {
            "send": {
                "taskQueue": "mail-tq",
                "input": {
                    "type": "object",
                    "required": ["to"],
                    "properties": {
                        "to": {"type": "string"},
                        "amount": {"type": "number"},
                        "urgency": {"enum": ["low", "high"]},
                        "at": {"type": "string"},
                    },
                },
            },
            "anything": {"taskQueue": "mail-tq"},
        },
    }
)
KNOWN = Surroundings(event_types={"shop.paid": {1: PAID, 2: PAID_2}}, catalogue=CATALOGUE)
TICK = {"name": "tick", "schedule": {"every": "1m", "missedRuns": {"policy": "skip",
                                                                   "tolerance": "1m"}}}  # fmt: skip


def found(surroundings: Surroundings = KNOWN, **fields: Any) -> list[str]:
    spec = {"taskQueue": "billing-tq", "triggers": [paid()], "rules": [rule()], **fields}
    definition = ActivityDefinition.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "ActivityDefinition",
            "metadata": {"id": "billing.overdue", "namespace": "dev", "owner": "billing"},
            "spec": spec,
        }
    )
    return [str(problem) for problem in checks.problems(definition, surroundings)]


def paid(event_type: str = "shop.paid", **fields: Any) -> dict[str, Any]:
    return {"name": "paid", "event": {"type": event_type, **fields}}


def rule(**fields: Any) -> dict[str, Any]:
    return {"name": "remind", "task": automated(), **fields}


def automated(**fields: Any) -> dict[str, Any]:
    return {
        "type": "automated",
        "handler": "send",
        "taskQueue": "mail-tq",
        "input": {"to": "'ann'"},
        **fields,
    }


def query(**fields: Any) -> list[dict[str, Any]]:
    whole = {
        "connector": "billing-db",
        "statement": "overdue",
        "parameters": {"until": "trigger.scheduled_for", "top": "null"},
        **fields,
    }
    return [{"name": "overdue", "query": whole}]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"triggers": [paid("shop.payed")]},
         "spec.triggers[0].event.type: unknown event type 'shop.payed'; did you mean 'shop.paid'?"),
        ({"triggers": [paid("crm.left")]},
         "spec.triggers[0].event.type: unknown event type 'crm.left'; apply an EventType of that "
         "name"),
        ({"triggers": [paid("backbone.RunFailled")]},
         "spec.triggers[0].event.type: unknown event type 'backbone.RunFailled'; did you mean "
         "'backbone.RunFailed'?"),
        ({"triggers": [paid("backbone.TaskCompleted", when="event.payload.outputs == 1")]},
         "spec.triggers[0].event.when: unknown field of event.payload 'outputs'; did you mean "
         "'output'?"),
        ({"triggers": [paid(when="event.payload.amonut > 5")]},
         "spec.triggers[0].event.when: unknown field of event.payload 'amonut'; did you mean "
         "'amount'?"),
        ({"triggers": [paid(when="event.paylod.amount > 5")]},
         "spec.triggers[0].event.when: unknown field of event 'paylod'; did you mean 'payload'? "
         'An extension of that name is event["paylod"]'),
        ({"triggers": [paid(when="event.payload.amount")]},
         "spec.triggers[0].event.when: expected true or false, but this gives a number"),
        ({"triggers": [paid(match={"payload": {"amonut": [1]}})]},
         "spec.triggers[0].event.match.payload.amonut: unknown field of event.payload 'amonut'; "
         "did you mean 'amount'?"),
        ({"triggers": [paid(match={"paylod": {"amount": [1]}})]},
         "spec.triggers[0].event.match.paylod: unknown field of event 'paylod'; did you mean "
         "'payload'?"),
        ({"triggers": [paid(match={"payload": {"amount": ["12"]}})]},
         "spec.triggers[0].event.match.payload.amount[0]: event.payload.amount is a number, which "
         "is never equal to a text"),
        ({"triggers": [paid(match={"payload": {"currency": ["EUR", "DM"]}})]},
         "spec.triggers[0].event.match.payload.currency[1]: event.payload.currency is 'EUR' or "
         "'USD', which is never equal to 'DM'"),
        ({"triggers": [paid(match={"payload": {"note": [{"numeric": [">", 1]}]}})]},
         "spec.triggers[0].event.match.payload.note[0]: event.payload.note is a text or null, and "
         "numeric matches numbers"),
        ({"triggers": [paid(match={"payload": {"amount": [{"prefix": "1"}]}})]},
         "spec.triggers[0].event.match.payload.amount[0]: event.payload.amount is a number, and "
         "prefix matches texts"),
        ({"triggers": [paid(match={"payload": {"amount": {"net": [1]}}})]},
         "spec.triggers[0].event.match.payload.amount: event.payload.amount is a number, which has "
         "no fields to match"),
        ({"triggers": [paid(match={"$or": [{"payload": {"lines": {"skuu": ["x"]}}},
                                           {"type": ["shop.paid"]}]})]},
         "spec.triggers[0].event.match.$or[0].payload.lines.skuu: unknown field of "
         "event.payload.lines 'skuu'; did you mean 'sku'?"),
        ({"triggers": [{"name": "by-hand", "manual": {"input": {"type": "objct"}}}]},
         "spec.triggers[0].manual.input.type: unknown type 'objct'; did you mean 'object'?"),
        ({"triggers": [{"name": "by-hand", "manual": {"input": {
            "type": "object", "properties": {"dry": {"type": "boolean"}}}}}],
          "rules": [rule(when="has(trigger.input.dri)")]},
         "spec.rules[0].when: unknown field of trigger.input 'dri'; did you mean 'dry'?"),
        ({"rules": [rule(when="trigger.kind == 'scheduled'")]},
         "spec.rules[0].when: trigger.kind is 'backfill' or 'batch' or 'event' or 'manual' or "
         "'replay' or 'schedule' or 'timer', which is never equal to 'scheduled'"),
        ({"context": query(connector="biling-db")},
         "spec.context[0].query.connector: unknown connector 'biling-db'; did you mean "
         "'billing-db'?"),
        ({"context": query(statement="overdu")},
         "spec.context[0].query.statement: unknown statement of billing-db 'overdu'; did you mean "
         "'overdue'?"),
        ({"context": query(parameters={"until": "trigger.scheduled_for"})},
         "spec.context[0].query.parameters: overdue needs the parameter 'top', integer; bind it to "
         "an expression, null if need be"),
        ({"context": query(parameters={"until": "'x'", "top": "1", "tob": "2"})},
         "spec.context[0].query.parameters.tob: unknown parameter of overdue 'tob'; did you mean "
         "'top'?"),
        ({"context": query(parameters={"until": "1", "top": "1"})},
         "spec.context[0].query.parameters.until: expected a text, but this gives a whole number"),
        ({"context": query(parameters={"until": "null", "top": "1"})},
         "spec.context[0].query.parameters.until: expected a text, but this gives null"),
        ({"context": query(parameters={"until": "'x'", "top": "event.payload.currency"})},
         "spec.context[0].query.parameters.top: expected a whole number or null, but this gives a "
         "text"),
        ({"context": query(parameters={"until": "window.end", "top": "1"})},
         "spec.context[0].query.parameters.until: window is null in every run of this definition, "
         "which has no schedule trigger"),
        ({"triggers": [TICK],
          "context": query(parameters={"until": "event.payload.at", "top": "1"})},
         "spec.context[0].query.parameters.until: event is null in every run of this definition, "
         "which has no event trigger"),
        ({"context": query(), "rules": [rule(when="context.overdue.exists(i, i.amout > 1.0)")]},
         "spec.rules[0].when: unknown field of i 'amout'; did you mean 'amount'?"),
        ({"context": query(), "rules": [rule(when="context.overdue.id == ''")]},
         "spec.rules[0].when: context.overdue is a list, which has no fields; it is asked for "
         "'id'"),
        ({"context": query(), "rules": [rule(
            forEach={"item": "i", "in": "context.overdue.filter(x, x.amount > 5.0)"},
            task=automated(key="i.idd"))]},
         "spec.rules[0].task.key: unknown field of i 'idd'; did you mean 'id'?"),
        ({"context": query(), "rules": [rule(
            forEach={"item": "i", "in": "context.overdue"}, task=automated(key="i"))]},
         "spec.rules[0].task.key: expected a text or a whole number, but this gives an object"),
        ({"rules": [rule(task=automated(handler="sent"))]},
         "spec.rules[0].task.handler: unknown handler 'sent'; did you mean 'send'?"),
        ({"rules": [rule(task=automated(taskQueue="post-tq"))]},
         "spec.rules[0].task.taskQueue: send is served on 'mail-tq', not on 'post-tq'; write "
         "taskQueue: mail-tq"),
        ({"rules": [rule(task=automated(input={}))]},
         "spec.rules[0].task.input: send needs the input 'to'; give it an expression"),
        ({"rules": [rule(task=automated(input={"to": "'a'", "amout": "1"}))]},
         "spec.rules[0].task.input.amout: unknown input of send 'amout'; did you mean 'amount'?"),
        ({"rules": [rule(task=automated(input={"to": "1 + 1"}))]},
         "spec.rules[0].task.input.to: send takes a text, but this gives a whole number"),
        ({"rules": [rule(task=automated(input={"to": "'a'", "urgency": "'hihg'"}))]},
         "spec.rules[0].task.input.urgency: send takes 'high' or 'low', but this gives 'hihg'"),
    ],
)  # fmt: skip
def test_a_problem_has_its_path_and_a_way_out(fields: dict[str, Any], problem: str) -> None:
    assert found(**fields) == [problem]


@pytest.mark.parametrize(
    "fields",
    [
        {"triggers": [paid(when="event.payload.paid_by == 'card'")]},
        {"triggers": [paid(when="event.tenant == 'x' && event.correlationid == 'y'")]},
        {"triggers": [paid(match={"payload": {"note": [None, {"exists": False}]},
                                  "tenant": ["x"], "source": [{"prefix": "shop"}]})]},
        {"triggers": [paid(match={"payload": {"gone": [{"exists": False}]}})]},
        {"triggers": [paid(match={"payload": {"lines": {"sku": [{"wildcard": "a*"}]}}})]},
        {"triggers": [paid("backbone.RunFailed", when="event.payload.failure.message != ''")]},
        {"triggers": [paid(), TICK], "rules": [rule(when="event.payload.amount > 1.0")]},
        {"triggers": [paid(), TICK], "rules": [rule(when="size(window.start) > 1")]},
        {"rules": [rule(when="window != null && window.end > ''")]},
        {"triggers": [], "rules": [rule(when="event == null || event.payload.x")]},
        {"rules": [rule(when="trigger.input.whatever == 1")]},
        {"context": query(parameters={"until": "timestamp(event.occurred_at)", "top": "null"})},
        {"context": query(statement="everything", parameters={}),
         "rules": [rule(when="context.overdue[0].any.thing")]},
        {"rules": [rule(task=automated(handler="anything", input={"what": "[1]"}))]},
        {"rules": [rule(task=automated(input={"to": "event.payload.note", "amount": "1",
                                              "at": "timestamp(event.occurred_at)"}))]},
    ],
)  # fmt: skip
def test_what_may_be_right_is_not_called_wrong(fields: dict[str, Any]) -> None:
    assert found(**fields) == []


def test_what_is_not_known_is_not_checked() -> None:
    assert (
        found(
            Surroundings(),
            triggers=[paid("crm.left", when="event.payload.whatever == 1")],
            context=query(connector="elsewhere"),
            rules=[rule(task=automated(handler="someone"))],
        )
        == []
    )


def test_fields_of_several_event_types_are_all_known() -> None:
    surroundings = Surroundings(
        event_types={"a": {1: {"properties": {"x": {"type": "string"}}}},
                     "b": {1: {"properties": {"y": {"type": "number"}}}}}
    )  # fmt: skip
    triggers = [paid("a"), {**paid("b"), "name": "second"}]
    when = "event.type == 'a' ? event.payload.x == 'v' : event.payload.y > 1.0"
    assert found(surroundings, triggers=triggers, rules=[rule(when=when)]) == []
    [problem] = found(surroundings, triggers=triggers, rules=[rule(when="event.payload.z")])
    assert problem == "spec.rules[0].when: unknown field of event.payload 'z'; there is: x, y"


def test_who_is_told_of_failures_is_known() -> None:
    assert found(onFailure={"handler": "sned"})[0] == (
        "spec.onFailure.handler: unknown handler 'sned'; did you mean 'send'?"
    )
    assert found(onFailure={"handler": "send", "taskQueue": "post-tq"})[0] == (
        "spec.onFailure.taskQueue: send is served on 'mail-tq', not on 'post-tq'; write taskQueue: "
        "mail-tq"
    )
    bare = Surroundings(catalogue=Catalogue())
    assert found(bare, onFailure={"handler": "anyone"})[0] == (
        "spec.onFailure: the catalogue does not say on which queue this handler is served; "
        "write its taskQueue"
    )


BUILT_IN = Surroundings(
    catalogue=Catalogue.model_validate(
        {
            "connectors": {"crm": {"http": {"url": "https://crm.test", "calls": {"PUT /a": {}}}}},
            "topics": ["events"],
            "handlers": {
                "call": {"taskQueue": "mail-tq", "builtIn": "http_call"},
                "publish": {"taskQueue": "mail-tq", "builtIn": "publish_event"},
                "start": {"taskQueue": "mail-tq", "builtIn": "start_definition"},
            },
        }
    )
)
CALL = {"connector": "'crm'", "method": "'PUT'", "path": "'/a'"}
PUBLISH = {"topic": "'events'", "type": "'a.done'", "payload": '{"n": 1}'}


@pytest.mark.parametrize(
    ("handler", "given", "says"),
    [
        ("call", CALL, None),
        ("call", {**CALL, "parameters": '{"id": "c"}', "body": "[1]"}, None),
        ("call", {**CALL, "connector": "'erp'"}, "input.connector: call takes 'crm'"),
        ("call", {**CALL, "method": "'POST'"}, "input.method: call takes 'PUT'"),
        ("call", {**CALL, "url": "'http://evil'"}, "unknown input of call 'url'"),
        ("call", {"connector": "'crm'"}, "call needs the input 'method'"),
        ("publish", PUBLISH, None),
        ("publish", {**PUBLISH, "topic": "'other'"}, "input.topic: publish takes 'events'"),
        ("publish", {**PUBLISH, "schema_version": "'one'"}, "publish takes a whole number"),
        ("start", {"definition_id": "'a.b'", "input": '{"a": 1}'}, None),
        ("start", {"definition": "'a.b'"}, "did you mean 'definition_id'?"),
    ],
)
def test_the_input_of_built_in_handlers_is_checked_by_what_the_catalogue_has(
    handler: str, given: dict[str, str], says: str | None
) -> None:
    problems = found(BUILT_IN, rules=[rule(task=automated(handler=handler, input=given))])
    if says is None:
        assert problems == []
    else:
        assert any(says in problem for problem in problems), problems


def test_a_built_in_handler_takes_no_notice_of_failures() -> None:
    [problem] = found(BUILT_IN, onFailure={"handler": "start"}, rules=[rule(task=automated(
        handler="start", input={"definition_id": "'a'"}))])  # fmt: skip
    assert problem.startswith("spec.onFailure.handler: start is a built-in handler")


def test_a_correlation_key_needs_something_to_correlate() -> None:
    [problem] = found(triggers=[paid(correlate="event.payload.note")])
    assert problem.startswith(
        "spec.triggers[0].event.correlate: correlate is the key of a stateful instance or of a "
        "batch, and this trigger has neither"
    )
    assert found(mode="stateful", instance={}) == [
        "spec.triggers[0].event: mode: stateful needs correlate, which says whose instance an "
        "event is"
    ]
    [problem] = found(
        mode="stateful", instance={}, triggers=[paid(correlate="event.payload.lines")]
    )
    assert problem == (
        "spec.triggers[0].event.correlate: expected a text or a whole number, but this gives a list"
    )


def test_what_is_gathered_is_read_as_a_list() -> None:
    gathered = paid(batch={"maxEvents": 5, "maxWait": "5s"}, correlate="event.payload.note")
    assert (
        found(triggers=[gathered], rules=[rule(when="events.all(e, e.payload.amount > 1.0)")]) == []
    )
    [problem] = found(triggers=[gathered], rules=[rule(when="event.payload.amount > 1.0")])
    assert problem.startswith("spec.rules[0].when: event is null")
    [problem] = found(triggers=[gathered], rules=[rule(when="events[0].payload.amuont > 1.0")])
    assert problem.startswith("spec.rules[0].when: unknown field of events[0].payload 'amuont'")


def test_limits_are_of_what_events_start() -> None:
    rate, concurrency = {"count": 1, "window": "1h"}, {"maxOpenRuns": 2}
    assert found(limits={"maxRuns": rate, "concurrency": concurrency}) == []
    manual = {"name": "m", "manual": {}}
    assert [problem.partition(":")[0] for problem in found(
        triggers=[manual],
        rules=[rule(when="true")],
        limits={"maxRuns": rate, "concurrency": {**concurrency, "key": "event.subject"}},
    )] == ["spec.limits.maxRuns", "spec.limits.concurrency"]  # fmt: skip
    keyed = {**concurrency, "key": "event.payload.lines"}
    assert found(limits={"concurrency": keyed}) == [
        "spec.limits.concurrency.key: expected a text or a whole number, but this gives a list"
    ]
    keyed = {**concurrency, "key": "event.payload.note"}
    gathered = paid(batch={"maxEvents": 5, "maxWait": "5s"}, correlate="event.payload.note")
    [problem] = found(triggers=[gathered], rules=[rule(when="true")], limits={"concurrency": keyed})
    assert problem.startswith("spec.limits.concurrency.key: a trigger's correlate is the key")


def test_a_path_and_its_parameters_agree() -> None:
    http = {"connector": "crm", "path": "/c/{id}/{nr}", "parameters": {"nr": "1", "name": "2"}}
    assert found(context=[{"name": "customer", "http": http}]) == [
        "spec.context[0].http.path: unknown parameter 'id'; there is: name, nr",
    ]
    http = {"connector": "crm", "path": "/c/{id", "parameters": {"id": "1"}}
    assert found(context=[{"name": "customer", "http": http}])[0] == (
        "spec.context[0].http.path: a brace stands alone; a parameter is written {name}"
    )


def customer(**fields: Any) -> list[dict[str, Any]]:
    http = {"connector": "crm", "path": "/customers/{id}", "parameters": {"id": "'a'", "top": "1"}}
    own = {name: fields.pop(name) for name in list(fields) if name in http}
    return [{"name": "customer", "http": {**http, **own}, **fields}]


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        (customer(connector="cmr"), "http.connector: unknown connector 'cmr'; did you mean 'crm'?"),
        (customer(connector="billing-db"),
         "http.connector: billing-db is a database; write query, with its statement"),
        (query(connector="crm"),
         "query.connector: crm is an HTTP API; write http, with its path"),
        (customer(path="/customer/{id}"),
         "http.path: unknown path of crm '/customer/{id}'; did you mean '/customers/{id}'?"),
        (customer(parameters={"id": "'a'"}),
         "http.parameters: /customers/{id} needs the parameter 'top', integer; bind it to an "
         "expression"),
        (customer(parameters={"id": "1", "top": "1"}),
         "http.parameters.id: expected a text, but this gives a whole number"),
        (customer(timeout="4s"),
         "timeout: an answer is waited for no longer than 3s, whatever is written here; write that "
         "or less, or leave it out"),
        (customer(retries=9),
         "retries: 10 attempts of 3s are 30s, more than the 20s that a run looks at one thing; "
         "write fewer retries or a shorter timeout"),
        (customer(retries=9, timeout="2s"), None),
        (customer(), None),
        ([{"name": "last", "lastRun": {}, "timeout": "21s"}],
         "timeout: an answer is waited for no longer than 20s, whatever is written here; write "
         "that or less, or leave it out"),
        ([{"name": "last", "lastRun": {"status": "completed"}, "timeout": "5s", "retries": 3}],
         None),
    ],
)  # fmt: skip
def test_a_context_entry_asks_for_what_the_catalogue_has(
    entries: list[dict[str, Any]], problem: str | None
) -> None:
    expected = [] if problem is None else [f"spec.context[0].{problem}"]
    assert found(context=entries) == expected


@pytest.mark.parametrize(
    ("entries", "when", "problem"),
    [
        (customer(), "context.customer.gold", None),
        (customer(), "context.customer.glod",
         "unknown field of context.customer 'glod'; did you mean 'gold'?"),
        (customer(retries=0, onFailure=None), "context.customer == null", None),
        ([{"name": "last", "lastRun": {}}],
         "context.last == null || context.last.window.end < 'x'", None),
        ([{"name": "last", "lastRun": {}}], "context.last != null && context.last.staus == 'a'",
         "unknown field of context.last 'staus'; did you mean 'status'?"),
        ([{"name": "last", "lastRun": {}}], "context.last.status == 'complete'",
         "which is never equal to 'complete'"),
    ],
)  # fmt: skip
def test_rules_see_what_an_entry_can_be(
    entries: list[dict[str, Any]], when: str, problem: str | None
) -> None:
    problems = found(context=entries, rules=[rule(when=when)])
    if problem is None:
        assert problems == []
    else:
        assert len(problems) == 1
        assert problem in problems[0]


def test_too_many_expressions_are_refused_once() -> None:
    long = " && ".join(["event.payload.amount > 1.0"] * 60)
    problems = found(
        rules=[rule(name=f"r{i}", when=long, task=automated(input={"to": "'x'", "amount": long}))
               for i in range(100)]
    )  # fmt: skip
    assert [p for p in problems if "at most 100000 characters and 30000 operators" in p] == [
        p for p in problems if "the expressions of one definition" in p
    ]
    assert len([p for p in problems if "the expressions of one definition" in p]) == 1


def event_type(event_id: str, *schemas: Any) -> EventType:
    return EventType.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "EventType",
            "metadata": {"id": event_id, "namespace": "dev", "owner": "shop"},
            "spec": {"schemas": [{"version": i + 1, "schema": s} for i, s in enumerate(schemas)]},
        }
    )


def test_an_event_type_has_usable_schemas_and_a_name_of_its_own() -> None:
    assert checks.event_type_problems(event_type("shop.paid", PAID, PAID_2)) == []
    problems = checks.event_type_problems(
        event_type("backbone.Paid", PAID, {"$ref": "other.json"}, {"items": 1})
    )
    assert [str(problem) for problem in problems] == [
        "metadata.id: types that begin with backbone. are Backbone's own; choose another name",
        "spec.schemas[1].schema.$ref: 'other.json' lies outside of this schema; copy it below "
        "$defs and write #/$defs/<name>",
        "spec.schemas[2].schema.items: expected a JSON Schema, found a number",
    ]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("shop.paid", None),
        ("shop.*", None),
        ("*", None),
        ("shop.piad", "spec.types[0]: unknown event type 'shop.piad'; did you mean 'shop.paid'?"),
        ("shoq.*", "spec.types[0]: no registered event type matches 'shoq.*'; did you mean "
                   "'shop.*'?"),
        ("crm/x*", "spec.types[0]: no registered event type matches 'crm/x*'; apply the EventType "
                   "that it stands for"),
        ("backbone.*", "spec.types[0]: types that begin with backbone. are Backbone's own; choose "
                       "another name"),
    ],
)  # fmt: skip
def test_a_producer_emits_what_is_registered(pattern: str, problem: str | None) -> None:
    producer = Producer.model_validate(
        {
            "apiVersion": "backbone/v1",
            "kind": "Producer",
            "metadata": {"id": "shop", "namespace": "dev", "owner": "shop"},
            "spec": {"sources": ["shop"], "types": [pattern]},
        }
    )
    problems = [str(found) for found in checks.producer_problems(producer, KNOWN)]
    assert problems == ([] if problem is None else [problem])
    if problem is None or "backbone" not in problem:
        assert checks.producer_problems(producer, Surroundings()) == []


def repeated(part: str, between: str) -> str:
    return between.join([part] * ((2000 + len(between)) // (len(part) + len(between))))


@pytest.mark.parametrize(
    "text",
    [
        repeated("1<2", "&&"),
        repeated("[1].exists(x,x>0)", "&&"),
        repeated("event.payload.amonut", "||"),
        repeated("1 in [1]", "||"),
        "9" * 2000,
        "(" * 2000,
        "é" * 2000,
        "event" + ".a" * 990,
    ],
)
def test_a_definition_full_of_hostile_expressions_takes_no_time(text: str) -> None:
    task = {"type": "human", "title": text, "assignees": {"users": ["ann"]}, "input": {"a": text}}
    rules = [rule(name=f"r{i}", when=text, task=task) for i in range(200)]
    started = time.process_time()
    problems = found(rules=rules)
    assert time.process_time() - started < 2.0
    assert len([p for p in problems if "the expressions of one definition have at most" in p]) == 1
