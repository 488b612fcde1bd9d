"""What a value can be, as far as its JSON Schema tells: kinds, fields, elements, known texts.

A shape never leaves out what a value following the schema can be. Where a schema says more than is
understood here, its shape is wider, never narrower: what is concluded from shapes is certain.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any

from rules.subschemas import Document

MAX_ALTERNATIVES = 64
"""Of objects, or of elements, that are told apart in one shape."""
MAX_STEPS = 50
"""Schemas followed for one value: references and alternatives within one another."""


class Kind(StrEnum):
    """The kinds of value that expressions tell apart; the values are words for people."""

    BOOL = "true or false"
    TEXT = "a text"
    INT = "a whole number"
    DOUBLE = "a number with decimals"
    BYTES = "bytes"
    TIME = "a time"
    DURATION = "a duration"
    TYPE = "a type"
    LIST = "a list"
    OBJECT = "an object"
    NULL = "null"


NUMBERS = frozenset({Kind.INT, Kind.DOUBLE})
EVERY = frozenset(Kind)
_JSON = frozenset({Kind.NULL, Kind.BOOL, Kind.INT, Kind.DOUBLE, Kind.TEXT, Kind.LIST, Kind.OBJECT})


class Openness(StrEnum):
    """What an object says of fields that it does not declare."""

    UNSAID = "unsaid"
    OPEN = "open"
    CLOSED = "closed"


Later = Callable[[], "Shape"]
"""A shape that is looked at when it is needed: schemas refer to themselves."""


@dataclass(frozen=True, eq=False)
class Object:
    """One form that an object can have.

    A field that is not among `fields` is a mistake when `openness` is closed. `word` says what a
    field is called in messages; `guarded` objects are open, but a name nearly that of a field is
    taken for a slip.
    """

    fields: Mapping[str, Later] = field(default_factory=dict)
    openness: Openness = Openness.UNSAID
    required: frozenset[str] = frozenset()
    word: str = ""
    guarded: bool = False


@dataclass(frozen=True)
class Shape:
    """All that a value can be: one of `kinds`, and what it is when it is an object, list or text.

    `elements` are the alternatives for what a list holds, none for the empty list; `texts` are the
    only texts it can be, None when it can be any.
    """

    kinds: frozenset[Kind]
    objects: tuple[Object, ...] = ()
    elements: tuple[Later, ...] = ()
    texts: frozenset[str] | None = None

    def __str__(self) -> str:
        words = [str(kind) for kind in Kind if kind in self.kinds]
        if self.kinds >= NUMBERS:
            words[words.index(Kind.INT)] = "a number"
            words.remove(Kind.DOUBLE)
        return " or ".join(words)

    @property
    def known(self) -> bool:
        """Whether anything is known of it: a shape of all JSON is as good as none."""
        return bool(self.kinds) and not self.kinds >= _JSON


def of(*kinds: Kind, texts: Iterable[str] | None = None) -> Shape:
    """Return the shape of values of some kinds, whatever they hold."""
    return Shape(
        frozenset(kinds),
        (_ANY_OBJECT,) if Kind.OBJECT in kinds else (),
        (anything,) if Kind.LIST in kinds else (),
        None if texts is None else frozenset(texts),
    )


def anything() -> Shape:
    """Return the shape of a value of which nothing is known."""
    return ANYTHING


def listing(*elements: Later) -> Shape:
    """Return the shape of a list; without elements, of the empty one."""
    return Shape(frozenset({Kind.LIST}), elements=elements)


def objects(*alternatives: Object) -> Shape:
    """Return the shape of an object that has one of some forms."""
    return Shape(frozenset({Kind.OBJECT}), objects=alternatives)


def fixed(shape: Shape) -> Later:
    """Return a shape that is there already, to be looked at later."""
    return lambda: shape


_ANY_OBJECT = Object()
ANYTHING = Shape(EVERY, (_ANY_OBJECT,), (anything,))
NOTHING = Shape(frozenset())
"""No value at all: what an empty list holds, and what follows a schema that excludes itself."""


def join(alternatives: Iterable[Shape]) -> Shape:
    """Return the shape of a value that is any of `alternatives`."""
    kinds: set[Kind] = set()
    found: dict[Object, None] = {}
    elements: dict[Later, None] = {}
    texts: set[str] | None = set()
    for shape in alternatives:
        kinds |= shape.kinds
        found |= dict.fromkeys(shape.objects)
        elements |= dict.fromkeys(shape.elements)
        if Kind.TEXT in shape.kinds:
            texts = None if texts is None or shape.texts is None else texts | shape.texts
    if kinds == EVERY and found.keys() == {_ANY_OBJECT} and anything in elements:
        return ANYTHING
    # Beside what can be anything, a form keeps the fields that it declares: whoever names one of
    # them has read it somewhere.
    return Shape(
        frozenset(kinds),
        tuple(found) if len(found) <= MAX_ALTERNATIVES else (_ANY_OBJECT,),
        tuple(elements) if len(elements) <= MAX_ALTERNATIVES else (anything,),
        frozenset(texts) if texts else None,
    )


def meet(one: Shape, other: Shape) -> Shape:
    """Return the shape of a value that is both."""
    if one is ANYTHING:
        return other
    if other is ANYTHING:
        return one
    kinds = one.kinds & other.kinds
    if not kinds:
        return NOTHING
    merged: tuple[Object, ...] = ()
    if Kind.OBJECT in kinds:
        merged = tuple(_both(a, b) for a in one.objects for b in other.objects)
        if len(merged) > MAX_ALTERNATIVES:
            merged = (_ANY_OBJECT,)
    elements: tuple[Later, ...] = ()
    if Kind.LIST in kinds:
        elements = other.elements if one.elements == (anything,) else one.elements
    texts = one.texts
    if other.texts is not None:
        texts = other.texts if texts is None else texts & other.texts
    return Shape(kinds, merged, elements, (texts or None) if Kind.TEXT in kinds else None)


def _both(one: Object, other: Object) -> Object:
    if one is _ANY_OBJECT:
        return other
    if other is _ANY_OBJECT:
        return one
    fields = {**other.fields, **one.fields}
    for name in one.fields.keys() & other.fields.keys():
        fields[name] = partial(_both_later, one.fields[name], other.fields[name])
    said = {one.openness, other.openness}
    openness = next(o for o in (Openness.OPEN, Openness.CLOSED, Openness.UNSAID) if o in said)
    return Object(fields, openness, one.required | other.required)


def _both_later(one: Later, other: Later) -> Shape:
    return meet(one(), other())


def opened(shape: Shape) -> Shape:
    """Return the shape with every form of object open to fields that are not declared."""
    if not shape.objects:
        return shape
    return replace(
        shape,
        objects=tuple(replace(form, openness=Openness.OPEN) for form in shape.objects),
    )


def element(shape: Shape) -> Shape:
    """Return what a list of that shape holds."""
    return join(later() for later in shape.elements)


def value(found: Any) -> Shape:  # noqa: PLR0911 - one for each kind
    """Return the shape of a JSON value, no deeper than its kind."""
    match found:
        case None:
            return of(Kind.NULL)
        case bool():
            return of(Kind.BOOL)
        case int():
            return of(Kind.INT)
        case float():
            return of(*NUMBERS)
        case str():
            return of(Kind.TEXT, texts=[found])
        case Mapping():
            return of(Kind.OBJECT)
        case _:
            return of(Kind.LIST)


def of_schema(schema: Any) -> Shape:
    """Return the shape of the values that follow a JSON Schema; any schema has one."""
    return _Reader(Document(schema)).shape(schema)


_OF_TYPE = {
    "null": frozenset({Kind.NULL}),
    "boolean": frozenset({Kind.BOOL}),
    "integer": frozenset({Kind.INT}),
    "number": NUMBERS,
    "string": frozenset({Kind.TEXT}),
    "array": frozenset({Kind.LIST}),
    "object": frozenset({Kind.OBJECT}),
}
# Keywords that can declare a field, or lift what is declared, only for some values.
_CONDITIONAL = frozenset(
    {"if", "then", "else", "dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef"}
)


class _Reader:
    """Reads the schemas of one document, each once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._known: dict[int, Shape] = {}
        self._steps = 0

    def shape(self, schema: Any) -> Shape:
        if schema is False:
            return NOTHING
        if not isinstance(schema, Mapping) or not schema:
            return ANYTHING
        if id(schema) in self._known:
            return self._known[id(schema)]
        if self._steps == MAX_STEPS:
            return ANYTHING
        # Met again while it is being read, it says nothing more of the same value.
        self._known[id(schema)] = ANYTHING
        self._steps += 1
        try:
            shape = self._read(schema)
        finally:
            self._steps -= 1
        self._known[id(schema)] = shape
        return shape

    def _read(self, schema: Mapping[str, Any]) -> Shape:
        shape = self._own(schema)
        reference = schema.get("$ref")
        if isinstance(reference, str):
            shape = meet(shape, self.shape(self._document.target(reference)))
        for part in _many(schema, "allOf"):
            shape = meet(shape, self.shape(part))
        for keyword in ("anyOf", "oneOf"):
            if parts := _many(schema, keyword):
                shape = meet(shape, join(map(self.shape, parts)))
        if not _CONDITIONAL.isdisjoint(schema):
            shape = opened(shape)
        if schema.get("unevaluatedProperties", False) is not False:
            shape = opened(shape)
        return shape

    def _own(self, schema: Mapping[str, Any]) -> Shape:
        kinds = _kinds(schema.get("type"))
        shape = Shape(
            kinds,
            (self._object(schema),) if Kind.OBJECT in kinds else (),
            self._elements(schema) if Kind.LIST in kinds else (),
        )
        if kinds == EVERY and shape.objects == (_ANY_OBJECT,) and shape.elements == (anything,):
            shape = ANYTHING
        values = schema.get("enum")
        if "const" in schema:
            values = [schema["const"]]
        if isinstance(values, list | tuple) and values:
            shape = meet(shape, join(map(value, values)))
        return shape

    def _object(self, schema: Mapping[str, Any]) -> Object:
        properties = schema.get("properties")
        declared = properties if isinstance(properties, Mapping) else {}
        fields = _Properties(self, declared)
        if "patternProperties" in schema or schema.get("additionalProperties", False) is not False:
            openness = Openness.OPEN
        elif fields or "additionalProperties" in schema:
            openness = Openness.CLOSED
        else:
            openness = Openness.UNSAID
        required = schema.get("required")
        names = required if isinstance(required, list | tuple) else ()
        if not fields and not names and openness is Openness.UNSAID:
            return _ANY_OBJECT
        return Object(fields, openness, frozenset(n for n in names if isinstance(n, str)))

    def _elements(self, schema: Mapping[str, Any]) -> tuple[Later, ...]:
        first = [partial(self.shape, part) for part in _many(schema, "prefixItems")]
        rest: Later = anything
        if isinstance(schema.get("items"), Mapping):
            rest = partial(self.shape, schema["items"])
        elif schema.get("items") is False:
            return tuple(first[:MAX_ALTERNATIVES])
        return (*first[:MAX_ALTERNATIVES], rest) if rest is not anything else (anything,)


class _Properties(Mapping[str, Later]):
    """The fields of a schema: many schemas have many more than are ever looked at."""

    def __init__(self, reader: _Reader, declared: Mapping[str, Any]) -> None:
        self._reader = reader
        self._declared = declared

    def __getitem__(self, name: str) -> Later:
        return partial(self._reader.shape, self._declared[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def __contains__(self, name: object) -> bool:
        return name in self._declared


def _kinds(named: Any) -> frozenset[Kind]:
    names: Collection[Any] = [named] if isinstance(named, str) else named or ()
    if not isinstance(names, list | tuple) or not names:
        return EVERY
    found = [_OF_TYPE.get(name) if isinstance(name, str) else None for name in names]
    if None in found:
        return EVERY
    return frozenset[Kind]().union(*(kinds for kinds in found if kinds))


def _many(schema: Mapping[str, Any], keyword: str) -> tuple[Any, ...]:
    parts = schema.get(keyword)
    return tuple(parts) if isinstance(parts, list | tuple) else ()
