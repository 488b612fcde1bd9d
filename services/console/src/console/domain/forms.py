"""Forms of human tasks: a JSON Schema as the fields of a page.

What has no field of its own is typed as JSON, so that every form can be filled in.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from pydantic import JsonValue

PREFIX = "answer"
"""How the names of all fields begin."""
MAX_FIELDS = 200
"""Of one form; one with more is typed as JSON."""
MAX_DEPTH = 4
"""Levels of objects that are fields; what lies deeper is typed as JSON."""

_LONG_TEXT = 200  # characters from which on a text has several lines
_REFERENCES = frozenset({"$ref", "$dynamicRef"})
_SCALARS = ("string", "number", "integer", "boolean")


class Kind(StrEnum):
    """How something is typed."""

    TEXT = "text"
    LONG_TEXT = "long_text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    """One of `choices`."""
    CHOICES = "choices"
    """Some of `choices`."""
    DATE = "date"
    MOMENT = "moment"
    """A time in UTC, to the second."""
    LIST = "list"
    """One item a line, each of the kind `item`."""
    GROUP = "group"
    """An object, by its `fields`."""
    JSON = "json"


@dataclass(frozen=True)
class Choice:
    """One of the values that may be chosen: `token` is its JSON, `label` what people read."""

    token: str
    label: str


YES_NO = (Choice("true", "Yes"), Choice("false", "No"))


@dataclass(frozen=True)
class Field:
    """One field of a form; the form itself is a group without a path, or typed as JSON."""

    path: tuple[str, ...]
    kind: Kind
    label: str
    hint: str = ""
    is_required: bool = False
    choices: tuple[Choice, ...] = ()
    item: Kind = Kind.TEXT
    fields: tuple["Field", ...] = ()
    max_length: int | None = None
    default: JsonValue = None

    @property
    def name(self) -> str:
        """The name in a posted form: its path as a JSON pointer."""
        steps = (step.replace("~", "~0").replace("/", "~1") for step in self.path)
        return "/".join((PREFIX, *steps))

    @property
    def id(self) -> str:
        """The name without the characters that an id in HTML may not have."""
        return quote(self.name, safe="")

    @property
    def place(self) -> str:
        """The path as whoever checks an answer writes it: `customer.name`."""
        return ".".join(self.path)

    def all(self) -> Iterator["Field"]:
        """Return the field and those within it, each before its own."""
        yield self
        for one in self.fields:
            yield from one.all()


def form(schema: bytes) -> Field:
    """Return the form for a task's JSON Schema; a field for JSON for none, and for an odd one."""
    try:
        document = json.loads(schema) if schema else None
    except (ValueError, RecursionError):
        document = None
    made = _group(document, (), is_required=True) if isinstance(document, Mapping) else None
    if made is not None and sum(1 for _ in made.all()) <= MAX_FIELDS:
        return made
    hint = "A JSON document." if document is None else "A JSON document that fits the task's form."
    return Field((), Kind.JSON, "Answer", hint=hint, is_required=document is not None)


def at(field_: Field, place: str) -> Field | None:
    """Return the innermost field that a place (`lines[2].amount`) lies in; None for none."""
    found = None
    for one in field_.all():
        if one.path and (
            place == one.place or place.startswith((f"{one.place}.", f"{one.place}["))
        ):
            found = one
    return found


def _field(schema: JsonValue, path: tuple[str, ...], *, is_required: bool) -> Field:
    if not isinstance(schema, Mapping):
        schema = {}
    told: dict[str, Any] = {
        "path": path,
        "label": _text(schema.get("title")) or path[-1],
        "hint": _text(schema.get("description")),
        "is_required": is_required,
        "default": schema.get("default"),
    }
    type_ = _type(schema)
    if not _REFERENCES.isdisjoint(schema):
        return Field(kind=Kind.JSON, **told)
    if choices := _choices(schema):
        return Field(kind=Kind.CHOICE, choices=choices, **told)
    if type_ in _SCALARS:
        choices = YES_NO if type_ == "boolean" else ()
        kind = _scalar(schema, type_)
        return Field(kind=kind, choices=choices, max_length=_length(schema), **told)
    if type_ == "array" and (listed := _listed(schema.get("items"))):
        return Field(**listed, **told)
    return _group(schema, path, is_required=is_required) or Field(kind=Kind.JSON, **told)


def _group(schema: Mapping[str, Any], path: tuple[str, ...], *, is_required: bool) -> Field | None:
    """Return an object by its fields; None for one that its `properties` do not tell of."""
    properties = schema.get("properties")
    needed = schema.get("required", [])
    if (
        len(path) >= MAX_DEPTH
        or not isinstance(properties, Mapping)
        or not properties
        or not isinstance(needed, list)
        or not all(isinstance(name, str) and name in properties for name in needed)
        or not (_REFERENCES | {"patternProperties"}).isdisjoint(schema)
        or _type(schema) != "object"
    ):
        return None
    return Field(
        path,
        Kind.GROUP,
        _text(schema.get("title")) or (path[-1] if path else "Answer"),
        hint=_text(schema.get("description")),
        is_required=is_required,
        # Documents are kept with their names sorted: the order of `required` is all that is left.
        fields=tuple(
            _field(properties[name], (*path, name), is_required=name in needed)
            for name in dict.fromkeys([*needed, *properties])
        ),
        default=schema.get("default"),
    )


def _type(schema: Mapping[str, Any]) -> str:
    """Return the one type of a schema, next to null; empty for none or several."""
    type_ = schema.get("type")
    types = [type_] if isinstance(type_, str) else type_ if isinstance(type_, list) else []
    others = [one for one in types if one != "null"]
    return others[0] if len(others) == 1 and isinstance(others[0], str) else ""


def _scalar(schema: Mapping[str, Any], type_: str) -> Kind:
    if type_ != "string":
        return Kind(type_)
    format_ = schema.get("format")
    if format_ in ("date", "date-time"):
        return Kind.DATE if format_ == "date" else Kind.MOMENT
    return Kind.LONG_TEXT if (_length(schema) or 0) > _LONG_TEXT else Kind.TEXT


def _length(schema: Mapping[str, Any]) -> int | None:
    length = schema.get("maxLength")
    return length if isinstance(length, int) and length > 0 else None


def _listed(items: JsonValue) -> dict[str, Any] | None:
    """Return how a list of such items is typed; None for other items than scalars."""
    if not isinstance(items, Mapping) or not _REFERENCES.isdisjoint(items):
        return None
    if choices := _choices(items):
        return {"kind": Kind.CHOICES, "choices": choices}
    type_ = _type(items)
    # A line is a text of one line; to choose yes or no several times makes no sense.
    if type_ in _SCALARS and type_ != "boolean" and "format" not in items:
        return {"kind": Kind.LIST, "item": Kind.TEXT if type_ == "string" else Kind(type_)}
    return None


def _choices(schema: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Return the values that a schema allows, when it lists them."""
    if "const" in schema:
        values: Any = [(schema["const"], "")]
    elif isinstance(schema.get("enum"), list):
        values = [(value, "") for value in schema["enum"]]
    else:
        options = schema.get("oneOf")
        if not isinstance(options, list):
            return ()
        if not all(isinstance(one, Mapping) and "const" in one for one in options):
            return ()
        values = [(one["const"], _text(one.get("title"))) for one in options]
    if any(isinstance(value, Mapping | list) for value, _ in values):
        return ()
    return tuple(
        Choice(
            json_text(value),
            title or (value if isinstance(value, str) else json_text(value)) or "“”",
        )
        for value, title in values
    )


def json_text(value: JsonValue) -> str:
    """Return a value as the token of a choice has it."""
    return json.dumps(value, ensure_ascii=False)


def _text(value: JsonValue) -> str:
    return value.strip() if isinstance(value, str) else ""
