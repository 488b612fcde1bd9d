"""What the comparison lets pass is compatible, says a validator on generated documents."""

import itertools
import json

import jsonschema_rs
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from contracts import compatibility
from contracts.eventtypes import Compatibility

NAMES = ("a", "b", "c")
REFERENCES = ("#/$defs/first", "#/$defs/second")
SCALARS = (None, False, True, 0, 1, 2, -3, 2.0, 1.5, "", "x", "xy", "abcd")

scalars = st.sampled_from(SCALARS)
VALUES = (None, True, 1, 1.5, "x", "abcd", [], ["x"], {}, {"a": 1}, {"b": "x"})
DOCUMENTS = [
    *SCALARS,
    *(list(items) for length in (0, 1, 2) for items in itertools.product(VALUES, repeat=length)),
    [1, 2, 3],
    ["x", "x", "x"],
    *(
        {name: value for name, value in zip((*NAMES, "z"), values, strict=True) if value != ...}
        for values in itertools.product((..., 1, 1.5, "x", None, {"a": "x"}), repeat=4)
    ),
]
"""Every small document: what a schema lets pass is better asked of all than of a random few."""

small = st.integers(0, 3)


def fresh(schema):
    """Return a copy that shares nothing, so that an edit of one place is one edit."""
    return json.loads(json.dumps(schema))


def optional(**keywords):
    return st.fixed_dictionaries({}, optional=keywords)


def _objects(inner):
    return optional(
        properties=st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
        required=st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
        additionalProperties=st.booleans() | inner,
        patternProperties=st.dictionaries(st.sampled_from(("^a", "^z")), inner, max_size=1),
        propertyNames=st.sampled_from(
            ({"maxLength": 1}, {"enum": ["a", "b"]}, {"enum": ["a", "b", "c"]}, True)
        ),
        dependentRequired=st.dictionaries(
            st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=1), max_size=1
        ),
        minProperties=small,
        maxProperties=small,
    ).map(lambda schema: {"type": "object", **schema})


def _arrays(inner):
    return optional(
        items=inner | st.booleans(),
        prefixItems=st.lists(inner, min_size=1, max_size=2),
        minItems=small,
        maxItems=small,
        uniqueItems=st.booleans(),
        contains=st.sampled_from(({"type": "string"}, {"type": "integer"})),
    ).map(lambda schema: {"type": "array", **schema})


_numbers = optional(
    minimum=st.integers(-2, 2),
    maximum=st.integers(-2, 3),
    exclusiveMinimum=st.sampled_from((-1, 0, 0.5, 1)),
    exclusiveMaximum=st.sampled_from((0, 1, 1.5, 2)),
    multipleOf=st.sampled_from((1, 2, 3, 0.5)),
)
_strings = optional(
    minLength=small,
    maxLength=small,
    pattern=st.sampled_from(("^x", "y$")),
)
_types = st.sampled_from(
    (
        *("null", "boolean", "integer", "number", "string", "array", "object"),
        ["integer", "null"],
        ["string", "null"],
        ["number", "object"],
    )
)


def _combined(inner):
    branches = st.lists(inner, min_size=1, max_size=2)
    return st.one_of(
        _objects(inner),
        _objects(inner),
        _arrays(inner),
        *(branches.map(lambda schemas, key=key: {key: schemas}) for key in ("anyOf", "oneOf")),
        branches.map(lambda schemas: {"allOf": schemas}),
        st.tuples(_objects(inner), branches).map(lambda pair: {**pair[0], "allOf": pair[1]}),
        st.tuples(_types, branches).map(lambda pair: {"type": pair[0], "anyOf": pair[1]}),
        inner.map(lambda schema: {"not": schema}),
        inner.map(lambda schema: {"if": schema, "then": {"type": "object"}}),
    )


schemas = st.recursive(
    st.one_of(
        st.booleans(),
        _types.map(lambda name: {"type": name}),
        st.tuples(_types, _numbers).map(lambda pair: {"type": pair[0], **pair[1]}),
        st.tuples(_types, _strings).map(lambda pair: {"type": pair[0], **pair[1]}),
        _numbers,
        st.lists(scalars, min_size=1, max_size=3).map(lambda values: {"enum": values}),
        scalars.map(lambda value: {"const": value}),
        st.sampled_from(REFERENCES).map(lambda reference: {"$ref": reference}),
    ),
    _combined,
    max_leaves=6,
)


@st.composite
def roots(draw):
    """A schema with two definitions, which may refer to each other below a property."""
    inner = draw(schemas)
    first, second = draw(schemas), draw(schemas)
    root = inner if isinstance(inner, dict) else {"allOf": [inner]}
    definitions = {
        "first": {"type": "object", "properties": {"a": first}},
        "second": {"type": ["object", "string"], "properties": {"b": second}, "maxLength": 2},
    }
    return {**root, "$defs": definitions}


def _nodes(schema):
    """Yield every schema within a schema that is a mapping, itself included."""
    if isinstance(schema, dict):
        yield schema
        for name, value in schema.items():
            if name in {"enum", "const", "required", "type", "dependentRequired"}:
                continue
            parts = value.values() if name in _MAPS and isinstance(value, dict) else [value]
            for part in value if isinstance(value, list) else parts:
                yield from _nodes(part)


_MAPS = {"properties", "patternProperties", "$defs"}


@st.composite
def pairs(draw):
    """Two schemas: unrelated, or one made from the other by a few edits."""
    before = fresh(draw(roots()))
    if draw(st.integers(0, 5)) == 0:
        return before, draw(roots())
    after = fresh(before)
    for _ in range(draw(st.integers(1, 3))):
        node = draw(st.sampled_from(list(_nodes(after))))
        _edit(draw, node)
    return (before, after) if draw(st.booleans()) else (after, before)


def _edit(draw, node):
    removable = sorted(set(node) - {"$defs"})
    kind = draw(st.sampled_from(("drop", "add", "property", "nullable", "branch", "required")))
    if kind == "drop" and removable:
        del node[draw(st.sampled_from(removable))]
    elif kind == "property":
        node.setdefault("properties", {})[draw(st.sampled_from(NAMES))] = fresh(draw(schemas))
    elif kind == "nullable" and isinstance(node.get("type"), str):
        node["type"] = sorted({node["type"], "null"})
    elif kind == "branch":
        present = [key for key in ("anyOf", "oneOf", "allOf") if key in node]
        for key in present:
            node[key] = [*node[key], fresh(draw(schemas))]
    elif kind == "required":
        node["required"] = draw(st.lists(st.sampled_from(NAMES), max_size=2, unique=True))
    else:
        node.update(draw(st.one_of(_numbers, _strings, _types.map(lambda name: {"type": name}))))


def validator(schema):
    return jsonschema_rs.Draft202012Validator(schema)


NAMING = {"properties", "additionalProperties", "patternProperties", "if", "then", "not", "$ref"}
IN_PLACE = ("allOf", "anyOf", "oneOf")


def as_written(schema, others=()):
    """Return the schema of what is written by the convention of `contracts.compatibility`.

    Where properties are listed in one place, and nothing is said of others, none of the names is
    used that the other schema of the pair could list. `others` apply to the same value.
    """
    if not isinstance(schema, dict):
        return schema
    made = {}
    for name, value in schema.items():
        if name in {"properties", "patternProperties", "$defs"}:
            made[name] = {key: as_written(part) for key, part in value.items()}
        elif name in {"items", "additionalProperties"}:
            made[name] = as_written(value)
        elif name == "prefixItems":
            made[name] = [as_written(part) for part in value]
        elif name in IN_PLACE:
            rest = {key: part for key, part in schema.items() if key != name}
            made[name] = [
                as_written(
                    branch,
                    [*others, rest, *(value[:at] + value[at + 1 :] if name == "allOf" else ())],
                )
                for at, branch in enumerate(value)
            ]
        else:
            made[name] = value
    beside = [*others, *(part for name in IN_PLACE for part in schema.get(name, ()))]
    said = NAMING & schema.keys() - {"properties"}
    if schema.get("properties") and not said and not any(map(_names_properties, beside)):
        known = {*schema["properties"], *_required([schema, *beside])}
        unused = [name for name in NAMES if name not in known]
        made = {"allOf": [made, {"propertyNames": {"not": {"enum": unused}}}]}
    return made


def _names_properties(schema):
    return isinstance(schema, dict) and bool(
        schema.keys() & NAMING
        or any(_names_properties(part) for name in IN_PLACE for part in schema.get(name, ()))
    )


def _required(schemas):
    for schema in schemas:
        if isinstance(schema, dict):
            yield from schema.get("required", ())
            for name in IN_PLACE:
                yield from _required(schema.get(name, ()))


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(pairs())
def test_what_passes_as_backward_compatible_invalidates_no_document(pair):
    before, after = pair
    found = compatibility.breaks(before, after, Compatibility.BACKWARD)
    event("passes" if not found else "breaks")
    assume(not found)
    written, newer = validator(before), validator(after)
    definitions = as_written({"$defs": before["$defs"]})
    conventional = validator(as_written(before) | definitions)
    held = [one for one in DOCUMENTS if written.is_valid(one) and conventional.is_valid(one)]
    event("some documents are valid" if held else "no document is valid")
    lost = [json.dumps(one) for one in held if not newer.is_valid(one)]
    assert not lost
