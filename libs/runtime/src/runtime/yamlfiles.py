"""YAML as JSON documents, read as the registry reads them: by YAML 1.2's types, without surprises.

A small text means a small document: what could make it a large one (anchors, aliases, merge keys,
tags) is refused.
"""

import math
import re
from typing import Any

import yaml

MAX_DEPTH = 62
"""Levels of a document, as the registry takes them."""

_INT64 = 2**63
_LONGEST_NUMBER = 40
_NAMESPACE = "tag:yaml.org,2002:"
_WORDS = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    ),
}


def parse(text: str) -> Any:
    """Return the document in a YAML or JSON text.

    Raises:
        ValueError: it is not YAML, a key appears twice, it has what could make a small text a
            large document, or a number that a signed 64-bit integer or a double cannot hold; the
            message is one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError) as exc:
        raise ValueError(" ".join(str(exc).split())) from exc


class _Loader(yaml.SafeLoader):
    """Refuses what makes a text mean more, or something else, than it shows."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """Return the tag of a node: of a plain scalar that of its YAML 1.2 type."""
        if kind is yaml.ScalarNode and implicit[0]:
            for name, pattern in _WORDS.items():
                if pattern.fullmatch(value):
                    return _NAMESPACE + name
            return f"{_NAMESPACE}str"
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node, which stands for itself alone."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused(f"aliases (*{event.anchor}) are not taken: write it out", event)
        if event.anchor is not None:
            raise _refused(
                f"anchors (&{event.anchor}) are not taken: write it out each time", event
            )
        if event.tag is not None and event.tag != "!":
            raise _refused(f"tags ({event.tag}) are not taken: the types are those of JSON", event)
        if self._depth > MAX_DEPTH:
            raise _refused(f"nested deeper than {MAX_DEPTH} levels", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's own
        """Return a mapping whose keys are text, each of them once: a first one would be lost."""
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a key is text, not a list or an object", key)
            name = _text(key)
            if name in mapping:
                raise _refused(f"the key {name!r} appears twice", key)
            mapping[name] = self.construct_object(value, deep=deep)
        return mapping

    def construct_number(self, node: Any) -> int | float:
        """Return a number that a signed 64-bit integer or a double holds."""
        text = node.value
        whole = node.tag.endswith(":int")
        # The length is checked first: int() of a long literal costs quadratic time.
        if whole and len(text) <= _LONGEST_NUMBER:
            number = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if -_INT64 <= number < _INT64:
                return number
        if not whole and text[-1] in "0123456789." and math.isfinite(float(text)):
            return float(text)
        raise _refused(f"{text[:_LONGEST_NUMBER]} is no number that JSON readers agree on", node)

    def construct_text(self, node: Any) -> str:
        """Return a text that can be encoded."""
        return _text(node)


def _text(node: Any) -> str:
    value: str = node.value
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise _refused("the text holds half of a surrogate pair", node) from exc
    return value


def _refused(problem: str, at: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, at.start_mark)


_Loader.add_constructor(f"{_NAMESPACE}int", _Loader.construct_number)
_Loader.add_constructor(f"{_NAMESPACE}float", _Loader.construct_number)
_Loader.add_constructor(f"{_NAMESPACE}str", _Loader.construct_text)
