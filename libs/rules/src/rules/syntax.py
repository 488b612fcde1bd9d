"""Reads the syntax tree of a compiled CEL expression, which its library gives only as protobuf.

The tree is `cel.expr.CheckedExpr` (github.com/google/cel-spec, proto/cel/expr): no package carries
its Python classes, and the few fields needed here are read from the wire.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Node:
    """One node: a constant, an identifier, a selection, a call, a literal or a macro's loop."""

    kind: str
    name: str = ""
    children: tuple["Node", ...] = ()
    overloads: tuple[str, ...] = ()
    text: str | None = None
    bound: tuple[str, ...] = ()
    returns: str = field(default="", compare=False)
    """The static type in CEL's words: BOOL, INT, STRING; empty when only the data tells."""
    only_tests: bool = False
    """Whether a selection is `has()`, which asks for a field and does not read it."""
    literal: str = ""
    """A constant as it is written, when it is a number, true, false or null."""

    def walk(self) -> Iterator["Node"]:
        """Yield this node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass
class _Message:
    fields: dict[int, list[int | bytes]] = field(default_factory=dict)

    def number(self, tag: int) -> int:
        value = self.fields.get(tag, [0])[-1]
        return value if isinstance(value, int) else 0

    def blob(self, tag: int) -> bytes:
        value = self.fields.get(tag, [b""])[-1]
        return value if isinstance(value, bytes) else b""

    def blobs(self, tag: int) -> list[bytes]:
        return [value for value in self.fields.get(tag, []) if isinstance(value, bytes)]

    def text(self, tag: int) -> str:
        return self.blob(tag).decode()


def read(serialized: bytes) -> Node:
    """Return the tree of `serialized`, a `google.protobuf.Any` that holds a CheckedExpr.

    Raises:
        ValueError: it is something else.
    """
    checked = _message(_message(serialized).blob(2))
    notes = _Notes()
    for entry in map(_message, checked.blobs(2)):
        notes.overloads[entry.number(1)] = _overloads(entry.blob(2))
    for entry in map(_message, checked.blobs(3)):
        notes.types[entry.number(1)] = _type(entry.blob(2))
    if 4 not in checked.fields:
        raise ValueError("not a checked CEL expression")
    return _node(checked.blob(4), notes)


@dataclass
class _Notes:
    """What the checker noted beside the tree, by the number of a node."""

    overloads: dict[int, tuple[str, ...]] = field(default_factory=dict)
    types: dict[int, str] = field(default_factory=dict)


_PRIMITIVES = {1: "BOOL", 2: "INT", 3: "UINT", 4: "DOUBLE", 5: "STRING", 6: "BYTES"}
_WELL_KNOWN = {2: "TIMESTAMP", 3: "DURATION"}


# The same few come again and again, and reading them is most of the work.
@lru_cache(maxsize=4096)
def _overloads(raw: bytes) -> tuple[str, ...]:
    return tuple(blob.decode() for blob in _message(raw).blobs(3))


@lru_cache(maxsize=4096)
def _type(raw: bytes) -> str:
    kind = _message(raw)
    if 3 in kind.fields:
        return _PRIMITIVES.get(kind.number(3), "")
    if 5 in kind.fields:
        return _WELL_KNOWN.get(kind.number(5), "")
    return next((name for tag, name in _TYPES.items() if tag in kind.fields), "")


_TYPES = {2: "NULL", 6: "LIST", 7: "MAP", 11: "TYPE"}


def _node(raw: bytes, notes: _Notes) -> Node:
    expr = _message(raw)
    for tag, read_kind in _KINDS.items():
        if tag in expr.fields:
            number = expr.number(2)
            return Node(
                **read_kind(_message(expr.blob(tag)), notes),
                overloads=notes.overloads.get(number, ()),
                returns=notes.types.get(number, ""),
            )
    raise ValueError("a node of a kind that is not known")


def _children(message: _Message, notes: _Notes, *tags: int) -> tuple[Node, ...]:
    return tuple(_node(blob, notes) for tag in tags for blob in message.blobs(tag))


_Fields = dict[str, Any]


def _fields(kind: str, **others: Any) -> _Fields:
    return {"kind": kind, **others}


def _constant(constant: _Message, _: _Notes) -> _Fields:
    if 6 in constant.fields:
        return _fields("constant", text=constant.text(6))
    literal = ""
    if 1 in constant.fields:
        literal = "null"
    elif 2 in constant.fields:
        literal = "true" if constant.number(2) else "false"
    elif 3 in constant.fields:
        number = constant.number(3)
        literal = str(number - 2**64 if number >= 2**63 else number)
    elif 4 in constant.fields:
        literal = f"{constant.number(4)}u"
    elif 5 in constant.fields and len(constant.blob(5)) == 8:
        literal = repr(struct.unpack("<d", constant.blob(5))[0])
    return _fields("constant", literal=literal)


def _identifier(identifier: _Message, _: _Notes) -> _Fields:
    return _fields("identifier", name=identifier.text(1))


def _select(select: _Message, notes: _Notes) -> _Fields:
    return _fields(
        "select",
        name=select.text(2),
        children=_children(select, notes, 1),
        only_tests=bool(select.number(3)),
    )


def _call(call: _Message, notes: _Notes) -> _Fields:
    return _fields("call", name=call.text(2), children=_children(call, notes, 1, 3))


def _list(elements: _Message, notes: _Notes) -> _Fields:
    return _fields("list", children=_children(elements, notes, 1))


def _struct(struct: _Message, notes: _Notes) -> _Fields:
    entries = map(_message, struct.blobs(2))
    parts = tuple(child for entry in entries for child in _children(entry, notes, 3, 4))
    return _fields("struct", name=struct.text(1), children=parts)


def _loop(loop: _Message, notes: _Notes) -> _Fields:
    return _fields(
        "loop",  # What it runs over, the start of the result, the condition, the step, the result.
        children=_children(loop, notes, 2, 4, 5, 6, 7),
        bound=tuple(filter(None, (loop.text(1), loop.text(8), loop.text(3)))),
    )


_KINDS: dict[int, Callable[[_Message, _Notes], _Fields]] = {
    3: _constant,
    4: _identifier,
    5: _select,
    6: _call,
    7: _list,
    8: _struct,
    9: _loop,
}


def _message(raw: bytes) -> _Message:
    fields: dict[int, list[int | bytes]] = {}
    position, end = 0, len(raw)
    while position < end:
        # Nearly every number is below 128, in one byte.
        key = raw[position]
        position += 1
        if key & 0x80:
            key, position = _varint(raw, position - 1)
        wire = key & 7
        value: int | bytes
        if wire == 2:
            length, position = _varint(raw, position)
            value = raw[position : position + length]
            position += length
        elif wire == 0:
            value, position = _varint(raw, position)
        elif wire in _FIXED:
            value = raw[position : position + _FIXED[wire]]
            position += _FIXED[wire]
        else:
            raise ValueError(f"wire type {wire} is not in use")
        if position > end:
            raise ValueError("the message is cut short")
        if (tag := key >> 3) in fields:
            fields[tag].append(value)
        else:
            fields[tag] = [value]
    return _Message(fields)


_FIXED = {1: 8, 5: 4}


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(raw):
            raise ValueError("the message is cut short")
        byte = raw[position]
        position += 1
        if not byte & 0x80:
            return value | byte << shift, position
        value |= (byte & 0x7F) << shift
        shift += 7
