"""Where things are: paths within a document, and the line and column of each in its text."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from contracts import strictjson
from registry.domain.tokens import Form, Token

MAX_DEPTH = strictjson.MAX_DEPTH - 2
"""Of a document: the event that tells of it holds it two levels down, and has to be readable."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_INDEX = re.compile(r"\[(\d{1,9})\]")
_LONGEST_KEY = 80


def join(path: str, key: str | int) -> str:
    """Return the path of `key` inside `path`: spec.rules[0].when."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if len(key) > _LONGEST_KEY or not _PLAIN_KEY.fullmatch(key):
        return f"{path}{_quoted(key)}"
    return f"{path}.{key}" if path else key


def within(path: str, around: Collection[str]) -> bool:
    """Say whether `path` is one of `around`, or lies inside one of them."""
    return any(part in around for part in ancestry(path))


def ancestry(path: str) -> Iterator[str]:
    """Yield a path and those around it, from the inside; a dot in a quoted key cuts once more."""
    while path:
        yield path
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    yield ""


def _quoted(key: str) -> str:
    shown = key if len(key) <= _LONGEST_KEY else key[: _LONGEST_KEY - 1] + "…"
    return f"[{shown!r}]"


@dataclass(slots=True)
class _Node:
    """A value in the text, with where its key is, if it has one."""

    here: tuple[int, int]
    key: tuple[int, int]
    is_list: bool = False
    children: dict[str | int, "_Node"] = field(default_factory=dict)

    def child(self, path: str) -> tuple["_Node", str] | None:
        """Return the child that `path` begins with, and the rest of the path."""
        if index := _INDEX.match(path):
            child = self.children.get(int(index.group(1)))
            return None if child is None else (child, path[index.end() :])
        dotted = path.removeprefix(".")
        # Keys with dots in them: the longest that fits.
        end = len(dotted)
        while end > 0:
            if (child := self.children.get(dotted[:end])) is not None:
                return child, dotted[end:]
            end = max(dotted.rfind(".", 0, end), dotted.rfind("[", 0, end))
        for key, child in self.children.items():
            if isinstance(key, str) and path.startswith(quoted := _quoted(key)):
                return child, path[len(quoted) :]
        return None


class Positions:
    """Lines and columns, counted from 1, of the values of one document."""

    def __init__(self, tokens: Iterator[Token]) -> None:
        self._root = _tree(tokens)

    def of(self, path: str) -> tuple[int, int]:
        """Return where the value at `path` begins, or the nearest value around it."""
        return self._find(path)[0].here

    def of_key(self, path: str) -> tuple[int, int]:
        """Return where the key of the value at `path` begins; where it is not there, as `of`."""
        node, rest = self._find(path)
        return node.here if rest else node.key

    def _find(self, path: str) -> tuple[_Node, str]:
        node, rest = self._root, path
        while rest and (found := node.child(rest)) is not None:
            node, rest = found
        return node, rest


def _tree(tokens: Iterator[Token]) -> _Node:
    root = _Node((1, 1), (1, 1))
    around: list[_Node] = []
    key: Token | None = None
    keys: list[Token | None] = []
    for token in tokens:
        if token.form is Form.STOP:
            break
        if token.form is Form.END:
            around.pop()
            key = keys.pop()
            continue
        inside = around[-1] if around else None
        if inside is not None and not inside.is_list and key is None:
            # What is no scalar is no key, which was told where it was read.
            key = token
            if token.form is Form.SCALAR:
                continue
        here = (token.line, token.column)
        node = _Node(here, (key.line, key.column) if key else here, token.form is Form.LIST)
        if inside is None:
            root = node
        elif inside.is_list:
            inside.children[len(inside.children)] = node
        elif key is not token:
            inside.children[(key.text if key else None) or ""] = node
        if token.form is not Form.SCALAR:
            if len(around) == MAX_DEPTH:
                break
            around.append(node)
            # A container that stands as a key has a value of its own after it.
            keys.append(key if key is token else None)
            key = None
        else:
            key = None
    return root
