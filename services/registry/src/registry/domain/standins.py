"""Values that stand in for what cannot be read, so that the rest of a document can be checked."""

import copy
import itertools
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from contracts.definitions import (
    Assignees,
    AutomatedTask,
    ContextEntry,
    HumanTask,
    Reminder,
    Rule,
    Schedule,
    Trigger,
)
from contracts.producers import ProducerKey, ProducerSpec
from registry.domain.shapes import Expected, plain

NEEDED: Mapping[type[BaseModel], Mapping[str, Any]] = {
    Schedule: {"cron": "0 0 * * *"},
    Trigger: {"event": {"type": "unreadable"}},
    ContextEntry: {"query": {"connector": "unreadable", "statement": "unreadable"}},
    Assignees: {"users": ["unreadable"]},
    Reminder: {"afterDue": "1h"},
    ProducerKey: {"publicKey": "A" * 43 + "="},
}
"""What a model needs besides its required fields, or what no type says of them."""

KEPT: Mapping[type[BaseModel], frozenset[str]] = {
    Schedule: frozenset({"cron", "every", "calendars"}),
    Trigger: frozenset({"schedule", "event", "manual"}),
    ContextEntry: frozenset({"query", "http"}),
    Assignees: frozenset({"users", "groups"}),
    Rule: frozenset({"forEach"}),
    AutomatedTask: frozenset({"key"}),
    HumanTask: frozenset({"key", "due"}),
    Reminder: frozenset({"beforeDue", "afterDue"}),
    ProducerSpec: frozenset({"keys"}),
}
"""Optional fields that others depend on: they are stood in for and not just left out."""

_FORMS = ("unreadable{}", "unreadable{}-tq", "/unreadable{}")


class StandIns:
    """Makes stand-ins for one document; no two that it makes share a name."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def fresh(self, patterns: tuple[str, ...] = ()) -> str:
        """Return a text that matches the patterns and was not made before."""
        number = next(self._numbers)
        texts = (form.format(number) for form in _FORMS)
        return next(text for text in texts if all(re.search(p, text) for p in patterns))

    def make(self, expected: Expected, *, items: int = 0) -> Any:
        """Return something of the shape that is expected; a list has at least so many items."""
        if expected.members:
            return self.make(plain(expected.members[0]))
        if expected.model is not None:
            return dict(self._fields(expected, expected.model))
        if expected.choices:
            return expected.choices[0]
        kind = get_origin(expected.of) or expected.of
        if kind is list:
            item = plain(get_args(expected.of)[0])
            return [self.make(item) for _ in range(max(expected.at_least, items))]
        if kind is str:
            return self.fresh(expected.patterns)
        return _PLAIN.get(kind)

    def field(self, model: type[BaseModel], name: str, expected: Expected) -> Any:
        """Return something for a field of a model that others see is there."""
        if name in NEEDED.get(model, {}):
            return copy.deepcopy(NEEDED[model][name])
        return self.make(expected, items=int(name in KEPT.get(model, ())))

    def _fields(self, expected: Expected, model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
        needed = NEEDED.get(model, {})
        for name, field in expected.fields.items():
            if name in needed or field.is_required():
                yield name, self.field(model, name, plain(field))


_PLAIN: Mapping[Any, Any] = {
    dict: {},
    timedelta: "1h",
    datetime: "2000-01-01T00:00:00Z",
    bool: False,
    int: 2,
    float: 2,
}
