"""What an expression gives and what in it can never work, told from schemas of what it reads."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rules import expressions, inference, shapes
from rules.errors import ExpressionError
from rules.expression_checks import as_json
from rules.inference import Budget
from rules.shapes import ANYTHING, Kind, Object, Openness, Shape

SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "x": {"type": "number"},
        "t": {"type": "string"},
        "e": {"enum": ["EUR", "USD"]},
        "b": {"type": "boolean"},
        "m": {"type": ["string", "null"]},
        "u": {"type": ["string", "number"]},
        "xs": {"type": "array", "items": {"type": "integer"}},
        "rows": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"id": {"type": "string"}, "amount": {"type": "number"}},
            },
        },
        "o": {"$ref": "#/$defs/o"},
        "maybe": {"anyOf": [{"$ref": "#/$defs/o"}, {"type": "null"}]},
        "free": {"type": "object"},
        "open": {"properties": {"a": {"type": "string"}}, "additionalProperties": True},
        "any": {},
        "tree": {"$ref": "#/$defs/tree"},
    },
    "$defs": {
        "o": {"type": "object", "properties": {"a": {"type": "string"}}},
        "tree": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
            },
        },
    },
}
VARIABLES: Mapping[str, Shape] = {"v": shapes.of_schema(SCHEMA), "nothing": shapes.of(Kind.NULL)}


def infer(text: str, *, unguarded: bool = False) -> inference.Inferred:
    expression = expressions.compile(text, variables=VARIABLES)
    return inference.infer(expression, VARIABLES, unguarded=unguarded)


@pytest.mark.parametrize(
    ("text", "gives"),
    [
        ("v.n", "a whole number"),
        ("v.x", "a number"),
        ("v.x > 1.0", "true or false"),
        ("v.m", "a text or null"),
        ("v.o.a + '!'", "a text"),
        ("v.maybe.a", "a text"),
        ("v.n + 1", "a whole number"),
        ("v.b ? dyn(v.n) : v.t", "a text or a whole number"),
        ("timestamp(v.t) - timestamp(v.t)", "a duration"),
        ("timestamp(v.t) + duration('1h')", "a time"),
        ("v.xs", "a list"),
        ("v.xs[0]", "a whole number"),
        ("v.rows.map(r, r.id)[0]", "a text"),
        ("v.rows.map(r, r.amount > 1.0, r.id)[0]", "a text"),
        ("v.rows.filter(r, r.amount > 1.0)[0].id", "a text"),
        ("v.rows.exists(r, r.amount > 1.0)", "true or false"),
        ("v.rows.exists_one(r, r.amount > 1.0)", "true or false"),
        ("v.o.map(k, k)[0]", "a text"),
        ("(v.xs + ['a'])[0]", "a text or a whole number"),
        ("{'a': v.n}.a", "a whole number"),
        ("{'a': {'b': v.t}}['a']['b']", "a text"),
        ("[1, 2].map(i, {'i': i})[0].i", "a whole number"),
        ("v.tree.parts[0].parts[0].name", "a text"),
        ("size(v.xs)", "a whole number"),
        ("has(v.o.a)", "true or false"),
        ("-v.n", "a whole number"),
        ("dyn(v['o'])['a']", "a text"),
        ("type(v.n) == int", "true or false"),
        ("nothing", "null"),
    ],
)
def test_what_an_expression_gives(text: str, gives: str) -> None:
    inferred = infer(text)
    assert (str(inferred.shape), inferred.findings) == (gives, ())


@pytest.mark.parametrize("text", ["v.any", "v.any.a.b", "v.free.a", "v.open.b", "v.free[v.t]"])
def test_what_no_schema_tells_is_not_known(text: str) -> None:
    assert infer(text) == inference.Inferred(ANYTHING)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("v.nn", "unknown field of v 'nn'; did you mean 'n'?"),
        ("v.o.b", "unknown field of v.o 'b'; there is: a"),
        ("v['o'].b", "unknown field of v['o'] 'b'; there is: a"),
        ("v.o['b']", "unknown field of v.o 'b'; there is: a"),
        ("v.maybe.b", "unknown field of v.maybe 'b'; there is: a"),
        ("has(v.o.b)", "unknown field of v.o 'b'; there is: a"),
        ("'b' in v.o", "unknown field of v.o 'b'; there is: a"),
        ("v.rows[0].ids", "unknown field of v.rows[0] 'ids'; did you mean 'id'?"),
        ("v.rows.map(r, r.ids)", "unknown field of r 'ids'; did you mean 'id'?"),
        ("v.rows.filter(r, has(r.ids))", "unknown field of r 'ids'; did you mean 'id'?"),
        ("v.rows.exists(r, r.ids == '')", "unknown field of r 'ids'; did you mean 'id'?"),
        ("v.rows.all(r, r.ids == '')", "unknown field of r 'ids'; did you mean 'id'?"),
        ("v.rows.exists_one(r, r.ids == '')", "unknown field of r 'ids'; did you mean 'id'?"),
        ("v.rows.filter(r, true).map(s, s.ids)", "unknown field of s 'ids'; did you mean 'id'?"),
        ("v.tree.parts[0].parts[0].nam",
         "unknown field of v.tree.parts[0].parts[0] 'nam'; did you mean 'name'?"),
        ("{'a': 1}.b", "unknown field of {…} 'b'; there is: a"),
        ("v.t.a", "v.t is a text, which has no fields; it is asked for 'a'"),
        ("v.rows.id", "v.rows is a list, which has no fields; it is asked for 'id'"),
        ("v.rows['id']", "v.rows is a list, whose parts are taken by position, as [0]"),
        ("v.o[0]", 'v.o is an object, whose fields are taken by name, as ["name"]'),
        ("v.n[0]", "v.n is a whole number, of which no part can be taken by [ ]"),
        ("v.t < 5", "v.t is a text and 5 is a whole number, which < cannot compare"),
        ("v.m >= 5.5",
         "v.m is a text or null and 5.5 is a number with decimals, which >= cannot compare"),
        ("v.t < timestamp('2026-01-01T00:00:00Z')",
         "v.t is a text and timestamp(…) is a time, which < cannot compare; write timestamp(v.t)"),
        ("v.rows < v.rows", "v.rows is a list and v.rows is a list, which < cannot compare"),
        ("v.n == '5'", "v.n is a whole number, which is never equal to a text"),
        ("'5' != v.n", "v.n is a whole number, which is never equal to a text"),
        ("v.e == 'EURO'", "v.e is 'EUR' or 'USD', which is never equal to 'EURO'"),
        ("v.e in ['DM', 'FF']", "v.e is 'EUR' or 'USD', and the list holds only 'DM' or 'FF'"),
        ("v.n in v.rows", "v.n is a whole number, and the list holds only an object"),
        ("v.t in v.t", "v.t is a text, and in looks into a list or an object; write contains() to "
                       "look into a text"),
        ("v.n in v.o", "v.n is a whole number, and the names of fields are texts"),
        ("v.t + 1", "v.t is a text and 1 is a whole number, which + does not take together; write "
                    "string(1)"),
        ("v.n * 1.5", "v.n is a whole number and 1.5 is a number with decimals, which * does not "
                      "take together; write double(v.n)"),
        ("v.t - v.t", "v.t is a text and v.t is a text, which - does not take together"),
        ("-v.t", "v.t is a text, and - takes a number"),
        ("!v.n", "v.n is a whole number, and ! takes true or false"),
        ("v.b && v.t", "v.t is a text, and && takes true or false"),
        ("v.t || v.b", "v.t is a text, and || takes true or false"),
        ("v.n ? 1 : 2", "v.n is a whole number, and a condition takes true or false"),
        ("v.n.startsWith('a')", "v.n is a whole number, and startsWith() takes a text"),
        ("v.t.contains(v.n)", "v.n is a whole number, and contains() takes a text"),
        ("v.t.getHours()", "v.t is a text, and getHours() takes a time or a duration"),
        ("size(v.n)", "v.n is a whole number, and size() takes a text or bytes or a list or an "
                      "object"),
        ("timestamp(v.b)", "v.b is true or false, and timestamp() takes a text or a whole number "
                           "or a time"),
        ("v.n.map(i, i)", "v.n is a whole number; only a list or an object can be gone through"),
        ("v.t == 'x' && (v.o.b == 1 || v.b)", "unknown field of v.o 'b'; there is: a"),
    ],
)  # fmt: skip
def test_what_can_never_work_is_told(text: str, finding: str) -> None:
    assert infer(text).findings == (finding,)


@pytest.mark.parametrize(
    "text",
    [
        "v.u < 5", "v.u + 'a'", "v.u + 1.0", "v.m == null", "v.t == null", "v.m < 'a'",
        "v.x * 1.5", "v.x * 2", "v.x == 1", "v.n == 1.0", "v.n > 1.5", "v.m + 'a'",
        "v.maybe == null || v.maybe.a == ''", "v.any < 5 && v.any < 'a'", "v.free.x == 1",
        "v.open.b == 1", "has(v.open.b)", "'b' in v.free", "v.t in v.o", "v.t in ['a']",
        "v.xs.map(i, i * 2).exists(i, i == 4)", "v.rows.map(r, {'k': r.id}).all(r, r.k != '')",
        "v.b ? v.t : 'none'", "string(v.n) + v.t", "double(v.n) * 1.5", "int(v.b) == 1",
        "v.e == 'EUR'", "'USD' == v.e", "v.e in ['EUR', 'GBP']", "v.e != v.t",
        "nothing == null", "nothing != null && nothing.a == 1", "'a' == 'a'",
        "[] == v.xs", "[].map(i, i.what)", "{}.size() == 0", "[[]].map(i, i.map(j, j.x))",
        "type(v.u) == string ? v.u : 'n'", "v.tree.parts.exists(p, p.parts.size() > 0)",
        "google.protobuf.Int32Value{value: 1} == 1", "b'a' < b'b'", "2u + 2u == 4u",
    ],
)  # fmt: skip
def test_what_may_work_is_not_called_wrong(text: str) -> None:
    assert infer(text).findings == ()


def test_what_is_read_of_null_is_wrong_where_it_is_always_read() -> None:
    finding = "nothing is null in every run of this definition, and has no field 'a'"
    assert infer("nothing.a == 1", unguarded=True).findings == (finding,)
    assert infer("[nothing.a]", unguarded=True).findings == (finding,)
    assert infer("nothing.a ? 1 : 2", unguarded=True).findings == (finding,)
    for text in ("nothing.a == 1 || v.b", "v.b ? nothing.a : 1", "v.xs.map(i, nothing.a)"):
        assert infer(text, unguarded=True).findings == ()
    assert infer("nothing.a == 1").findings == ()


def test_findings_of_one_expression_are_few_and_not_repeated() -> None:
    findings = infer("v.o.q == 1 && v.o.q == 2").findings
    assert findings == ("unknown field of v.o 'q'; there is: a",)
    many = " && ".join(f"v.q{i} == 1" for i in range(50))
    assert len(infer(many).findings) == inference.MAX_FINDINGS


def test_an_alternative_that_has_the_field_is_enough() -> None:
    one, other = (
        Object({name: shapes.fixed(shapes.of(Kind.TEXT))}, Openness.CLOSED) for name in "ab"
    )
    scope = {"v": shapes.objects(one, other)}
    for text, findings in (("v.a", 0), ("v.b", 0), ("v.c", 1)):
        expression = expressions.compile(text, variables=scope)
        assert len(inference.infer(expression, scope).findings) == findings


def test_past_its_budget_nothing_is_told() -> None:
    expression = expressions.compile("v.nn + v.o.b", variables=VARIABLES)
    inferred = inference.infer(expression, VARIABLES, budget=Budget(lookups=1))
    assert inferred == inference.Inferred(ANYTHING)
    inferred = inference.infer(expression, VARIABLES, budget=Budget(hints=0))
    assert inferred.findings == ("unknown field of v 'nn'", "unknown field of v.o 'b'")


@pytest.mark.parametrize(
    ("schema", "shape"),
    [
        ({"type": ["integer", "null"]}, "a whole number or null"),
        ({"enum": [1, "a", None, [], {}, 1.5, True]},
         "true or false or a text or a number or a list or an object or null"),
        ({"const": 5}, "a whole number"),
        ({"anyOf": [{"type": "string"}, {"type": "number"}]}, "a text or a number"),
        ({"type": ["string", "number"], "allOf": [{"type": ["number", "null"]}]}, "a number"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, "a text"),
    ],
)  # fmt: skip
def test_shapes_of_schemas(schema: Any, shape: str) -> None:
    assert str(shapes.of_schema(schema)) == shape


@pytest.mark.parametrize(
    "schema",
    [
        True, {}, 5, None, {"type": 5}, {"type": "strange"}, {"$ref": "#"}, {"$ref": "elsewhere"},
        {"allOf": [{"$ref": "#"}]}, {"anyOf": [{"type": "string"}, {}]}, {"properties": 5},
        {"allOf": [{"type": "string"}, {"type": "number"}]}, {"description": "x"},
        {"not": {"type": "string"}}, {"anyOf": 5, "items": 5, "required": 5, "enum": 5},
    ],
)  # fmt: skip
def test_a_schema_that_tells_nothing_leaves_everything_open(schema: Any) -> None:
    expression = expressions.compile("v.a.b < 5 && v < 'a'", variables={"v"})
    assert inference.infer(expression, {"v": shapes.of_schema(schema)}).findings == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {}}, "additionalProperties": {"type": "string"}},
        {"properties": {"a": {}}, "patternProperties": {"^x-": {}}},
        {"properties": {"a": {}}, "if": {}, "then": {"properties": {"b": {}}}},
        {"properties": {"a": {}}, "dependentSchemas": {"a": {"properties": {"b": {}}}}},
        {"properties": {"a": {}}, "anyOf": [{"properties": {"b": {}}}, {"required": ["a"]}]},
        {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
        {"properties": {"a": {}}, "$dynamicRef": "#x"},
        {"properties": {"a": {}}, "unevaluatedProperties": {"type": "string"}},
        {"oneOf": [{"properties": {"a": {}}}, {"type": "object"}]},
    ],
)
def test_a_field_that_a_schema_lets_in_is_not_unknown(schema: Any) -> None:
    expression = expressions.compile("v.b", variables={"v"})
    assert inference.infer(expression, {"v": shapes.of_schema(schema)}).findings == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {}}},
        {"properties": {"a": {}}, "additionalProperties": False},
        {"additionalProperties": False},
        {"allOf": [{"properties": {"a": {}}}, {"properties": {"c": {}}}]},
        {"allOf": [{"properties": {"a": {}}}, {"required": ["c"]}]},
        {"oneOf": [{"properties": {"a": {}}}, {"properties": {"c": {}}}]},
        {"properties": {"a": {}}, "unevaluatedProperties": False},
    ],
)
def test_a_field_that_no_schema_declares_is_unknown(schema: Any) -> None:
    expression = expressions.compile("v.b", variables={"v"})
    assert len(inference.infer(expression, {"v": shapes.of_schema(schema)}).findings) == 1


TEXTS = st.sampled_from(["", "a", "EUR", "2026-01-01T00:00:00Z", "1h", "7"])
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -2.25, 1e3])
OBJECTS = st.fixed_dictionaries({}, optional={"a": TEXTS})
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(-3, 3),
        "x": NUMBERS,
        "t": TEXTS,
        "e": st.sampled_from(["EUR", "USD"]),
        "b": st.booleans(),
        "m": TEXTS | st.none(),
        "u": TEXTS | NUMBERS,
        "xs": st.lists(st.integers(-3, 3), max_size=3),
        "rows": st.lists(
            st.fixed_dictionaries({}, optional={"id": TEXTS, "amount": NUMBERS}), max_size=3
        ),
        "o": OBJECTS,
        "maybe": OBJECTS | st.none(),
        "free": st.dictionaries(st.sampled_from(["a", "b"]), NUMBERS | TEXTS),
        "open": st.fixed_dictionaries({}, optional={"a": TEXTS, "b": NUMBERS}),
        "any": NUMBERS | TEXTS | st.none() | st.lists(NUMBERS, max_size=2) | OBJECTS,
    },
)
PATHS = ["v." + name for name in SCHEMA["properties"]] + [  # type: ignore[attr-defined]
    "v.o.a", "v.maybe.a", "v.free.a", "v.open.b", "v.rows[0].id", "v.xs[0]", "v", "nothing",
    "v.any.a", "v['t']",
]  # fmt: skip
LITERALS = ["1", "0.5", "'a'", "true", "null", "[]", "[1]", "{'k': 1}", "2u", "b'x'"]
TEMPLATES = [
    "({0} + {1})", "({0} - {1})", "({0} * {1})", "({0} / {1})", "({0} % {1})", "({0} < {1})",
    "({0} >= {1})", "({0} == {1})", "({0} != {1})", "({0} in {1})", "({0} && {1})",
    "({0} || {1})", "(v.b ? dyn({0}) : dyn({1}))", "!{0}", "(-{0})", "size({0})", "string({0})",
    "int({0})", "double({0})", "timestamp({0})", "duration({0})", "type({0})", "[{0}, {1}]",
    "{{'k': {0}, 'a': {1}}}", "dyn({0}).a", "dyn({0}).k", "dyn({0})[{1}]", "dyn({0})[0]",
    "v.rows.map(r, {0})", "v.xs.filter(r, r > 0 && {0})", "v.xs.map(r, [r, {0}])",
    "v.rows.exists(r, r.id == {0})", "dyn({0}).map(q, q)", "dyn({0}).map(q, [q, {1}])[0]",
    "{0}.startsWith({1})", "v.xs.exists_one(q, q == {0})", "has(v.o.a)", "v.rows.all(r, has(r.id))",
    "bytes({0})", "timestamp({0}).getHours()",
]  # fmt: skip
EXPRESSIONS = st.recursive(
    st.sampled_from(PATHS) | st.sampled_from(LITERALS),
    lambda inner: st.builds(
        lambda template, one, other: template.format(one, other),
        st.sampled_from(TEMPLATES),
        inner,
        inner,
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=1500)
@given(EXPRESSIONS, VALUES)
def test_what_is_given_is_always_of_the_kinds_that_were_told(text: str, value: Any) -> None:
    try:
        expression = expressions.compile(text, variables=VARIABLES)
    except ExpressionError:
        return
    inferred = inference.infer(expression, VARIABLES)
    try:
        result = expression.evaluate({"v": value, "nothing": None})
    except ExpressionError:
        return
    [kind] = shapes.value(result).kinds if not isinstance(result, float) else [Kind.DOUBLE]
    assert kind in as_json(inferred.shape).kinds, (text, json.dumps(value), str(inferred.shape))
    if kind is Kind.TEXT and inferred.shape.texts is not None:
        assert result in inferred.shape.texts


NAMES = st.sampled_from(["a", "b", "amount", "id", "x-y", "é", "type", "in"])
SCHEMAS = st.recursive(
    st.sampled_from([{}, True, {"type": "string"}, {"type": ["null", "integer"]}]),
    lambda inner: st.fixed_dictionaries(
        {"properties": st.dictionaries(NAMES, inner, min_size=1, max_size=4)},
        optional={
            "type": st.sampled_from(["object", ["object", "null"]]),
            "additionalProperties": st.booleans(),
            "required": st.just(["a"]),
            "if": st.just({}),
        },
    )
    | st.builds(lambda item: {"type": "array", "items": item}, inner)
    | st.builds(lambda parts: {"allOf": parts}, st.lists(inner, min_size=1, max_size=3))
    | st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3)),
    max_leaves=8,
)  # fmt: skip


def paths(schema: Any, at: str) -> list[str]:
    """Return an expression for each place that a schema declares."""
    found = [at]
    if isinstance(schema, dict):
        for name, below in schema.get("properties", {}).items():
            found += paths(below, f'{at}["{name}"]' if not name.isalpha() else f"{at}[{name!r}]")
        if "items" in schema:
            found += paths(schema["items"], f"{at}[0]")
        for keyword in ("allOf", "anyOf"):
            for part in schema.get(keyword, []):
                found += paths(part, at)
    return found


@settings(deadline=None, max_examples=300)
@given(SCHEMAS)
@example(
    {
        "allOf": [
            {"type": "object", "properties": {"a": {}}},
            {"anyOf": [{}, {"properties": {"a": {}, "b": {}}}]},
        ]
    }
)
def test_a_field_that_a_schema_declares_is_never_unknown(schema: Any) -> None:
    scope = {"v": shapes.of_schema(schema)}
    for text in paths(schema, "v"):
        expression = expressions.compile(text, variables=scope)
        findings = inference.infer(expression, scope, unguarded=True).findings
        assert not [finding for finding in findings if "unknown field" in finding], text
