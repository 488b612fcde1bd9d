"""Reads the syntax tree of a compiled CEL expression, which its library gives only as protobuf.

The tree is `cel.expr.CheckedExpr` (github.com/google/cel-spec, proto/cel/expr): no package carries
its Python classes, and the few fields needed here are read from the wire.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Node:
    """One node: a constant, an identifier, a selection, a call, a literal or a macro's loop."""

    kind: str
    name: str = ""
    children: tuple["Node", ...] = ()
    overloads: tuple[str, ...] = ()
    text: str | None = None
    bound: tuple[str, ...] = ()

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
    overloads: dict[int, tuple[str, ...]] = {}
    for entry in map(_message, checked.blobs(2)):
        reference = _message(entry.blob(2))
        overloads[entry.number(1)] = tuple(blob.decode() for blob in reference.blobs(3))
    if 4 not in checked.fields:
        raise ValueError("not a checked CEL expression")
    return _node(checked.blob(4), overloads)


_Overloads = dict[int, tuple[str, ...]]


def _node(raw: bytes, overloads: _Overloads) -> Node:
    expr = _message(raw)
    for tag, read_kind in _KINDS.items():
        if tag in expr.fields:
            node = read_kind(_message(expr.blob(tag)), overloads)
            return replace(node, overloads=overloads.get(expr.number(2), ()))
    raise ValueError("a node of a kind that is not known")


def _children(message: _Message, overloads: _Overloads, *tags: int) -> tuple[Node, ...]:
    return tuple(_node(blob, overloads) for tag in tags for blob in message.blobs(tag))


def _constant(constant: _Message, _: _Overloads) -> Node:
    return Node("constant", text=constant.text(6) if 6 in constant.fields else None)


def _identifier(identifier: _Message, _: _Overloads) -> Node:
    return Node("identifier", name=identifier.text(1))


def _select(select: _Message, overloads: _Overloads) -> Node:
    return Node("select", name=select.text(2), children=_children(select, overloads, 1))


def _call(call: _Message, overloads: _Overloads) -> Node:
    return Node("call", name=call.text(2), children=_children(call, overloads, 1, 3))


def _list(elements: _Message, overloads: _Overloads) -> Node:
    return Node("list", children=_children(elements, overloads, 1))


def _struct(struct: _Message, overloads: _Overloads) -> Node:
    entries = map(_message, struct.blobs(2))
    parts = tuple(child for entry in entries for child in _children(entry, overloads, 3, 4))
    return Node("struct", name=struct.text(1), children=parts)


def _loop(loop: _Message, overloads: _Overloads) -> Node:
    return Node(
        "loop",
        # What it runs over, the start of the result, the condition, the step, the result.
        children=_children(loop, overloads, 2, 4, 5, 6, 7),
        bound=tuple(filter(None, (loop.text(1), loop.text(8), loop.text(3)))),
    )


_KINDS: dict[int, Callable[[_Message, _Overloads], Node]] = {
    3: _constant,
    4: _identifier,
    5: _select,
    6: _call,
    7: _list,
    8: _struct,
    9: _loop,
}


def _message(raw: bytes) -> _Message:
    message = _Message()
    position = 0
    while position < len(raw):
        key, position = _varint(raw, position)
        value: int | bytes
        match key & 7:
            case 0:
                value, position = _varint(raw, position)
            case 1:
                value, position = raw[position : position + 8], position + 8
            case 2:
                length, position = _varint(raw, position)
                value, position = raw[position : position + length], position + length
            case 5:
                value, position = raw[position : position + 4], position + 4
            case wire:
                raise ValueError(f"wire type {wire} is not in use")
        if position > len(raw):
            raise ValueError("the message is cut short")
        message.fields.setdefault(key >> 3, []).append(value)
    return message


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(raw):
            raise ValueError("the message is cut short")
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
