"""Which changes of a schema break whom, and how the comparison says so."""

import json
import time

import pytest

from contracts import compatibility, jsonschemas
from contracts.compatibility import Break
from contracts.eventtypes import Compatibility

BACKWARD, FORWARD, FULL = Compatibility.BACKWARD, Compatibility.FORWARD, Compatibility.FULL
STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
NULL = {"type": "null"}


def record(properties, required=(), **more):
    return {"type": "object", "properties": properties, "required": list(required), **more}


def tagged(kind, **properties):
    return record({"kind": {"const": kind}, **properties}, ["kind"])


def chain(value, name="node"):
    """A list of values as a recursive schema."""
    node = record({"value": value, "next": {"anyOf": [{"$ref": f"#/$defs/{name}"}, NULL]}})
    return {"$ref": f"#/$defs/{name}", "$defs": {name: node}}


# Before, after, whether that is backward compatible, whether it is forward compatible.
CHANGES = {
    "nothing": (record({"a": STRING}), record({"a": STRING}), True, True),
    "annotations": (
        record({"a": STRING}),
        {"title": "T", "$comment": "c", "x-ours": 1, **record({"a": {**STRING, "default": "x"}})},
        True,
        True,
    ),
    "order": (
        {"enum": ["a", "b"], "type": ["string", "null"]},
        {"type": ["null", "string"], "enum": ["b", "a"]},
        True,
        True,
    ),
    "optional property added": (record({"a": STRING}), record({"a": STRING, "b": {}}), True, True),
    "optional property removed": (
        record({"a": STRING, "b": STRING}),
        record({"a": STRING}),
        True,
        True,
    ),
    "property added where others may be anything": (
        record({"a": STRING}, additionalProperties=True),
        record({"a": STRING, "b": STRING}, additionalProperties=True),
        False,
        True,
    ),
    "property added where no property was named": (
        {"type": "object"},
        record({"a": STRING}),
        False,
        True,
    ),
    "property added where others are closed": (
        record({"a": STRING}, additionalProperties=False),
        record({"a": STRING, "b": STRING}, additionalProperties=False),
        True,
        False,
    ),
    "property added that another part names": (
        {"allOf": [record({"a": STRING}), record({"b": STRING})]},
        {"allOf": [record({"a": STRING, "b": INTEGER}), record({"b": STRING})]},
        False,
        True,
    ),
    "required property added": (
        record({"a": STRING}),
        record({"a": STRING, "b": STRING}, ["b"]),
        False,
        True,
    ),
    "property required": (record({"a": STRING}), record({"a": STRING}, ["a"]), False, True),
    "object closed": (
        record({"a": STRING}),
        record({"a": STRING}, additionalProperties=False),
        False,
        True,
    ),
    "type of further properties narrowed": (
        {"type": "object", "additionalProperties": NUMBER},
        {"type": "object", "additionalProperties": INTEGER},
        False,
        True,
    ),
    "names of properties narrowed": (
        {"type": "object", "propertyNames": {"maxLength": 9}},
        {"type": "object", "propertyNames": {"maxLength": 8}},
        False,
        True,
    ),
    "pattern of properties added": (
        {"type": "object"},
        {"type": "object", "patternProperties": {"^x-": STRING}},
        False,
        True,
    ),
    "one property requires another": (
        record({"a": STRING, "b": STRING}),
        record({"a": STRING, "b": STRING}, dependentRequired={"a": ["b"]}),
        False,
        True,
    ),
    "integer to number": (INTEGER, NUMBER, True, False),
    "number to integer": (NUMBER, INTEGER, False, True),
    "even numbers are integers": ({"type": "number", "multipleOf": 2}, INTEGER, True, False),
    "nullable": (STRING, {"type": ["string", "null"]}, True, False),
    "nullable by anyOf": (STRING, {"anyOf": [STRING, NULL]}, True, False),
    "nullable said otherwise": (
        {"anyOf": [STRING, NULL]},
        {"type": ["null", "string"]},
        True,
        True,
    ),
    "type changed": (STRING, INTEGER, False, False),
    "value added": ({"enum": ["a"]}, {"enum": ["a", "b"]}, True, False),
    "const for enum of one": ({"enum": ["a"]}, {"const": "a"}, True, True),
    "true is not 1": ({"const": True}, {"const": 1}, False, False),
    "both booleans": ({"type": "boolean"}, {"enum": [True, False]}, True, True),
    "values within bounds": ({"enum": [1, 5]}, {"type": "integer", "maximum": 5}, True, False),
    "minimum raised": ({**INTEGER, "minimum": 1}, {**INTEGER, "minimum": 2}, False, True),
    "bound said otherwise": (
        {**INTEGER, "minimum": 1, "maximum": 9},
        {**INTEGER, "exclusiveMinimum": 0, "exclusiveMaximum": 10},
        True,
        True,
    ),
    "bound excluded": (
        {**NUMBER, "minimum": 0},
        {**NUMBER, "exclusiveMinimum": 0},
        False,
        True,
    ),
    "multiple": ({**INTEGER, "multipleOf": 6}, {**INTEGER, "multipleOf": 3}, True, False),
    "length": ({**STRING, "maxLength": 9}, {**STRING, "maxLength": 8}, False, True),
    "bounds of another type": (STRING, {**STRING, "minimum": 3, "maxItems": 1}, True, True),
    "pattern": (STRING, {**STRING, "pattern": "^a"}, False, True),
    "format": (STRING, {**STRING, "format": "date"}, False, True),
    "items": (
        {"type": "array", "items": INTEGER},
        {"type": "array", "items": NUMBER},
        True,
        False,
    ),
    "first items": (
        {"type": "array", "prefixItems": [INTEGER, STRING], "items": False},
        {"type": "array", "prefixItems": [NUMBER], "items": STRING},
        True,
        False,
    ),
    "items that differ": (
        {"type": "array", "uniqueItems": True},
        {"type": "array"},
        True,
        False,
    ),
    "items that cannot be there": (
        {"type": "array", "maxItems": 1, "items": INTEGER},
        {"type": "array", "prefixItems": [INTEGER], "items": STRING},
        True,
        False,
    ),
    "branch added": (
        {"anyOf": [tagged("a"), tagged("b")]},
        {"anyOf": [tagged("a"), tagged("b"), tagged("c")]},
        True,
        False,
    ),
    "tagged branch added": (
        {"oneOf": [tagged("a"), tagged("b")]},
        {"oneOf": [tagged("c"), tagged("b"), tagged("a")]},
        True,
        False,
    ),
    "tagged branch widened": (
        {"oneOf": [tagged("a", n=INTEGER), tagged("b")]},
        {"oneOf": [tagged("a", n=NUMBER), tagged("b")]},
        True,
        False,
    ),
    "branch added that others cannot be told from": (
        {"oneOf": [record({"a": STRING})]},
        {"oneOf": [record({"a": STRING}), record({"b": STRING})]},
        False,
        True,
    ),
    "branch added that only an optional property tells apart": (
        {"oneOf": [record({"kind": {"const": "a"}})]},
        {"oneOf": [record({"kind": {"const": "a"}}), record({"kind": {"const": "b"}})]},
        False,
        False,
    ),
    "tightest of several bounds": (
        {"allOf": [{"maxLength": 3}, {"maxLength": 9}, {"minLength": 2}, {"minLength": 1}]},
        {"maxLength": 4, "minLength": 2},
        True,
        False,
    ),
    "part added": (
        {"allOf": [{**STRING, "minLength": 1}]},
        {"allOf": [{**STRING, "minLength": 1}, {"maxLength": 5}]},
        False,
        True,
    ),
    "parts merged": (
        {"allOf": [record({"a": STRING}, ["a"]), {"properties": {"a": {"maxLength": 3}}}]},
        record({"a": {**STRING, "maxLength": 3}}, ["a"]),
        True,
        True,
    ),
    "reference followed": (
        {"$ref": "#/$defs/text", "$defs": {"text": STRING}},
        STRING,
        True,
        True,
    ),
    "recursive": (chain(INTEGER), chain(NUMBER, "other"), True, False),
    "true": (True, {}, True, True),
    "nothing allowed": (record({"a": False}), record({"a": STRING}), True, False),
    "not": ({"not": STRING}, {"not": NUMBER}, False, False),
    "same not": ({"not": STRING, "maximum": 1}, {"not": STRING}, True, False),
    "condition": (
        {"if": STRING, "then": {"minLength": 1}},
        {"if": STRING, "then": {"minLength": 2}},
        False,
        False,
    ),
    "keyword of somebody else": (STRING, {**STRING, "mystery": 1}, False, True),
    "reference out of the schema": (
        {"$ref": "https://example.com/a.json", "title": "a"},
        {"$ref": "https://example.com/a.json", "title": "b"},
        False,
        False,
    ),
}


@pytest.mark.parametrize("reading", [BACKWARD, FORWARD])
@pytest.mark.parametrize("change", CHANGES)
def test_change_breaks_whom_it_breaks(change, reading):
    before, after, backward, forward = CHANGES[change]
    # Within a property, so that a boolean can be a schema.
    found = compatibility.breaks(
        *({"properties": {"it": schema}, **_definitions(schema)} for schema in (before, after)),
        reading,
    )
    compatible = backward if reading is BACKWARD else forward
    assert bool(found) is not bool(compatible), found


def _definitions(schema):
    return {"$defs": schema["$defs"]} if isinstance(schema, dict) and "$defs" in schema else {}


def said(before, after, reading):
    return [(one.path, one.message) for one in compatibility.breaks(before, after, reading)]


def test_break_names_the_change_and_who_may_meet_it():
    before, after = record({"amount": NUMBER}), record({"amount": NUMBER}, ["amount"])
    assert said(before, after, BACKWARD) == [
        (
            "properties.amount",
            "amount became required; payloads of the older version may lack it",
        )
    ]
    assert said(after, before, FORWARD) == [
        (
            "properties.amount",
            "amount is no longer required; payloads of the newer version may lack it",
        )
    ]


def test_full_reports_both_sides():
    before, after = record({"a": INTEGER}), record({"a": STRING})
    assert said(before, after, FULL) == [
        *said(before, after, BACKWARD),
        *said(before, after, FORWARD),
    ]
    assert [message.partition(" version")[0][-5:] for _, message in said(before, after, FULL)] == [
        "older",
        "newer",
    ]


def test_none_never_breaks():
    assert compatibility.breaks(STRING, INTEGER, Compatibility.NONE) == []


def test_every_break_is_reported_at_its_place():
    before = record({"lines": {"type": "array", "items": record({"n": INTEGER, "t": STRING})}})
    after = record(
        {"lines": {"type": "array", "items": record({"n": STRING, "t": STRING}, ["t"])}}, ["lines"]
    )
    assert [path for path, _ in said(before, after, BACKWARD)] == [
        "properties.lines",
        "properties.lines.items.properties.t",
        "properties.lines.items.properties.n",
    ]


def test_branch_that_a_value_belongs_to_says_what_is_wrong():
    before = record({"a": {"anyOf": [{**STRING, "maxLength": 9}, NULL]}})
    after = record({"a": {"anyOf": [{**STRING, "maxLength": 5}, NULL]}})
    assert said(before, after, BACKWARD) == [
        (
            "properties.a",
            "maxLength changed from 9 to 5; payloads of the older version may be longer",
        )
    ]


def test_what_cannot_be_compared_says_so():
    (found,) = compatibility.breaks({"not": STRING}, {"not": NUMBER}, BACKWARD)
    assert found == Break("not", "not differs and cannot be compared")


def test_reference_that_leads_nowhere_is_a_break_and_no_error():
    broken = {"$ref": "#/$defs/absent"}
    (found,) = compatibility.breaks(STRING, broken, BACKWARD)
    assert "#/$defs/absent leads nowhere" in found.message


def test_schema_that_refers_to_itself_in_place_ends():
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, STRING]}}}
    assert compatibility.breaks(loop, INTEGER, BACKWARD)
    assert compatibility.breaks(INTEGER, loop, BACKWARD)


def _deep(levels):
    schema = {}
    for _ in range(levels):
        schema = record({"a": schema})
    return schema


def _alternatives(inner):
    texts = {"anyOf": [{"maxLength": length} for length in range(inner)]}
    return {"anyOf": [record({f"p{number}": texts}) for number in range(40)]}


HOSTILE = {
    "deep": (_deep(300), {**_deep(300), "maxProperties": 9}),
    "many alternatives": (_alternatives(40), _alternatives(39)),
    "many properties": (
        record({f"p{n}": STRING for n in range(3000)}),
        record({f"p{n}": INTEGER for n in range(3000)}),
    ),
    "knotted": (
        {
            "$ref": "#/$defs/n0",
            "$defs": {
                f"n{n}": record({f"p{m}": {"$ref": f"#/$defs/n{m}"} for m in range(12)})
                for n in range(12)
            },
        },
        {
            "$ref": "#/$defs/n0",
            "$defs": {
                f"n{n}": record(
                    {f"p{m}": {"$ref": f"#/$defs/n{m}"} for m in range(12)} | {"x": {"const": n}},
                    ["x"],
                )
                for n in range(12)
            },
        },
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_are_compared_in_bounded_time(name):
    started = time.process_time()
    assert compatibility.breaks(*HOSTILE[name], BACKWARD)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("name", jsonschemas.published())
def test_published_schemas_are_compatible_with_themselves_described_anew(name):
    schema = json.loads(jsonschemas.published()[name])
    renamed = json.loads(json.dumps(schema).replace("#/$defs/", "#/$defs/New"))
    renamed["$defs"] = {f"New{key}": value for key, value in renamed.get("$defs", {}).items()}
    assert compatibility.breaks(schema, renamed, FULL) == []
