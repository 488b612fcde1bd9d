"""Sensitive fields: what stands in their place, and how it is put there and taken back.

A payload's schema marks fields with `sensitive: true`. What is kept of such a field is a reference
`{"$sensitive": <blob id>, "hash": <keyed hash>}`; its value is encrypted under a key of the person
whom it is about. All of this is pure: who keeps the values is somebody else.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

KEYWORD = "sensitive"
"""The keyword of a JSON Schema that marks a field."""
MARK = "$sensitive"
"""The name by which a reference is told from all other JSON; no producer's event may have it."""
HASH = "hash"
HASH_PATTERN = r"^[a-z2-7]{26}$"
MAX_VALUES = 200
"""Sensitive values of one event at most."""
MAX_SUBJECT_LENGTH = 512
"""Characters by which an event says whose its sensitive fields are, at most."""

Path = tuple[str, ...]
"""The names that lead to a field; they lead through lists too."""
Place = tuple[str | int, ...]
"""The names and indices that lead to one value."""


class Reference(NamedTuple):
    """What is kept of a value: where it is, and a hash that only its subject's key can make."""

    blob_id: str
    hash: str

    def document(self) -> dict[str, str]:
        """Return it as it stands in a document."""
        return {MARK: self.blob_id, HASH: self.hash}


@dataclass(frozen=True, slots=True)
class Marks:
    """Which fields of the payloads of one schema are sensitive, and whose they are.

    `subject` leads from the envelope to who that is.
    """

    fields: tuple[Path, ...]
    subject: Path


def fields(schema: Mapping[str, Any]) -> tuple[Path, ...]:
    """Return the fields that a schema marks, as far as `properties` and `items` lead to them."""
    return tuple(path for path, _ in marked(schema))


def marked(schema: Any) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the path of each marked field with its schema; nothing within one that is marked."""
    waiting: list[tuple[Path, Any]] = [((), schema)]
    while waiting:
        path, part = waiting.pop()
        if not isinstance(part, Mapping):
            continue
        waiting.append((path, part.get("items")))
        properties = part.get("properties")
        for name, below in properties.items() if isinstance(properties, Mapping) else ():
            if isinstance(below, Mapping) and below.get(KEYWORD) is True:
                yield (*path, name), below
            else:
                waiting.append(((*path, name), below))


def found(payload: Any, paths: Iterable[Path]) -> dict[Place, Any]:
    """Return the values that a payload has at `paths`, by their places; null is none."""
    return {
        place: value
        for path in paths
        for place, value in _at(payload, path, ())
        if value is not None
    }


def _at(value: Any, path: Path, place: Place) -> Iterator[tuple[Place, Any]]:
    if not path:
        yield place, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _at(item, path, (*place, index))
    elif isinstance(value, Mapping) and path[0] in value:
        yield from _at(value[path[0]], path[1:], (*place, path[0]))


def pointer(place: Place) -> str:
    """Return a place as a JSON Pointer (RFC 6901)."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in place)


def replaced(payload: Any, references: Mapping[Place, Reference], place: Place = ()) -> Any:
    """Return a payload with references in the places of values."""
    if place in references:
        return references[place].document()
    if isinstance(payload, Mapping):
        return {name: replaced(one, references, (*place, name)) for name, one in payload.items()}
    if isinstance(payload, list):
        return [replaced(one, references, (*place, i)) for i, one in enumerate(payload)]
    return payload


def subject_of(document: Mapping[str, Any], path: Path) -> str | None:
    """Return whose an event is: the text or whole number at `path` of its envelope, if any."""
    value: Any = document
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) or None


def reference(value: Any) -> Reference | None:
    """Return the reference that a JSON value is; None for any other."""
    if isinstance(value, Mapping) and value.keys() == {MARK, HASH}:
        blob_id, told = value[MARK], value[HASH]
        if isinstance(blob_id, str) and isinstance(told, str):
            return Reference(blob_id, told)
    return None


def references(value: Any) -> frozenset[Reference]:
    """Return all references in a JSON value."""
    return frozenset(_references(value))


def _references(value: Any) -> Iterator[Reference]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if (itself := reference(one)) is not None:
            yield itself
        elif isinstance(one, Mapping):
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)


def has_mark(value: Any) -> bool:
    """Say whether anything in a JSON value is named as only references name it."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            if MARK in one:
                return True
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)
    return False


def revealed(value: Any, values: Mapping[str, Any]) -> Any:
    """Return a JSON value with `values`, by blob id, in place of references; others stay."""
    itself = reference(value)
    if itself is not None:
        return values.get(itself.blob_id, value)
    if isinstance(value, Mapping):
        return {name: revealed(one, values) for name, one in value.items()}
    if isinstance(value, list):
        return [revealed(one, values) for one in value]
    return value


def referred(value: Any, values: Mapping[Reference, Any]) -> Any:
    """Return a JSON value with references in the place of what equals one of `values`.

    Only texts of 4 characters and more, objects and lists: what is short equals by chance.
    """
    known = [(one, told) for one, told in values.items() if _is_telling(told)]
    return _referred(value, known) if known else value


def _is_telling(value: Any) -> bool:
    return len(value) >= 4 if isinstance(value, str) else isinstance(value, Mapping | list)


def _referred(value: Any, known: list[tuple[Reference, Any]]) -> Any:
    for one, told in known:
        if value == told:
            return one.document()
    if isinstance(value, Mapping):
        return {name: _referred(below, known) for name, below in value.items()}
    if isinstance(value, list):
        return [_referred(below, known) for below in value]
    return value
