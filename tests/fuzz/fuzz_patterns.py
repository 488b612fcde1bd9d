"""The parser of patterns, and what asks them."""

import json
from typing import Any

from rules import failures, patterns
from rules.errors import PatternError
from rules.matching import Index


def one(data: bytes) -> None:
    """Compile what is in the first line, and ask it about the document in the second."""
    first, _, second = data.partition(b"\n")
    pattern = _read(first)
    try:
        compiled = patterns.compile(pattern)
    except PatternError:
        return
    document = _read(second)
    if not isinstance(document, dict):
        document = {}
    matches = compiled.matches(document)
    index: Index[str] = Index()
    index.put("key", compiled, event_type="type")
    assert index.match("type", document) == (["key"] if matches else [])
    assert (failures.first(compiled, document) is None) is matches
    index.remove("key")
    assert index.match("type", document) == []


def _read(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        # What is no JSON does not come this far.
        return None
