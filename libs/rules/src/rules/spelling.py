"""Parts of an expression in words, for people who did not write it just now."""

from rules import operators
from rules.shapes import Shape
from rules.syntax import Node


def pair(node: Node) -> tuple[str, str]:
    """Return the two operands of a call as `spelt`."""
    one, other = node.children
    return spelt(one), spelt(other)


def sides(node: Node, given: list[Shape]) -> tuple[str, str]:
    """Return the two operands of a call as `said`."""
    one, other = (said(child, shape) for child, shape in zip(node.children, given, strict=True))
    return one, other


def said(node: Node, shape: Shape) -> str:
    """Return a part of an expression with what it is: `event.payload.amount is a number`."""
    return f"{spelt(node)} is {shape}"


def told(node: Node, shape: Shape, beside: Shape) -> str:
    """Return a part with what tells it from another: its kinds, or the texts that it can be."""
    if node.kind == "constant":
        return said(node, shape)
    return f"{spelt(node)} is {operators.as_told(shape, beside)}"


def spelt(node: Node) -> str:  # noqa: PLR0911 - one for each kind of node
    """Return a part of an expression as its author could have written it, shortened if need be."""
    match node.kind:
        case "constant":
            return (node.literal or "b'…'") if node.text is None else repr(node.text[:40])
        case "identifier" if not node.name.startswith("@"):
            return node.name
        case "select":
            return f"{spelt(node.children[0])}.{node.name}"[-120:]
        case "call":
            return _spelt_call(node)
        case "list":
            return "[…]"
        case "struct":
            return "{…}"
        case _:
            return "what the macro gives"


def _spelt_call(node: Node) -> str:
    parts = node.children
    if node.name == "_[_]":
        return f"{spelt(parts[0])}[{spelt(parts[1])}]"[-120:]
    if node.name == "dyn":
        return spelt(parts[0])
    if node.name.isidentifier():
        return f"{node.name}(…)"
    symbol = operators.spelling(node.name)
    if len(parts) == 2 and len(symbol) <= 2:
        return f"{spelt(parts[0])} {symbol} {spelt(parts[1])}"[-120:]
    return "what this part gives"
