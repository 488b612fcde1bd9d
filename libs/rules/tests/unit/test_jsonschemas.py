"""JSON Schemas from authors: what keeps one from being used, and what a value lacks."""

import functools
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import jsonschemas, subschemas
from rules.errors import SchemaError


def found(schema: Any, *, root_object: bool = False) -> list[str]:
    problems = jsonschemas.schema_problems(schema, path="form", root_object=root_object)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:whole"},
        {"type": ["string", "null"], "format": "date-time", "pattern": "^2", "x-mine": 1},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}},
        {"$ref": "#name", "$defs": {"a": {"$anchor": "name"}}},
        {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}},
        {"items": {"$ref": "#"}, "type": "array"},
        {"enum": [{"$ref": "elsewhere"}], "default": {"type": 5}},
        {"properties": {"$ref": {"type": "string"}, "type": {"type": "string"}}},
        {"prefixItems": [{"$ref": "#/prefixItems/1"}, {"type": "string"}]},
    ],
)
def test_a_usable_schema_has_no_problem(schema: Any) -> None:
    assert found(schema) == []


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (5, "form: expected a JSON Schema, found a number"),
        ({"type": "strin"}, "form.type: unknown type 'strin'; did you mean 'string'?"),
        ({"properties": []}, "form.properties: expected an object, found a list"),
        ({"properties": {"a": 1}}, "form.properties.a: expected a JSON Schema, found a number"),
        ({"required": "a"}, "form.required: expected a list, found a text"),
        ({"items": {"minLength": "x"}}, "form.items.minLength: expected a whole number, found a "
                                        "text"),
        ({"minLength": -1}, "form.minLength: -1 is less than the minimum of 0"),
        ({"anyOf": [{}, {"not": [1]}]}, "form.anyOf[1].not: expected a JSON Schema, found a list"),
        ({"pattern": "("}, "form.pattern: not a regular expression that can be used, or too large "
                           "a one"),
        ({"pattern": r"\p{L}{1,900}"}, "form.pattern: not a regular expression that can be used, "
                                       "or too large a one"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"},
         "form.$schema: only draft 2020-12 is known; write "
         "https://json-schema.org/draft/2020-12/schema"),
        ({"$ref": "https://example.com/schema"},
         "form.$ref: 'https://example.com/schema' lies outside of this schema; copy it below $defs "
         "and write #/$defs/<name>"),
        ({"$ref": "#/$defs/ad", "$defs": {"ab": {}}},
         "form.$ref: unknown part of this schema '#/$defs/ad'; did you mean '#/$defs/ab'?"),
        ({"$ref": "#/required", "required": ["a"]},
         "form.$ref: unknown part of this schema '#/required'; there is: none"),
        ({"$defs": {"a": {"$id": "urn:part"}}},
         "form.$defs.a.$id: only the whole schema has an $id; name a part by its $anchor"),
        ({"$ref": "#"}, "form: a $ref leads back to itself without looking at a part of the value, "
                        "which says nothing; let it go through properties or items"),
        ({"properties": {1: {}}}, "form.properties: the key 1 is not text; put it in quotes"),
        ({"const": float("nan")}, "form.const: nan is not a JSON number"),
        ({"const": b"x"}, "form.const: a bytes has no form in JSON; put it in quotes"),
        ({"enum": list(range(6000))}, "form: more than 5000 values in one schema"),
        (functools.reduce(lambda s, _: {"not": s}, range(100), {}),
         "form: nested deeper than 64 levels"),
        ({"patternProperties": {f"a{i}": {} for i in range(300)}},
         "form: more than 200 patterns in the schemas of one document"),
        ({"$ref": "#/$defs/n0", "$defs": {
            **{f"n{i}": {"allOf": [{"$ref": f"#/$defs/n{i + 1}"}] * 2} for i in range(30)},
            "n30": {"type": "object"}}},
         "form: a value can be held against more than 20000 schemas, every $ref followed; refer to "
         "fewer"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_why(schema: Any, problem: str) -> None:
    assert found(schema) == [problem]


@pytest.mark.parametrize(
    ("schema", "problems"),
    [
        ({"type": "object"}, []),
        ({"type": "string"}, ["form.type: its values are objects: write type: object"]),
        ({}, ["form.type: its values are objects: write type: object"]),
        ({"type": "object", "properties": {"done": {}}, "required": ["don"]},
         ["form.required: unknown field 'don'; did you mean 'done'?"]),
        ({"type": "object", "properties": {"done": {}}, "required": ["x"],
          "additionalProperties": True}, []),
        ({"type": "object", "properties": {"a": {}}, "required": ["x"], "allOf": [{}]}, []),
        ({"type": "object", "required": ["x"]}, []),
    ],
)  # fmt: skip
def test_a_form_is_an_object_whose_fields_are_there(schema: Any, problems: list[str]) -> None:
    assert found(schema, root_object=True) == problems


def test_the_schemas_of_one_document_share_their_patterns() -> None:
    checker = jsonschemas.Checker()
    schema = {"patternProperties": {f"a{i}": {} for i in range(150)}}
    assert checker.problems(schema, path="one", root_object=False) == []
    assert len(checker.problems(schema, path="two", root_object=False)) == 1


def test_the_schemas_of_one_document_share_their_size_and_one_of_them_says_so() -> None:
    checker = jsonschemas.Checker()
    schema = {"enum": list(range(4000))}
    found = [checker.problems(schema, path=str(i), root_object=False) for i in range(20)]
    told = [problem for problems in found for problem in problems]
    assert [str(problem) for problem in told] == [
        "12: more than 50000 values in the schemas of one document"
    ]


@pytest.mark.parametrize(
    ("schema", "value", "problems"),
    [
        ({"type": "object"}, {}, []),
        ({"type": "object"}, 1, ['value: 1 is not of type "object"']),
        ({"properties": {"a": {"items": {"type": "integer"}}}}, {"a": [1, "x"]},
         ['a[1]: "x" is not of type "integer"']),
        ({"required": ["a"]}, {}, ['value: "a" is a required property']),
    ],
)  # fmt: skip
def test_a_value_is_told_what_it_lacks(schema: Any, value: Any, problems: list[str]) -> None:
    assert jsonschemas.validate(schema, value) == problems


def test_an_unusable_schema_checks_nothing() -> None:
    with pytest.raises(SchemaError, match=r"schema\.type: unknown type 'strin'"):
        jsonschemas.validate({"type": "strin"}, 1)


def test_only_the_first_problems_of_a_value_are_told() -> None:
    assert len(jsonschemas.validate({"items": {"type": "string"}}, list(range(100)))) == 5


def nested(levels: int) -> Any:
    return functools.reduce(lambda value, _: [value], range(levels), 1)


def test_a_schema_whose_branches_all_lead_back_to_it_is_checked_in_no_time() -> None:
    # Explaining what is wrong would take four times as long with each of the 60 levels.
    branch = {"type": "array", "items": {"$ref": "#"}}
    validator = jsonschemas.compile({"anyOf": [branch, branch]})
    assert validator.problems(nested(60), name="payload") == [
        "payload: it does not follow its schema, which refers to itself in branches"
    ]
    assert len(validator.problems(nested(3))) == 1
    tree = jsonschemas.compile({"anyOf": [{"type": "string"}, branch]})
    assert "is not valid under any" in tree.problems(nested(60))[0]


def test_a_pattern_does_not_run_away() -> None:
    assert len(jsonschemas.validate({"pattern": r"^(a+)+\1$"}, "a" * 5000 + "b")) == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]},
        {"items": {"$ref": "#"}, "contains": {"$ref": "#"}},
        {"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"additionalProperties": {"$ref": "#"}}]},
        {"$defs": {"a": {"properties": {"x": {"$ref": "#/$defs/b"}}},
                   "b": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}},
         "$ref": "#/$defs/a"},
    ],
)  # fmt: skip
def test_ways_that_double_with_each_level_are_known(schema: Any) -> None:
    assert subschemas.Document(schema).weigh().forks


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}},
        {"items": {"$ref": "#"}, "properties": {"a": {"$ref": "#"}}},
        {"anyOf": [{"items": {"type": "string"}}, {"items": {"type": "string"}}]},
    ],
)
def test_ways_that_part_do_not_double(schema: Any) -> None:
    assert not subschemas.Document(schema).weigh().forks


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "#", "#/a"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "properties", "items", "$ref", "anyOf", "allOf", "not", "$defs", "required",
             "enum", "const", "if", "then", "pattern", "prefixItems", "$anchor", "a",
             "additionalProperties", "dependentSchemas", "$dynamicRef", "unevaluatedItems"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=15,
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(JSON)
def test_whatever_comes_is_a_schema_or_is_told_why_not(schema: Any) -> None:
    problems = jsonschemas.schema_problems(schema, path="s", root_object=False)
    if not problems:
        assert isinstance(schema, dict | bool)
        jsonschema_rs.Draft202012Validator(schema, offline=True)
        jsonschemas.validate(schema, {"a": [1, None, "x"]})
