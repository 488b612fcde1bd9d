"""Validation: every problem at once, at its path, line and column, in words that help."""

import functools
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.catalogue import Catalogue
from contracts.resources import ChangeKind, ResourceKind, ResourceState
from registry.domain import documents, validation
from registry.domain.positions import join, within
from registry.domain.resources import Change, Key, Resource
from registry.domain.validation import Source
from rules.checks import Surroundings

DOCUMENTS = Path(__file__).parent / "documents"
DEFINITION = (DOCUMENTS / "definition.yaml").read_text()
EVENT_TYPE = (DOCUMENTS / "event-type.yaml").read_text()
PRODUCER = (DOCUMENTS / "producer.yaml").read_text()

Told = tuple[str, str, str]


def check(*texts: str, namespace: str = "", types: bool = False) -> list[Told]:
    """Return place, path and message of every problem; event types are looked at if asked for."""
    sources = [Source(f"{number}.yaml", text.encode()) for number, text in enumerate(texts, 1)]
    reading = validation.read(sources, namespaces=["dev", "stage"], namespace=namespace)
    around = validation.surroundings(reading, event_types={}, catalogue=None)
    found = validation.check(reading, around if types else Surroundings())
    return [(_place(p.document, p.line, p.column), p.path, p.message) for p in found]


def _place(document: str, line: int, column: int) -> str:
    name = document.removesuffix(".yaml")
    return f"{line}:{column}" if name in ("1", "") else f"{name}/{line}:{column}"


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """Return a document in which texts were replaced: each of them was there once."""
    for before, after in pairs:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def test_good_documents_are_parsed() -> None:
    sources = [Source("a", DEFINITION.encode(), "etag"), Source("b", EVENT_TYPE.encode())]
    reading = validation.read(sources, namespaces=["dev"], namespace="dev")
    assert reading.problems == ()
    definition, event_type = reading.parsed
    assert (definition.namespace, definition.source.etag) == ("dev", "etag")
    assert definition.key == Key(ResourceKind.ACTIVITY_DEFINITION, "billing.overdue-invoices")
    assert event_type.key == Key(ResourceKind.EVENT_TYPE, "billing.payment.received")
    assert check(DEFINITION, EVENT_TYPE, PRODUCER, types=True) == []


def test_order_comments_and_spelling_make_no_other_content() -> None:
    document: Any = yaml.safe_load(PRODUCER)
    document["spec"]["keys"][0] = dict(reversed(document["spec"]["keys"][0].items()))
    document["spec"]["keys"][0]["notBefore"] = "2026-01-01T02:00:00+02:00"
    document["spec"]["keys"][0]["notAfter"] = "2026-12-31T23:00:00Z"
    texts = [PRODUCER, yaml.safe_dump(document, sort_keys=False)]
    readings = [validation.read([Source("a", t.encode())], namespaces=["dev"]) for t in texts]
    assert readings[0].parsed[0].content == readings[1].parsed[0].content


def test_problems_of_shape_and_of_expressions_are_told_together() -> None:
    text = replaced(
        DEFINITION,
        ("policy: compress", "policy: compres"),
        ("owner: billing", "ownr: billing"),
        ("taskQueue: billing-tq", "taskQueue: billing"),
        ("size(context.overdue) > 0", "size(context.overdeu) > 0"),
        ("timeout: 30s", "timeout: 30x"),
        ("due: P2D", "due: 5"),
        ("i.amount > 10000.0)", "i.amount >)"),
    )
    assert check(text) == [
        ("7:3", "metadata.ownr", "there is no field 'ownr' here; did you mean 'owner'?"),
        (
            "10:14",
            "spec.taskQueue",
            "'billing' cannot be used; did you mean 'billing-tq'? Write lower-case letters and "
            "digits, in parts joined by '-', and ends in -tq: billing-tq",
        ),
        (
            "16:30",
            "spec.triggers[0].schedule.missedRuns.policy",
            "policy cannot be 'compres'; did you mean 'compress'?",
        ),
        (
            "33:13",
            "spec.rules[0].when",
            "unknown context entry 'overdeu'; did you mean 'overdue'?",
        ),
        (
            "41:18",
            "spec.rules[0].task.timeout",
            "not a duration: '30x'; write 30s, 15m, 1h30m, 2d or ISO 8601 (PT15M)",
        ),
        ("44:13", "spec.rules[1].when", "column 37: mismatched input ')'"),
        (
            "49:14",
            "spec.rules[1].task.due",
            "a duration is text: 30s, 15m, 1h30m, 2d or ISO 8601 (PT15M)",
        ),
    ]


def test_documents_are_told_of_in_their_order() -> None:
    broken = replaced(EVENT_TYPE, ("compatibility: backward", "compatibility: backwards"))
    unreadable = "a: [1\n"
    foreign = replaced(PRODUCER, ("namespace: dev", "namespace: stage"))
    assert [told[:2] for told in check(DEFINITION, broken, unreadable, foreign, types=True)] == [
        ("2/5:18", "spec.compatibility"),
        ("3/2:1", ""),
        ("4/3:44", "metadata.namespace"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "path", "message"),
    [
        (
            "id: billing.overdue-invoices",
            "id: b\u0456lling.overdue",
            "metadata.id",
            "'b\u0456lling.overdue' holds U+0456 CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I, "
            "which looks like 'i': it cannot be used; did you mean 'billing.overdue'? Write "
            "lower-case letters and digits, in parts joined by '.' or '-': "
            "billing.overdue-invoices",
        ),
        (
            "id: billing.overdue-invoices",
            "id: billing\u200b.overdue",
            "metadata.id",
            "'billing\\u200b.overdue' holds U+200B ZERO WIDTH SPACE, which cannot be seen: it "
            "cannot be used; did you mean 'billing.overdue'? Write lower-case letters and digits, "
            "in parts joined by '.' or '-': billing.overdue-invoices",
        ),
        (
            "id: billing.overdue-invoices",
            "id: \u8acb\u6c42",
            "metadata.id",
            "'\u8acb\u6c42' holds U+8ACB CJK UNIFIED IDEOGRAPH-8ACB: it cannot be used: write "
            "lower-case letters and digits, in parts joined by '.' or '-': "
            "billing.overdue-invoices",
        ),
        (
            "handler: send_reminder",
            "handler: SendReminder",
            "spec.rules[0].task.handler",
            "'SendReminder' cannot be used; did you mean 'send-reminder'? Write lower-case letters "
            "and digits, in parts joined by '-' or '_': send_reminder",
        ),
        (
            "owner: billing",
            "\u043ewner: billing",
            "metadata.\u043ewner",
            "",
        ),
        (
            "type: automated",
            "type: automatic",
            "spec.rules[0].task.type",
            "type cannot be 'automatic'; did you mean 'automated'?",
        ),
        (
            "type: human",
            "types: human",
            "spec.rules[1].task.types",
            "there is no field 'types' here; did you mean 'type'?",
        ),
        (
            "type: human\n",
            "key: \"'x'\"\n",
            "spec.rules[1].task.type",
            "type is required: automated or human",
        ),
        (
            "labels: {tier: gold}",
            "labels: {tier: 1}",
            "metadata.labels.tier",
            "expected text, found a number",
        ),
        (
            "labels: {tier: gold}",
            "labels: [tier]",
            "metadata.labels",
            "expected an object, found a list",
        ),
        (
            "retry: {maximumAttempts: 10}",
            "retry: {maximumAttempts: 0}",
            "spec.rules[0].task.retry.maximumAttempts",
            "the number is less than 1",
        ),
        (
            "retry: {maximumAttempts: 10}",
            "retry: {maximumAttempts: '10'}",
            "spec.rules[0].task.retry.maximumAttempts",
            "expected a whole number, found text",
        ),
        (
            "forEach: {item: invoice, in: context.overdue}",
            "forEach: {item: invoice, zzz: 1, in: context.overdue}",
            "spec.rules[0].forEach.zzz",
            "there is no field 'zzz' here; possible: item, in",
        ),
        (
            'cron: "0 * * * *"',
            'cron: "0 * * * *"\n        every: 5m',
            "spec.triggers[0].schedule.every",
            "a schedule has exactly one of cron, every and calendars; this one has cron and every",
        ),
        (
            'cron: "0 * * * *"',
            'cron: "0 * * * *"\n        start: 2026-01-01',
            "spec.triggers[0].schedule.start",
            "'2026-01-01' cannot be used: write a time with its offset, 2026-03-01T09:00:00Z",
        ),
        (
            "name: big-payment",
            "name: hourly",
            "spec.triggers[1].name",
            "'hourly' is the name of another trigger already, triggers[0]: give each its own",
        ),
        (
            "name: call-the-customer",
            "name: remind",
            "spec.rules[1].name",
            "'remind' is the name of another rule already, rules[0]: give each its own",
        ),
        (
            "        key: invoice.id\n",
            "",
            "spec.rules[0].task.key",
            "a rule with forEach needs task.key, which tells its tasks apart",
        ),
        (
            "assignees: {groups: [collections]}",
            "assignees: {}",
            "spec.rules[1].task.assignees",
            "a human task is assigned to at least one user or group",
        ),
        (
            "apiVersion: backbone/v1",
            "apiVersion: backbone/v2",
            "apiVersion",
            "apiVersion cannot be 'backbone/v2'; did you mean 'backbone/v1'?",
        ),
        (
            "kind: ActivityDefinition",
            "kind: ActivityDefintion",
            "kind",
            "kind cannot be 'ActivityDefintion'; did you mean 'ActivityDefinition'?",
        ),
        (
            "kind: ActivityDefinition",
            "kind: [x]",
            "kind",
            "expected text, found a list",
        ),
        (
            "kind: ActivityDefinition\n",
            "",
            "kind",
            "kind is required: ActivityDefinition, EventType or Producer",
        ),
        (
            "namespace: dev",
            "namespace: dve",
            "metadata.namespace",
            "namespace 'dve' is not served here; did you mean 'dev'?",
        ),
        (
            "namespace: dev",
            "namespace: prod",
            "metadata.namespace",
            "namespace 'prod' is not served here; possible: dev, stage",
        ),
    ],
)
def test_one_mistake_is_one_problem(before: str, after: str, path: str, message: str) -> None:
    ((_, found_path, found_message),) = check(replaced(DEFINITION, (before, after)))
    expected = message or (
        "there is no field '\u043ewner' here (it holds U+043E CYRILLIC SMALL LETTER O, which looks "
        "like 'o'); did you mean 'owner'?"
    )
    assert (found_path, found_message) == (
        path if message else "metadata['\u043ewner']",
        expected,
    )


@pytest.mark.parametrize(
    ("before", "after", "path", "message"),
    [
        (
            "- version: 2",
            "- version: 1",
            "spec.schemas[1].version",
            "schema version 1 comes after 1: each comes once, in ascending order",
        ),
        (
            "id: billing.payment.received",
            "id: billing/payment",
            "metadata.id",
            "'billing/payment' cannot be used: write letters, digits, '-' and '_', in parts joined "
            "by '.': billing.payment.received",
        ),
    ],
)
def test_event_types_are_told_what_is_wrong(
    before: str, after: str, path: str, message: str
) -> None:
    assert [told[1:] for told in check(replaced(EVENT_TYPE, (before, after)))] == [(path, message)]


@pytest.mark.parametrize(
    ("before", "after", "path", "message"),
    [
        (
            "publicKey: 11qY",
            "publicKey: 11q",
            "spec.keys[0].publicKey",
            "an Ed25519 public key is 32 bytes in base64: 43 characters and '='",
        ),
        (
            "notAfter: 2027",
            "notAfter: 2025",
            "spec.keys[0].notAfter",
            "notBefore is earlier than notAfter",
        ),
        (
            "types: [billing.payment.*]",
            "types: ['*.payment']",
            "spec.types[0]",
            "'*.payment' cannot be used: write a text without spaces, with '*' only at its end: "
            "billing.payment.*",
        ),
    ],
)
def test_producers_are_told_what_is_wrong(before: str, after: str, path: str, message: str) -> None:
    assert [told[1:] for told in check(replaced(PRODUCER, (before, after)))] == [(path, message)]


def test_required_signatures_need_a_key() -> None:
    text = PRODUCER.partition("  keys:")[0]
    assert [told[1:] for told in check(text)] == [
        ("spec.signatures", "signatures: required needs at least one key")
    ]


def test_missing_things_stand_where_the_object_is_that_lacks_them() -> None:
    text = replaced(DEFINITION, ("        handler: send_reminder\n", ""))
    told = ("36:9", "spec.rules[0].task.handler", "handler is required")
    assert check(text) == [told]


def test_a_resource_written_twice_names_the_first() -> None:
    again = replaced(DEFINITION, ("owner: billing", "owner: accounting"))
    assert check(DEFINITION, EVENT_TYPE, again) == [
        (
            "3/5:7",
            "metadata.id",
            "ActivityDefinition 'billing.overdue-invoices' is written twice; the first is in "
            "1.yaml, line 5",
        )
    ]


def test_documents_share_the_namespace_of_the_request() -> None:
    elsewhere = replaced(EVENT_TYPE, ("namespace: dev", "namespace: stage"))
    assert check(DEFINITION, elsewhere) == [
        (
            "2/3:53",
            "metadata.namespace",
            "documents that are applied together share a namespace: 1.yaml says 'dev', not 'stage'",
        )
    ]
    assert [told[2] for told in check(DEFINITION, namespace="stage")] == [
        "documents that are applied together share a namespace: the request says 'stage', not 'dev'"
    ]


def test_text_that_is_unclear_somewhere_is_checked_elsewhere() -> None:
    text = replaced(
        DEFINITION,
        ("{policy: compress, window: 24h}", "*missed"),
        ("labels: {tier: gold}", "labels: &labels {tier: gold}"),
        ("timeout: 30s", "timeout: 30x"),
    )
    assert [told[:2] for told in check(text)] == [
        ("8:11", "metadata.labels"),
        ("16:21", "spec.triggers[0].schedule.missedRuns"),
        ("41:18", "spec.rules[0].task.timeout"),
    ]


def test_a_broken_context_entry_makes_no_other_problems() -> None:
    for broken in ("name: Overdue", "name: 5", "nam: overdue", "zzz: 1"):
        text = replaced(DEFINITION, ("- name: overdue", f"- {broken}"))
        assert {told[1].partition("]")[0] for told in check(text)} == {"spec.context[0"}


def test_a_broken_loop_makes_no_other_problems() -> None:
    for broken in ("5", "{item: 5, in: context.overdue}", "{item: invoice, in: 5}", "[]"):
        text = replaced(DEFINITION, ("{item: invoice, in: context.overdue}", broken))
        assert {told[1][:21] for told in check(text)} == {"spec.rules[0].forEach"}


def test_rules_that_are_no_objects_leave_the_others_checked() -> None:
    text = DEFINITION.replace(
        "      when: context.overdue.exists", "      when: contex.overdue.exists"
    )
    text = text.replace("    - name: remind", "    - 5\n    - name: remind")
    assert check(text) == [
        ("32:7", "spec.rules[0]", "expected an object, found a number"),
        (
            "45:13",
            "spec.rules[2].when",
            "unknown variable 'contex'; did you mean 'context'?",
        ),
    ]


def test_a_definition_of_ten_thousand_rules_has_one_problem() -> None:
    head = DEFINITION.partition("  rules:")[0]
    small = "{type: human, title: 't', assignees: {users: [u]}}"
    text = f"{head}  rules:\n" + "".join(
        f"    - {{name: r{number}, task: {small}}}\n" for number in range(2500)
    )
    assert len(text) < 256 * 1024
    found = [told for told in check(text) if told[1] == "spec.rules"]
    assert [told[2] for told in found] == ["there are 2500, more than the 200 that are taken"]
    over = text + "".join(f"    - {{name: q{number}, task: {small}}}\n" for number in range(7500))
    message = f"the document has {len(over)} bytes, more than 262144"
    assert check(over) == [("1:1", "", message)]


def test_content_that_grows_too_large_with_its_defaults_is_refused() -> None:
    form = f"{{type: object, description: {'x' * 1130}}}"
    task = f"{{type: human, title: '1', assignees: {{users: [u]}}, form: {form}}}"
    text = DEFINITION.partition("  rules:")[0] + "  rules:\n"
    text += "".join(f"    - {{name: r{number}, task: {task}}}\n" for number in range(200))
    assert len(text) < documents.MAX_DOCUMENT_BYTES
    content_bytes = 258558
    assert [told for told in check(text) if not told[1]] == [
        (
            "2:1",
            "",
            f"with its defaults spelled out it has {content_bytes} bytes, more than 245760",
        )
    ]


def test_a_thousand_documents_are_taken_and_no_more() -> None:
    assert check(*[""] * 1001) == [
        ("0:0", "", "there are 1001 documents, more than the 1000 that are taken")
    ]


def test_problems_are_told_up_to_a_thousand() -> None:
    labels = "".join(f"    Label{number}: x\n" for number in range(3000))
    text = replaced(DEFINITION, ("labels: {tier: gold}\n", f"labels:\n{labels}"))
    found = check(text)
    assert len(found) == validation.MAX_PROBLEMS
    assert found[-1] == ("0:0", "", "there is more: these are the first 999 problems")


def test_event_types_of_the_set_are_known_to_its_definitions() -> None:
    misspelt = replaced(
        DEFINITION, ("type: billing.payment.received", "type: billing.payment.recieved")
    )
    ((place, path, message),) = check(misspelt, EVENT_TYPE, types=True)
    assert (place, path) == ("19:15", "spec.triggers[1].event.type")
    assert message.endswith("did you mean 'billing.payment.received'?")


@pytest.mark.parametrize(
    "broken",
    [
        replaced(EVENT_TYPE, ("owner: billing", "owner: Billing")),
        replaced(EVENT_TYPE, ("- version: 1", "- version: x")),
        replaced(EVENT_TYPE, ("id: billing.payment.received", "id: billing/payment")),
        replaced(EVENT_TYPE, ("{id: billing.payment.received, ", "{")),
        EVENT_TYPE + "  [",
    ],
)
def test_event_types_that_are_broken_make_no_problems_elsewhere(broken: str) -> None:
    found = check(DEFINITION, broken, PRODUCER, types=True)
    assert {told[0].partition("/")[0] for told in found} == {"2"}


def places(value: Any, *around: str | int) -> Iterator[tuple[str | int, ...]]:
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*around, key)
        # A JSON Schema or a pattern is checked as a whole.
        if isinstance(item, dict | list) and key not in ("match", "form", "schema", "input"):
            yield from places(item, *around, key)


# Reads all that the rest of the definition gives: what stands in for it must fit.
READS_ALL = replaced(
    DEFINITION,
    (
        "context.overdue.exists(i, i.amount > 10000.0)",
        "context.overdue.exists(i, i.amount > 10000.0) && 'hourly' in trigger.names && "
        "trigger.input.customer == 'x' && event.payload.amount > 1.0 && window.start != null",
    ),
)
EVERYWHERE = [
    (number, steps)
    for number, text in enumerate((READS_ALL, EVENT_TYPE, PRODUCER))
    for steps in places(documents.read(text.encode()).value)
    if steps != ("kind",)
]


@pytest.mark.parametrize(("number", "steps"), EVERYWHERE, ids=str)
def test_whatever_is_wrong_nothing_else_is_blamed_for_it(
    number: int, steps: tuple[str | int, ...]
) -> None:
    path = functools.reduce(join, steps, "")
    for wrong in (-5, "Not Right!", {"zzz": 1}, [7]):
        values = [documents.read(t.encode()).value for t in (READS_ALL, EVENT_TYPE, PRODUCER)]
        holder: Any = values[number]
        for step in steps[:-1]:
            holder = holder[step]
        holder[steps[-1]] = wrong
        for place, found, message in check(*map(json.dumps, values), types=True):
            assert place.startswith(f"{number + 1}/" if number else "1:"), (wrong, message)
            assert within(found, {path}), (wrong, message)


def test_pruned_and_retired_event_types_are_not_known() -> None:
    reading = validation.read([Source("a", EVENT_TYPE.encode())], namespaces=["dev"])
    key = Key(ResourceKind.EVENT_TYPE, "billing.payment.received")
    around = validation.surroundings(reading, event_types={}, catalogue=None, pruned=[key])
    assert isinstance(around.event_types, Mapping)
    assert set(around.event_types) == {"billing.payment.received"}
    empty = validation.read([], namespaces=["dev"])
    around = validation.surroundings(empty, event_types={}, catalogue=Catalogue(), pruned=[key])
    assert around.event_types is not None
    assert "billing.payment.received" not in around.event_types


def stored(text: str, state: ResourceState = ResourceState.ACTIVE) -> Resource:
    (parsed,) = validation.read([Source("a", text.encode())], namespaces=["dev"]).parsed
    change = Change(
        revision=1,
        key=parsed.key,
        change=ChangeKind.APPLIED,
        version=1,
        state=state,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        actor="ann",
        reason="new",
    )
    return Resource(
        namespace="dev",
        key=parsed.key,
        version=1,
        content=parsed.content,
        content_sha256="",
        applied=change,
        latest=change,
        versions=1,
    )


def test_registered_event_types_are_known_until_they_are_retired() -> None:
    reading = validation.read([Source("a", DEFINITION.encode())], namespaces=["dev"])
    name = "billing.payment.received"
    found = {}
    for state in (ResourceState.ACTIVE, ResourceState.RETIRED):
        event_types = {name: stored(EVENT_TYPE, state)}
        around = validation.surroundings(reading, event_types=event_types, catalogue=None)
        found[state] = [problem.path for problem in validation.check(reading, around)]
    assert found == {
        ResourceState.ACTIVE: [],
        ResourceState.RETIRED: ["spec.triggers[1].event.type"],
    }


def test_stored_definitions_are_checked_in_new_surroundings() -> None:
    changed = replaced(EVENT_TYPE, ("version: 1", "version: 3")).replace("currency", "money")
    reading = validation.read(
        [Source("a", changed.replace("version: 2", "version: 4").encode())], namespaces=["dev"]
    )
    around = validation.surroundings(reading, event_types={}, catalogue=None)
    (problem,) = validation.check_stored(stored(DEFINITION), around)
    assert problem.document == "ActivityDefinition billing.overdue-invoices"
    assert (problem.path, problem.line, problem.column) == ("spec.triggers[1].event.when", 0, 0)
    assert "'currency'" in problem.message


@pytest.mark.parametrize(
    ("first", "second"),
    [("{sources: *a, types: [b]}", "[1]"), ("[*a]", "{sources: [a], types: [b]}"), ("*a", "[]")],
)
def test_what_was_unreadable_in_a_field_that_came_again_as_something_else(
    first: str, second: str
) -> None:
    document = (
        "apiVersion: backbone/v1\nkind: Producer\n"
        "metadata: {id: p, namespace: dev, owner: billing}\n"
        f"spec: {first}\nspec: {second}\n"
    )
    reading = validation.read([Source("p.yaml", document.encode())], namespaces=["dev"])
    told = [problem.message for problem in reading.problems]
    assert "the key appears twice; the first is in line 4" in told
    assert "aliases (*a) are not taken: write it out" in told
