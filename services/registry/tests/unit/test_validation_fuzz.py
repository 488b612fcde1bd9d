"""Whatever is given to validation, it answers with problems or a result, soon, and never raises."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.catalogue import Catalogue
from contracts.eventtypes import EventType
from registry.domain import documents, event_types, validation
from registry.domain.differences import differences
from registry.domain.validation import Source
from registry.errors import Located

MOST_CPU_S = 20.0
"""What grows faster than its document takes minutes; how fast the rest is, is for benchmarks."""
CATALOGUE = Catalogue.model_validate(
    {
        "connectors": {
            "billing-db": {
                "postgres": {
                    "dsnEnv": "DSN",
                    "statements": {
                        "overdue_invoices": {
                            "sql": "SELECT 1",
                            "parameters": [{"name": "until", "type": "timestamptz"}],
                            "result": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "properties": {
                                        "id": {"type": "string"},
                                        "amount": {"type": "number"},
                                    },
                                },
                            },
                        }
                    },
                }
            }
        },
        "handlers": {"send_reminder": {"taskQueue": "notifications-tq"}},
    }
)
DOCUMENTS = Path(__file__).parent / "documents"
GOOD = {path.stem: path.read_bytes() for path in sorted(DOCUMENTS.glob("*.yaml"))}
TEXTS = {name: raw.decode() for name, raw in GOOD.items()}

fuzz = settings(deadline=None, suppress_health_check=list(HealthCheck))


def diagnose(*raws: bytes) -> list[Located]:
    """Validate documents as an apply does, and hold what it promises for any of them."""
    started = time.process_time()
    sources = [Source(f"{number}.yaml", raw) for number, raw in enumerate(raws)]
    reading = validation.read(sources, namespaces=["dev"])
    surroundings = validation.surroundings(reading, event_types={}, catalogue=CATALOGUE)
    problems = validation.check(reading, surroundings)
    for parsed in reading.parsed:
        differences(None, parsed.resource)
        if isinstance(parsed.resource, EventType):
            problems += event_types.history_problems(parsed, past={}, current=None)
    spent = time.process_time() - started
    assert spent < MOST_CPU_S, f"{spent:.1f} s of CPU"
    assert len(problems) <= validation.MAX_PROBLEMS
    for problem in problems:
        assert problem.message
        assert len(str(problem)) < 2 * validation.MAX_TEXT + 100
        assert problem.line >= 1 or not problem.document
    assert problems or len(reading.parsed) == len(raws)
    return problems


def test_good_documents_have_no_problems() -> None:
    assert diagnose(*GOOD.values()) == []


@fuzz
@given(st.binary(max_size=500) | st.text(max_size=500).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes(raw: bytes) -> None:
    assert diagnose(raw)


HOSTILE = (
    "&a [*a, *a]",
    "*a",
    "&a",
    "<<: *a",
    "<<: {a: b}",
    "!!python/object/apply:os.system [ls]",
    "!!binary aGk=",
    "! x",
    "\t",
    "\t- a: b",
    "\x00",
    "\ufeff",
    "\r\n",
    "\u2028",
    "\x85",
    "\U0001f600",
    "\u0430",
    "\u200b",
    "\u202e",
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    "%YAML 1.1\n---\n",
    "---\n",
    "...\n",
    "? [a, b]\n: c",
    "? {a: b}",
    "[" * 100,
    "{a: " * 100,
    "- " * 100,
    "]" * 10,
    "}",
    "'",
    '"',
    "|\n",
    ">+9\n",
    "#",
    "9" * 5000,
    "-9223372036854775809",
    "0x" + "f" * 5000,
    "0o7",
    "1e999",
    "1." + "0" * 5000,
    ".nan",
    "-.inf",
    "null",
    "~",
    "true",
    "{}",
    "[]",
    "999999999d",
    "P999999999W",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "x" * 3000,
    "a: " * 50,
    "{" + "a: 1, " * 200 + "}",
    "[" + "1, " * 500 + "]",
)


@st.composite
def mutated(draw: st.DrawFn, text: str) -> bytes:
    """Draw a document that was good before a few changes."""
    for _ in range(draw(st.integers(1, 4))):
        change = draw(st.sampled_from([_lines, _characters, _splice, _values]))
        text = change(draw, text)
    return text.encode("utf-8", "surrogatepass")


def _lines(draw: st.DrawFn, text: str) -> str:
    lines = text.split("\n")
    here, there = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    match draw(st.sampled_from(["delete", "duplicate", "swap", "indent"])):
        case "delete":
            del lines[here]
        case "duplicate":
            lines.insert(there, lines[here])
        case "swap":
            lines[here], lines[there] = lines[there], lines[here]
        case "indent":
            lines[here] = draw(st.sampled_from(["", " ", "  ", "\t", "    "])) + lines[here].strip()
    return "\n".join(lines)


def _characters(draw: st.DrawFn, text: str) -> str:
    here = draw(st.integers(0, max(len(text) - 1, 0)))
    length = draw(st.integers(0, 5))
    return text[:here] + draw(st.text(max_size=3)) + text[here + length :]


def _splice(draw: st.DrawFn, text: str) -> str:
    here = draw(st.integers(0, len(text)))
    return text[:here] + draw(st.sampled_from(HOSTILE)) + text[here:]


def _values(draw: st.DrawFn, text: str) -> str:
    lines = text.split("\n")
    fields = [number for number, line in enumerate(lines) if ": " in line]
    if fields:
        here = draw(st.sampled_from(fields))
        lines[here] = f"{lines[here].partition(': ')[0]}: {draw(st.sampled_from(HOSTILE))}"
    return "\n".join(lines)


@fuzz
@given(st.sampled_from(sorted(TEXTS)).flatmap(lambda name: mutated(TEXTS[name])))
def test_good_documents_with_changes(raw: bytes) -> None:
    diagnose(raw)


@fuzz
@given(st.data())
def test_json_documents_with_changes(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(TEXTS)))
    text = json.dumps(_document(name), indent=data.draw(st.sampled_from([None, 2])))
    diagnose(data.draw(mutated(text)))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(HOSTILE),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=10) | st.sampled_from(["name", "type"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@fuzz
@given(st.data())
def test_anything_in_place_of_a_value(data: st.DataObject) -> None:
    document = _document(data.draw(st.sampled_from(sorted(TEXTS))))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(list(_places(document))))
        if data.draw(st.booleans()):
            holder[key] = data.draw(ANYTHING)
        elif isinstance(holder, dict):
            holder[data.draw(st.text(max_size=12))] = holder.pop(key)
        else:
            del holder[key]
    diagnose(json.dumps(document).encode())


EXPRESSIONS = (
    "(" * 900 + "1" + ")" * 900,
    "[" * 900 + "]" * 900,
    "!" * 1900 + "true",
    "-" * 1900 + "1",
    "true" + " && true" * 240,
    "true" + " || event.x" * 180,
    "1" + " + 1" * 480,
    "'a'" + " + 'a'" * 300,
    "event" + ".a" * 900,
    "event" + "[0]" * 600,
    "true ? " * 280 + "1" + " : 2" * 280,
    "[1]" + ".map(x, [x, x])" * 100,
    "[1,2,3].map(a, [1,2,3].map(b, [1,2,3].map(c, [1,2,3].map(d, [1,2,3].map(e, e)))))",
    "context.overdue.all(a, context.overdue.all(b, context.overdue.exists(c, a == b && b == c)))",
    "'" + "x" * 1990 + "'",
    "9" * 1990,
    "0x" + "f" * 1990,
    "1e" + "9" * 1000,
    "b'\\xff\\xfe'",
    "'\\ud800'",
    "'\\U00110000'",
    "'\\x'",
    '"' * 1000,
    "'a'.matches('(a+)+$')",
    "'a'.matches('" + "(" * 400 + "a" + ")" * 400 + "')",
    "'a'.matches('(((a{1,1000}){1,1000}){1,1000})')",
    "'a'.matches('[')",
    "event.payload.matches('(x+x+)+y')",
    "/* x */ true // y",
    "\x00",
    "\u0430 == 1",
    "event.payload.amonut > 1",
    "timestamp('9999-12-31T23:59:59Z') + duration('999999999999s')",
    "9223372036854775807 + 1",
    "1 / 0 == 1",
    "has(event.a.b.c)",
    "{1: 2, 1: 3}",
    "{'a': 1}.a.b.c",
    "google.protobuf.Struct{}",
    "dyn(1)",
    "type(1) == int",
    "size(size(size(1)))",
    "in in in",
    "event in event",
    "trigger.names.exists(n, n == 'x')",
    "__result__",
    "\u2028true",
    "true;" * 300,
    "`a`",
    "a.?b",
    "optional.of(1)",
    "cel.bind(x, 1, x)",
    "[1,2].sortBy(x, x)",
)
EXPRESSION_FIELDS: Sequence[Callable[[Any, str], None]] = (
    lambda d, text: d["spec"]["rules"][0].update(when=text),
    lambda d, text: d["spec"]["rules"][0]["task"].update(key=text),
    lambda d, text: d["spec"]["rules"][0]["forEach"].update({"in": text}),
    lambda d, text: d["spec"]["rules"][0]["task"]["input"].update(amount=text),
    lambda d, text: d["spec"]["rules"][1]["task"].update(title=text),
    lambda d, text: d["spec"]["triggers"][1]["event"].update(when=text),
    lambda d, text: d["spec"]["triggers"][1]["event"].update(correlate=text),
    lambda d, text: d["spec"]["context"][0]["query"]["parameters"].update(until=text),
)
CEL_PARTS = st.sampled_from(
    [
        *("event", "context", "trigger", "window", "invoice", ".payload", ".overdue", ".amount"),
        *("(", ")", "[", "]", "{", "}", ",", ".", "?", ":", "+", "-", "*", "/", "%", "!", "&&"),
        *("||", "==", "!=", "<", "<=", " in ", "1", "1.5", "1u", "'a'", '"b"', "b'c'", "null"),
        *("true", "size(", "has(", ".map(x, ", ".filter(x, ", ".all(x, ", ".exists_one(x, ", "x"),
        *("string(", "int(", "timestamp(", "duration(", ".matches(", "r'\\d+'", ".startsWith("),
    ]
)


@fuzz
@given(
    st.lists(
        st.tuples(
            st.sampled_from(EXPRESSION_FIELDS),
            st.sampled_from(EXPRESSIONS)
            | st.text(max_size=60)
            | st.lists(CEL_PARTS, max_size=30).map("".join),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_hostile_expressions(changes: Sequence[tuple[Callable[[Any, str], None], str]]) -> None:
    document = _document("definition")
    for put, text in changes:
        put(document, text)
    diagnose(GOOD["event-type"], json.dumps(document).encode())


def _nested(levels: int, around: Callable[[Any], Any]) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = around(schema)
    return schema


SCHEMAS: Sequence[Any] = (
    {},
    {"type": "object"},
    {"type": "objct"},
    {"type": ["object", "object"]},
    {"type": 3},
    {"type": "object", "properties": []},
    {"type": "object", "properties": {"a": 3}},
    {"type": "object", "required": "a"},
    {"type": "object", "required": ["a", "a"]},
    {"$ref": "#"},
    {"type": "object", "properties": {"a": {"$ref": "#"}}},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    {"$ref": "#/nowhere"},
    {"$ref": "http://169.254.169.254/latest/meta-data"},
    {"$ref": "file:///etc/passwd"},
    {"$ref": "urn:backbone:v1:definition"},
    {"$ref": "\x00"},
    {"$ref": 3},
    {"$dynamicRef": "#a", "$dynamicAnchor": "a"},
    {"$id": "http://example.com/a", "$ref": "b"},
    {"$schema": "http://json-schema.org/draft-04/schema#", "type": "object"},
    {"$schema": "nowhere", "type": "object"},
    {"$vocabulary": {"x": True}},
    {"type": "string", "pattern": "(a+)+$"},
    {"type": "string", "pattern": "("},
    {"type": "string", "pattern": "(((a{1,1000}){1,1000}){1,1000})"},
    {"type": "string", "pattern": "(?<=a)b\\1"},
    {"type": "string", "pattern": "(" * 1000 + ")" * 1000},
    {"patternProperties": {"(x+x+)+y": {}, "[": {}}},
    {"type": "integer", "multipleOf": 0},
    {"type": "integer", "multipleOf": 1e-300},
    {"type": "string", "minLength": -1},
    {"type": "string", "maxLength": 1e300},
    {"type": "array", "minItems": 2**62},
    {"enum": []},
    {"enum": [{}] * 500},
    {"const": {"a": None}},
    {"not": {}},
    {"anyOf": [{"type": "object"}] * 500},
    {"properties": {f"f{n}": {"type": "string"} for n in range(2000)}},
    _nested(
        20, lambda inner: {"anyOf": [inner, {"not": inner}]} if len(str(inner)) < 4e4 else inner
    ),
    _nested(25, lambda inner: {"type": "object", "properties": {"a": inner}}),
    _nested(28, lambda inner: {"allOf": [inner]}),
    _nested(55, lambda inner: {"not": inner}),
    {"allOf": [{"$ref": f"#/$defs/d{n + 1}"} for n in range(2)]}
    | {
        "$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(1, 40)}
        | {"d40": {}}
    },
)
SCHEMA_PARTS = st.recursive(
    st.sampled_from(SCHEMAS[:32]) | ANYTHING,
    lambda inner: st.dictionaries(
        st.sampled_from(
            [
                *("type", "properties", "items", "$ref", "$defs", "allOf", "anyOf", "not", "if"),
                *("required", "enum", "pattern", "additionalProperties", "prefixItems", "$id"),
                *("patternProperties", "dependentRequired", "unevaluatedProperties", "$anchor"),
            ]
        ),
        inner | st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_size=4,
    ),
    max_leaves=8,
)
SCHEMA_FIELDS: Sequence[Callable[[Any, Any, Any], None]] = (
    lambda d, _, schema: d["spec"]["rules"][1]["task"].update(form=schema),
    lambda d, _, schema: d["spec"]["triggers"][2]["manual"].update(input=schema),
    lambda _, e, schema: e["spec"]["schemas"][0].update(schema=schema),
    lambda _, e, schema: e["spec"]["schemas"][1].update(schema=schema),
)


@fuzz
@given(
    st.lists(
        st.tuples(st.sampled_from(SCHEMA_FIELDS), st.sampled_from(SCHEMAS) | SCHEMA_PARTS),
        min_size=1,
        max_size=3,
    )
)
def test_hostile_schemas(changes: Sequence[tuple[Callable[[Any, Any, Any], None], Any]]) -> None:
    definition, event_type = _document("definition"), _document("event-type")
    for put, schema in changes:
        put(definition, event_type, schema)
    diagnose(json.dumps(definition).encode(), json.dumps(event_type).encode())


def _document(name: str) -> Any:
    return json.loads(json.dumps(documents.read(GOOD[name]).value))


def _with(name: str, path: str, value: Any) -> bytes:
    document = _document(name)
    holder = document
    *around, last = path.split(".")
    for step in around:
        holder = holder[step]
    holder[last] = value
    return json.dumps(document).encode()


HEAD = TEXTS["definition"].partition("  rules:")[0]
HUMAN = {"type": "human", "title": "'t'", "assignees": {"users": ["u"]}}
LARGE: dict[str, bytes] = {
    "rules that are no objects": _with("definition", "spec.rules", [1] * 50_000),
    "rules that are empty": _with("definition", "spec.rules", [{}] * 50_000),
    "rules in block style": (HEAD + "  rules:\n" + "    - {a: b}\n" * 15_000).encode(),
    "rules of one name": _with("definition", "spec.rules", [{"name": "r", "task": HUMAN}] * 200),
    "rules full of mistakes": _with(
        "definition", "spec.rules", [{"nam": 1, "whn": 2, "tsk": {}, "task": {"typ": 1}}] * 200
    ),
    "labels that are no labels": _with(
        "definition", "metadata.labels", {f"Label {n}": n for n in range(9000)}
    ),
    "unknown fields": _with("definition", "spec.limits", {f"max{n}": n for n in range(15_000)}),
    "unknown long fields": _with(
        "definition", "spec.limits", {f"maxTasksPerRun{n}" * 5: n for n in range(2800)}
    ),
    "expressions that are none": _with(
        "definition",
        "spec.rules",
        [
            {"name": f"r{n}", "task": {**HUMAN, "input": {f"i{m}": "1 +" for m in range(50)}}}
            for n in range(200)
        ],
    ),
    "expressions of every length": _with(
        "definition",
        "spec.rules",
        [
            {
                "name": f"r{n}",
                "when": "event.payload.amount in [1" + ",1" * (4 * n) + "]",
                "task": {**HUMAN, "input": {f"i{m}": "[1].map(x, x)" for m in range(20)}},
            }
            for n in range(200)
        ],
    ),
    "patterns": _with(
        "definition",
        "spec.triggers",
        [
            {"name": f"t{n}", "event": {"type": "a", "match": {"a": [{"wildcard": "*a*b*"}] * 200}}}
            for n in range(45)
        ],
    ),
    "aliases": b"a: &a 1\nb: [" + b"*a, " * 60_000 + b"]",
    "anchors": b"".join(b"k%d: &a%d 1\n" % (n, n) for n in range(15_000)),
    "billion laughs": b"a: &a [x]\n"
    + b"".join(b"b%d: &b%d [*a,*a]\n" % (n, n) for n in range(9000)),
    "tags": b"".join(b"k%d: !t 1\n" % n for n in range(20_000)),
    "keys of one name": b"{" + b'"a": 1, ' * 30_000 + b'"b": 1}',
    "keys of one name in YAML": b"a: 1\n" * 50_000,
    "empty lists": b"a: [" + b"[], " * 60_000 + b"]",
    "colons": b": " * 130_000,
    "question marks": b"? " * 130_000,
    "dashes": b"- " * 130_000,
    "braces": b"{" * 260_000,
    "brackets in JSON": b'{"a":' + b"[" * 250_000,
    "closing brackets": b"{}" + b"]" * 250_000,
    "quotes": b"'" * 260_000,
    "escapes": b'{"a": "' + b"\\u0041" * 40_000 + b'"}',
    "a long word": b"a" * 260_000,
    "a long key": b"a" * 260_000 + b": 1",
    "a long number": b"a: " + b"9" * 250_000,
    "a long id": GOOD["producer"].replace(b"billing-service", b"b" * 200_000),
    "a long duration": GOOD["definition"].replace(b"30s", b"3" * 200_000),
    "directives": b"%A\n" * 80_000,
    "a long tag": b"a: !" + b"t" * 200_000 + b" b",
    "long keys": (b"{" + b"k" * 4000 + b": ") * 60 + b"*a" + b"}" * 60,
    "documents": b"---\n" * 60_000,
    "comments": b"#\n" * 130_000,
    "blanks": b'{"a":' + b" " * 250_000 + b"1}",
    "tabs": b"a:\n" + b"\t" * 250_000,
    "byte order marks": b"\xef\xbb\xbf" * 80_000,
    "a wide schema": _with(
        "event-type",
        "spec.schemas",
        [
            {
                "version": v,
                "schema": {"properties": {f"f{n}": {"type": "string"} for n in range(1500)}},
            }
            for v in (1, 2, 3, 4)
        ],
    ),
    "many schemas": _with(
        "event-type",
        "spec.schemas",
        [
            {"version": n + 1, "schema": {"anyOf": [{"minimum": m} for m in range(n, n + 200)]}}
            for n in range(50)
        ],
    ),
    "too large": b"a" * 5_000_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_large_documents(name: str) -> None:
    diagnose(LARGE[name])


def test_many_documents_that_are_all_wrong() -> None:
    documents_ = [GOOD["definition"].replace(b"owner", b"ownr")] * 500 + [b"{" * 50] * 500
    assert len(diagnose(*documents_)) == validation.MAX_PROBLEMS


def _places(value: Any) -> Any:
    pending = [value]
    while pending:
        holder = pending.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], dict | list):
                pending.append(holder[key])
