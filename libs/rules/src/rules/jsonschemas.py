"""JSON Schemas from authors: found usable before they are kept, and values checked against them.

Draft 2020-12. Nothing is ever fetched, a schema refers to nothing outside of itself, and neither a
schema nor a value can make a check run away.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from rules import expressions, kinds, subschemas
from rules.errors import SchemaError
from rules.problems import Problem

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_DEPTH = 64
"""Levels of one schema."""
MAX_VALUES = 5_000
"""Values in one schema: objects, lists and what they hold."""
MAX_VALUES_TOGETHER = 50_000
"""Values in the schemas of one document."""
MAX_WORK = 20_000
"""Schemas that one value can be held against, every reference followed."""
MAX_PATTERNS = 200
"""Regular expressions in the schemas of one document: each takes up to a millisecond to compile."""
MAX_PROBLEMS = 50
"""Problems that are told of one schema."""
SHOWN = 5
"""Problems that are told of one value."""

_EXPLAINED_DEPTH = 6
_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000, size_limit=256 * 1024)
_META = jsonschema_rs.Draft202012Validator({"$ref": DIALECT}, offline=True)
_COMPOSED = frozenset(
    {
        "$ref",
        "$dynamicRef",
        "allOf",
        "anyOf",
        "oneOf",
        "if",
        "patternProperties",
        "dependentSchemas",
    }
)


def schema_problems(schema: Any, *, path: str, root_object: bool) -> list[Problem]:
    """Return what keeps a schema from being used, in the order of its text.

    `root_object` asks for a schema whose values are objects, as of a form.
    """
    return Checker().problems(schema, path=path, root_object=root_object)


class Checker:
    """Checks the schemas of one document, which share a budget of work."""

    def __init__(self) -> None:
        self._patterns = MAX_PATTERNS
        self._values = MAX_VALUES_TOGETHER

    def problems(self, schema: Any, *, path: str, root_object: bool) -> list[Problem]:
        """Return what is wrong with one of them: see `schema_problems`."""
        return list(itertools.islice(self._problems(schema, path, root_object), MAX_PROBLEMS))

    def _problems(self, schema: Any, path: str, root_object: bool) -> Iterator[Problem]:  # noqa: FBT001
        if self._values < 0:
            return
        count, unfit = _size(schema)
        self._values -= count
        if self._values < 0:
            yield Problem(
                path, f"more than {MAX_VALUES_TOGETHER} values in the schemas of one document"
            )
            return
        if unfit is not None:
            yield Problem(f"{path}{unfit.path}", unfit.message)
            return
        if root_object and isinstance(schema, Mapping) and schema.get("type") != "object":
            yield Problem(f"{path}.type", "its values are objects: write type: object")
        sound = True
        for problem in self._outline(schema, path):
            sound = False
            yield problem
        if not sound:
            return
        try:
            weight = subschemas.Document(schema).weigh()
        except SchemaError as exc:
            yield Problem(path, str(exc))
            return
        if weight.work > MAX_WORK:
            yield Problem(
                path,
                f"a value can be held against more than {MAX_WORK} schemas, every $ref followed; "
                "refer to fewer",
            )
            return
        try:
            _compiled(schema)
        except jsonschema_rs.ValidationError as exc:
            yield Problem(path + _below(exc.instance_path), _compile_sentence(exc))
        except ValueError as exc:
            yield Problem(path, _first_line(str(exc)))
        if root_object and isinstance(schema, Mapping):
            yield from _required(schema, path)

    def _outline(self, schema: Any, path: str) -> Iterator[Problem]:
        document = subschemas.Document(schema)
        for at, part in document.parts():
            here = f"{path}{at}"
            if isinstance(part, Mapping):
                yield from _keywords(part, here, root=not at)
                yield from self._counted(part, here)
                yield from _references(document, part, here)
            elif not isinstance(part, bool):
                yield Problem(here, f"expected a JSON Schema, found {kinds.of(part)}")

    def _counted(self, part: Mapping[str, Any], path: str) -> Iterator[Problem]:
        patterns = part.get("patternProperties")
        count = ("pattern" in part) + (len(patterns) if isinstance(patterns, Mapping) else 0)
        if count and 0 <= self._patterns < count:
            yield Problem(path, f"more than {MAX_PATTERNS} patterns in the schemas of one document")
        self._patterns -= count


def _size(schema: Any) -> tuple[int, Problem | None]:
    """Return how many values a schema has, and why it is no JSON, or too much of it."""
    count = 0
    waiting: list[tuple[Any, str, int]] = [(schema, "", 0)]
    while waiting:
        value, path, depth = waiting.pop()
        count += 1
        if count > MAX_VALUES:
            return count, Problem("", f"more than {MAX_VALUES} values in one schema")
        if depth > MAX_DEPTH:
            return count, Problem("", f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            for key, item in value.items():
                if not isinstance(key, str):
                    return count, Problem(path, f"the key {key!r} is not text; put it in quotes")
                waiting.append((item, f"{path}.{key}", depth + 1))
        elif isinstance(value, list | tuple):
            waiting.extend((item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
        elif (wrong := _no_json(value)) is not None:
            return count, Problem(path, wrong)
    return count, None


def _no_json(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a JSON number"
    if value is not None and not isinstance(value, str | bool | int | float):
        return f"a {type(value).__name__} has no form in JSON; put it in quotes"
    return None


def _keywords(part: Mapping[str, Any], path: str, *, root: bool) -> Iterator[Problem]:
    """Yield what the meta-schema refuses in one schema, whose parts are looked at by themselves."""
    if part.get("$schema", DIALECT) != DIALECT:
        yield Problem(f"{path}.$schema", f"only draft 2020-12 is known; write {DIALECT}")
        return
    if not root and "$id" in part:
        yield Problem(f"{path}.$id", "only the whole schema has an $id; name a part by its $anchor")
    seen: set[str] = set()
    for error in _META.iter_errors(subschemas.shallow(part)):
        at = _below(error.instance_path)
        if at not in seen:
            seen.add(at)
            yield Problem(f"{path}{at}", _keyword_sentence(error))


def _keyword_sentence(error: jsonschema_rs.ValidationError) -> str:
    found = error.instance
    place = error.instance_path
    if place and place[0] == "type" and isinstance(found, str):
        return expressions.did_you_mean(found, _TYPES, "type")
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Type):
        wanted = [_WORDS[kind] for kind in error.kind.types if kind in _WORDS]
        if set(error.kind.types) == {"boolean", "object"}:
            wanted = ["a JSON Schema, which is an object, or true or false"]
        if wanted:
            return f"expected {' or '.join(wanted)}, found {kinds.of(found)}"
    return _first_line(error.message)


_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_WORDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a text",
}


def _references(
    document: subschemas.Document, part: Mapping[str, Any], path: str
) -> Iterator[Problem]:
    for keyword in ("$ref", "$dynamicRef"):
        reference = part.get(keyword)
        if not isinstance(reference, str):
            continue
        if not reference.startswith("#"):
            yield Problem(
                f"{path}.{keyword}",
                f"{reference!r} lies outside of this schema; copy it below $defs and write "
                "#/$defs/<name>",
            )
        elif document.target(reference) is None:
            yield Problem(
                f"{path}.{keyword}",
                expressions.did_you_mean(reference, document.targets(), "part of this schema"),
            )


def _required(schema: Mapping[str, Any], path: str) -> Iterator[Problem]:
    # Only where nothing but `properties` can declare a field.
    properties = schema.get("properties")
    if not properties or not _COMPOSED.isdisjoint(schema):
        return
    if schema.get("additionalProperties", False) is not False:
        return
    for name in schema.get("required", []):
        if name not in properties:
            yield Problem(
                f"{path}.required", expressions.did_you_mean(name, list(properties), "field")
            )


def _compile_sentence(error: jsonschema_rs.ValidationError) -> str:
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Format) or "regex" in error.message:
        return "not a regular expression that can be used, or too large a one"
    return _first_line(error.message)


def _below(path: Iterable[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0][:300] or "not a usable JSON Schema"


def _compiled(schema: Any) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema, offline=True, pattern_options=_PATTERNS)


@dataclass(frozen=True)
class Validator:
    """A schema, compiled: make it once, check many values, from any thread."""

    _compiled: jsonschema_rs.Draft202012Validator
    _forks: bool

    def fits(self, value: Any) -> bool:
        """Say whether a JSON value follows the schema."""
        return self._compiled.is_valid(value)

    def problems(self, value: Any, *, name: str = "value") -> list[str]:
        """Return what is wrong with a JSON value, at most five sentences; none when it fits.

        A sentence begins with the path to what is wrong, or with `name` for the value itself.
        """
        return [str(Problem(one.path or name, one.message)) for one in self.violations(value)]

    def violations(self, value: Any) -> list[Problem]:
        """Return the same by path, which is empty for the value itself."""
        if self._compiled.is_valid(value):
            return []
        if self._forks and _deeper(value, _EXPLAINED_DEPTH):
            # To say what is wrong, each branch is followed anew at each level.
            return [
                Problem("", "it does not follow its schema, which refers to itself in branches")
            ]
        return [
            Problem(_below(error.instance_path).removeprefix("."), error.message[:200])
            for error in itertools.islice(self._compiled.iter_errors(value), SHOWN)
        ]


def compile(schema: Any) -> Validator:  # noqa: A001 - the verb, as in re.compile
    """Compile a schema.

    Raises:
        SchemaError: it is not usable; `schema_problems` tells everything that is wrong with it.
    """
    found = schema_problems(schema, path="schema", root_object=False)
    if found:
        raise SchemaError(str(found[0]))
    return Validator(_compiled(schema), subschemas.Document(schema).weigh().forks)


def validate(schema: Any, value: Any) -> list[str]:
    """Return what is wrong with a JSON value, at most five sentences; none when it fits.

    Raises:
        SchemaError: the schema is not usable.
    """
    return compile(schema).problems(value)


def _deeper(value: Any, levels: int) -> bool:
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        if depth > levels:
            return True
        if isinstance(part, Mapping):
            waiting.extend((item, depth + 1) for item in part.values())
        elif isinstance(part, list | tuple):
            waiting.extend((item, depth + 1) for item in part)
    return False
